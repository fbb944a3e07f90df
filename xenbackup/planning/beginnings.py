"""When a due time begins: jitter, windows, blackouts, and what was missed.

A due time begins at once, or later by this host's share of the job's `jitter`, never as late as the
next due time or the end of its window. Outside every window it waits for the next one to open, if
that is before the next due time; else it is dropped. A due time on a blackout date is dropped, and
so is one that would begin on one.

What was not begun in time was missed. Of several the newest is made up for, if that is within the
job's `catch_up` of when it should have begun, at a moment that the windows allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from hashlib import sha256

from xenbackup.model.job import Job, Window
from xenbackup.model.live import DueTime
from xenbackup.planning.schedule import find_moment, iterate_due_times

_ON_TIME = timedelta(minutes=2)
"""Up to here it is not late: clocks are compared every minute only."""

_LOOKED_BACK = timedelta(days=31)
"""Due times older than `catch_up` by more than this are not even told of."""

_REMEMBERED = timedelta(days=90)
"""Clocks that are set are not set back by more, unless they were wrong for as long."""

_TRIES = 20_000
"""So many due times, or blackouts, in a row without a beginning: there is none."""

_DAY = timedelta(days=1)
_WEEK_AND_A_DAY = 8


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """When a due time begins; None with the reason when it does not."""

    due_at: datetime
    begins_at: datetime | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Due times that are not run, `first` to `last`, and why."""

    first: datetime
    last: datetime
    count: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Of the due times up to now: the one to run, now or when it begins, and those to drop."""

    run: DueTime | None
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """A window on one day: open from here to there, in UTC."""

    opens_at: datetime
    closes_at: datetime


_ALWAYS_OPEN = _Opening(
    opens_at=datetime.min.replace(tzinfo=UTC), closes_at=datetime.max.replace(tzinfo=UTC)
)


def choose_begin(job: Job, due_at: datetime, hostname: str, zone: tzinfo) -> Beginning:
    """When a due time of the job begins on this host. `zone` is that of its schedule."""
    following = next(iterate_due_times(job.schedule, zone, due_at), None)
    return _choose(job, due_at, following, hostname, zone)


def find_memory(job: Job) -> timedelta:
    """How long the job's due times must be remembered after they were taken.

    A clock may be set back, and what was due then is due again; what `catch_up` looks back at from
    there must still be known.
    """
    return _REMEMBERED + timedelta(seconds=job.catch_up_seconds)


def find_next_beginning(job: Job, after: datetime, zone: tzinfo, hostname: str) -> DueTime | None:
    """The first due time after that moment that begins; None when none does."""
    for _ in range(_TRIES):
        beginning, last = _find_beginning_or_blackout(job, after, zone, hostname)
        if beginning is not None and beginning.begins_at is not None:
            return DueTime(job=job.name, due_at=beginning.due_at, begins_at=beginning.begins_at)
        if beginning is None or last is None or last == date.max:
            return None
        # Over the whole of a blackout at once: a fortnight of minutes takes a second.
        midnight = datetime.combine(last + _DAY, time()).replace(tzinfo=zone).astimezone(UTC)
        after = max(midnight - timedelta(seconds=1), beginning.due_at)
    return None


def _find_beginning_or_blackout(
    job: Job, after: datetime, zone: tzinfo, hostname: str
) -> tuple[Beginning | None, date | None]:
    """The first due time that begins, or the first on a blackout date with that one's last."""
    for tries, beginning in enumerate(_iterate_beginnings(job, after, zone, hostname)):
        last = _find_blackout(job, beginning.due_at, zone)
        if beginning.begins_at is not None or last is not None:
            return beginning, last
        if tries > _TRIES:
            break
    return None, None


def judge_missed(
    job: Job, last_taken: datetime, now: datetime, zone: tzinfo, hostname: str
) -> Missed:
    """What to do about the due times after `last_taken` and up to now."""
    dropped: list[Beginning] = []
    candidate: Beginning | None = None
    since = max(last_taken, now - timedelta(seconds=job.catch_up_seconds) - _LOOKED_BACK)
    for beginning in _iterate_beginnings(job, since, zone, hostname):
        if beginning.due_at > now:
            break
        if beginning.begins_at is None:
            dropped.append(beginning)
            continue
        if candidate is not None:
            dropped.append(_drop(candidate, "missed, and a later due time takes its place"))
        candidate = beginning
    if candidate is not None:
        candidate = _make_up(job, candidate, now, zone)
        if candidate.begins_at is None:
            dropped.append(candidate)
    run = None
    if candidate is not None and candidate.begins_at is not None:
        run = DueTime(job=job.name, due_at=candidate.due_at, begins_at=candidate.begins_at)
    return Missed(run=run, dropped=_gather(dropped))


def judge_waiting(
    job: Job, due_at: datetime, now: datetime, zone: tzinfo, hostname: str
) -> Beginning:
    """When one due time begins that has come and waits, of whatever schedule; missed it may be."""
    return _make_up(job, choose_begin(job, due_at, hostname, zone), now, zone)


