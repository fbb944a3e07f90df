"""Prune: recovery points that retention lets go are removed from destinations that are there.

What is judged is what lies in the destination now, not what the catalog remembers of it. Points are
judged with those of the same job and guest in the same destination; whatever cannot be judged (a
job that is gone, a manifest that is damaged, a restore that still needs its point) stays, and the
report says why. So does what another host made of guests of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from xenbackup.errors import (
    DestinationFailed,
    DestinationMissing,
    ExitCode,
    Locked,
    XenbackupError,
)
from xenbackup.model.job import DestinationKind, DestinationSpec, Job
from xenbackup.model.point import PointSummary
from xenbackup.operations.hostname import read_hostname
from xenbackup.operations.house import House
from xenbackup.operations.reconciling import scan_store
from xenbackup.operations.removals import finish_in_store
from xenbackup.operations.restore_sight import open_marks
from xenbackup.operations.runs import find_unfinished
from xenbackup.operations.trimming import trim_records
from xenbackup.operations.zones import find_zone
from xenbackup.planning.retention import Hold, Verdict, explain_foreign, judge_job_points
from xenbackup.records.catalog_rows import Forgotten
from xenbackup.storage.destination import PointStore
from xenbackup.storage.points import DamagedPoint, PointListing

_log = structlog.get_logger("xenbackup.prune")

ONE_POINT = "its volumes hold one point at a time: the next run writes over it"


class Fate(StrEnum):
    """What became of a point: GOES is for a dry run, BUSY and FAILED were to go and are there."""

    KEPT = "kept"
    GOES = "goes"
    REMOVED = "removed"
    BUSY = "busy"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class JudgedPoint:
    """A point with its fate and the reason (a clause). `trouble` says why it is still there."""

    point: PointSummary
    fate: Fate
    reason: str
    trouble: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class AbsentPlace:
    """A destination in which nothing was looked at or removed, and why."""

    name: str
    reason: str
    hint: str
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class PruneReport:
    """All that was judged, removed, and could not be.

    `job` is "" when all were meant. `looked_into` are the destinations that were there, `finished`
    the points whose earlier, interrupted removal ended now; `troubles` are folders that could not
    be read or wholly removed; `journals` the runs whose journals were (or would be) removed,
    `forgotten` what the catalog forgot (or would).
    """

    job: str
    dry_run: bool
    points: tuple[JudgedPoint, ...] = ()
    damaged: tuple[DamagedPoint, ...] = ()
    looked_into: tuple[str, ...] = ()
    absent: tuple[AbsentPlace, ...] = ()
    finished: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    journals: tuple[str, ...] = ()
    forgotten: Forgotten = field(default_factory=Forgotten)

    @property
    def freed_bytes(self) -> int:
        """What the removed points took on the disk; in a dry run, those that would go."""
        gone = (Fate.GOES, Fate.REMOVED)
        return sum(found.point.stored_bytes for found in self.points if found.fate in gone)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an administrator should hear of, a sentence each; what is in use is not among it."""
        failed = [found.trouble for found in self.points if found.fate is Fate.FAILED]
        absent = [place.reason for place in self.absent]
        return (*absent, *failed, *(f"Not removed: {text}." for text in self.troubles))

    @property
    def exit_code(self) -> int:
        """10 where all that was asked for is missing, 3 where a part is or could not be removed.

        A point that is being read stays until the next time: that is no failure.
        """
        if self.absent and not self.looked_into:
            codes = {place.exit_code for place in self.absent}
            return codes.pop() if len(codes) == 1 else ExitCode.FAILED
        failed = any(found.fate is Fate.FAILED for found in self.points)
        return ExitCode.PARTLY if self.absent or self.troubles or failed else ExitCode.GOOD


def prune_points(house: House, *, job: Job | None = None, dry_run: bool = False) -> PruneReport:
    """Remove what the retention of a job, or of all jobs, lets go; and records of long ago.

    Of one job that is what lies in its own destination; without one, all destinations are looked
    into. A destination that is not there is reported, and nothing else suffers. May be killed at
    any time, and repeated. In a dry run everything is judged and nothing changed.

    Raises: StateFailed; JournalDamaged when a mark of a restore cannot be read: nobody knows then
    which point it needs.
    """
    pruning = _Pruning(house, job, dry_run)
    for spec in house.configuration.destinations:
        if job is None or spec.name == job.destination:
            pruning.prune_destination(spec)
    trimmed = trim_records(house, dry_run=dry_run)
    return PruneReport(
        job=job.name if job is not None else "",
        dry_run=dry_run,
        points=tuple(pruning.points),
        damaged=tuple(pruning.damaged),
        looked_into=tuple(pruning.looked_into),
        absent=tuple(pruning.absent),
        finished=tuple(pruning.finished),
        troubles=tuple(pruning.troubles),
        journals=trimmed.journals,
        forgotten=trimmed.forgotten,
    )


