"""When a schedule must come due, found by reading a zone's clock at every minute of UTC.

No rule of cron is known here, and no library for it: what the clock shows decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from xenbackup.planning.schedule import find_due_times

FIRST_YEAR, LAST_YEAR = 1990, 2040
NIGHTLY = tuple(f"{minute} {hour} * * *" for hour in range(24) for minute in (0, 30))
HOURLY = tuple(f"{minute} * * * *" for minute in (0, 15, 30, 45))
OF_AN_HOUR = tuple(f"*/30 {hour} * * *" for hour in range(24))

_MINUTE = timedelta(minutes=1)
_QUARTER = timedelta(minutes=15)
_DAY_MINUTES = 1440
# A moment at which offsets change is found to this much. None lasted for less.
_STEP = timedelta(hours=3)
# What is compared lies within this of a change; what is read lies a date line's day further out.
_COMPARED = timedelta(days=1, hours=12)
_READ = _COMPARED + timedelta(days=1, hours=12)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what a clock on the wall shows


@dataclass(frozen=True, kw_only=True)
class Days:
    """The days around a change: for each minute of UTC since `start` what the clock shows.

    `walls` are minutes since 1970 on that clock, `midnights` those of the days it shows at all.
    """

    start: datetime
    walls: tuple[int, ...]
    midnights: frozenset[int]

    @property
    def after(self) -> datetime:
        return self.start + (_READ - _COMPARED)

    @property
    def until(self) -> datetime:
        return self.start + (_READ + _COMPARED)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How many due times were compared, and where they differ."""

    times: int
    wrongs: tuple[str, ...]


def list_changes(
    zone: ZoneInfo, first_year: int = FIRST_YEAR, last_year: int = LAST_YEAR
) -> list[datetime]:
    """About when the zone's offset changes, in UTC."""
    changes = []
    moment = datetime(first_year, 1, 1, tzinfo=UTC)
    offset = moment.astimezone(zone).utcoffset()
    while moment.year <= last_year:
        moment += _STEP
        before, offset = offset, moment.astimezone(zone).utcoffset()
        if before != offset:
            changes.append(moment)
    return changes


def read_days(zone: ZoneInfo, change: datetime) -> Days:
    start = change - _READ
    walls: list[int] = []
    for quarter in range(2 * _READ // _QUARTER):
        begins = start + quarter * _QUARTER
        first, last = _read_wall(zone, begins), _read_wall(zone, begins + _QUARTER - _MINUTE)
        if last - first == _QUARTER // _MINUTE - 1:
            walls += range(first, last + 1)
        else:  # the clock jumps within it
            walls += (_read_wall(zone, begins + minute * _MINUTE) for minute in range(15))
    return Days(
        start=start,
        walls=tuple(walls),
        midnights=frozenset(wall - wall % _DAY_MINUTES for wall in walls),
    )


def _read_wall(zone: ZoneInfo, moment: datetime) -> int:
    return (moment.astimezone(zone).replace(tzinfo=None) - _EPOCH) // _MINUTE


def list_nights(days: Days) -> dict[str, list[datetime]]:
    """For each expression of `NIGHTLY` when it must come due: once for each day there is.

    That is when the clock first shows the time, or first shows a later one.
    """
    nights: dict[str, list[datetime]] = {expression: [] for expression in NIGHTLY}
    latest = days.walls[0]
    for minute, wall in enumerate(days.walls):
        for reached in range(latest + 1, wall + 1):
            if reached % 30 == 0 and reached - reached % _DAY_MINUTES in days.midnights:
                times = nights[NIGHTLY[reached % _DAY_MINUTES // 30]]
                moment = days.start + minute * _MINUTE
                if moment not in times[-1:]:
                    times.append(moment)
        latest = max(latest, wall)
    return {expression: _keep_compared(days, times) for expression, times in nights.items()}


def list_showings(days: Days) -> dict[str, list[datetime]]:
    """For each expression of `HOURLY` and `OF_AN_HOUR`: every minute that shows it."""
    showings: dict[str, list[datetime]] = {expression: [] for expression in HOURLY + OF_AN_HOUR}
    for minute, wall in enumerate(days.walls):
        if wall % 15 == 0:
            moment = days.start + minute * _MINUTE
            showings[HOURLY[wall % 60 // 15]].append(moment)
            if wall % 30 == 0:
                showings[OF_AN_HOUR[wall % _DAY_MINUTES // 60]].append(moment)
    return {expression: _keep_compared(days, times) for expression, times in showings.items()}


def compare(zone: ZoneInfo, days: Days) -> Comparison:
    """The product's due times on these days with those that must be."""
    wrongs, times = [], 0
    for expression, expected in (list_nights(days) | list_showings(days)).items():
        times += len(expected)
        actual = list(find_due_times(expression, zone, days.after, days.until))
        if expected != actual:
            missing = _describe(set(expected) - set(actual), zone)
            surplus = _describe(set(actual) - set(expected), zone)
            wrongs.append(
                f"{zone} {days.start + _READ:%Y-%m-%d} `{expression}`: "
                f"missing {missing}; surplus {surplus}"
            )
    return Comparison(times=times, wrongs=tuple(wrongs))


def _keep_compared(days: Days, times: list[datetime]) -> list[datetime]:
    return [moment for moment in times if days.after < moment <= days.until]


def _describe(moments: set[datetime], zone: ZoneInfo) -> str:
    return ", ".join(sorted(m.astimezone(zone).isoformat() for m in moments)) or "none"
