"""What each job is due for next, and what is due now: the scheduler's memory, without its threads.

Whoever owns an agenda asks it from one thread at a time; `list_due` alone may be asked by any.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from xenbackup.errors import XenbackupError
from xenbackup.model.job import Job
from xenbackup.model.live import DueTime
from xenbackup.planning.beginnings import (
    Dropped,
    Missed,
    find_next_beginning,
    judge_missed,
    judge_waiting,
)

_log = structlog.get_logger(__name__)

_ZONE_DAYS = range(-30, 400)
"""Looked at when zones are compared: what will not be the same next summer differs."""


class DueMemory(Protocol):
    """What outlives the process; the catalog is one. All of it raises StateFailed."""

    def note_schedule(self, job: str, schedule: str, at: datetime) -> datetime:
        """Note that a job has this schedule ("": none); returns since when it has."""

    def list_schedules(self) -> tuple[tuple[str, datetime], ...]:
        """Jobs that have a schedule, and since when."""

    def find_claimant(self, job: str, due_at: datetime) -> str | None:
        """The round that took a due time; None while nobody has."""

    def find_last_due_time(self, job: str, *, until: datetime | None = None) -> datetime | None:
        """The newest due time that was taken, up to then; None when none was."""


@dataclass(kw_only=True)
class _Entry:
    """One job. Its due times up to `since` are dealt with.

    `left` is a due time of an earlier schedule that waits for its window or jitter. `told` is the
    newest due time that was said to be dropped. `untaken` is known to have been taken by nobody.
    """

    job: Job
    zone: ZoneInfo
    since: datetime
    left: datetime | None = None
    next: DueTime | None = None
    told: datetime | None = None
    untaken: datetime | None = None

    @property
    def schedule(self) -> str:
        """What makes it another schedule, for the memory: the same fields elsewhere are others."""
        return f"{self.job.schedule} {self.zone}"


class Agenda:
    """Due times of the jobs, each handed out until it is `settled`."""

    def __init__(
        self, *, memory: DueMemory, hostname: str, zone_of: Callable[[Job], ZoneInfo]
    ) -> None:
        self._memory = memory
        self._hostname = hostname
        self._zone_of = zone_of
        self._entries: dict[str, _Entry] = {}
        self._due: tuple[DueTime, ...] = ()
        self._looked_at: datetime | None = None

    def replace_jobs(
        self, jobs: tuple[Job, ...], now: datetime, *, broken: Collection[str] = ()
    ) -> None:
        """Take these jobs for the ones there were; what is already due stays due.

        A job, or a schedule, that was never seen before has missed nothing, and neither has one
        that is put back after it was gone, whether or not a daemon saw it go. `broken` are jobs
        that cannot be read just now: they are there all the same; "" stands for all of a folder
        that cannot be listed. Raises: StateFailed; then the jobs are those of before.
        """
        entries = {job.name: self._make_entry(job, now) for job in jobs if job.schedule}
        for entry in entries.values():
            self._find_next(entry, now)
        gone = [old for name, old in self._entries.items() if name not in entries]
        for name, _ in self._memory.list_schedules():
            if name not in entries and name not in broken and "" not in broken:
                self._memory.note_schedule(name, "", now)
        self._entries = entries
        self._publish()
        for old in gone:
            waiting = old.next.due_at if old.next is not None else None
            if waiting is not None and waiting <= now:
                _tell(old, waiting, waiting, 1, "its job is gone, or has no schedule any more")

    def find_ready(self, now: datetime) -> tuple[tuple[Job, DueTime], ...]:
        """The due times that begin now; each comes again until it is settled.

        Says in the log what is not run at all. A job whose memory cannot be read waits.
        """
        went_back = self._looked_at is not None and now < self._looked_at
        self._looked_at = now
        self._follow_zones(now)
        ready: list[tuple[Job, DueTime]] = []
        for entry in self._entries.values():
            if went_back:
                # What is due again between then and now was taken, as the memory knows. But what
                # the clock was wrong about must not keep the next night from coming.
                entry.since = min(entry.since, now)
                entry.next = entry.told = entry.untaken = None
            try:
                self._find_next(entry, now)
            except XenbackupError as error:
                _log.error(
                    "due-times-unknown", job=entry.job.name, error=str(error), hint=error.hint
                )
                continue
            if entry.next is not None and entry.next.begins_at <= now:
                ready.append((entry.job, entry.next))
        self._publish()
        return tuple(sorted(ready, key=lambda pair: (pair[1].begins_at, pair[0].name)))

    def _follow_zones(self, now: datetime) -> None:
        """Judge by the host's zone as it is: somebody may set another one at any time.

        What that makes due in hindsight is judged like anything that was missed.
        """
        followers = [entry for entry in self._entries.values() if not entry.job.timezone]
        if not followers:
            return
        zone = self._zone_of(followers[0].job)
        known = {id(entry.zone): entry.zone for entry in followers}
        changed = {name for name, old in known.items() if not is_same_clock(zone, old, now)}
        for entry in followers:
            if id(entry.zone) in changed:
                _log.info("zone-changed", job=entry.job.name, offset=f"{now.astimezone(zone):%z}")
                entry.next = entry.told = entry.untaken = None
            entry.zone = zone

    def settle(self, due: DueTime, now: datetime) -> None:
        """A due time was handed on: it does not come again."""
        entry = self._entries.get(due.job)
        if entry is None:
            return
        if entry.left == due.due_at:
            entry.left = None
        else:
            entry.since = max(entry.since, due.due_at)
        entry.next = None
        try:
            self._find_next(entry, now)
        except XenbackupError as error:
            _log.error("due-times-unknown", job=due.job, error=str(error), hint=error.hint)
        self._publish()

    def list_due(self) -> tuple[DueTime, ...]:
        """The next due time of each job, the first to begin first."""
        return self._due

    def find_beginning(self, job: str) -> datetime | None:
        """When the job begins next; None when it never does."""
        return next((due.begins_at for due in self._due if due.job == job), None)

    def _publish(self) -> None:
        # One assignment: a reader in another thread sees all of it, or all of what was before.
        self._due = tuple(
            sorted(
                (entry.next for entry in self._entries.values() if entry.next is not None),
                key=lambda due: (due.begins_at, due.job),
            )
        )

    def _make_entry(self, job: Job, now: datetime) -> _Entry:
        entry = _Entry(job=job, zone=self._zone_of(job), since=now)
        first_seen = self._memory.note_schedule(job.name, entry.schedule, now)
        old = self._entries.get(job.name)
        if old is None:
            taken = self._memory.find_last_due_time(job.name, until=now)
            entry.since = first_seen if taken is None else max(first_seen, taken)
            return entry
        entry.told = old.told
        entry.left = old.left
        if old.schedule == entry.schedule:
            entry.since = old.since
        elif old.next is not None and old.next.due_at <= now:
            entry.left = old.next.due_at
        return entry

    def _find_next(self, entry: _Entry, now: datetime) -> None:
        """Set what the entry begins next, now or later. Raises: StateFailed."""
        missed = self._judge(entry, now)
        while missed.run is not None and self._is_taken(entry, missed.run):
            entry.since = missed.run.due_at
            missed = self._judge(entry, now)
        self._tell_dropped(entry, missed.dropped)
        if missed.run is not None:
            if entry.left is not None:
                self._drop_left(entry, "missed, and a later due time takes its place")
            entry.next = missed.run
            return
        if missed.dropped:  # not to be judged again at every look
            entry.since = max(entry.since, *(dropped.last for dropped in missed.dropped))
        if self._find_left(entry, now):
            return
        after = max(entry.since, now)
        if entry.next is not None and entry.next.due_at > after:
            return
        due = find_next_beginning(entry.job, after, entry.zone, self._hostname)
        while due is not None and self._is_taken(entry, due):
            due = find_next_beginning(entry.job, due.due_at, entry.zone, self._hostname)
        entry.next = due

    def _judge(self, entry: _Entry, now: datetime) -> Missed:
        return judge_missed(entry.job, entry.since, now, entry.zone, self._hostname)

    def _find_left(self, entry: _Entry, now: datetime) -> bool:
        """Whether a due time of the earlier schedule is what comes next."""
        if entry.left is None:
            return False
        beginning = judge_waiting(entry.job, entry.left, now, entry.zone, self._hostname)
        if beginning.begins_at is None:
            self._drop_left(entry, beginning.reason)
            return False
        entry.next = DueTime(
            job=entry.job.name, due_at=beginning.due_at, begins_at=beginning.begins_at
        )
        return True

    def _drop_left(self, entry: _Entry, reason: str) -> None:
        if entry.left is not None:
            _tell(entry, entry.left, entry.left, 1, reason)
        entry.left = None

    def _is_taken(self, entry: _Entry, due: DueTime) -> bool:
        if entry.untaken == due.due_at:
            return False
        if self._memory.find_claimant(entry.job.name, due.due_at) is not None:
            return True
        entry.untaken = due.due_at
        return False

    def _tell_dropped(self, entry: _Entry, dropped: tuple[Dropped, ...]) -> None:
        """Once: the same are judged again until a later one is settled."""
        new = [times for times in dropped if entry.told is None or times.last > entry.told]
        for times in new:
            _tell(entry, times.first, times.last, times.count, times.reason)
            entry.told = times.last if entry.told is None else max(entry.told, times.last)


def is_same_clock(one: tzinfo, other: tzinfo, now: datetime) -> bool:
    """Whether two zones show the same time around now, whatever they are called.

    A zone that was read from a file equals no other object, and its name says nothing.
    """
    if one is other:
        return True
    samples = (now + timedelta(days=days) for days in _ZONE_DAYS)
    return all(at.astimezone(one).utcoffset() == at.astimezone(other).utcoffset() for at in samples)


def _tell(entry: _Entry, first: datetime, last: datetime, count: int, reason: str) -> None:
    fields: dict[str, object] = {"job": entry.job.name, "due_at": last.isoformat()}
    if count > 1:
        fields |= {"first_due_at": first.isoformat(), "count": count}
    _log.warning("due-time-skipped", **fields, reason=reason)
