"""Recovery points over all configured destinations: listed, found by name, kept in the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from xenbackup.errors import (
    DestinationFailed,
    DestinationMissing,
    PointDamaged,
    PointNotFound,
    XenbackupError,
)
from xenbackup.model.point import Manifest, PointSummary
from xenbackup.operations.hostname import read_hostname
from xenbackup.operations.house import House
from xenbackup.operations.reconciling import scan_store
from xenbackup.planning.counted_points import is_ahead
from xenbackup.storage import points as stored
from xenbackup.storage.owners import decode_quietly
from xenbackup.storage.points import DamagedPoint

_READABLE = "see that its folder can be read"


@dataclass(frozen=True, kw_only=True)
class AbsentDestination:
    """A destination that could not be looked into: why, what to do, and what the catalog knows.

    Where it is not `listed`, the catalog never had all its points: others than those `remembered`
    may lie there.
    """

    name: str
    reason: str
    hint: str
    remembered: tuple[PointSummary, ...] = ()
    listed: bool = False


@dataclass(frozen=True, kw_only=True)
class UnreadFolder:
    """A domain's folder in a destination that could not be looked into."""

    destination: str
    domain: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PointListing:
    """Points of all destinations, oldest first, and whatever stands beside them.

    `points` can be used by their manifests; those that a verification found damaged, or that lack a
    file, have `damage`.

    `leftovers` are parts of points that were not finished or not wholly removed, `unreadable`
    folders that could not be looked into: both begin with the destination's name. `unread` are the
    same folders by their domains. `domains` are all domains that have a point, good or damaged or
    remembered, whichever was asked for.
    """

    points: tuple[PointSummary, ...] = ()
    damaged: tuple[DamagedPoint, ...] = ()
    leftovers: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    unread: tuple[UnreadFolder, ...] = ()
    absent: tuple[AbsentDestination, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FoundPoint:
    """One point with its manifest, and the destination that holds it. `warnings` are sentences on
    why it may not be the one that was meant.
    """

    summary: PointSummary
    manifest: Manifest
    warnings: tuple[str, ...] = ()

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
    unread: list[UnreadFolder] = []
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
        unread += [_describe_unread(spec.name, reason) for reason in found.unreadable]
    with suppress(XenbackupError):
        _complete_catalog(house, present)
    points.sort(key=lambda summary: (summary.created_at, summary.point, summary.destination))
    domains = {summary.domain for summary in points} | {found.domain for found in damaged}
    domains |= {summary.domain for gone in absent for summary in gone.remembered}
    return PointListing(
        points=tuple(summary for summary in points if domain in ("", summary.domain)),
        damaged=tuple(found for found in damaged if domain in ("", found.domain)),
        leftovers=tuple(leftovers),
        unreadable=tuple(unreadable),
        unread=tuple(unread),
        absent=tuple(_narrow(gone, domain) for gone in absent),
        domains=tuple(sorted(domains)),
    )


def _narrow(absent: AbsentDestination, domain: str) -> AbsentDestination:
    remembered = tuple(found for found in absent.remembered if domain in ("", found.domain))
    return replace(absent, remembered=remembered)


def _describe_unread(destination: str, reason: str) -> UnreadFolder:
    """Of one of a scan's `unreadable`. No folder of a domain has a colon in its name."""
    folder, _, why = reason.partition(": ")
    return UnreadFolder(destination=destination, domain=decode_quietly(folder), reason=why)


def scan_destination(house: House, name: str) -> stored.PointListing:
    """What lies in one destination; the catalog is told of it. Raises: DestinationMissing,
    DestinationFailed.
    """
    with closing(house.open_destination(name)) as store:
        store.open()
        return scan_store(house, store)


def _complete_catalog(house: House, present: list[str]) -> None:
    """It needs no filling any more when it has the points of all that could be looked into."""
    if house.catalog.needs_rebuild() and house.catalog.list_listed().issuperset(present):
        house.catalog.rebuild((), destinations=())


def _remember(house: House, name: str, error: XenbackupError) -> AbsentDestination:
    remembered: tuple[PointSummary, ...] = ()
    listed = False
    with suppress(XenbackupError):
        remembered = tuple(
            summary for summary in house.catalog.list_points() if summary.destination == name
        )
        listed = name in house.catalog.list_listed()
    return AbsentDestination(
        name=name, reason=error.message, hint=error.hint, remembered=remembered, listed=listed
    )


def find_point(house: House, text: str) -> FoundPoint:
    """The point that `text` names: its id, a unique beginning of it, or `DOMAIN@latest`.

    Of a point that lies in several destinations (copied by hand), the first configured one counts
    that is not damaged. What is called the latest is the newest there is, or nothing.

    Raises: PointNotFound listing what it could have meant; PointDamaged; DestinationMissing when
    nothing answers to the name and a destination could not be looked into, or when the latest is in
    one; DestinationFailed when it may be in a folder that cannot be read.
    """
    listing = list_points(house)
    finding = _Finding(house, text.strip(), listing)
    summary = finding.find()
    with closing(house.open_destination(summary.destination)) as store:
        store.open()
        manifest = store.read_manifest(summary.point)
    return FoundPoint(summary=summary, manifest=manifest, warnings=finding.list_warnings(summary))


class _Finding:
    """One search for the point that `text` names; of a domain's latest where that has an `@`."""

    def __init__(self, house: House, text: str, listing: PointListing) -> None:
        self._text = text
        self._listing = listing
        self._domain = text.rpartition("@")[0]
        self._asks_latest = "@" in text
        self._order = [spec.name for spec in house.configuration.destinations]
        self._now = house.host.now()
        self._hostname = read_hostname(house.host)

    def find(self) -> PointSummary:
        """Raises: as `find_point`."""
        try:
            if not self._asks_latest:
                return self._choose(self._listing.points)
            latest = self._choose(self._list_known())
        except PointNotFound as error:
            self._explain_unfound(error)
            raise
        self._refuse_absent(latest)
        self._refuse_unread(latest.point)
        return latest

    def list_warnings(self, found: PointSummary) -> tuple[str, ...]:
        """What a person should hear who asked for the latest and gets this one."""
        if not self._asks_latest:
            return ()
        told = []
        if not found.is_of(self._hostname):
            told.append(
                f"Point {found.point} was made on host {found.host}, maybe of another guest of "
                f"that name: this host, {self._hostname}, made none of {found.domain}."
            )
        ahead = [point for point in self._list_known() if self._is_passed_over(point, found)]
        if ahead:
            named = ", ".join(f"{point.point} ({point.destination})" for point in ahead)
            told.append(
                f"Passed over, being of a time that is yet to come: {named}. Where the clock of "
                "this host is behind, one of these is newer."
            )
        told += [
            f"A newer point of {found.domain} may be in destination {absent.name}, of which the "
            f"catalog does not know all: {absent.reason}"
            for absent in self._listing.absent
            if not absent.listed
        ]
        return tuple(told)

    def _list_known(self) -> tuple[PointSummary, ...]:
        """Those that can be reached, and those that are remembered."""
        remembered = [found for gone in self._listing.absent for found in gone.remembered]
        return (*self._listing.points, *remembered)

    def _is_passed_over(self, point: PointSummary, found: PointSummary) -> bool:
        alike = point.domain == found.domain and point.damage is None
        same_host = point.is_of(self._hostname) == found.is_of(self._hostname)
        return alike and same_host and is_ahead(point.created_at, self._now)

    def _choose(self, points: Iterable[PointSummary]) -> PointSummary:
        """The one that is meant. Raises: PointNotFound."""
        absent = {gone.name for gone in self._listing.absent}

        def rank(found: PointSummary) -> tuple[bool, bool, int]:
            place = found.destination
            return (found.damage is not None, place in absent, self._order.index(place))

        first: dict[str, PointSummary] = {}
        for summary in sorted(points, key=rank):
            first.setdefault(summary.point, summary)
        candidates = tuple(first.values())
        return stored.find_point(self._text, candidates, now=self._now, hostname=self._hostname)

    def _refuse_absent(self, latest: PointSummary) -> None:
        """Raises: DestinationMissing where the latest is only remembered."""
        for absent in self._listing.absent:
            if absent.name == latest.destination:
                raise DestinationMissing(
                    f"The newest recovery point of {self._domain} is {latest.point} of "
                    f"{_spell_time(latest.created_at)}, in destination {absent.name}, which could "
                    f"not be looked into: {absent.reason}",
                    hint=self._suggest_older("bring it back") or absent.hint,
                )

    def _refuse_unread(self, point: str = "") -> None:
        """Raises: DestinationFailed where nobody knows whether that is the newest."""
        for unread in self._listing.unread:
            if unread.domain == self._domain:
                known = f"is newer than {point}" if point else "is there"
                raise DestinationFailed(
                    f"Whether a recovery point of {self._domain} in destination "
                    f"{unread.destination} {known}, nobody knows: {unread.reason}",
                    hint=self._suggest_older(_READABLE) or _READABLE,
                )

    def _suggest_older(self, act: str) -> str:
        """To act, or to take the point that can be had at once; "" where this host has none."""
        with suppress(PointNotFound):
            older = self._choose(self._listing.points)
            if older.is_of(self._hostname):
                made = _spell_time(older.created_at)
                return f"{act}, or give the id of the point you want: {older.point} is of {made}"
        return ""

    def _explain_unfound(self, error: PointNotFound) -> None:
        """A better reason than "not found", where there is one. Raises: PointDamaged,
        DestinationMissing, DestinationFailed.
        """
        for found in find_damaged(self._text, self._listing):
            raise PointDamaged(
                f"Point {found.point} of {found.domain} in {found.destination} cannot be used: "
                f"{found.reason}",
                hint="`xenbackup points` lists those that can",
            )
        if self._asks_latest:
            self._refuse_unread()
        for absent in self._listing.absent:
            why = error.message.removesuffix(".")
            if not self._asks_latest:
                why = f"No recovery point that can be reached is called {self._text!r}"
            raise DestinationMissing(
                f"{why}; and not every destination could be looked into: {absent.reason}",
                hint=absent.hint,
            )


def find_damaged(text: str, listing: PointListing) -> tuple[DamagedPoint, ...]:
    """Damaged points whose id is `text`, or begins with it."""
    return tuple(found for found in listing.damaged if text and found.point.startswith(text))


def _spell_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
