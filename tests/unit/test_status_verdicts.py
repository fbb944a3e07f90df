"""The verdict on each guest and job, and what of a report wants an eye."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.status_reports import (
    JOB,
    LIVE,
    NIGHT,
    NOW,
    PLACE,
    make_bad_morning,
    make_report,
    make_run,
)
from xenbackup.model.job import Consistency, Job, PipelineSpec
from xenbackup.model.point import Damage, PointSummary
from xenbackup.model.run import Outcome
from xenbackup.model.status import (
    DomainStatus,
    DomainVerdict,
    EndedRun,
    GuestList,
    KnownGuest,
    Level,
    OpenRun,
    PlaceState,
    RunState,
)
from xenbackup.planning.findings import describe_span
from xenbackup.planning.promises import Promise
from xenbackup.planning.rounds import group_rounds, judge_outcomes, read_begin
from xenbackup.planning.status import Evidence, choose_verdict, judge_domains

LAST_NIGHT = Promise(made=True, since=NIGHT, while_at_work=NIGHT - timedelta(days=1))
WEB_RUNS = GuestList(guests=(KnownGuest(name="web", running=True),))
DAMAGE = Damage(found_at=NIGHT, reason="xvda.img: differs from its digests")
GOOD_AT = NIGHT + timedelta(minutes=3)


def make_point(
    domain: str = "web", *, at: datetime = GOOD_AT, job: str = "nightly"
) -> PointSummary:
    return PointSummary(
        point=f"{at:%Y%m%dT%H%M%SZ}-{domain[:3]:a<6}",
        destination="local",
        domain=domain,
        identity=domain,
        job=job,
        consistency=Consistency.MEMORY,
        created_at=at,
        size_bytes=1,
        stored_bytes=1,
        has_memory=True,
    )


def judge(
    *points: PointSummary,
    jobs: tuple[Job, ...] = (JOB,),
    promise: Promise = LAST_NIGHT,
    runs: tuple[EndedRun, ...] = (),
    guests: GuestList | None = WEB_RUNS,
    at_work: frozenset[tuple[str, str]] = frozenset(),
    complete: bool = True,
) -> tuple[DomainStatus, ...]:
    return judge_domains(
        Evidence(
            now=NOW,
            jobs=jobs,
            promises={job.name: promise if job.schedule else Promise(made=False) for job in jobs},
            points=points,
            runs={(run.job, run.domain): run for run in runs},
            guests=guests,
            at_work=at_work,
            complete=complete,
        )
    ).domains


def judge_one(*points: PointSummary, **changes: object) -> tuple[DomainVerdict, Level]:
    (status,) = judge(*points, **changes)  # type: ignore[arg-type]
    return status.verdict, status.level


FAILED = make_run("web", outcome=Outcome.FAILED, error="disk full")


def test_a_point_of_last_night_is_good() -> None:
    assert (DomainVerdict.GOOD, Level.OK) == judge_one(make_point())


def test_a_point_of_the_night_before_is_late() -> None:
    old = make_point(at=NIGHT - timedelta(days=1))
    assert (DomainVerdict.LATE, Level.CRITICAL) == judge_one(old)


def test_while_its_run_is_at_work_a_guest_is_not_late() -> None:
    old = make_point(at=NIGHT - timedelta(hours=23))
    at_work = frozenset((("nightly", "web"),))
    assert (DomainVerdict.GOOD, Level.OK) == judge_one(old, at_work=at_work)


def test_a_newer_run_that_failed_makes_a_good_point_failing() -> None:
    assert (DomainVerdict.FAILING, Level.WARNING) == judge_one(make_point(), runs=(FAILED,))


def test_a_run_that_failed_before_the_point_is_forgotten() -> None:
    failed = replace(FAILED, ended_at=GOOD_AT - timedelta(minutes=1))
    assert (DomainVerdict.GOOD, Level.OK) == judge_one(make_point(), runs=(failed,))


def test_a_cancelled_run_is_no_failure() -> None:
    cancelled = replace(FAILED, outcome=Outcome.CANCELLED)
    assert (DomainVerdict.GOOD, Level.OK) == judge_one(make_point(), runs=(cancelled,))


def test_no_point_although_one_was_promised_is_never() -> None:
    assert (DomainVerdict.NEVER, Level.WARNING) == judge_one()


def test_no_point_and_a_run_that_failed_is_critical() -> None:
    assert (DomainVerdict.NEVER, Level.CRITICAL) == judge_one(runs=(FAILED,))


def test_a_damaged_point_keeps_no_promise_and_an_older_good_one_counts() -> None:
    old = make_point(at=NIGHT - timedelta(days=1))
    newest = replace(make_point(), damage=DAMAGE)
    (status,) = judge(old, newest)
    assert (DomainVerdict.LATE, Level.CRITICAL) == (status.verdict, status.level)
    assert (old.point, 1, 1) == (status.point, status.points, status.damaged)


def test_nothing_but_damaged_points_is_never_and_critical_even_of_a_new_job() -> None:
    lost = replace(make_point(), damage=DAMAGE)
    assert (DomainVerdict.NEVER, Level.CRITICAL) == judge_one(lost)
    assert (DomainVerdict.NEVER, Level.CRITICAL) == judge_one(lost, promise=Promise(made=True))
    assert (DomainVerdict.UNKNOWN, Level.WARNING) == judge_one(lost, complete=False)


def test_no_point_before_the_first_due_time_is_awaited() -> None:
    assert (DomainVerdict.AWAITED, Level.OK) == judge_one(promise=Promise(made=True))


def test_no_point_of_a_job_newer_than_its_largest_age_is_awaited() -> None:
    promise = replace(LAST_NIGHT, fresh=True)
    assert (DomainVerdict.AWAITED, Level.OK) == judge_one(promise=promise)
    old = make_point(at=NIGHT - timedelta(days=1))
    assert (DomainVerdict.LATE, Level.CRITICAL) == judge_one(old, promise=promise)


def test_without_a_whole_catalog_nobody_is_called_late_or_never() -> None:
    old = make_point(at=NIGHT - timedelta(days=1))
    unknown = (DomainVerdict.UNKNOWN, Level.WARNING)
    assert [unknown, unknown] == [judge_one(complete=False), judge_one(old, complete=False)]
    assert (DomainVerdict.GOOD, Level.OK) == judge_one(make_point(), complete=False)


def test_a_running_guest_that_no_job_covers_is_unprotected() -> None:
    job = replace(JOB, exclude=("web",))
    assert (DomainVerdict.UNPROTECTED, Level.WARNING) == judge_one(jobs=(job,))


def test_a_shut_off_guest_that_no_job_covers_is_off() -> None:
    guests = GuestList(guests=(KnownGuest(name="web", running=False),))
    assert (DomainVerdict.OFF, Level.OK) == judge_one(jobs=(), guests=guests)


def test_a_shut_off_guest_of_a_job_for_running_ones_is_off() -> None:
    guests = GuestList(guests=(KnownGuest(name="web", running=False),))
    job = replace(JOB, pipeline=PipelineSpec(preset="checkpoint"))
    assert (DomainVerdict.OFF, Level.OK) == judge_one(jobs=(job,), guests=guests)


@pytest.mark.parametrize("preset", ["auto", "offline"])
def test_a_shut_off_guest_of_a_job_that_takes_it_is_judged_like_others(preset: str) -> None:
    guests = GuestList(guests=(KnownGuest(name="web", running=False),))
    job = replace(JOB, pipeline=PipelineSpec(preset=preset))
    assert (DomainVerdict.NEVER, Level.WARNING) == judge_one(jobs=(job,), guests=guests)


def test_points_of_another_job_do_not_keep_the_promise_of_this_one() -> None:
    weekly = replace(JOB, name="weekly")
    found = judge(make_point(job="weekly"), jobs=(JOB, weekly))
    assert [("nightly", DomainVerdict.NEVER), ("weekly", DomainVerdict.GOOD)] == [
        (status.job, status.verdict) for status in found
    ]


def test_points_of_a_job_that_was_renamed_count() -> None:
    assert (DomainVerdict.GOOD, Level.OK) == judge_one(make_point(job="formerly"))


def test_a_job_by_hand_beside_one_by_schedule_has_no_line() -> None:
    by_hand = replace(JOB, name="by-hand", schedule="")
    assert ["nightly"] == [status.job for status in judge(make_point(), jobs=(JOB, by_hand))]


def test_jobs_by_hand_alone_have_one_line_with_the_newest_point() -> None:
    jobs = tuple(replace(JOB, name=name, schedule="") for name in ("a", "b", "c"))
    (status,) = judge(
        make_point(job="b", at=NIGHT - timedelta(days=90)),
        make_point(job="a", at=NIGHT - timedelta(days=99)),
        jobs=jobs,
    )
    assert ("b", DomainVerdict.GOOD) == (status.job, status.verdict)


def test_a_guest_that_went_is_gone_and_not_late() -> None:
    found = judge_domains(
        Evidence(
            now=NOW,
            jobs=(JOB,),
            promises={"nightly": LAST_NIGHT},
            points=(make_point("old", at=NIGHT - timedelta(days=40)),),
            runs={("nightly", "older"): make_run("older")},
            guests=GuestList(),
        )
    )
    assert ((), ("old",)) == (found.domains, found.gone)


@pytest.mark.parametrize("guests", [None, GuestList(problem="xl does not answer.")])
def test_without_a_list_of_guests_those_with_points_or_runs_are_judged(
    guests: GuestList | None,
) -> None:
    found = judge(make_point("web"), runs=(make_run("db"),), guests=guests)
    assert [("db", None, DomainVerdict.NEVER), ("web", None, DomainVerdict.GOOD)] == [
        (status.domain, status.running, status.verdict) for status in found
    ]


moments = st.integers(-5000, 0).map(lambda minutes: NOW + timedelta(minutes=minutes))


@given(st.none() | moments, st.none() | moments, st.booleans(), st.booleans())
def test_good_means_a_point_that_is_new_enough(
    point_at: datetime | None, since: datetime | None, failed: bool, complete: bool
) -> None:
    promise = Promise(made=True, since=since)
    verdict = choose_verdict(point_at, promise, since, failed=failed, complete=complete)
    kept = point_at is not None and (since is None or point_at >= since)
    assert (kept and not failed) == (verdict is DomainVerdict.GOOD)
    assert (kept and failed) == (verdict is DomainVerdict.FAILING)


# What wants an eye


def codes(**changes: object) -> list[tuple[str, Level]]:
    report = make_report(**changes)
    assert report.level is (report.findings[0].level if report.findings else Level.OK)
    return [(finding.code, finding.level) for finding in report.findings]


def test_a_good_morning_has_no_findings() -> None:
    assert [] == codes()


def test_the_worst_comes_first() -> None:
    ranks = [finding.level.rank for finding in make_bad_morning().findings]
    assert sorted(ranks, reverse=True) == ranks
    assert len(ranks) == 8


def test_no_daemon_is_a_warning_where_something_is_scheduled() -> None:
    assert [("daemon-absent", Level.WARNING)] == codes(live=None)


def test_a_daemon_that_does_not_answer_is_critical() -> None:
    found = codes(live=None, daemon_problem="The daemon has given no sign of life.")
    assert [("daemon-silent", Level.CRITICAL)] == found


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (RunState.AT_WORK, []),
        (RunState.CUT_OFF, [("run-unfinished", Level.CRITICAL)]),
        (RunState.UNREADABLE, [("run-unfinished", Level.CRITICAL)]),
        (RunState.OWES, [("debt-owed", Level.WARNING)]),
    ],
)
def test_open_runs_are_judged_by_how_they_stand(
    state: RunState, expected: list[tuple[str, Level]]
) -> None:
    assert expected == codes(open_runs=(OpenRun(run="20261122T023000Z-aaaaaa", state=state),))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (None, []),
        (7, []),
        (6, [("destination-full-soon", Level.WARNING)]),
        (0, [("destination-full-soon", Level.CRITICAL)]),
    ],
)
def test_a_destination_that_fills_up_is_told_in_time(
    days: int | None, expected: list[tuple[str, Level]]
) -> None:
    assert expected == codes(destinations=(replace(PLACE, full_in_days=days),))


@pytest.mark.parametrize("state", [state for state in PlaceState if state != "present"])
def test_a_destination_that_cannot_be_used_is_critical(state: PlaceState) -> None:
    place = replace(PLACE, state=state, full_in_days=None)
    assert [(f"destination-{state}", Level.CRITICAL)] == codes(destinations=(place,))


def test_a_destination_that_is_there_and_read_only_is_critical() -> None:
    place = replace(PLACE, problem="/srv/backup is mounted read-only.", full_in_days=None)
    assert [("destination-read-only", Level.CRITICAL)] == codes(destinations=(place,))


def test_what_recovery_and_reload_left_is_told() -> None:
    live = replace(LIVE, recovery=("web: paused",), configuration_problems=("x.toml",))
    assert [("recovery-incomplete", Level.CRITICAL), ("reload-refused", Level.WARNING)] == codes(
        live=live
    )


@pytest.mark.parametrize(
    ("field", "code"),
    [("guests_problem", "guests-unlisted"), ("catalog_problem", "catalog-incomplete")],
)
def test_what_could_not_be_read_is_told(field: str, code: str) -> None:
    assert [(code, Level.WARNING)] == codes(**{field: "It does not answer."})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (104400, "29 h")],
)
def test_spans_are_told_coarsely_but_not_rounded_away(seconds: int, expected: str) -> None:
    assert expected == describe_span(NOW, NOW + timedelta(seconds=seconds))


# Rounds


def test_runs_are_put_together_by_round_and_old_ones_left_out() -> None:
    old = make_run("old", ended_at=NOW - timedelta(days=2))
    other = make_run("db", round="20261122T040000Z-zzzzzz")
    rounds, left_out = group_rounds(
        (other, make_run("web"), make_run("db"), old), since=NOW - timedelta(days=1), limit=10
    )
    assert 0 == left_out
    assert [("20261122T023000Z-k3f9qa", 2), ("20261122T040000Z-zzzzzz", 1)] == [
        (told.round, len(told.runs)) for told in rounds
    ]


def test_of_too_many_runs_the_failed_ones_are_kept() -> None:
    failed = make_run("bad", outcome=Outcome.FAILED, ended_at=NIGHT)
    runs = (*(make_run(f"{number}") for number in range(5)), failed)
    rounds, left_out = group_rounds(runs, since=NOW - timedelta(days=1), limit=2)
    assert 4 == left_out
    assert "bad" in {run.domain for told in rounds for run in told.runs}


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Outcome.OK, Outcome.OK], Outcome.OK),
        ([Outcome.OK, Outcome.FAILED], Outcome.PARTIAL),
        ([Outcome.FAILED, Outcome.CANCELLED], Outcome.FAILED),
        ([Outcome.CANCELLED], Outcome.CANCELLED),
    ],
)
def test_a_round_comes_to_what_its_runs_come_to(outcomes: list[Outcome], expected: Outcome) -> None:
    assert expected is judge_outcomes(outcomes)


def test_an_id_tells_when_it_began() -> None:
    assert datetime(2026, 11, 22, 2, 30, tzinfo=UTC) == read_begin("20261122T023000Z-k3f9qa")
    assert [None, None] == [read_begin("by hand"), read_begin("20269922T023000Z-k3f9qa")]
