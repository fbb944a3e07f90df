"""Recovery as the daemon does it: before anything else, and again while something is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from xenbackup.errors import Locked, XenbackupError
from xenbackup.operations.house import House
from xenbackup.operations.recover import RecoveredRun, recover_runs
from xenbackup.operations.run_log import LogWatcher
from xenbackup.system.systemd_notify import Notifier

FIRST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3600.0
_OTHERS_SECONDS = 600.0
_MARKS_FOLDER = "restores"
_POLL_SECONDS = 1.0
_EXTENSION_SECONDS = 30.0
_EXTEND_EVERY_SECONDS = 4.0

_log = structlog.get_logger("xenbackup.daemon")


class Recovery:
    """What runs of earlier processes left, and our own debts: tried again, each time later.

    `messages` is what is left now, () when nothing; `find_house` gives the house of the moment.
    """

    def __init__(self, find_house: Callable[[], House], notifier: Notifier) -> None:
        self.messages: tuple[str, ...] = ()
        self._find_house = find_house
        self._notifier = notifier
        self._lock = threading.Lock()
        self._working = False
        self._wait_seconds = FIRST_RETRY_SECONDS
        self._next_at: float | None = None

    def recover_first(self) -> None:
        """At the daemon's start; another recovery of this host is waited for."""
        with extend_timeout(self._notifier):
            until = time.monotonic() + _OTHERS_SECONDS
            while not self._recover() and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)

    def arm(self) -> None:
        """Something may have been left just now: look soon."""
        with self._lock:
            if self._next_at is None:
                self._wait_seconds = FIRST_RETRY_SECONDS
                self._next_at = time.monotonic() + self._wait_seconds

    @property
    def due_in_seconds(self) -> float | None:
        """Until the next attempt; None when nothing is left."""
        with self._lock:
            if self._next_at is None or self._working:
                return None
            return max(self._next_at - time.monotonic(), 0.0)

    def look(self) -> None:
        """Begin the next attempt in a thread of its own, if it is time."""
        if self.due_in_seconds != 0.0:
            return
        with self._lock:
            self._working = True
        threading.Thread(target=self._work, name="recovery", daemon=True).start()

    def _work(self) -> None:
        try:
            self._recover()
        finally:
            with self._lock:
                self._working = False

    def _recover(self) -> bool:
        """False when another recovery is at work."""
        try:
            recovered = recover_runs(self._find_house(), LogWatcher())
        except Locked as error:
            self._note((error.message,))
            return False
        except XenbackupError as error:
            _log.error("recovery-failed", error=str(error))
            self._note((f"The recovery failed: {error.message}",))
            return True
        for run in recovered:
            _log.info(
                "run-recovered",
                run=run.run,
                domain=run.domain,
                healed=run.healed,
                running=run.running,
                messages=list(run.messages),
            )
        left = [_tell(run) for run in recovered if not run.healed]
        self._note((*left, *self._list_restores()))
        return True

    def _list_restores(self) -> list[str]:
        """Restores that began and did not end: only a person can say how they go on."""
        house = self._find_house()
        if not any((house.state_folder / _MARKS_FOLDER).glob("*")):
            return []
        from xenbackup.operations.restore import (  # noqa: PLC0415 - few hosts have one
            list_incomplete_restores,
            settle_restores,
        )

        try:
            settle_restores(house)
            marks = list_incomplete_restores(house)
        except XenbackupError as error:
            return [f"Marks of restores cannot be read: {error.message}"]
        return [
            f"The restore {mark.restore} of {mark.domain} did not end: {mark.condition}."
            for mark in marks
        ]

    def _note(self, messages: tuple[str, ...]) -> None:
        with self._lock:
            self.messages = messages
            if not messages:
                self._next_at, self._wait_seconds = None, FIRST_RETRY_SECONDS
                return
            self._next_at = time.monotonic() + self._wait_seconds
            self._wait_seconds = min(self._wait_seconds * 2, LONGEST_RETRY_SECONDS)


def _tell(run: RecoveredRun) -> str:
    reasons = " ".join(run.messages)
    return f"Run {run.run} of {run.domain or 'an unknown guest'} left something: {reasons}"


class extend_timeout:  # noqa: N801 - used as a function: `with extend_timeout(…)`
    """Within, systemd is asked again and again for more time to start or to stop."""

    def __init__(self, notifier: Notifier, goes_on: Callable[[], bool] = lambda: True) -> None:
        self._notifier = notifier
        self._goes_on = goes_on
        self._done = threading.Event()

    def __enter__(self) -> None:
        self._extend()
        threading.Thread(target=self._repeat, name="patience", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _repeat(self) -> None:
        while not self._done.wait(_EXTEND_EVERY_SECONDS):
            with suppress(OSError):
                self._extend()

    def _extend(self) -> None:
        if self._goes_on():
            self._notifier.extend_timeout(_EXTENSION_SECONDS)
            self._notifier.feed_watchdog()
