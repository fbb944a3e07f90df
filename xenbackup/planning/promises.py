"""What a job promises: the moment since which every guest of it has to have a good point. Pure.

With `max_age` that is the moment so long ago. Otherwise it is the newest due time whose point has
had time to come into being. A round has `ALLOWANCE` for that, from when it may begin (jitter,
window), but never longer than until the next due time; while a guest's own run is under way or
waits its turn, it has until the next due time, however long that is. A due time on a blackout date
promises nothing, nor does one from before the job had its schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from typing import TypeAlias

from xenbackup.model.job import Job
from xenbackup.planning.schedule import find_due_times, find_next_due

ALLOWANCE = timedelta(hours=4)
"""How long after its beginning a round may take until a point of it is missed."""

FindBegin: TypeAlias = Callable[[Job, datetime], "datetime | None"]
"""When the round of a due time may begin; None when it shall not (blackout)."""

# Looked through one after another: most schedules come due within the first.
_LOOKBACKS = (
    timedelta(hours=8),
    timedelta(days=2),
    timedelta(days=9),
    timedelta(days=63),
    timedelta(days=800),
    timedelta(days=8 * 366 + 1),
)
_PACE_SPAN = timedelta(days=28)
_PACE_SAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Promise:
    """Since when there has to be a point; None for nothing (yet).

    `while_at_work` is the same for a guest whose run is under way or waits. `made` is False for a
    job that promises nothing at all: without a schedule and without `max_age`. `fresh` is a job so
    new that a guest may well be without any point.
    """

    made: bool
    fresh: bool = False
    since: datetime | None = None
    while_at_work: datetime | None = None


def find_start(
    noted: datetime | None, written: datetime | None, oldest_point: datetime | None
) -> datetime | None:
    """Since when a job promises anything; None when that cannot be told.

    `noted` is since when the catalog knows its schedule, `written` when its file was last changed,
    `oldest_point` the time of the oldest point that counts for it. A catalog that was lost, or a
    job under another name, is noted as new: what was promised before is promised still, as far
    back as there are points and the file says the same.
    """
    start = noted if noted is not None else written
    if start is None or written is None or oldest_point is None:
        return start
    return min(start, max(written, oldest_point))


def find_promise(
    job: Job,
    now: datetime,
    *,
    zone: tzinfo,
    find_begin: FindBegin,
    first_seen: datetime | None = None,
) -> Promise:
    """What the job promises now. `first_seen` is since when it has its schedule, if known."""
    if job.max_age_seconds > 0:
        oldest = now - timedelta(seconds=job.max_age_seconds)
        fresh = first_seen is not None and first_seen > oldest
        return Promise(made=True, fresh=fresh, since=oldest, while_at_work=oldest)
    if not job.schedule:
        return Promise(made=False)
    since = _find_expected(job, now, zone, find_begin, first_seen, patient=False)
    patient = _find_expected(job, now, zone, find_begin, first_seen, patient=True)
    return Promise(made=True, fresh=since is None, since=since, while_at_work=patient)


def _find_expected(
    job: Job,
    now: datetime,
    zone: tzinfo,
    find_begin: FindBegin,
    first_seen: datetime | None,
    *,
    patient: bool,
) -> datetime | None:
    """The newest due time whose point should be there by now."""
    until = now
    for lookback in _LOOKBACKS:
        times = list(find_due_times(job.schedule, zone, now - lookback, until))
        for index in reversed(range(len(times))):
            due_at = times[index]
            if first_seen is not None and due_at < first_seen:
                return None
            begin = find_begin(job, due_at)
            if begin is None:
                continue
            if index + 1 < len(times):
                following: datetime | None = times[index + 1]
            else:
                following = find_next_due(job.schedule, zone, due_at)
            interval = following - due_at if following is not None else _LOOKBACKS[-1]
            if begin + (interval if patient else min(ALLOWANCE, interval)) <= now:
                return due_at
    return None


def find_pace(job: Job, now: datetime, *, zone: tzinfo) -> float:
    """Due times a day, as a mean of the coming four weeks, or of as long as it takes to see enough
    of them; 0 without a schedule.
    """
    if not job.schedule:
        return 0.0
    times = list(islice(find_due_times(job.schedule, zone, now, now + _PACE_SPAN), _PACE_SAMPLES))
    if len(times) == _PACE_SAMPLES:
        return _PACE_SAMPLES * timedelta(days=1) / (times[-1] - now)
    if times:
        return len(times) / _PACE_SPAN.days
    following = find_next_due(job.schedule, zone, now)
    if following is None:
        return 0.0
    return timedelta(days=1) / (following - now)
