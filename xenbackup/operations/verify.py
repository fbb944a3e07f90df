"""Verification: recovery points read again, whole, and held to their manifests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from xenbackup.errors import (
    CopyCancelled,
    DestinationFailed,
    DestinationMissing,
    ExitCode,
    Interrupted,
    PointNotFound,
)
from xenbackup.model.point import PointSummary
from xenbackup.operations.house import House
from xenbackup.operations.points import (
    AbsentDestination,
    find_damaged,
    find_point,
    list_points,
)
from xenbackup.storage.points import DamagedPoint, VerifyFinding, VerifyReport


class Verdict(StrEnum):
    """What reading a point again has shown; GONE was removed before its turn came."""

    GOOD = "good"
    DAMAGED = "damaged"
    UNREAD = "unread"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """One point's verdict. UNREAD points, and destinations as a whole (`point` "" then), could
    not be looked at: `reason` and `hint` say why and what helps. `exit_code` is what a command
    ends with when this is its only result.
    """

    point: str
    destination: str
    domain: str
    verdict: Verdict
    findings: tuple[VerifyFinding, ...] = ()
    bytes_checked: int = 0
    duration_seconds: float = 0.0
    reason: str = ""
    hint: str = ""
    exit_code: int = 0


class VerifyWatcher(Protocol):
    """Receives the course of a verification; must return quickly."""

    def point_began(self, point: str, domain: str) -> None: ...

    def amount_done(self, point: str, done: int, total: int) -> None:
        """Amounts are bytes of the whole point."""

    def point_ended(self, result: VerifyResult) -> None: ...


class SilentVerifyWatcher:
    """Watches nothing: for callers that only want the results."""

    def point_began(self, point: str, domain: str) -> None:
        """Nothing to tell."""

    def amount_done(self, point: str, done: int, total: int) -> None:
        """Nothing to tell."""

    def point_ended(self, result: VerifyResult) -> None:
        """Nothing to tell."""


def verify_points(
    house: House,
    text: str | None,
    watcher: VerifyWatcher,
    cancelled: Callable[[], str] = lambda: "",
) -> tuple[VerifyResult, ...]:
    """Verify the point that `text` names, or all of them; one that is damaged stops nothing.

    Raises: PointNotFound; DestinationMissing for one point whose destination may be away;
    Interrupted when `cancelled` gives a reason.
    """
    if text is not None:
        listing = list_points(house)
        damaged = find_damaged(text.strip(), listing)
        good = any(summary.point.startswith(text.strip()) for summary in listing.points)
        if len(damaged) == 1 and not good:
            return (_report_damaged(damaged[0]),)
        found = find_point(house, text)
        return (_verify(house, found.summary, watcher, cancelled),)
    listing = list_points(house)
    results = [_verify(house, summary, watcher, cancelled) for summary in listing.points]
    # What was pruned between the listing and its turn is no failure of anything.
    results = [result for result in results if result.verdict is not Verdict.GONE]
    results += [_report_damaged(found) for found in listing.damaged]
    results += [_report_absent(absent) for absent in listing.absent]
    return tuple(results)


def exit_code_of(results: tuple[VerifyResult, ...]) -> int:
    """1 when a point is damaged or unread, else 10 for a missing destination; 0 without points."""
    codes = {result.exit_code for result in results}
    if ExitCode.FAILED in codes:
        return ExitCode.FAILED
    return max(codes, default=ExitCode.GOOD)


def _verify(
    house: House,
    summary: PointSummary,
    watcher: VerifyWatcher,
    cancelled: Callable[[], str],
) -> VerifyResult:
    if reason := cancelled():
        raise Interrupted(f"The verification was stopped: {reason}.")
    watcher.point_began(summary.point, summary.domain)
    began = house.host.monotonic_seconds()
    try:
        report = _read(house, summary, watcher, cancelled)
    except CopyCancelled as error:
        raise Interrupted(
            f"The verification of {summary.point} was stopped: {cancelled() or error.message}."
        ) from error
    except (DestinationFailed, DestinationMissing, PointNotFound) as error:
        result = _result(
            summary,
            Verdict.GONE if isinstance(error, PointNotFound) else Verdict.UNREAD,
            reason=error.message,
            hint=error.hint,
            exit_code=ExitCode.FAILED,
        )
    else:
        result = _result(
            summary,
            Verdict.GOOD if report.good else Verdict.DAMAGED,
            findings=report.findings,
            bytes_checked=report.bytes_checked,
            duration_seconds=round(house.host.monotonic_seconds() - began, 3),
            hint="" if report.good else "do not restore from it; back the domain up again",
            exit_code=ExitCode.GOOD if report.good else ExitCode.FAILED,
        )
    watcher.point_ended(result)
    return result


def _read(
    house: House,
    summary: PointSummary,
    watcher: VerifyWatcher,
    cancelled: Callable[[], str],
) -> VerifyReport:
    def report(done: int, total: int) -> None:
        watcher.amount_done(summary.point, done, total)

    store = house.open_destination(summary.destination)
    store.open()
    return store.verify_point(summary.point, report, cancelled=cancelled, limit=house.make_limit())


def _result(
    summary: PointSummary,
    verdict: Verdict,
    *,
    exit_code: int,
    findings: tuple[VerifyFinding, ...] = (),
    bytes_checked: int = 0,
    duration_seconds: float = 0.0,
    reason: str = "",
    hint: str = "",
) -> VerifyResult:
    return VerifyResult(
        point=summary.point,
        destination=summary.destination,
        domain=summary.domain,
        verdict=verdict,
        findings=findings,
        bytes_checked=bytes_checked,
        duration_seconds=duration_seconds,
        reason=reason,
        hint=hint,
        exit_code=exit_code,
    )


def _report_damaged(found: DamagedPoint) -> VerifyResult:
    """A point whose manifest alone is already no good: nothing else of it can be judged."""
    return VerifyResult(
        point=found.point,
        destination=found.destination,
        domain=found.domain,
        verdict=Verdict.DAMAGED,
        reason=found.reason,
        hint="do not restore from it; back the domain up again",
        exit_code=ExitCode.FAILED,
    )


def _report_absent(absent: AbsentDestination) -> VerifyResult:
    return VerifyResult(
        point="",
        destination=absent.name,
        domain="",
        verdict=Verdict.UNREAD,
        reason=absent.reason,
        hint=absent.hint,
        exit_code=ExitCode.DESTINATION_MISSING,
    )
