"""Points of a night with the clock years ahead: they are told of, and count for nothing good."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.pruned_house import Attic, make_job
from tests.unit.status_reports import JOB, NIGHT, NOW, make_domain, make_report, make_run
from tests.unit.test_status_verdicts import DAMAGE, judge, judge_one, make_point
from xenbackup.cli.status_telling import list_performance, shape_status
from xenbackup.model.job import Retention
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.model.status import (
    DomainStatus,
    DomainVerdict,
    Finding,
    FuturePoint,
    Level,
    StatusReport,
)
from xenbackup.operations import status as statuses
from xenbackup.operations.points import list_points
from xenbackup.operations.status import gather_status
from xenbackup.planning.counted_points import CLOCK_TOLERANCE, is_ahead
from xenbackup.planning.findings import POINT_FROM_THE_FUTURE
from xenbackup.planning.promises import Promise
from xenbackup.service.metrics import refresh_metrics

YEARS = timedelta(days=4000)


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    return Attic(tmp_path / "host", make_job(schedule="30 2 * * *"))


def list_told(report: StatusReport) -> list[Finding]:
    return [found for found in report.findings if found.code == POINT_FROM_THE_FUTURE]


# The verdict


def test_a_point_from_the_future_keeps_no_promise_and_an_older_good_one_counts() -> None:
    old = make_point(at=NIGHT - timedelta(days=9))
    (status,) = judge(old, make_point(at=NOW + YEARS))
    assert (DomainVerdict.LATE, Level.CRITICAL) == (status.verdict, status.level)
    assert (old.point, old.created_at) == (status.point, status.point_at)
    assert (1, 0, 1) == (status.points, status.damaged, status.future)


def test_a_point_from_the_future_does_not_outlive_the_promise_that_good_ones_keep() -> None:
    (status,) = judge(make_point(), make_point(at=NOW + YEARS))
    assert (DomainVerdict.GOOD, 1, 1) == (status.verdict, status.points, status.future)


def test_a_clock_that_is_set_right_a_little_makes_no_future() -> None:
    ahead = make_point(at=NOW + CLOCK_TOLERANCE)
    (status,) = judge(ahead)
    assert (DomainVerdict.GOOD, ahead.point, 0) == (status.verdict, status.point, status.future)
    assert not is_ahead(NOW + CLOCK_TOLERANCE, NOW)
    assert is_ahead(NOW + CLOCK_TOLERANCE + timedelta(seconds=1), NOW)


def test_nothing_but_a_point_from_the_future_is_never() -> None:
    ahead = make_point(at=NOW + YEARS)
    assert (DomainVerdict.NEVER, Level.WARNING) == judge_one(ahead)
    failed = make_run("web", outcome=Outcome.FAILED, error="disk full")
    assert (DomainVerdict.NEVER, Level.CRITICAL) == judge_one(ahead, runs=(failed,))
    assert (DomainVerdict.AWAITED, Level.OK) == judge_one(
        ahead, promise=Promise(made=True, fresh=True)
    )
    lost = replace(make_point(), damage=DAMAGE)
    assert (DomainVerdict.NEVER, Level.WARNING) == judge_one(ahead, lost)


def test_a_point_that_is_damaged_too_is_told_as_damaged() -> None:
    (status,) = judge(replace(make_point(at=NOW + YEARS), damage=DAMAGE))
    assert (0, 1, 0) == (status.points, status.damaged, status.future)


def test_of_jobs_by_hand_it_does_not_choose_the_line() -> None:
    jobs = tuple(replace(JOB, name=name, schedule="") for name in ("a", "b"))
    (status,) = judge(make_point(job="a"), make_point(job="b", at=NOW + YEARS), jobs=jobs)
    assert ("a", DomainVerdict.GOOD) == (status.job, status.verdict)


@pytest.mark.parametrize(
    ("damaged", "future", "expected"),
    [
        (0, 1, "its only one is from the future"),
        (0, 3, "all 3 are from the future"),
        (1, 2, "1 was found damaged, 2 are from the future"),
        (2, 1, "2 were found damaged, 1 is from the future"),
        (1, 0, "its only one was found damaged"),
        (2, 0, "all 2 were found damaged"),
    ],
)
def test_finding_says_why_no_point_is_good(damaged: int, future: int, expected: str) -> None:
    status: DomainStatus = make_domain(
        "web",
        verdict=DomainVerdict.NEVER,
        level=Level.WARNING,
        point="",
        point_at=None,
        points=0,
        damaged=damaged,
        future=future,
        last_run=None,
    )
    (finding,) = make_report(domains=(status,)).findings
    assert f"It has no good point by job nightly: {expected}." == finding.message


# The report


def test_status_goes_by_the_others_and_names_it(attic: Attic) -> None:
    ahead, real = attic.store(-4000), attic.store(9)
    list_points(attic.house)
    report = gather_status(attic.house)
    (web,) = report.domains
    assert (DomainVerdict.LATE, real, 1, 1) == (web.verdict, web.point, web.points, web.future)
    assert (1, 0) == (report.destinations[0].points, report.destinations[0].damaged)
    (finding,) = list_told(report)
    assert (Level.WARNING, "web") == (finding.level, finding.subject)
    assert f"Point {ahead} in local is of {attic.night(-4000):%Y-%m-%d}" in finding.message
    assert "4000 d from now, so it counts for nothing" in finding.message
    assert "future_points=1" in list(list_performance(report))
    shape = shape_status(report)
    assert [ahead] == [found["point"] for found in shape["future"]]  # type: ignore[attr-defined]


def test_good_mornings_warn_of_it_until_it_is_gone(attic: Attic) -> None:
    ahead, _ = attic.store(-4000), attic.store(0)
    list_points(attic.house)
    assert 1 == len(list_told(gather_status(attic.house)))
    with attic.house.open_destination("local") as store:  # type: ignore[attr-defined]
        store.delete_point(ahead)
    list_points(attic.house)
    assert [] == list_told(gather_status(attic.house))


def test_very_many_are_summed_up(attic: Attic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "FUTURE_TOLD", 1)
    nights = [attic.store(-4000 - more) for more in range(3)]
    list_points(attic.house)
    report = gather_status(attic.house)
    named, rest = list_told(report)
    assert nights[-1] in named.message
    assert "2 more points are from the future." == rest.message
    assert (1, 2) == (len(report.future), report.future_left_out)


def test_runs_and_rounds_from_the_future_hide_no_failure(attic: Attic) -> None:
    attic.store(0)
    list_points(attic.house)
    catalog = attic.house.catalog
    for number, (ago, outcome) in enumerate(((-4000, Outcome.OK), (0, Outcome.FAILED))):
        run = f"20261122T02300{number}Z-aaaaaa"
        result = RunResult(run=run, domain="web", uuid="", outcome=outcome)
        at = attic.night(ago) + CLOCK_TOLERANCE * (not ago)
        catalog.record_run(result, job="nightly", round=run, at=at)
    failed = RoundResult(
        round="20371122T023000Z-bbbbbb",
        job="nightly",
        outcome=Outcome.FAILED,
        exit_code=1,
        runs=(),
        error="no",
    )
    catalog.record_failed_round(failed, at=attic.night(-4000))
    report = gather_status(attic.house)
    (web,) = report.domains
    assert web.last_run is not None
    assert (DomainVerdict.FAILING, Outcome.FAILED) == (web.verdict, web.last_run.outcome)
    assert ["20261122T023001Z-aaaaaa"] == [run.run for told in report.rounds for run in told.runs]
    assert 1 == len(report.rounds)


def test_a_series_does_not_begin_in_the_future(tmp_path: Path) -> None:
    job = make_job(schedule="30 2 * * *", retention=Retention(daily=365))
    attic = Attic(tmp_path / "host", job)
    attic.store_nights(3)
    list_points(attic.house)
    before = gather_status(attic.house).destinations[0]
    attic.store(-4000)
    list_points(attic.house)
    after = gather_status(attic.house).destinations[0]
    assert before.growth_bytes_per_day
    assert before.growth_bytes_per_day == after.growth_bytes_per_day


def test_monitors_read_it() -> None:
    point = FuturePoint(point="p", destination="local", domain="web", created_at=NOW + YEARS)
    report = make_report(future=(point,), future_left_out=4)
    assert (Level.WARNING, 2) == (report.level, len(list_told(report)))
    assert "future_points=5" in list(list_performance(report))


def test_metrics_do_not_count_it(attic: Attic) -> None:
    attic.configure(metrics_path="/srv/metrics.prom")
    attic.store(-4000)
    real = attic.night(9)
    attic.store(9)
    list_points(attic.house)
    refresh_metrics(attic.house)
    text = attic.host.place("/srv/metrics.prom").read_text()
    assert 'xenbackup_points{domain="web",destination="local",age="1d"} 0\n' in text
    assert 'xenbackup_points{domain="web",destination="local",age="31d"} 1\n' in text
    (line,) = (text for text in text.splitlines() if text.startswith("xenbackup_last_point_time"))
    assert abs(float(line.rpartition(" ")[2]) - real.timestamp()) < 60
