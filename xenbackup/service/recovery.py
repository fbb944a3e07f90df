"""Recovery as the daemon does it: before anything else, and again while something is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

import structlog

from xenbackup.errors import Locked, XenbackupError
from xenbackup.operations.house import House
from xenbackup.operations.recover import RecoveredRun, recover_runs
from xenbackup.operations.removals import finish_removals
from xenbackup.operations.run_log import LogWatcher
from xenbackup.service.attention import Attention
from xenbackup.system.systemd_notify import Notifier

FIRST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3600.0
EXTENSION_SECONDS = 30.0
"""How much more time systemd is asked for at once."""
_OTHERS_SECONDS = 600.0
_MARKS_FOLDER = "restores"
_NAME = "recovery"
_POLL_SECONDS = 1.0
_EXTEND_EVERY_SECONDS = 4.0

_log = structlog.get_logger("xenbackup.daemon")


class Recovery:
    """What runs of earlier processes left, and our own debts: tried again, each time later.

    `messages` is what is left now, () when nothing; `find_house` gives the house of the moment;
    `list_own` names the runs that are under way in this process. `on_change` is called, from a
    thread of ours, when `due_in_seconds` may have changed. `attention` hears of signs of life: a
    recovery that is stuck is no reason to let systemd wait.
    """

    def __init__(
        self,
        find_house: Callable[[], House],
        notifier: Notifier,
        attention: Attention,
        *,
        list_own: Callable[[], Collection[str]] = tuple,
        on_change: Callable[[], None] = lambda: None,
        explain_stop: Callable[[], str] = lambda: "",
    ) -> None:
        self.messages: tuple[str, ...] = ()
        self._find_house = find_house
        self._notifier = notifier
        self._attention = attention
        self._list_own = list_own
        self._on_change = on_change
        self._explain_stop = explain_stop
        self._lock = threading.Lock()
        self._working = False
        self._asked_again = False
        self._wait_seconds = FIRST_RETRY_SECONDS
        self._next_at: float | None = None

    def recover_first(self) -> None:
        """At the daemon's start; another recovery of this host is waited for."""
        self._attention.begin_run(_NAME, 0.0)
        try:
            with extend_timeout(self._notifier, lambda: not self._attention.list_stalled()):
                until = time.monotonic() + _OTHERS_SECONDS
                while not self._recover() and time.monotonic() < until and not self._explain_stop():
                    time.sleep(_POLL_SECONDS)
        finally:
            self._attention.end_run()

    def arm(self) -> None:
        """Something may have been left just now: look soon."""
        with self._lock:
            self._asked_again = self._working
            soon = time.monotonic() + FIRST_RETRY_SECONDS
            if self._next_at is None or self._next_at > soon:
                self._wait_seconds = FIRST_RETRY_SECONDS
                self._next_at = soon

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
        try:
            threading.Thread(target=self._work, name="recovery", daemon=True).start()
        except RuntimeError as error:
            _log.error("recovery-not-begun", error=str(error))
            self._put_off()

    def _work(self) -> None:
        self._attention.begin_run(_NAME, 0.0)
        try:
            self._recover()
        finally:
            self._attention.end_run()
            with self._lock:
                self._working = False
                if self._asked_again:
                    self._asked_again = False
                    self._next_at = time.monotonic() + FIRST_RETRY_SECONDS
            # Whoever sleeps until the next attempt knows of none while one is at work.
            self._on_change()

    def _put_off(self) -> None:
        """No thread can be had just now."""
        with self._lock:
            self._working = False
            self._next_at = time.monotonic() + FIRST_RETRY_SECONDS

    def _recover(self) -> bool:
        """False when another recovery is at work. Raises nothing: it must be tried again."""
        try:
            recovered = recover_runs(self._find_house(), LogWatcher())
            restores, restoring = self._list_restores()
            removals = finish_removals(self._find_house()).troubles
        except Locked as error:
            self._note((error.message,), soon=True)
            return False
        except XenbackupError as error:
            _log.error("recovery-failed", error=str(error))
            self._note((f"The recovery failed: {error.message}",))
            return True
        except Exception as error:  # noqa: BLE001 - a guest may be waiting for the next attempt
            _log.exception("recovery-defect")
            self._note((f"The recovery failed: {type(error).__name__}: {error}",))
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
        # Whoever is at work on a run may be killed, and then nobody else would look at it.
        own = self._list_own()
        elsewhere = restoring or any(run.running and run.run not in own for run in recovered)
        stays = [f"A removal was not finished: {why}." for why in removals]
        self._note((*left, *restores, *stays), soon=elsewhere)
        return True

    def _list_restores(self) -> tuple[list[str], bool]:
        """Restores that began and did not end: only a person can say how they go on. And whether
        one is at work.
        """
        house = self._find_house()
        if not any((house.state_folder / _MARKS_FOLDER).glob("*")):
            return [], False
        from xenbackup.operations.half_restored import is_restoring  # noqa: PLC0415
        from xenbackup.operations.restore import (  # noqa: PLC0415 - few hosts have one
            list_incomplete_restores,
            settle_restores,
        )

        try:
            settle_restores(house)
            marks = list_incomplete_restores(house)
        except XenbackupError as error:
            return [f"Marks of restores cannot be read: {error.message}"], False
        left = [mark for mark in marks if not is_restoring(house, mark)]
        told = [
            f"The restore {mark.restore} of {mark.domain} did not end: {mark.condition}."
            for mark in left
        ]
        return told, len(left) < len(marks)

    def _note(self, messages: tuple[str, ...], *, soon: bool = False) -> None:
        """What is left; `soon` when it is not ours, and so may end at any time."""
        with self._lock:
            self.messages = messages
            if soon or not messages:
                self._wait_seconds = FIRST_RETRY_SECONDS
            self._next_at = None
            if soon or messages:
                self._next_at = time.monotonic() + self._wait_seconds
            if messages and not soon:
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
        # Where no thread can be had, what is inside is done all the same.
        with suppress(RuntimeError):
            threading.Thread(target=self._repeat, name="patience", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _repeat(self) -> None:
        while not self._done.wait(_EXTEND_EVERY_SECONDS):
            with suppress(OSError):
                self._extend()

    def _extend(self) -> None:
        if self._goes_on():
            self._notifier.extend_timeout(EXTENSION_SECONDS)
            self._notifier.feed_watchdog()
