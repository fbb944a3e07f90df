"""Status reports for tests: a good morning, a bad one, and any at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from xenbackup.model.job import Job, PipelineSpec
from xenbackup.model.live import ActiveRun, DueTime, LiveStatus, Origin, WaitingRun
from xenbackup.model.run import Outcome
from xenbackup.model.status import (
    BrokenJob,
    DestinationStatus,
    DomainStatus,
    DomainVerdict,
    EndedRun,
    FuturePoint,
    Level,
    OpenRun,
    PlaceState,
    RoundStatus,
    RunState,
    StatusReport,
)
from xenbackup.planning.findings import judge_report

NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC)
NIGHT = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
GIB = 1 << 30
MIB = 1 << 20
JOB = Job(
    name="nightly",
    pipeline=PipelineSpec(preset="auto"),
    destination="local",
    domains=("*",),
    schedule="30 2 * * *",
)


def make_run(domain: str, **changes: object) -> EndedRun:
    ended_at = NIGHT + timedelta(minutes=4)
    run = EndedRun(
        run=f"20261122T023000Z-{domain[:3]:a<6}",
        round="20261122T023000Z-k3f9qa",
        job="nightly",
        domain=domain,
        outcome=Outcome.OK,
        ended_at=ended_at,
        point=f"20261122T023000Z-{domain[:3]:a<6}",
        away_seconds=2.5,
        duration_seconds=200.0,
        bytes_read=40 * GIB,
        bytes_written=9 * GIB,
    )
    return replace(run, **changes)  # type: ignore[arg-type]


def make_domain(domain: str, **changes: object) -> DomainStatus:
    status = DomainStatus(
        domain=domain,
        job="nightly",
        verdict=DomainVerdict.GOOD,
        level=Level.OK,
        running=True,
        points=11,
        point=f"20261122T023000Z-{domain[:3]:a<6}",
        point_at=NIGHT + timedelta(minutes=3),
        consistency="memory",
        destination="local",
        promised_since=NIGHT,
        last_run=make_run(domain),
    )
    return replace(status, **changes)  # type: ignore[arg-type]


def make_round(*runs: EndedRun, outcome: Outcome = Outcome.OK) -> RoundStatus:
    return RoundStatus(
        round="20261122T023000Z-k3f9qa",
        job="nightly",
        began_at=NIGHT,
        ended_at=NIGHT + timedelta(minutes=12),
        outcome=outcome,
        runs=runs,
    )


PLACE = DestinationStatus(
    name="local",
    kind="images",
    path="/srv/backup",
    state=PlaceState.PRESENT,
    free_bytes=1200 * GIB,
    total_bytes=4000 * GIB,
    points=33,
    stored_bytes=900 * GIB,
    growth_bytes_per_day=4.5 * GIB,
    full_in_days=266,
    horizon_days=365,
)
LIVE = LiveStatus(
    pid=812,
    version="0.1.0",
    since=datetime(2026, 11, 20, 16, 2, tzinfo=UTC),
    due=(
        DueTime(
            job="nightly",
            due_at=NIGHT + timedelta(days=1),
            begins_at=NIGHT + timedelta(days=1, minutes=7),
        ),
    ),
)


def make_report(**changes: object) -> StatusReport:
    """A good morning, unless changed; with its findings."""
    runs = tuple(make_run(name) for name in ("db", "mail", "web"))
    report = StatusReport(
        host="xen1",
        version="0.1.0",
        now=NOW,
        since=NOW - timedelta(days=1),
        level=Level.OK,
        live=LIVE,
        domains=tuple(make_domain(name) for name in ("db", "mail", "web")),
        rounds=(make_round(*runs),),
        due=LIVE.due,
        destinations=(PLACE,),
    )
    return judge_report(replace(report, **changes), (JOB,))  # type: ignore[arg-type]


def make_bad_morning() -> StatusReport:
    """Nearly everything at once."""
    failed = make_run(
        "mail",
        outcome=Outcome.FAILED,
        point="",
        bytes_written=0,
        error="Destination local is full: 3.1 GiB more were needed.",
        hint="make room, or keep fewer points",
    )
    live = replace(
        LIVE,
        active=(
            ActiveRun(
                run="20261122T072800Z-aaaaaa",
                round="20261122T072755Z-bbbbbb",
                job="on-demand",
                domain="db",
                origin=Origin.DEMAND,
                began_at=NOW - timedelta(minutes=2),
                step="copy",
                what="xvda",
                bytes_done=18 * GIB,
                bytes_total=40 * GIB,
                bytes_per_second=150.0 * MIB,
            ),
            ActiveRun(
                run="20261122T072900Z-cccccc",
                round="20261122T072755Z-bbbbbb",
                job="on-demand",
                domain="shop",
                origin=Origin.DEMAND,
                began_at=NOW - timedelta(minutes=1),
                step="save",
                what="saving memory",
                away_since=NOW - timedelta(seconds=12),
            ),
        ),
        waiting=(
            WaitingRun(
                round="20261122T072755Z-bbbbbb",
                job="on-demand",
                domain="web",
                origin=Origin.DEMAND,
                since=NOW - timedelta(minutes=2),
                reason="another run reads from volume group xenvols",
            ),
        ),
        configuration_problems=("jobs/weekly.toml, line 3: `schedul` is no key.",),
    )
    return make_report(
        live=live,
        domains=(
            make_domain("db"),
            make_domain(
                "mail",
                verdict=DomainVerdict.LATE,
                level=Level.CRITICAL,
                point_at=NIGHT - timedelta(days=1),
                last_run=failed,
            ),
            DomainStatus(
                domain="shop",
                job="nightly",
                verdict=DomainVerdict.NEVER,
                level=Level.WARNING,
                running=True,
                promised_since=NIGHT,
            ),
            DomainStatus(
                domain="test",
                job="",
                verdict=DomainVerdict.UNPROTECTED,
                level=Level.WARNING,
                running=True,
            ),
            make_domain("web"),
        ),
        gone=("old",),
        rounds=(make_round(make_run("db"), failed, make_run("web"), outcome=Outcome.PARTIAL),),
        open_runs=(
            OpenRun(
                run="20261121T023000Z-dddddd",
                state=RunState.OWES,
                job="nightly",
                domain="web",
                began_at=NIGHT - timedelta(days=1),
                step="remove-snapshot",
                owes="snapshot xenvols/xb-web is held open",
            ),
        ),
        destinations=(
            replace(PLACE, free_bytes=20 * GIB, full_in_days=4),
            DestinationStatus(
                name="offsite",
                kind="images",
                path="/mnt/nas",
                state=PlaceState.SILENT,
                problem="/mnt/nas has not answered within 2 seconds. Is its server gone?",
                points=12,
            ),
        ),
        broken_jobs=(
            BrokenJob(
                job="weekly",
                path="/etc/xenbackup/jobs/weekly.toml",
                problems=("jobs/weekly.toml, line 3: `schedul` is no key.",),
            ),
        ),
    )


def make_documented_morning() -> StatusReport:
    """The one that docs/operating.md shows: one guest failed, one is being backed up again."""
    bad = make_bad_morning()
    db, mail, *_, web = bad.domains
    assert bad.live is not None
    return make_report(
        live=replace(LIVE, active=bad.live.active[:1], waiting=bad.live.waiting),
        domains=(db, mail, web),
        rounds=bad.rounds,
    )


# Any report at all

_names = st.text(max_size=40) | st.sampled_from(
    ("\udcff\udc80", "\x1b[31mred", "line\nbreak", "名前" * 30, "a" * 300, "e\u0301" * 20, "| x=1")
)
_amounts = st.integers(0, 1 << 60)
_spans = st.floats(0, 1e8)
_naive = NOW.replace(tzinfo=None)
_moments = st.datetimes(
    _naive - timedelta(days=9000), _naive + timedelta(days=9000), timezones=st.just(UTC)
)
_levels = st.sampled_from(Level)
_runs = st.builds(
    EndedRun,
    run=_names,
    round=_names,
    job=_names,
    domain=_names,
    outcome=st.sampled_from(Outcome),
    ended_at=_moments,
    point=_names,
    away_seconds=_spans,
    duration_seconds=_spans,
    bytes_read=_amounts,
    bytes_written=_amounts,
    error=_names,
    hint=_names,
)
_domains = st.builds(
    DomainStatus,
    domain=_names,
    job=_names,
    verdict=st.sampled_from(DomainVerdict),
    level=_levels,
    running=st.none() | st.booleans(),
    points=st.integers(0, 10**6),
    damaged=st.integers(0, 3),
    future=st.integers(0, 3),
    point=_names,
    point_at=st.none() | _moments,
    consistency=_names,
    destination=_names,
    promised_since=st.none() | _moments,
    last_run=st.none() | _runs,
)
_active = st.builds(
    ActiveRun,
    run=_names,
    round=_names,
    job=_names,
    domain=_names,
    origin=st.sampled_from(Origin),
    began_at=_moments,
    step=_names,
    what=_names,
    bytes_done=_amounts,
    bytes_total=_amounts,
    bytes_per_second=st.floats(0, 1e12),
    away_since=st.none() | _moments,
    cancelling=_names,
)
_waiting = st.builds(
    WaitingRun,
    round=_names,
    job=_names,
    domain=_names,
    origin=st.sampled_from(Origin),
    since=_moments,
    reason=_names,
    not_before=st.none() | _moments,
)
_due = st.builds(DueTime, job=_names, due_at=_moments, begins_at=_moments)
_live = st.builds(
    LiveStatus,
    pid=st.integers(1, 1 << 22),
    version=_names,
    since=_moments,
    stopping=_names,
    configuration_problems=st.lists(_names, max_size=2).map(tuple),
    recovery=st.lists(_names, max_size=2).map(tuple),
    telling_problems=st.lists(_names, max_size=2).map(tuple),
    active=st.lists(_active, max_size=2).map(tuple),
    waiting=st.lists(_waiting, max_size=2).map(tuple),
    due=st.lists(_due, max_size=2).map(tuple),
)
_rounds = st.builds(
    RoundStatus,
    round=_names,
    job=_names,
    began_at=_moments,
    ended_at=_moments,
    outcome=st.sampled_from(Outcome),
    runs=st.lists(_runs, max_size=3).map(tuple),
    error=_names,
    hint=_names,
    under_way=st.booleans(),
)
_open_runs = st.builds(
    OpenRun,
    run=_names,
    state=st.sampled_from(RunState),
    job=_names,
    domain=_names,
    began_at=st.none() | _moments,
    step=_names,
    owes=_names,
)
_places = st.builds(
    DestinationStatus,
    name=_names,
    kind=_names,
    path=_names,
    state=st.sampled_from(PlaceState),
    problem=_names,
    free_bytes=st.none() | _amounts,
    total_bytes=st.none() | _amounts,
    points=st.integers(0, 10**6),
    foreign=st.integers(0, 3),
    stored_bytes=_amounts,
    growth_bytes_per_day=st.none() | st.floats(0, 1e15),
    full_in_days=st.none() | st.integers(0, 364),
    horizon_days=st.just(365),
)
_future = st.builds(
    FuturePoint, point=_names, destination=_names, domain=_names, created_at=_moments
)
_broken = st.builds(
    BrokenJob, job=_names, path=_names, problems=st.lists(_names, max_size=2).map(tuple)
)
reports = st.builds(
    StatusReport,
    host=_names,
    version=_names,
    now=_moments,
    since=_moments,
    level=_levels,
    live=st.none() | _live,
    daemon_problem=_names,
    domains=st.lists(_domains, max_size=3).map(tuple),
    gone=st.lists(_names, max_size=3).map(tuple),
    rounds=st.lists(_rounds, max_size=2).map(tuple),
    runs_left_out=st.integers(0, 5),
    open_runs=st.lists(_open_runs, max_size=2).map(tuple),
    due=st.lists(_due, max_size=2).map(tuple),
    destinations=st.lists(_places, max_size=2).map(tuple),
    future=st.lists(_future, max_size=2).map(tuple),
    future_left_out=st.integers(0, 5),
    broken_jobs=st.lists(_broken, max_size=2).map(tuple),
    guests_problem=_names,
    catalog_problem=_names,
    unreadable_rounds=st.lists(_names, max_size=2).map(tuple),
).map(lambda report: judge_report(report, (JOB,)))
