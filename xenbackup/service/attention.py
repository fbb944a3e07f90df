"""Signs of life: who works, by when each must show the next sign, and what systemd is told.

The watchdog is fed only while every run under way shows signs of life in time: within the deadline
of the command that it waits for, or of its own progress. A process that is stopped or stuck feeds
nothing, systemd ends it, and the next one's recovery brings the guest back. While a guest is away
that must not take minutes, so the watchdog is shortened then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

import structlog

from xenbackup.system.systemd_notify import Notifier

COMMAND_GRACE_SECONDS = 150.0
"""On top of a command's own deadline: ending its group, late kills, systemd's stop of a unit."""

QUIET_SECONDS = 1800.0
QUIET_AWAY_SECONDS = 300.0
"""How long a run may be busy without a sign of life, while its guest runs and while it is away."""

ABANDON_SECONDS = 60.0
"""What a run needs at most, past the bound of its guest's absence, to begin to bring it back."""

SHORTEST_WATCHDOG_SECONDS = 15.0
_AWAY_SHARE = 10
_FEEDS = 3
_SLOWEST_FEED_SECONDS = 60.0

_log = structlog.get_logger("xenbackup.attention")


@dataclass(kw_only=True)
class _Life:
    """One run, known to its thread and to those that it starts with a copy of its context.

    `until` is when it must have shown the next sign of life.
    """

    run: str
    max_away_seconds: float
    until: float
    away_since: float | None = None
    copies: bool = False
    in_command: bool = False


_life: ContextVar[_Life | None] = ContextVar("life", default=None)


class Attention:
    """Watches the runs for systemd. Every method may be called from any thread."""

    def __init__(
        self, notifier: Notifier, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._notifier = notifier
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lives: list[_Life] = []
        self._period = notifier.watchdog_seconds
        self._told: frozenset[str] = frozenset()

    # What runs show, from their own contexts

    def begin_run(self, run: str, max_away_seconds: float) -> None:
        """This context (a thread has one of its own) begins a run."""
        life = _Life(
            run=run,
            max_away_seconds=max_away_seconds,
            until=self._monotonic() + QUIET_SECONDS,
        )
        _life.set(life)
        with self._lock:
            self._lives.append(life)

    def end_run(self) -> None:
        life = _life.get()
        with self._lock:
            self._lives = [found for found in self._lives if found is not life]
        _life.set(None)
        self._adapt()

    def show_life(self) -> None:
        """Something moved."""
        life = _life.get()
        with self._lock:
            if life is not None and not life.in_command:
                life.until = self._find_deadline(life)

    def begin_step(self, *, copies: bool) -> None:
        """Something else is begun: a copy, which is left behind when it hangs, or anything else."""
        life = _life.get()
        with self._lock:
            if life is not None:
                life.copies = copies
        self.show_life()

    def begin_command(self, timeout_seconds: float) -> None:
        """A command of the host begins, which is ended at its deadline."""
        life = _life.get()
        with self._lock:
            if life is not None:
                life.in_command = True
                life.until = self._monotonic() + timeout_seconds + COMMAND_GRACE_SECONDS

    def end_command(self) -> None:
        life = _life.get()
        with self._lock:
            if life is not None:
                life.in_command = False
                life.until = self._find_deadline(life)

    def change_absence(self, *, away: bool) -> None:
        """The guest of this run goes, or is back."""
        life = _life.get()
        with self._lock:
            if life is not None:
                life.away_since = self._monotonic() if away else None
                if not life.in_command:
                    life.until = self._find_deadline(life)
        self._adapt()

    # What systemd is told

    @property
    def feed_seconds(self) -> float | None:
        """How often somebody must call `feed`; None when the minute's look is enough."""
        if not self._period or self._period / _FEEDS >= _SLOWEST_FEED_SECONDS:
            return None
        return self._period / _FEEDS

    def feed(self) -> bool:
        """Tell systemd that all is well, unless it is not; returns whether it is."""
        stalled = self.list_stalled()
        if stalled:
            if frozenset(stalled) != self._told:
                _log.error("run-stalled", runs=list(stalled))
                self._told = frozenset(stalled)
            return False
        self._told = frozenset()
        if self._period:
            self._notifier.feed_watchdog()
        return True

    def list_stalled(self) -> tuple[str, ...]:
        """Runs whose sign of life is overdue."""
        now = self._monotonic()
        with self._lock:
            return tuple(life.run for life in self._lives if now > life.until)

    def _adapt(self) -> None:
        """Shorten the watchdog while a guest is away, and lengthen it when all are back."""
        normal = self._notifier.watchdog_seconds
        if not normal:
            return
        with self._lock:
            bounds = [life.max_away_seconds for life in self._lives if life.away_since is not None]
            period = normal
            if bounds:
                short = max(min(bounds) / _AWAY_SHARE, SHORTEST_WATCHDOG_SECONDS)
                period = min(normal, short)
            changed, self._period = period != self._period, period
        if changed:
            self._notifier.set_watchdog(period)

    def _find_deadline(self, life: _Life) -> float:
        """A copy that hangs while its guest is away is left behind when that may be away no longer:
        that comes first, for a process that is ended with a thread that the kernel holds may keep
        its locks, and with them the next daemon from bringing the guest back.
        """
        now = self._monotonic()
        if life.away_since is None:
            return now + QUIET_SECONDS
        if not life.copies:
            return now + QUIET_AWAY_SECONDS
        given_up = life.away_since + life.max_away_seconds + ABANDON_SECONDS
        return max(now + QUIET_AWAY_SECONDS, given_up)
