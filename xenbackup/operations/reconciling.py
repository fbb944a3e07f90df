"""The catalog kept in step with what lies in a destination, whoever has just looked into it.

Others tell the catalog of points meanwhile: a verification of damage, a run of its new point. What
was seen before that must not take it back, so a look that somebody has overtaken is not written
down but repeated. A catalog that fails never fails who looked: the next look heals it.
"""

from __future__ import annotations

from contextlib import closing, suppress

import structlog

from xenbackup.errors import XenbackupError
from xenbackup.model.point import MarkedPoint
from xenbackup.operations.house import House
from xenbackup.storage.destination import PointStore
from xenbackup.storage.points import PointListing

LOOKS_LIMIT = 3
"""How often a destination is looked into, at most, until the catalog is in step with it."""

_log = structlog.get_logger("xenbackup.points")


def scan_store(house: House, store: PointStore) -> PointListing:
    """What lies in an open destination; the catalog says the same of it then.

    Raises: DestinationMissing, DestinationFailed.
    """
    for _ in range(LOOKS_LIMIT):
        generation = _read_generation(house)
        listing = store.scan()
        if generation is None or _reconcile(house, store.name, listing, generation):
            return listing
    _log.info("catalog-not-reconciled", destination=store.name, looks=LOOKS_LIMIT)
    return listing


def refresh_catalog(house: House, destination: str) -> None:
    """Look into a destination for the catalog's sake alone. One that cannot be looked into is told
    of by whoever needs it: nothing is raised.
    """
    try:
        with closing(house.open_destination(destination)) as store:
            store.open()
            scan_store(house, store)
    except XenbackupError as error:
        _log.info("catalog-not-refreshed", destination=destination, error=error.message)


def _read_generation(house: House) -> int | None:
    """None for a catalog that cannot be asked."""
    with suppress(XenbackupError):
        return house.catalog.read_generation()
    return None


def _reconcile(house: House, name: str, listing: PointListing, generation: int) -> bool:
    """Make the catalog say what the listing does, where it says something else. False when it has
    been told of a point since that `generation`.
    """
    marked = _list_marked(listing)
    with suppress(XenbackupError):
        if not _agrees(house, name, listing, marked):
            return house.catalog.rebuild(
                listing.points,
                destinations=(name,),
                damaged=marked,
                generation=generation,
                complete=False,
            )
    return True


def _agrees(
    house: House, name: str, listing: PointListing, marked: tuple[MarkedPoint, ...]
) -> bool:
    """Raises: StateFailed."""
    catalog = house.catalog
    known = {summary for summary in catalog.list_points() if summary.destination == name}
    listed = {found.point for found in listing.points}
    known_marked = {
        found
        for found in catalog.list_damaged()
        if found.destination == name and found.point not in listed
    }
    same = known == set(listing.points) and known_marked == set(marked)
    return same and name in catalog.list_listed()


def _list_marked(listing: PointListing) -> tuple[MarkedPoint, ...]:
    """Those without a usable manifest that a verification has seen: they go on being told until
    they are gone or good.
    """
    return tuple(
        MarkedPoint(
            point=found.point,
            destination=found.destination,
            domain=found.domain,
            damage=found.mark,
        )
        for found in listing.damaged
        if found.mark is not None
    )
