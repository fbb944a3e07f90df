"""When a destination will be full: from its points, their pace and their retention. Pure.

The catalog knows the points that are there, not those that were removed. So growth is not read off
the past: each series (a guest's points of one job) goes on at its job's pace, with points as large
as its newest ones, while its retention thins it out. A series that has all the points its retention
ever keeps does not grow any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from xenbackup.model.job import Retention
from xenbackup.model.point import PointSummary

HORIZON_DAYS = 365
GROWTH_DAYS = 7
"""Growth is told as the mean of so many days to come."""
_SIZED_BY = 7
_DAY = timedelta(days=1)
_ENDED_AFTER = timedelta(days=14)
_CLASS_DAYS = {"hourly": 1 / 24, "daily": 1.0, "weekly": 7.0, "monthly": 30.44, "yearly": 365.25}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a job's points come and go: new ones a day for each guest, and those that are kept."""

    per_day: float
    retention: Retention


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What is to come. `full_in_days` is the number of days whose points still fit, None when
    those of `HORIZON_DAYS` do; growth is None where there is nothing to reckon from.
    """

    growth_bytes_per_day: float | None = None
    full_in_days: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Series:
    pace: Pace
    age_days: float
    point_bytes: float

    def reckon_growth(self, days: float) -> float:
        """Bytes that it takes more after so many days; never less than now."""
        more = expect_count(self.pace, self.age_days + days)
        return max(more - expect_count(self.pace, self.age_days), 0.0) * self.point_bytes


def forecast_filling(
    points: Sequence[PointSummary],
    paces: Mapping[str, Pace],
    *,
    now: datetime,
    free_bytes: int | None,
) -> Filling:
    """How a destination with these points fills up. `paces` are those of the jobs, by name; points
    of other jobs stay as they are. Without `free_bytes` only the growth is told.
    """
    series = _find_series(points, paces, now)
    if not series:
        return Filling()

    def reckon(days: float) -> float:
        return sum(found.reckon_growth(days) for found in series)

    growth = reckon(GROWTH_DAYS) / GROWTH_DAYS
    if free_bytes is None or reckon(HORIZON_DAYS) <= free_bytes:
        return Filling(growth_bytes_per_day=growth)
    fits, too_long = 0, HORIZON_DAYS
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        fits, too_long = (middle, too_long) if reckon(middle) <= free_bytes else (fits, middle)
    return Filling(growth_bytes_per_day=growth, full_in_days=fits)


def expect_count(pace: Pace, days: float) -> float:
    """Points that a series keeps after so many days of life.

    Each age class keeps its number of points, one a period; where classes overlap, the one with
    the shorter period counts.
    """
    if pace.per_day <= 0 or days <= 0:
        return 0.0
    every = 1 / pace.per_day
    classes = [
        (max(period, every), getattr(pace.retention, name)) for name, period in _CLASS_DAYS.items()
    ]
    classes.append((every, pace.retention.last))
    if not any(kept for _, kept in classes):
        return days * pace.per_day
    count = covered = 0.0
    for period, kept in sorted(classes):
        reach = min(days, kept * period)
        if reach > covered:
            count += (reach - covered) / period
            covered = reach
    return count


def _find_series(
    points: Sequence[PointSummary], paces: Mapping[str, Pace], now: datetime
) -> list[_Series]:
    """Series that go on: not those of removed jobs, nor of guests that get no points any more."""
    found: dict[tuple[str, str, str], list[PointSummary]] = {}
    for point in points:
        # A mere name is another guest on each host that stores here.
        host = point.host if point.identity == point.domain else ""
        found.setdefault((host, point.identity, point.job), []).append(point)
    series = []
    for (_, _, job), members in found.items():
        pace = paces.get(job)
        if pace is None or pace.per_day <= 0:
            continue
        members.sort(key=lambda point: point.created_at)
        newest = members[-1].created_at
        if now - newest > _ENDED_AFTER + 2 * _DAY / pace.per_day:
            continue
        sized = members[-_SIZED_BY:]
        series.append(
            _Series(
                pace=pace,
                age_days=max((newest - members[0].created_at) / _DAY + 1 / pace.per_day, 0.0),
                point_bytes=sum(point.stored_bytes for point in sized) / len(sized),
            )
        )
    return series