class _Pruning:
    """One call of `prune_points`, gathering its report."""

    def __init__(self, house: House, job: Job | None, dry_run: bool) -> None:
        self._house = house
        self._job = job
        self._dry_run = dry_run
        self._hostname = read_hostname(house.host)
        self._needed = tuple(_list_needed(house))
        self.points: list[JudgedPoint] = []
        self.damaged: list[DamagedPoint] = []
        self.looked_into: list[str] = []
        self.absent: list[AbsentPlace] = []
        self.finished: list[str] = []
        self.troubles: list[str] = []

    def prune_destination(self, spec: DestinationSpec) -> None:
        """All of one destination; one that goes away meanwhile ends it there, reported."""
        with closing(self._house.open_destination(spec.name)) as store:
            try:
                store.open()
                if not self._dry_run:
                    self._finish_removals(spec, store)
                listing = store.scan() if self._dry_run else scan_store(self._house, store)
                self.looked_into.append(spec.name)
                self._note_listing(spec, listing)
                for verdict in self._judge(spec, listing):
                    self.points.append(self._carry_out(store, verdict))
            except (DestinationMissing, DestinationFailed) as error:
                self.absent.append(
                    AbsentPlace(
                        name=spec.name,
                        reason=error.message,
                        hint=error.hint,
                        exit_code=int(error.exit_code),
                    )
                )

    def _finish_removals(self, spec: DestinationSpec, store: PointStore) -> None:
        ended = finish_in_store(self._house, spec.name, store)
        self.finished += ended.points
        self.troubles += ended.troubles

    def _note_listing(self, spec: DestinationSpec, listing: PointListing) -> None:
        self.damaged += listing.damaged
        troubles = (f"{spec.name}: {why}" for why in listing.unreadable)
        self.troubles += [trouble for trouble in troubles if trouble not in self.troubles]

    # Judging

    def _judge(self, spec: DestinationSpec, listing: PointListing) -> tuple[Verdict, ...]:
        """Oldest first; of the one job alone where one is meant."""
        meant = [
            point for point in listing.points if self._job is None or point.job == self._job.name
        ]
        if spec.kind is DestinationKind.VOLUME:
            return tuple(Verdict(point=point, keep=True, reason=ONE_POINT) for point in meant)
        holds = (*self._needed, *_list_flaws(listing), *_list_copies(listing))
        verdicts: list[Verdict] = []
        for name in sorted({point.job for point in meant}):
            of_job = [point for point in meant if point.job == name]
            job = self._job or self._house.jobs.find_job(name)
            if job is None:
                verdicts += [self._keep_without_job(point) for point in of_job]
                continue
            zone = find_zone(self._house.host, job)
            now = self._house.host.now()
            verdicts += judge_job_points(
                of_job, job, zone, hostname=self._hostname, now=now, holds=holds
            )
        return tuple(
            sorted(verdicts, key=lambda found: (found.point.created_at, found.point.point))
        )

    def _keep_without_job(self, point: PointSummary) -> Verdict:
        why = explain_foreign(point, self._hostname) or self._explain_no_job(point.job)
        return Verdict(point=point, keep=True, reason=why)

    def _explain_no_job(self, name: str) -> str:
        if self._house.jobs.is_broken(name):
            return f"the file of its job {name} is broken, or the folder of jobs cannot be read"
        return f"its job {name} is not there any more: nothing says how long to keep it"

    # Acting

    def _carry_out(self, store: PointStore, verdict: Verdict) -> JudgedPoint:
        """Raises: DestinationMissing when the destination went away."""

        def judged(fate: Fate, trouble: str = "", hint: str = "") -> JudgedPoint:
            return JudgedPoint(
                point=verdict.point, fate=fate, reason=verdict.reason, trouble=trouble, hint=hint
            )

        if verdict.keep:
            return judged(Fate.KEPT)
        if self._dry_run:
            return judged(Fate.GOES)
        point = verdict.point
        try:
            store.delete_point(point.point)
        except Locked as error:
            return judged(Fate.BUSY, error.message, error.hint)
        except DestinationMissing:
            raise
        except XenbackupError as error:
            return judged(Fate.FAILED, error.message, error.hint)
        # The catalog is an index: a listing heals what it could not be told.
        with suppress(XenbackupError):
            self._house.catalog.remove_point(point.destination, point.point)
        _log.info(
            "point-removed",
            point=point.point,
            destination=point.destination,
            domain=point.domain,
            stored_bytes=point.stored_bytes,
            reason=verdict.reason,
        )
        return judged(Fate.REMOVED)


def _list_needed(house: House) -> Iterator[Hold]:
    """Points that a restore or a run which did not end comes back to.

    Raises: JournalDamaged, StateFailed.
    """
    for mark in open_marks(house).list_marks():
        yield Hold(point=mark.point, reason=f"the restore {mark.restore} from it did not end")
    for run, _ in find_unfinished(house):
        yield Hold(point=run, reason="its run has not ended")


def _list_flaws(listing: PointListing) -> Iterator[Hold]:
    for found in listing.flawed:
        yield Hold(point=found.point, reason=found.reason.removesuffix("."), good=False)


def _list_copies(listing: PointListing) -> Iterator[Hold]:
    for point, times in Counter(found.point for found in listing.points).items():
        if times > 1:
            yield Hold(point=point, reason=f"it lies here {times} times: somebody copied it")
