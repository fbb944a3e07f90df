"""Recovery points over all configured destinations: listed, found by name, kept in the catalog."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from xenbackup.errors import (
    DestinationFailed,
    DestinationMissing,
    PointDamaged,
    PointNotFound,
    XenbackupError,
)
from xenbackup.model.point import Manifest, MarkedPoint, PointSummary
from xenbackup.operations.house import House
from xenbackup.storage import points as stored
from xenbackup.storage.points import DamagedPoint


@dataclass(frozen=True, kw_only=True)
class AbsentDestination:
    """A destination that could not be looked into: why, what to do, and what the catalog knows."""

    name: str
    reason: str
    hint: str
    remembered: tuple[PointSummary, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PointListing:
    """Points of all destinations, oldest first, and whatever stands beside them.

    `points` can be used by their manifests; those that a verification found damaged have `damage`.

    `leftovers` are parts of points that were not finished or not wholly removed, `unreadable`
    folders that could not be looked into: both begin with the destination's name. `domains` are all
    domains that have a point, good or damaged or remembered, whichever was asked for.
    """

    points: tuple[PointSummary, ...] = ()
    damaged: tuple[DamagedPoint, ...] = ()
    leftovers: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    absent: tuple[AbsentDestination, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FoundPoint:
    """One point with its manifest, and the destination that holds it."""

    summary: PointSummary
    manifest: Manifest

    @property
    def point(self) -> str:
        return self.manifest.point

    @property
    def destination(self) -> str:
        return self.summary.destination


def list_points(house: House, domain: str = "") -> PointListing:
    """All points, of one domain when named; a destination that is missing is told, not fatal.

    The catalog is brought in step with what was found; a catalog that fails never fails a listing.
    """
    points: list[PointSummary] = []
    damaged: list[DamagedPoint] = []
    leftovers: list[str] = []
    unreadable: list[str] = []
    absent: list[AbsentDestination] = []
    present: list[str] = []
    for spec in house.configuration.destinations:
        try:
            found = scan_destination(house, spec.name)
        except (DestinationMissing, DestinationFailed) as error:
            absent.append(_remember(house, spec.name, error))
            continue
        present.append(spec.name)
        points += found.points
        damaged += found.damaged
        leftovers += [f"{spec.name}: {name}" for name in found.leftovers]
        unreadable += [f"{spec.name}: {reason}" for reason in found.unreadable]
    with suppress(XenbackupError):
        _keep_catalog(house, points, _list_marked(damaged), present)
    points.sort(key=lambda summary: (summary.created_at, summary.point, summary.destination))
    domains = {summary.domain for summary in points} | {found.domain for found in damaged}
    domains |= {summary.domain for gone in absent for summary in gone.remembered}
    return PointListing(
        points=tuple(summary for summary in points if domain in ("", summary.domain)),
        damaged=tuple(found for found in damaged if domain in ("", found.domain)),
        leftovers=tuple(leftovers),
        unreadable=tuple(unreadable),
        absent=tuple(_narrow(gone, domain) for gone in absent),
        domains=tuple(sorted(domains)),
    )


def _narrow(absent: AbsentDestination, domain: str) -> AbsentDestination:
    remembered = tuple(found for found in absent.remembered if domain in ("", found.domain))
    return replace(absent, remembered=remembered)


def scan_destination(house: House, name: str) -> stored.PointListing:
    """What lies in one destination. Raises: DestinationMissing, DestinationFailed."""
    store = house.open_destination(name)
    store.open()
    return store.scan()


def _remember(house: House, name: str, error: XenbackupError) -> AbsentDestination:
    remembered: tuple[PointSummary, ...] = ()
    with suppress(XenbackupError):
        remembered = tuple(
            summary for summary in house.catalog.list_points() if summary.destination == name
        )
    return AbsentDestination(
        name=name, reason=error.message, hint=error.hint, remembered=remembered
    )


def _list_marked(damaged: list[DamagedPoint]) -> list[MarkedPoint]:
    """Those that a verification has seen: it goes on being told until they are gone or good."""
    return [
        MarkedPoint(
            point=found.point,
            destination=found.destination,
            domain=found.domain,
            damage=found.mark,
        )
        for found in damaged
        if found.mark is not None
    ]


def _keep_catalog(
    house: House, points: list[PointSummary], marked: list[MarkedPoint], present: list[str]
) -> None:
    """Make the catalog say of these destinations what they hold, where it says something else."""
    known = {summary for summary in house.catalog.list_points() if summary.destination in present}
    listed = {(found.destination, found.point) for found in points}
    known_marked = {
        found
        for found in house.catalog.list_damaged()
        if found.destination in present and (found.destination, found.point) not in listed
    }
    same = known == set(points) and known_marked == set(marked)
    if not same or house.catalog.needs_rebuild():
        house.catalog.rebuild(points, destinations=present, damaged=marked)


def find_point(house: House, text: str) -> FoundPoint:
    """The point that `text` names: its id, a unique beginning of it, or `DOMAIN@latest`.

    Of a point that lies in several destinations (copied by hand), the first configured one counts
    that was not found damaged.

    Raises: PointNotFound listing what it could have meant; PointDamaged; DestinationMissing when
    nothing answers to the name and a destination could not be looked into.
    """
    listing = list_points(house)
    order = [spec.name for spec in house.configuration.destinations]
    first: dict[str, PointSummary] = {}
    for summary in sorted(
        listing.points,
        key=lambda found: (found.damage is not None, order.index(found.destination)),
    ):
        first.setdefault(summary.point, summary)
    try:
        summary = stored.find_point(text, tuple(first.values()))
    except PointNotFound:
        _explain_unfound(text.strip(), listing)
        raise
    store = house.open_destination(summary.destination)
    store.open()
    return FoundPoint(summary=summary, manifest=store.read_manifest(summary.point))


def find_damaged(text: str, listing: PointListing) -> tuple[DamagedPoint, ...]:
    """Damaged points whose id is `text`, or begins with it."""
    return tuple(found for found in listing.damaged if text and found.point.startswith(text))


def _explain_unfound(text: str, listing: PointListing) -> None:
    """A better reason than "not found", where there is one. Raises: PointDamaged,
    DestinationMissing.
    """
    for found in find_damaged(text, listing):
        raise PointDamaged(
            f"Point {found.point} of {found.domain} in {found.destination} cannot be used: "
            f"{found.reason}",
            hint="`xenbackup points` lists those that can",
        )
    for absent in listing.absent:
        raise DestinationMissing(
            f"No recovery point that can be reached is called {text!r}, and not every destination "
            f"could be looked into: {absent.reason}",
            hint=absent.hint,
        )
