"""How the guests stand with what their jobs promise: a verdict for each guest and job. Pure.

- A guest that no job covers is `unprotected`; one that is shut off, and whose jobs are for running
  guests, is `off`.
- Without any point it is `never`, but `awaited` while its job's first due time is to come.
- With a last good point older than promised (`planning/promises.py`) it is `late`; with one that
  is new enough, and a newer run that failed, `failing`; else `good`.

Points of a job that is not there any more (renamed, removed) count for every job: they are good
points of the guest all the same. Points that a verification found damaged count for nothing, and
neither do points from the future: a clock was wrong, and for years they would be the newest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from xenbackup.model.job import Consistency, Job
from xenbackup.model.pipeline import AUTO
from xenbackup.model.point import PointSummary
from xenbackup.model.run import Outcome
from xenbackup.model.status import (
    DomainStatus,
    DomainVerdict,
    EndedRun,
    GuestList,
    KnownGuest,
    Level,
)
from xenbackup.planning.counted_points import is_ahead, is_sound
from xenbackup.planning.presets import (
    consistency_of,
    expand_pipeline,
    select_domains,
    select_pipeline,
)
from xenbackup.planning.promises import Promise

_LEVELS = {
    DomainVerdict.GOOD: Level.OK,
    DomainVerdict.AWAITED: Level.OK,
    DomainVerdict.OFF: Level.OK,
    DomainVerdict.FAILING: Level.WARNING,
    DomainVerdict.NEVER: Level.WARNING,
    DomainVerdict.UNPROTECTED: Level.WARNING,
    DomainVerdict.UNKNOWN: Level.WARNING,
    DomainVerdict.LATE: Level.CRITICAL,
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of guests, jobs, points and runs, as it is `now`.

    `points` are those of this host's guests (`select_own`). `promises` has each job's, by name.
    `runs` are the newest that ended of each (job, domain). `broken_jobs` are names whose files
    cannot be taken: their points are not anybody's. `at_work` are the (job, domain) whose run is
    under way or waits. `complete` is False when points may be missing from `points`. `guests` is
    None when nobody asked for them.
    """

    now: datetime
    jobs: Sequence[Job]
    promises: Mapping[str, Promise]
    points: Sequence[PointSummary]
    runs: Mapping[tuple[str, str], EndedRun]
    guests: GuestList | None = None
    broken_jobs: frozenset[str] = frozenset()
    at_work: frozenset[tuple[str, str]] = frozenset()
    complete: bool = True

    @property
    def lists_guests(self) -> bool:
        return self.guests is not None and not self.guests.problem


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All guests by name, and those that have points but are not there any more."""

    domains: tuple[DomainStatus, ...]
    gone: tuple[str, ...]


def judge_domains(evidence: Evidence) -> Judgement:
    """The verdict on every guest, for every job that promises it something.

    Where the guests could not be listed, those count that have points or runs and a job.
    """
    points: dict[str, list[PointSummary]] = {}
    for point in evidence.points:
        points.setdefault(point.domain, []).append(point)
    guests = {guest.name: guest for guest in evidence.guests.guests} if evidence.guests else {}
    judged: list[DomainStatus] = []
    gone: set[str] = set()
    for name in sorted({*guests, *points, *(domain for _, domain in evidence.runs)}):
        found = points.get(name, [])
        if evidence.lists_guests and name not in guests:
            gone |= {name} if found else set()
            continue
        rows = list(_judge_guest(name, guests.get(name), found, evidence))
        judged += rows
        gone |= {name} if found and not rows else set()
    return Judgement(domains=tuple(judged), gone=tuple(sorted(gone)))


def _judge_guest(
    name: str, guest: KnownGuest | None, points: Sequence[PointSummary], evidence: Evidence
) -> Iterator[DomainStatus]:
    covering = [job for job in evidence.jobs if select_domains(job, (name,))]
    running = guest.running if guest is not None else None
    if not covering:
        if guest is not None:
            verdict = DomainVerdict.UNPROTECTED if guest.running else DomainVerdict.OFF
            yield _describe(_start(name, "", running, verdict), points, evidence.now)
        return
    active = [job for job in covering if running is not False or _takes_shut_off(job, name)]
    if not active:
        status = _start(name, covering[0].name, running, DomainVerdict.OFF)
        yield _describe(status, points, evidence.now)
        return
    promising = [job for job in active if evidence.promises[job.name].made]
    for job in promising or _choose_one(active, points, evidence.now):
        yield _judge_for_job(name, job, running, points, evidence)


def _choose_one(
    jobs: Sequence[Job], points: Sequence[PointSummary], now: datetime
) -> Sequence[Job]:
    """Of jobs that promise nothing: the one with the newest point."""
    sound = [point for point in points if is_sound(point, now)]
    made = [point.job for point in sorted(sound, key=_order_points)]
    return sorted(jobs, key=lambda job: _find_place(made, job.name))[-1:]


def _find_place(names: Sequence[str], name: str) -> int:
    """The last place of a name; -1 when it has none."""
    return max((at for at, found in enumerate(names) if found == name), default=-1)


def _judge_for_job(
    name: str,
    job: Job,
    running: bool | None,
    points: Sequence[PointSummary],
    evidence: Evidence,
) -> DomainStatus:
    known = {found.name for found in evidence.jobs} | evidence.broken_jobs
    counted = [point for point in points if point.job == job.name or point.job not in known]
    sound = [point for point in counted if is_sound(point, evidence.now)]
    newest = max(sound, key=_order_points, default=None)
    # What is of the future alone is intact, as far as is known: nothing of it is lost.
    lost = bool(counted) and all(point.damage is not None for point in counted)
    promise = evidence.promises[job.name]
    at_work = (job.name, name) in evidence.at_work
    since = promise.while_at_work if at_work else promise.since
    run = evidence.runs.get((job.name, name))
    failed = (
        run is not None
        and run.outcome is Outcome.FAILED
        and (newest is None or run.ended_at > newest.created_at)
    )
    verdict = choose_verdict(
        newest.created_at if newest is not None else None,
        promise,
        since,
        failed=failed or lost,
        complete=evidence.complete,
    )
    status = replace(_start(name, job.name, running, verdict), promised_since=since, last_run=run)
    if verdict is DomainVerdict.NEVER and (failed or lost):
        # Nothing stands between the guest and its loss, and nothing is about to.
        status = replace(status, level=Level.CRITICAL)
    return _describe(status, counted, evidence.now)


def choose_verdict(
    point_at: datetime | None,
    promise: Promise,
    since: datetime | None,
    *,
    failed: bool,
    complete: bool,
) -> DomainVerdict:
    """The verdict on a guest that its job takes. `failed`: its newest run did, after the point."""
    if point_at is None:
        if not complete:
            return DomainVerdict.UNKNOWN
        if promise.made and (promise.fresh or since is None) and not failed:
            return DomainVerdict.AWAITED
        return DomainVerdict.NEVER
    if since is not None and point_at < since:
        return DomainVerdict.LATE if complete else DomainVerdict.UNKNOWN
    return DomainVerdict.FAILING if failed else DomainVerdict.GOOD


def _takes_shut_off(job: Job, name: str) -> bool:
    """As planning has it: shut off guests belong to pipelines for such, and to `auto`."""
    pipeline = select_pipeline(job, name)
    if pipeline.preset == AUTO:
        return True
    return consistency_of(expand_pipeline(pipeline)) is Consistency.OFFLINE


def _order_points(point: PointSummary) -> tuple[datetime, str]:
    return point.created_at, point.point


def _start(name: str, job: str, running: bool | None, verdict: DomainVerdict) -> DomainStatus:
    return DomainStatus(
        domain=name, job=job, running=running, verdict=verdict, level=_LEVELS[verdict]
    )


def _describe(status: DomainStatus, points: Sequence[PointSummary], now: datetime) -> DomainStatus:
    """With the newest good one of these points."""
    whole = [point for point in points if point.damage is None]
    sound = [point for point in whole if not is_ahead(point.created_at, now)]
    status = replace(
        status,
        points=len(sound),
        damaged=len(points) - len(whole),
        future=len(whole) - len(sound),
    )
    newest = max(sound, key=_order_points, default=None)
    if newest is None:
        return status
    return replace(
        status,
        point=newest.point,
        point_at=newest.created_at,
        consistency=newest.consistency.value,
        destination=newest.destination,
    )
