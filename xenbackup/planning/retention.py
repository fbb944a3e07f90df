"""Retention: which recovery points a job keeps, and the reason for each one, kept or not.

Counts are of a guest's points in one destination: each disk must be able to stand alone. They add
up, and count hours, days and so on that have a good point, by the calendar of the job's zone: a
week without backups shortens nothing. What is kept whatever the counts say: pinned points, points
that something else needs (`Hold`), points that seem to come from the future, and the newest good
one that satisfies what the job requires. A point that is no good never stands for others, so it
never lets one go.

Two hosts may keep their points in one folder. A point that another host made of a guest of its own
(`PointSummary.is_of`) stays, and stands for none of ours.

A point that a verification found damaged is itself kept just as long as if it were good: cable or
memory may have been to blame, and then it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from xenbackup.model.job import Consistency, Job, Retention
from xenbackup.model.point import PointSummary
from xenbackup.planning.presets import satisfies_requirement, select_requirement

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


_DAMAGED_KEPT = "damaged, stands for no other, stays as if it were good: "
_DAMAGED_GOING = "damaged, goes as if it were good: "


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Why a point stays whatever the counts say. One that is not `good` never stands for others."""

    point: str
    reason: str
    good: bool = True


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of one point; `reason` is a clause that follows `kept: ` or `goes: `."""

    point: PointSummary
    keep: bool
    reason: str

    @property
    def text(self) -> str:
        return f"{'kept' if self.keep else 'goes'}: {self.reason}"


def keeps_everything(retention: Retention) -> bool:
    """No count at all: nothing is ever removed."""
    return not any((retention.last, *(span.count(retention) for span in _SPANS)))


def explain_foreign(point: PointSummary, hostname: str) -> str:
    """Why a point stays that is not of a guest of this host; "" for one that is."""
    if point.is_of(hostname):
        return ""
    return f"made on host {point.host}, and only its own retention removes it"


def judge_job_points(
    points: Sequence[PointSummary],
    job: Job,
    zone: tzinfo,
    *,
    hostname: str,
    now: datetime,
    holds: Iterable[Hold] = (),
) -> tuple[Verdict, ...]:
    """Every point of the job, each guest in each destination by itself, oldest first.

    `hostname` is this host's: of a job of the same name elsewhere nothing is removed.
    """
    groups: dict[tuple[str, str], list[PointSummary]] = {}
    verdicts: list[Verdict] = []
    for point in points:
        if why := explain_foreign(point, hostname):
            verdicts.append(Verdict(point=point, keep=True, reason=why))
        else:
            groups.setdefault((point.destination, point.identity), []).append(point)
    held = tuple(holds)
    for group in groups.values():
        # The name decides which override counts: that of today, where the guest was renamed.
        name = max(group, key=_age_key).domain
        require = select_requirement(job, name)
        verdicts += judge_points(group, job.retention, zone, now=now, require=require, holds=held)
    return tuple(sorted(verdicts, key=lambda verdict: _age_key(verdict.point)))


def judge_points(
    points: Sequence[PointSummary],
    retention: Retention,
    zone: tzinfo,
    *,
    now: datetime,
    require: Consistency = Consistency.CRASH,
    holds: Iterable[Hold] = (),
) -> tuple[Verdict, ...]:
    """The points that one job has of one guest in one destination, oldest first."""
    holds_of: dict[str, list[Hold]] = {}
    for hold in holds:
        holds_of.setdefault(hold.point, []).append(hold)
    ordered = sorted(points, key=_age_key)
    counted = [
        point
        for point in reversed(ordered)
        if point.created_at <= now and all(hold.good for hold in holds_of.get(point.point, ()))
    ]
    of_sound = _Counting([p for p in counted if p.damage is None], retention, zone, require)
    of_all = _Counting(counted, retention, zone, require)
    verdicts = []
    for point in ordered:
        counting = of_sound if point.damage is None else of_all
        reasons = [hold.reason for hold in holds_of.get(point.point, ())]
        if point.pinned:
            reasons.append("it is pinned")
        if point.created_at > now:
            reasons.append(f"it is of {_spell_time(point, zone)}, in the future: a clock is wrong")
        if keeps_everything(retention):
            reasons.append("its job keeps everything, it has no [retention]")
        reasons += counting.list_reasons(point)
        if point.point == counting.best and not reasons:
            reasons.append(f"the newest that has what its job requires ({require})")
        keep = bool(reasons)
        why = "; ".join(reasons) if keep else counting.explain_going(point)
        if point.damage is not None:
            why = f"{_DAMAGED_KEPT if keep else _DAMAGED_GOING}{why}"
        verdicts.append(Verdict(point=point, keep=keep, reason=why))
    return tuple(verdicts)


def _age_key(point: PointSummary) -> tuple[datetime, str]:
    return (point.created_at, point.point)


def _satisfies(point: PointSummary, require: Consistency) -> bool:
    return satisfies_requirement(point.consistency, require)


def _spell_time(point: PointSummary, zone: tzinfo) -> str:
    return f"{point.created_at.astimezone(zone):%Y-%m-%d %H:%M}"


@dataclass(frozen=True, kw_only=True)
class _Span:
    """A class of ages. `key` tells one span of local time from another, `name` says which it is."""

    word: str
    unit: str
    count: Callable[[Retention], int]
    key: Callable[[datetime], Hashable]
    name: Callable[[datetime], str]


def _name_hour(local: datetime) -> str:
    return f"{local:%Y-%m-%d, %H:00} to {(local.hour + 1) % 24:02}:00"


def _name_day(local: datetime) -> str:
    return f"{_DAYS[local.weekday()]} {local:%Y-%m-%d}"


def _name_week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"week {week} of {year}"


_SPANS = (
    _Span(
        word="hourly",
        unit="hour",
        count=lambda retention: retention.hourly,
        # An hour that the clock repeats in autumn is two: they differ in their distance from UTC.
        key=lambda local: (local.date(), local.hour, local.utcoffset()),
        name=_name_hour,
    ),
    _Span(
        word="daily",
        unit="day",
        count=lambda retention: retention.daily,
        key=lambda local: local.date(),
        name=_name_day,
    ),
    _Span(
        word="weekly",
        unit="week",
        count=lambda retention: retention.weekly,
        key=lambda local: local.isocalendar()[:2],
        name=_name_week,
    ),
    _Span(
        word="monthly",
        unit="month",
        count=lambda retention: retention.monthly,
        key=lambda local: (local.year, local.month),
        name=lambda local: f"{_MONTHS[local.month - 1]} {local.year}",
    ),
    _Span(
        word="yearly",
        unit="year",
        count=lambda retention: retention.yearly,
        key=lambda local: local.year,
        name=lambda local: str(local.year),
    ),
)


class _Counting:
    """What the counts alone keep of these points (newest first), and why.

    `best` is the newest that has what the job requires, "" for none.
    """

    def __init__(
        self,
        points: Sequence[PointSummary],
        retention: Retention,
        zone: tzinfo,
        require: Consistency,
    ) -> None:
        # By id: a point that lies there twice, copied by hand, counts once.
        good = tuple({point.point: point for point in points}.values())
        self.best = next((found.point for found in good if _satisfies(found, require)), "")
        self._zone = zone
        self._last = retention.last
        self._ranks = {point.point: rank for rank, point in enumerate(good, start=1)}
        self._spans = [
            (span, span.count(retention), self._find_newest(span, good))
            for span in _SPANS
            if span.count(retention)
        ]

    def _find_newest(
        self, span: _Span, good: Sequence[PointSummary]
    ) -> dict[Hashable, tuple[int, str]]:
        """The newest point of each span of time, with its rank among them from 1."""
        newest: dict[Hashable, tuple[int, str]] = {}
        for point in good:
            newest.setdefault(self._key(span, point), (len(newest) + 1, point.point))
        return newest

    def _key(self, span: _Span, point: PointSummary) -> Hashable:
        return span.key(point.created_at.astimezone(self._zone))

    def list_reasons(self, point: PointSummary) -> list[str]:
        """Why the counts keep it; [] when they do not."""
        reasons = []
        rank = self._ranks.get(point.point)
        if rank is not None and rank <= self._last:
            reasons.append(f"among the newest (last {rank} of {self._last})")
        named = []
        for span, count, newest in self._spans:
            number, first = newest.get(self._key(span, point), (0, ""))
            if first == point.point and number <= count:
                name = span.name(point.created_at.astimezone(self._zone))
                named.append(f"of {name} ({span.word} {number} of {count})")
        if named:
            reasons.append(f"the newest {', '.join(named)}")
        return reasons

    def explain_going(self, point: PointSummary) -> str:
        """Why one of them goes: a newer one stands for it, or it is older than all counts."""
        for span, count, firsts in self._spans:
            number, first = firsts[self._key(span, point)]
            if first != point.point and number <= count:
                return f"a newer one of the same {span.unit} is kept"
        newest = f"{self._last} newest" if self._last > 1 else "newest"
        kept = [newest] if self._last else []
        kept += [f"{count} {span.unit}{'s' * (count > 1)}" for span, count, _ in self._spans]
        return f"older than the {_join(kept)} to keep"


def _join(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
