"""Which of the points that are known count for the guests of this host. Pure.

Two hosts may keep their points in one folder. A guest that is known by nothing but its name is
another guest on each of them (`PointSummary.is_of`). A destination that is not configured any more
is looked into by nobody: what the catalog remembers of it may be long gone, and cannot be restored.
And a point of a time that is yet to come was made while a clock was wrong: how old it is, nobody
can tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from xenbackup.model.point import MarkedPoint, PointSummary

CLOCK_TOLERANCE = timedelta(minutes=5)
"""So far ahead of now a time may lie: clocks that run are set right now and then."""


@dataclass(frozen=True, kw_only=True)
class OwnPoints:
    """Points of this host's guests, and those of them that were found damaged; `foreign` are
    those that another host made of guests of its own.
    """

    points: tuple[PointSummary, ...]
    damaged: tuple[MarkedPoint, ...]
    foreign: tuple[PointSummary, ...]


def select_own(
    points: Sequence[PointSummary],
    damaged: Iterable[MarkedPoint],
    hostname: str,
    destinations: Collection[str],
) -> OwnPoints:
    """Of what lies in these destinations, those that are configured. A damaged point of which
    nothing more is known counts as ours: nobody else may tell of it.
    """
    points = [point for point in points if point.destination in destinations]
    damaged = [found for found in damaged if found.destination in destinations]
    foreign = tuple(point for point in points if not point.is_of(hostname))
    theirs = {(point.destination, point.point) for point in foreign}
    return OwnPoints(
        points=tuple(point for point in points if point.is_of(hostname)),
        damaged=tuple(found for found in damaged if (found.destination, found.point) not in theirs),
        foreign=foreign,
    )


def is_ahead(moment: datetime, now: datetime) -> bool:
    """It lies in the future, by more than clocks differ."""
    return moment > now + CLOCK_TOLERANCE


def is_sound(point: PointSummary, now: datetime) -> bool:
    """The point counts as a good one: it is not damaged, and of a time that can be."""
    return point.damage is None and not is_ahead(point.created_at, now)
