"""Due times: when a cron expression comes due in a zone, by the rules of Debian's cron.

An expression with a fixed hour and minute (neither field begins with `*`) comes due once for each
day that it names, whatever the clock does: a time that the clock skips is due at once after the
jump, a time that the clock shows twice is due when it is shown first. Two times skipped by one jump
are due together, as one. A day that a zone left out as a whole (Samoa's 30 December 2011) has no
due time. Any other expression comes due whenever the clock shows it: in a skipped hour never, in a
repeated hour both times.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from xenbackup.errors import ConfigurationError

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
# No zone was ever set back by more: a day, where the date line was moved.
_LONGEST_REPEAT_HOURS = 25


def find_due_times(
    expression: str, zone: tzinfo, after: datetime, until: datetime
) -> Iterator[datetime]:
    """Due times in UTC, ascending, `after` < due time <= `until`; both are aware.

    Raises: ConfigurationError for what is no cron expression.
    """
    for moment in iterate_due_times(expression, zone, after):
        if moment > until:
            return
        yield moment


def find_next_due(expression: str, zone: tzinfo, after: datetime) -> datetime | None:
    """The first due time after that moment, in UTC; None when there is none for fifty years.

    Raises: ConfigurationError for what is no cron expression.
    """
    return next(iterate_due_times(expression, zone, after), None)


def iterate_due_times(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Due times after that moment, in UTC, ascending; without end for most expressions.

    Raises: ConfigurationError for what is no cron expression.
    """
    walls = _iterate_walls(expression, _find_lowest_wall(zone, after))
    moments = _place_once(walls, zone) if has_fixed_time(expression) else _place_each(walls, zone)
    newest = after.astimezone(UTC)
    for moment in moments:
        if moment > newest:
            newest = moment
            yield moment


def has_fixed_time(expression: str) -> bool:
    """Whether minute and hour are named, so that the expression is meant once for each day."""
    minute, hour = expression.split()[:2]
    return not minute.startswith("*") and not hour.startswith("*")


def find_moment(wall: datetime, zone: tzinfo) -> datetime | None:
    """When the zone's clock first shows a naive time, in UTC.

    For a time that it skips: the first moment after the jump; None when it skips that whole day.
    """
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _read_wall(moment, zone) == wall:
        return moment
    jump = _find_jump(wall, zone)
    last_before, first_after = _read_wall(jump - _SECOND, zone), _read_wall(jump, zone)
    midnight = datetime.combine(wall.date(), time())
    if last_before < midnight and first_after >= midnight + _DAY:
        return None
    return jump


def _iterate_walls(expression: str, after: datetime) -> Iterator[datetime]:
    """What the expression means on a calendar without zones: naive times.

    cronsim is asked for nothing but this, because with a zone it errs where a clock jumps. The due
    time of a day that a zone left out comes on the next day, beside that day's own. `*/15 0 16 9 *`
    comes at 1 o'clock where that midnight is skipped. Where an offset changes by half an hour (Lord
    Howe, Caracas, Pyongyang), `45 * * * *` comes once instead of twice, and `0 * * * *` and
    `*/15 0 * * *` lose what follows at once. From within a repeated hour it returns what is
    past.
    """
    try:
        return iter(CronSim(expression, after))
    except CronSimError as error:
        raise ConfigurationError(
            (f"Cannot read the schedule {expression!r}: {error}.",),
            hint="give five cron fields, as in `30 2 * * *`",
        ) from error


def _find_lowest_wall(zone: tzinfo, after: datetime) -> datetime:
    """No later moment is shown as an earlier naive time than this one."""
    start = after.astimezone(UTC)
    offsets = (
        _read_offset(start + timedelta(hours=hours), zone)
        for hours in range(_LONGEST_REPEAT_HOURS + 1)
    )
    return start.replace(tzinfo=None) + min(offsets) - _MINUTE


def _place_once(walls: Iterator[datetime], zone: tzinfo) -> Iterator[datetime]:
    """Ascending, since a later time is never shown first at an earlier moment."""
    for wall in walls:
        moment = find_moment(wall, zone)
        if moment is not None:
            yield moment


def _place_each(walls: Iterator[datetime], zone: tzinfo) -> Iterator[datetime]:
    """Every moment that shows one of these times.

    In a repeated hour the second showing of an earlier time comes after the first of a later one:
    what is later waits until no time can come before it.
    """
    waiting: list[datetime] = []
    for wall in walls:
        shown = {
            moment
            for fold in (0, 1)
            if _read_wall(moment := wall.replace(tzinfo=zone, fold=fold).astimezone(UTC), zone)
            == wall
        }
        for moment in shown:
            heapq.heappush(waiting, moment)
        while shown and waiting and waiting[0] <= min(shown):
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)


def _find_jump(wall: datetime, zone: tzinfo) -> datetime:
    """The first moment after the jump that skips this time, to the second.

    PEP 495: for such a time, fold 1 takes the offset after the jump and so gives a moment before
    it; fold 0 the other way about.
    """
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    behind = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    while behind - before > _SECOND:
        middle = before + timedelta(seconds=(behind - before) // _SECOND // 2)
        if _read_wall(middle, zone) < wall:
            before = middle
        else:
            behind = middle
    return behind


def _read_wall(moment: datetime, zone: tzinfo) -> datetime:
    """What the zone's clock shows, naive."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _read_offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)
