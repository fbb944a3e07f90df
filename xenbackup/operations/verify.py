"""Verification: recovery points read again, whole, and held to their manifests.

A verdict on a point is kept before it is told: damage stays marked until a later verification
finds the whole point good. What could not be read gets no verdict and leaves marks as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
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
from xenbackup.operations.damage import note_damage, note_soundness
from xenbackup.operations.house import House
from xenbackup.operations.points import (
    AbsentDestination,
    find_damaged,
    find_point,
    list_points,
)
from xenbackup.storage.destination import PointStore
from xenbackup.storage.manifest import MANIFEST_FILE
from xenbackup.storage.owners import is_domain_folder
from xenbackup.storage.points import DamagedPoint, VerifyFinding, VerifyReport


class Verdict(StrEnum):
    """What reading a point again has shown; GONE was removed before its turn, or its end, came."""

    GOOD = "good"
    DAMAGED = "damaged"
    UNREAD = "unread"
    GONE = "gone"


_HINTS = {
    Verdict.GOOD: "",
    Verdict.DAMAGED: "restore from another point, and back the domain up again; `xenbackup status` "
    "tells of it until it is gone or found good",
    Verdict.UNREAD: "look at `dmesg` and at the health of its disk, then verify it again",
}


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """One point's verdict. UNREAD points, and destinations as a whole or folders in them (`point`
    "" then), could not be looked at, or not whole: `reason`, `findings` and `hint` tell.
    `mark_problem` says why the verdict could not be written beside the point. `exit_code` is what a
    command ends with when this is its only result.
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
    mark_problem: str = ""
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
            return (_report_damaged(house, damaged[0]),)
        point = find_point(house, text).point
        # Of one that lies in several places, copied by hand, each is read: each may be marked.
        copies = [summary for summary in listing.points if summary.point == point]
        return tuple(_verify(house, summary, watcher, cancelled) for summary in copies)
    listing = list_points(house)
    results = [_verify(house, summary, watcher, cancelled) for summary in listing.points]
    # What was pruned between the listing and its turn is no failure of anything.
    results = [result for result in results if result.verdict is not Verdict.GONE]
    results += [_report_damaged(house, found) for found in listing.damaged]
    results += [_report_absent(absent) for absent in listing.absent]
    results += _report_unreadable(listing.unreadable)
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
        with closing(house.open_destination(summary.destination)) as store:
            store.open()
            report = _read(house, store, summary, watcher, cancelled)
            problem = _keep_verdict(house, store, summary, report)
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
            _judge(report),
            findings=report.findings,
            bytes_checked=report.bytes_checked,
            duration_seconds=round(house.host.monotonic_seconds() - began, 3),
            hint=_HINTS[_judge(report)],
            mark_problem=problem,
            exit_code=ExitCode.GOOD if report.good else ExitCode.FAILED,
        )
    watcher.point_ended(result)
    return result


def _judge(report: VerifyReport) -> Verdict:
    """What could not be read at all is no verdict on the rest."""
    if report.good:
        return Verdict.GOOD
    return Verdict.DAMAGED if report.damaged else Verdict.UNREAD


def _keep_verdict(
    house: House, store: PointStore, summary: PointSummary, report: VerifyReport
) -> str:
    """Why the verdict could not be written beside the point, "" otherwise. Raises: PointNotFound
    when it was removed, or its volumes written over, meanwhile: it had no verdict coming.
    """
    verdict = _judge(report)
    if verdict is Verdict.GOOD:
        return note_soundness(house, store, summary.point)
    if verdict is Verdict.DAMAGED:
        findings = [finding for finding in report.findings if finding.certain]
        return note_damage(
            house, store, summary.point, summary.domain, findings, known=summary.damage
        )
    return ""


def _read(
    house: House,
    store: PointStore,
    summary: PointSummary,
    watcher: VerifyWatcher,
    cancelled: Callable[[], str],
) -> VerifyReport:
    def report(done: int, total: int) -> None:
        watcher.amount_done(summary.point, done, total)

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
    mark_problem: str = "",
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
        mark_problem=mark_problem,
        exit_code=exit_code,
    )


def _report_damaged(house: House, found: DamagedPoint) -> VerifyResult:
    """A point whose manifest alone is already no good: nothing else of it can be judged."""
    verdict = Verdict.DAMAGED if found.certain else Verdict.UNREAD
    problem = ""
    if found.certain:
        try:
            with closing(house.open_destination(found.destination)) as store:
                finding = VerifyFinding(file=MANIFEST_FILE, message=found.reason)
                problem = note_damage(
                    house, store, found.point, found.domain, (finding,), known=found.mark
                )
        except PointNotFound:
            pass  # its volumes were being written over: nothing lies under its name any more
    return VerifyResult(
        point=found.point,
        destination=found.destination,
        domain=found.domain,
        verdict=verdict,
        reason=found.reason,
        hint=_HINTS[verdict],
        mark_problem=problem,
        exit_code=ExitCode.FAILED,
    )


def _report_unreadable(unreadable: Sequence[str]) -> Iterator[VerifyResult]:
    """Folders that may hold points which nobody could list; each text names destination, folder
    and reason. Of one that no run has made there is nothing to verify.
    """
    for text in unreadable:
        destination, _, reason = text.partition(": ")
        if is_domain_folder(reason.partition(": ")[0]):
            yield VerifyResult(
                point="",
                destination=destination,
                domain="",
                verdict=Verdict.UNREAD,
                reason=reason,
                hint=_HINTS[Verdict.UNREAD],
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
