"""Status: the house at one look, from catalog, journals, job files and destinations. Quick.

The toolstack is asked for nothing but the list of guests, and that apart (`list_guests`), so that a
daemon can keep it for a while; LVM for its groups, where one is a destination. A destination that
hangs does not keep the report waiting.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from xenbackup import __version__
from xenbackup.dom0.guest_configuration import find_configurations
from xenbackup.errors import XenbackupError
from xenbackup.model.job import DestinationKind, DestinationSpec, Job
from xenbackup.model.live import DueTime, LiveStatus
from xenbackup.model.point import MarkedPoint, PointSummary
from xenbackup.model.status import (
    BrokenJob,
    DestinationStatus,
    EndedRun,
    FuturePoint,
    GuestList,
    KnownGuest,
    Level,
    OpenRun,
    RoundStatus,
    RunState,
    StatusReport,
)
from xenbackup.operations.house import House
from xenbackup.operations.open_runs import list_open_runs
from xenbackup.operations.own_points import find_own
from xenbackup.operations.points import list_points
from xenbackup.operations.probing import PROBE, Probe, Room, look_at_folders, look_at_groups
from xenbackup.operations.promise_starts import find_starts
from xenbackup.operations.reconciling import refresh_catalog
from xenbackup.operations.runs import complete_catalog
from xenbackup.operations.zones import find_zone
from xenbackup.planning.beginnings import choose_begin, find_next_beginning
from xenbackup.planning.counted_points import (
    CLOCK_TOLERANCE,
    OwnPoints,
    is_ahead,
    is_sound,
)
from xenbackup.planning.filling import HORIZON_DAYS, Pace, forecast_filling
from xenbackup.planning.findings import judge_report
from xenbackup.planning.promises import Promise, find_pace, find_promise
from xenbackup.planning.rounds import LATELY, add_rounds, group_rounds, read_begin
from xenbackup.planning.status import Evidence, judge_domains
from xenbackup.records.accepted_rounds import RoundFolder
from xenbackup.records.catalog import Catalog
from xenbackup.records.catalog_rows import RunEntry

RUNS_TOLD = 500
"""Newest runs of these rounds that a report lists."""
DAMAGED_TOLD = 100
"""Newest points found damaged that a report lists."""
FUTURE_TOLD = 100
"""Newest points from the future that a report lists."""
_TEXT_LIMIT_LETTERS = 400


def list_guests(house: House) -> GuestList:
    """The guests of the host, running or known from their files: one command. Raises nothing."""
    try:
        running = {domain.name for domain in house.toolstack.list_domains()}
        stopped = {domain.name for domain in house.toolstack.list_stopped()}
        files = find_configurations(house.host)
    except XenbackupError as error:
        return GuestList(problem=error.message)
    stopped |= {found.configuration.name for found in files if found.configuration is not None}
    return GuestList(
        guests=tuple(
            KnownGuest(name=name, running=name in running) for name in sorted(running | stopped)
        )
    )


def gather_status(
    house: House,
    live: LiveStatus | None = None,
    guests: GuestList | None = None,
    *,
    daemon_problem: str = "",
    hostname: str = "",
    probe: Probe | None = None,
) -> StatusReport:
    """The report. `live` is what the daemon is at, None without one; `guests` those of the host,
    None when nobody asked for them; `daemon_problem` why a daemon that is there said nothing.
    `probe` asks what may hang, the process's own unless given.

    A catalog that cannot be read is told in the report. Raises: StateFailed where not even the
    journals can be looked at.
    """
    now = house.host.now()
    probe = probe or PROBE
    hostname = hostname or os.uname().nodename
    since = now - LATELY
    runs, points, damaged, catalog_problem = _read_catalog(house, probe, now)
    own = find_own(house, points, damaged)
    future = _list_future(own, now)
    noted = dict(() if catalog_problem else house.catalog.list_schedules())
    starts = find_starts(house.jobs, noted, own.points, now)
    rounds, left_out = group_rounds(runs, since=since, limit=RUNS_TOLD)
    open_runs = list_open_runs(house)
    judgement = judge_domains(
        Evidence(
            now=now,
            jobs=house.jobs.jobs,
            promises={
                job.name: _find_promise(house, job, now, hostname, starts.get(job.name))
                for job in house.jobs.jobs
            },
            points=own.points,
            runs={(run.job, run.domain): run for run in reversed(runs)},
            guests=guests,
            broken_jobs=frozenset(file.name for file in house.jobs.broken),
            at_work=_list_at_work(live, open_runs),
            complete=not catalog_problem,
        )
    )
    report = StatusReport(
        host=hostname,
        version=__version__,
        now=now,
        since=since,
        level=Level.OK,
        live=live,
        daemon_problem=daemon_problem,
        domains=judgement.domains,
        gone=judgement.gone,
        rounds=add_rounds(
            rounds, _list_failed_rounds(house, since, now), under_way=_name_rounds(live)
        ),
        runs_left_out=left_out,
        open_runs=open_runs,
        due=live.due if live is not None else _list_due(house, now, hostname),
        destinations=_look_at_destinations(house, own, now, probe),
        damaged=tuple(_shorten_marked(marked) for marked in own.damaged[-DAMAGED_TOLD:]),
        damaged_left_out=max(len(own.damaged) - DAMAGED_TOLD, 0),
        future=future[-FUTURE_TOLD:],
        future_left_out=max(len(future) - FUTURE_TOLD, 0),
        broken_jobs=tuple(
            BrokenJob(
                job=file.name,
                path=str(file.path),
                problems=tuple(_shorten(problem) for problem in file.problems),
            )
            for file in house.jobs.broken
        ),
        guests_problem=guests.problem if guests is not None else "",
        catalog_problem=catalog_problem,
        unreadable_rounds=_list_unreadable_rounds(house),
    )
    return judge_report(report, house.jobs.jobs)


def _read_catalog(
    house: House, probe: Probe, now: datetime
) -> tuple[Sequence[EndedRun], Sequence[PointSummary], Sequence[MarkedPoint], str]:
    """The runs of lately and the last one of each job and guest, newest first; all points, the
    damaged ones of them and others that are no more than damaged; and why something may be missing
    of all these.

    A catalog that is new, or took the place of a damaged one, is filled from the destinations; and
    with the points of one that is configured since, or was given another name.
    """
    problem = ""
    try:
        if house.catalog.needs_rebuild():
            probe.ask({f"points for {house.catalog.path}": lambda: _fill_catalog(house)})
            if house.catalog.needs_rebuild():
                problem = "The catalog is new and not filled yet: points may be missing."
        elif silent := _list_new_destinations(house, probe):
            problem = f"Destination {silent[0]} was never listed: points may be missing."
        catalog = house.catalog
        runs = _select_runs(catalog.list_runs_since(now - LATELY), catalog, now)
        return runs, catalog.list_points(), catalog.list_damaged(), problem
    except XenbackupError as error:
        return (), (), (), str(error)


def _select_runs(lately: Sequence[RunEntry], catalog: Catalog, now: datetime) -> Sequence[EndedRun]:
    """A run of a night with the clock years ahead would be the newest for as many years."""
    last = catalog.list_last_runs(now + CLOCK_TOLERANCE)
    found = {entry.result.run: entry for entry in (*lately, *last)}
    return tuple(
        _shorten_run(found[run])
        for run in sorted(found, reverse=True)
        if not is_ahead(found[run].ended_at, now)
    )


def _fill_catalog(house: House) -> None:
    with suppress(XenbackupError, OSError):
        list_points(house)
        complete_catalog(house)


def _list_new_destinations(house: House, probe: Probe) -> tuple[str, ...]:
    """Look into those that nobody has listed yet; returns the ones that have not answered in time.

    Raises: StateFailed.
    """
    listed = house.catalog.list_listed()
    names = {
        f"points in {spec.name} for {house.catalog.path}": spec.name
        for spec in house.configuration.destinations
        if spec.name not in listed
    }
    answers = probe.ask({key: partial(_look_into, house, name) for key, name in names.items()})
    return tuple(name for key, name in names.items() if key not in answers)


def _look_into(house: House, destination: str) -> None:
    with suppress(XenbackupError, OSError):
        refresh_catalog(house, destination)


def _shorten_run(entry: RunEntry) -> EndedRun:
    result = entry.result
    return EndedRun(
        run=result.run,
        round=entry.round,
        job=entry.job,
        domain=result.domain,
        outcome=result.outcome,
        ended_at=entry.ended_at,
        point=result.point,
        away_seconds=result.away_seconds,
        duration_seconds=result.duration_seconds,
        bytes_read=result.bytes_read,
        bytes_written=result.bytes_written,
        error=_shorten(result.error),
        hint=_shorten(result.hint),
    )


def _shorten_marked(marked: MarkedPoint) -> MarkedPoint:
    return replace(marked, damage=replace(marked.damage, reason=_shorten(marked.damage.reason)))


def _list_future(own: OwnPoints, now: datetime) -> tuple[FuturePoint, ...]:
    """By time; of one that is damaged that is told, which is worse."""
    ahead = [point for point in own.points if is_ahead(point.created_at, now)]
    return tuple(
        FuturePoint(
            point=point.point,
            destination=point.destination,
            domain=point.domain,
            created_at=point.created_at,
        )
        for point in sorted(ahead, key=lambda point: (point.created_at, point.point))
        if point.damage is None
    )


def _list_failed_rounds(house: House, since: datetime, now: datetime) -> tuple[RoundStatus, ...]:
    """Rounds that came to nothing before any run; a catalog that cannot be read is told already."""
    with suppress(XenbackupError):
        return tuple(
            RoundStatus(
                round=failed.round,
                job=failed.job,
                began_at=min(read_begin(failed.round) or failed.ended_at, failed.ended_at),
                ended_at=failed.ended_at,
                outcome=failed.outcome,
                error=_shorten(failed.error),
                hint=_shorten(failed.hint),
            )
            for failed in house.catalog.list_failed_rounds(since)
            if not is_ahead(failed.ended_at, now)
        )
    return ()


def _list_unreadable_rounds(house: House) -> tuple[str, ...]:
    try:
        _, wrong = RoundFolder(house.rounds_folder).list_rounds()
    except XenbackupError as error:
        return (_shorten(error.message),)
    return tuple(_shorten(text) for text in wrong)


def _name_rounds(live: LiveStatus | None) -> frozenset[str]:
    if live is None:
        return frozenset()
    return frozenset(
        [*(run.round for run in live.active), *(waits.round for waits in live.waiting)]
    )


def _shorten(text: str) -> str:
    """What goes over the socket is bounded; the whole is in the journal, or in the file."""
    return text if len(text) <= _TEXT_LIMIT_LETTERS else text[: _TEXT_LIMIT_LETTERS - 1] + "…"


def _find_promise(
    house: House, job: Job, now: datetime, hostname: str, first_seen: datetime | None
) -> Promise:
    zone = find_zone(house.host, job)
    return find_promise(
        job,
        now,
        zone=zone,
        find_begin=lambda job, due_at: choose_begin(job, due_at, hostname, zone).begins_at,
        first_seen=first_seen,
    )


def _list_due(house: House, now: datetime, hostname: str) -> tuple[DueTime, ...]:
    """What a daemon would do next."""
    found = (
        find_next_beginning(job, now, find_zone(house.host, job), hostname)
        for job in house.jobs.jobs
        if job.schedule
    )
    return tuple(sorted((due for due in found if due), key=lambda due: (due.begins_at, due.job)))


def _list_at_work(
    live: LiveStatus | None, open_runs: Sequence[OpenRun]
) -> frozenset[tuple[str, str]]:
    """(job, domain) of runs that are under way or wait."""
    known = {(run.job, run.domain) for run in open_runs if run.state is RunState.AT_WORK}
    if live is not None:
        known |= {(run.job, run.domain) for run in live.active}
        known |= {(run.job, run.domain) for run in live.waiting}
    return frozenset(known)


def _look_at_destinations(
    house: House, own: OwnPoints, now: datetime, probe: Probe
) -> tuple[DestinationStatus, ...]:
    specs = house.configuration.destinations
    folders = {
        spec.name: house.host.place(spec.path)
        for spec in specs
        if spec.kind is DestinationKind.IMAGES
    }
    groups = {spec.name: spec.path for spec in specs if spec.kind is DestinationKind.VOLUME}
    rooms = {
        **look_at_folders(folders, probe),
        **look_at_groups(groups, house.lvm.list_groups, probe),
    }
    paces = {
        job.name: Pace(
            per_day=find_pace(job, now, zone=find_zone(house.host, job)), retention=job.retention
        )
        for job in house.jobs.jobs
    }
    return tuple(
        _describe_destination(
            spec,
            rooms[spec.name],
            _select_of(spec, own),
            paces,
            now,
        )
        for spec in specs
    )


def _select_of(spec: DestinationSpec, own: OwnPoints) -> OwnPoints:
    return OwnPoints(
        points=tuple(found for found in own.points if found.destination == spec.name),
        damaged=tuple(found for found in own.damaged if found.destination == spec.name),
        foreign=tuple(found for found in own.foreign if found.destination == spec.name),
    )


def _describe_destination(
    spec: DestinationSpec,
    room: Room,
    there: OwnPoints,
    paces: Mapping[str, Pace],
    now: datetime,
) -> DestinationStatus:
    """Prepared volumes are written over again and again: there is no room to run out of. Points
    that count for nothing take room as good ones do. Those of other hosts are taken to come and go
    as ours of a job of that name: they fill the same disk. No series begins in the future.
    """
    points = (*there.points, *there.foreign)
    status = DestinationStatus(
        name=spec.name,
        kind=spec.kind.value,
        path=spec.path,
        state=room.state,
        problem=room.problem,
        points=sum(is_sound(point, now) for point in there.points),
        damaged=len(there.damaged),
        foreign=len(there.foreign),
        stored_bytes=sum(point.stored_bytes for point in points),
    )
    if spec.kind is DestinationKind.VOLUME:
        return status
    past = [point for point in points if not is_ahead(point.created_at, now)]
    filling = forecast_filling(past, paces, now=now, free_bytes=room.free_bytes)
    return replace(
        status,
        free_bytes=room.free_bytes,
        total_bytes=room.total_bytes,
        growth_bytes_per_day=filling.growth_bytes_per_day,
        full_in_days=filling.full_in_days,
        horizon_days=HORIZON_DAYS,
    )
