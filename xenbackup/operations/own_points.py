"""The points that count on this host, of what the catalog remembers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xenbackup.model.point import MarkedPoint, PointSummary
from xenbackup.operations.hostname import read_hostname
from xenbackup.operations.house import House
from xenbackup.planning.counted_points import OwnPoints, select_own


def read_own(house: House) -> OwnPoints:
    """Raises: StateFailed when the catalog cannot be read."""
    return find_own(house, house.catalog.list_points(), house.catalog.list_damaged())


def find_own(
    house: House, points: Sequence[PointSummary], damaged: Iterable[MarkedPoint]
) -> OwnPoints:
    """Those of these points, and of those that were found damaged."""
    destinations = {spec.name for spec in house.configuration.destinations}
    return select_own(points, damaged, read_hostname(house.host), destinations)