def _make_up(job: Job, beginning: Beginning, now: datetime, zone: tzinfo) -> Beginning:
    """The same while it is still to come or just due; else when it is made up for, if at all."""
    begins_at = beginning.begins_at
    if begins_at is None or now - begins_at <= _ON_TIME:
        return beginning
    catch_up = timedelta(seconds=job.catch_up_seconds)
    too_late = _drop(beginning, "missed, and too late for the job's `catch_up`")
    # What waited for a window until the last moment of `catch_up` comes a little after that.
    if now - begins_at > catch_up + _ON_TIME:
        return too_late
    opening = _find_opening(job.windows, now, zone)
    if opening is None:
        return _drop(beginning, "missed, and the job's windows never open")
    starts_at = max(begins_at, opening.opens_at)
    if starts_at > now:
        following = next(iterate_due_times(job.schedule, zone, now), None)
        if starts_at - begins_at > catch_up or (following is not None and starts_at >= following):
            return _drop(beginning, "missed, and no window opens in time to make up for it")
    if _find_blackout(job, max(starts_at, now), zone):
        return _drop(beginning, _name_blackout(max(starts_at, now), zone))
    return Beginning(due_at=beginning.due_at, begins_at=starts_at)


def _iterate_beginnings(
    job: Job, after: datetime, zone: tzinfo, hostname: str
) -> Iterator[Beginning]:
    times = iterate_due_times(job.schedule, zone, after)
    due = next(times, None)
    while due is not None:
        following = next(times, None)
        yield _choose(job, due, following, hostname, zone)
        due = following


def _choose(
    job: Job, due_at: datetime, following: datetime | None, hostname: str, zone: tzinfo
) -> Beginning:
    if _find_blackout(job, due_at, zone):
        return Beginning(due_at=due_at, begins_at=None, reason=_name_blackout(due_at, zone))
    opening = _find_opening(job.windows, due_at, zone)
    if opening is None:
        return Beginning(due_at=due_at, begins_at=None, reason="the job's windows never open")
    starts_at = max(due_at, opening.opens_at)
    if starts_at > due_at and following is not None and starts_at >= following:
        reason = "outside the job's windows, and due again before the next one opens"
        return Beginning(due_at=due_at, begins_at=None, reason=reason)
    ends = [opening.closes_at] if following is None else [opening.closes_at, following]
    room_seconds = min((min(ends) - starts_at).total_seconds(), job.jitter_seconds)
    begins_at = starts_at + timedelta(seconds=int(room_seconds * _find_share(hostname)))
    if _find_blackout(job, begins_at, zone):
        return Beginning(due_at=due_at, begins_at=None, reason=_name_blackout(begins_at, zone))
    return Beginning(due_at=due_at, begins_at=begins_at)


def _find_share(hostname: str) -> float:
    """This host's share of any jitter, 0 or more and below 1, always the same."""
    return int.from_bytes(sha256(hostname.encode("utf-8", "surrogateescape")).digest()[:6]) / 2**48


def _find_opening(windows: tuple[Window, ...], moment: datetime, zone: tzinfo) -> _Opening | None:
    """The window that is open, of several the one open longest, else the next one to open."""
    if not windows:
        return _ALWAYS_OPEN
    today = moment.astimezone(zone).date()
    openings = [
        opening
        for window in windows
        for days in range(-2, _WEEK_AND_A_DAY + 1)
        if (opening := _place_window(window, today + days * _DAY, zone)) is not None
        and opening.closes_at > moment
    ]
    is_open = [opening for opening in openings if opening.opens_at <= moment]
    if is_open:
        return max(is_open, key=lambda opening: opening.closes_at)
    return min(openings, key=lambda opening: opening.opens_at, default=None)


def _place_window(window: Window, day: date, zone: tzinfo) -> _Opening | None:
    """The window of that day, in UTC; None when it has none.

    It opens when the clock first shows its start, or right after a jump over it, as a due time
    there would be. It closes when the clock last shows its end; where a jump skips that, the window
    keeps its length, so that it is never empty.
    """
    if day.weekday() not in window.days:
        return None
    midnight = datetime.combine(day, time())
    opens_at = find_moment(midnight + timedelta(minutes=window.start_minute), zone)
    if opens_at is None:
        return None
    following = _DAY if window.end_minute <= window.start_minute else timedelta(0)
    end = midnight + following + timedelta(minutes=window.end_minute)
    closes_at = max(end.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return _Opening(opens_at=opens_at, closes_at=closes_at)


def _find_blackout(job: Job, moment: datetime, zone: tzinfo) -> date | None:
    """The last date of the blackout that this moment lies in."""
    if not job.blackouts:
        return None
    day = moment.astimezone(zone).date()
    ends = [blackout.last for blackout in job.blackouts if blackout.first <= day <= blackout.last]
    return max(ends, default=None)


def _name_blackout(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d} is a blackout date of the job"


def _drop(beginning: Beginning, reason: str) -> Beginning:
    return Beginning(due_at=beginning.due_at, begins_at=None, reason=reason)


def _gather(dropped: list[Beginning]) -> tuple[Dropped, ...]:
    """One entry for each reason, in the order of their first due times."""
    reasons: dict[str, list[datetime]] = {}
    for beginning in sorted(dropped, key=lambda beginning: beginning.due_at):
        reasons.setdefault(beginning.reason, []).append(beginning.due_at)
    return tuple(
        Dropped(first=times[0], last=times[-1], count=len(times), reason=reason)
        for reason, times in reasons.items()
    )
