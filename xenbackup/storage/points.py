"""Recovery points as a destination answers for them: listings, reports, and finding one by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from xenbackup.errors import PointNotFound
from xenbackup.model.point import Damage, PointSummary
from xenbackup.planning.counted_points import is_ahead

LATEST = "latest"
_CANDIDATES_LIMIT = 10


@dataclass(frozen=True, kw_only=True)
class DamagedPoint:
    """A point that cannot be used, and why; `domain` is what its folder's name says.

    `certain` is False where it may only be out of reach. `mark` is what a verification said of it.
    """

    point: str
    destination: str
    domain: str
    reason: str
    certain: bool = True
    mark: Damage | None = None


@dataclass(frozen=True, kw_only=True)
class PointListing:
    """All that lies in a destination: points by time, damaged ones, and what is half done.

    `points` have a manifest that can be used; those that a verification found damaged all the same,
    or that lack a file, say so in their `damage`. `damaged` are those without such a manifest.

    `flawed` are those of the `points` that lack a file, or have one of a wrong size.
    `leftovers` are folders of points whose making or removal did not end, relative to the
    destination; `unreadable` are folders that could not be looked into, with the reason.
    """

    points: tuple[PointSummary, ...] = ()
    damaged: tuple[DamagedPoint, ...] = ()
    flawed: tuple[DamagedPoint, ...] = ()
    leftovers: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VerifyFinding:
    """One way in which a point is not what its manifest promises.

    `offset_bytes` and `length_bytes` span the blocks that differ; None where a whole file is meant.
    One that is not `certain` says that the file could not be read, which may pass.
    """

    file: str
    message: str
    offset_bytes: int | None = None
    length_bytes: int | None = None
    certain: bool = True


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What reading a whole point again has shown."""

    point: str
    bytes_checked: int
    findings: tuple[VerifyFinding, ...]

    @property
    def good(self) -> bool:
        return not self.findings

    @property
    def damaged(self) -> bool:
        """Something is wrong with what is stored, not only with the way to it."""
        return any(finding.certain for finding in self.findings)


def find_point(
    text: str, points: Sequence[PointSummary], *, now: datetime, hostname: str
) -> PointSummary:
    """The point that `text` names: its id, a unique beginning of it, or `DOMAIN@latest`.

    The latest is the newest that is not damaged and of a time that has come. Of a guest that has
    nothing but its name, it is one of this host, `hostname`, where there is any.

    Raises: PointNotFound, listing what it could have meant.
    """
    text = text.strip()
    domain, at, moment = text.rpartition("@")
    if at:
        return _find_latest(domain, moment, points, now, hostname)
    exact = [summary for summary in points if summary.point == text]
    found = exact or [summary for summary in points if text and summary.point.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise PointNotFound(
            f"{len(found)} recovery points begin with {text!r}: {_list_candidates(found)}.",
            hint="give more letters of the id",
        )
    of_domain = [summary for summary in points if summary.domain == text]
    if of_domain:
        raise PointNotFound(
            f"{text!r} is a domain, not a recovery point; it has {_list_candidates(of_domain)}.",
            hint=f"the newest is `{text}@{LATEST}`",
        )
    raise PointNotFound(
        f"No recovery point is called {text!r}; there {_describe_choice(points)}.",
        hint="`xenbackup points` lists them all",
    )


def _find_latest(
    domain: str, moment: str, points: Sequence[PointSummary], now: datetime, hostname: str
) -> PointSummary:
    if moment != LATEST:
        raise PointNotFound(
            f"{domain}@{moment} names no recovery point: only `{LATEST}` can stand behind the @.",
            hint=f"`{domain}@{LATEST}`, or an id from `xenbackup points {domain}`",
        )
    found = [summary for summary in points if summary.domain == domain]
    if not found:
        domains = sorted({summary.domain for summary in points})
        known = ", ".join(domains[:_CANDIDATES_LIMIT]) or "none"
        raise PointNotFound(
            f"Domain {domain!r} has no recovery point; domains that have one: {known}.",
            hint="`xenbackup points` lists them all",
        )
    own = [summary for summary in found if summary.is_of(hostname)] or found
    whose = f"of {domain!r}" if len(own) == len(found) else f"that {hostname} made of {domain!r}"
    sound = [summary for summary in own if summary.damage is None]
    if not sound:
        raise PointNotFound(
            f"Every recovery point {whose} is damaged: {_list_candidates(own)}.",
            hint="`xenbackup verify POINT` reads one again; by its id one can be restored even so",
        )
    past = [summary for summary in sound if not is_ahead(summary.created_at, now)]
    if not past:
        raise PointNotFound(
            f"Every recovery point {whose} that is not damaged is of a time that is yet to come, "
            f"so nobody can tell which is the newest: {_list_candidates(sound)}.",
            hint=f"here it is {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC: where that is right, the "
            "clock was wrong when they were made. Give the id of the one that you want",
        )
    return max(past, key=lambda summary: (summary.created_at, summary.point))


def _describe_choice(points: Sequence[PointSummary]) -> str:
    if not points:
        return "is none at all"
    return ("is " if len(points) == 1 else "are ") + _list_candidates(points)


def _list_candidates(points: Sequence[PointSummary]) -> str:
    newest = sorted(points, key=lambda summary: summary.created_at, reverse=True)
    shown = [f"{summary.point} ({summary.domain})" for summary in newest[:_CANDIDATES_LIMIT]]
    more = len(newest) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
