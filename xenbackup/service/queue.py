"""The queue of runs: what waits, what is under way, and why each one waits.

Decisions are those of `planning/queueing.py`; this only keeps what they are made of, under a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from xenbackup.model.job import Limits
from xenbackup.model.plan import DomainPlan
from xenbackup.planning.queueing import (
    RunningItem,
    WaitingItem,
    decide_queue,
    find_next_time,
)

if TYPE_CHECKING:
    from xenbackup.service.rounds import DaemonRound

_SET_CLOCK = timedelta(seconds=5)
"""By so much the wall clock must have moved on its own until times are reckoned anew."""


@dataclass(kw_only=True, eq=False)
class QueuedRun:
    """One guest of a round, from when it is planned until its run has ended for good.

    `plan` is None for a guest that could not be planned yet; `attempts` counts runs that failed for
    what may pass. `run_id` is "" until its journal begins. `again_at_seconds` is when it may be
    tried again, on the host's clock that never steps; `not_before` the same as the time of day.
    """

    round: DaemonRound
    domain: str
    identity: str
    destination: str
    since: datetime
    groups: frozenset[str] = frozenset()
    plan: DomainPlan | None = None
    planned_at: float = 0.0
    attempts: int = 0
    again_at_seconds: float | None = None
    not_before: datetime | None = None
    run_id: str = ""
    reason: str = ""
    cancelling: str = ""

    def wait_out(self, wait_seconds: float) -> datetime:
        """Let it not begin before so many seconds have passed; returns when that is."""
        host = self.round.house.host
        self.again_at_seconds = host.monotonic_seconds() + wait_seconds
        self.not_before = host.now() + timedelta(seconds=wait_seconds)
        return self.not_before

    def follow_clock(self, now: datetime) -> None:
        """The wall clock may have been set since: what is waited for is a length of time."""
        if self.again_at_seconds is None or self.not_before is None:
            return
        left = self.again_at_seconds - self.round.house.host.monotonic_seconds()
        moment = now + timedelta(seconds=left)
        if abs(moment - self.not_before) > _SET_CLOCK:
            self.not_before = moment

    @property
    def key(self) -> str:
        return f"{self.round.round_id}/{self.domain}"

    def as_waiting(self) -> WaitingItem:
        return WaitingItem(
            key=self.key,
            domain=self.domain,
            identity=self.identity,
            origin=self.round.origin,
            since=self.since,
            destination=self.destination,
            groups=self.groups,
            not_before=self.not_before,
        )

    def as_running(self) -> RunningItem:
        return RunningItem(
            run=self.run_id or self.round.round_id,
            domain=self.domain,
            identity=self.identity,
            destination=self.destination,
            groups=self.groups,
        )


def list_groups(plan: DomainPlan) -> frozenset[str]:
    """The volume groups that its disks lie in."""
    return frozenset(disk.group for disk in plan.disks if disk.group)


@dataclass(kw_only=True)
class _Lists:
    waiting: list[QueuedRun] = field(default_factory=list)
    running: list[QueuedRun] = field(default_factory=list)


class RunQueue:
    """All runs of the daemon that wait or are under way. Every method may be called by any thread.

    `on_change` is called, without the lock, whenever a look at the queue may be worth it.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._lists = _Lists()
        self._on_change = on_change

    def put(self, runs: Sequence[QueuedRun]) -> None:
        """Let these wait for their turn."""
        with self._lock:
            self._lists.waiting += runs
        self._on_change()

    def take_ready(self, limits: Limits, now: datetime) -> tuple[QueuedRun, ...]:
        """Those whose turn it is: they are under way from here on. The others know why they wait.

        `now` is in the zone that reasons tell times in.
        """
        with self._lock:
            lists = self._lists
            for run in lists.waiting:
                run.follow_clock(now)
            decision = decide_queue(
                [run.as_waiting() for run in lists.waiting],
                [run.as_running() for run in lists.running],
                limits,
                now,
            )
            by_key = {run.key: run for run in lists.waiting}
            for key, reason in decision.reasons.items():
                by_key[key].reason = reason
            begun = tuple(by_key[key] for key in decision.begin)
            lists.waiting = [run for run in lists.waiting if run not in begun]
            lists.running += begun
        for run in begun:
            run.reason = ""
        return begun

    def finish(self, run: QueuedRun) -> None:
        """It is under way no more."""
        with self._lock:
            self._lists.running = [found for found in self._lists.running if found is not run]
        self._on_change()

    def withdraw(self, chosen: Callable[[QueuedRun], bool]) -> tuple[QueuedRun, ...]:
        """Take those that wait, and are chosen, out of the queue: they will not begin."""
        with self._lock:
            found = tuple(run for run in self._lists.waiting if chosen(run))
            self._lists.waiting = [run for run in self._lists.waiting if run not in found]
        return found

    def find_planned(self, domain: str) -> QueuedRun | None:
        """A run of that guest that has a plan: it knows what locks the guest, and its groups."""
        with self._lock:
            known = [*self._lists.running, *self._lists.waiting]
            return next((run for run in known if run.domain == domain and run.plan), None)

    def list_waiting(self) -> tuple[QueuedRun, ...]:
        with self._lock:
            return tuple(self._lists.waiting)

    def list_running(self) -> tuple[QueuedRun, ...]:
        with self._lock:
            return tuple(self._lists.running)

    def find_next_time(self, now: datetime) -> datetime | None:
        """When one of those that wait for a time may begin."""
        with self._lock:
            return find_next_time([run.as_waiting() for run in self._lists.waiting], now)
