"""Rounds that came to nothing before any run: kept in the catalog, and shown with the others."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.house import build_host, build_house
from tests.unit.rounds import make_round
from tests.unit.status_reports import JOB, LIVE, NIGHT, NOW, make_report, make_run
from xenbackup.errors import ExitCode, PlanRefused, UsageError
from xenbackup.model.live import Origin, WaitingRun
from xenbackup.model.run import Outcome
from xenbackup.model.status import Level, RoundStatus
from xenbackup.operations.round import describe_failure, finish_round
from xenbackup.operations.status import gather_status
from xenbackup.planning.rounds import add_rounds, group_rounds
from xenbackup.records.catalog import Catalog

ROUND = "20261122T023000Z-k3f9qa"
FAILED = RoundStatus(
    round="20261122T040000Z-zzzzzz",
    job="nightly",
    began_at=NIGHT + timedelta(minutes=90),
    ended_at=NIGHT + timedelta(minutes=91),
    outcome=Outcome.FAILED,
    error="The hook said no.",
    hint="ask it why",
)
SINCE = NOW - timedelta(days=1)


def codes(**changes: object) -> list[str]:
    return [finding.code for finding in make_report(**changes).findings]


def test_what_is_recorded_is_found_again_and_old_ones_are_not(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    result = make_round(round=ROUND, outcome=Outcome.FAILED, error="no", hint="ask")
    catalog.record_failed_round(result, at=NIGHT)
    catalog.record_failed_round(replace(result, round="older"), at=SINCE)
    (found,) = catalog.list_failed_rounds(SINCE)
    assert (ROUND, "nightly", NIGHT, Outcome.FAILED, "no", "ask") == (
        found.round,
        found.job,
        found.ended_at,
        found.outcome,
        found.error,
        found.hint,
    )


def test_a_row_that_nobody_wrote_is_damage(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    catalog.record_failed_round(make_round(error="no"), at=NIGHT)
    with sqlite3.connect(catalog.path) as connection:
        connection.execute("UPDATE failed_rounds SET outcome = 'perhaps'")
    connection.close()
    catalog.open()
    assert () == catalog.list_failed_rounds(SINCE)
    assert catalog.path.with_name("catalog.sqlite.damaged-1").exists()


def test_a_round_that_failed_before_any_run_is_told_and_a_slip_of_the_hand_is_not(
    tmp_path: Path,
) -> None:
    house = build_house(build_host(tmp_path / "host"))
    for error in (PlanRefused("No guest can be backed up."), UsageError("There is no guest x.")):
        result = describe_failure(JOB, house.entropy(6).hex(), error)
        assert () == finish_round(house, JOB, result)
    (told,) = gather_status(house).rounds
    assert ("nightly", "No guest can be backed up.", ()) == (told.job, told.error, told.runs)
    assert ExitCode.FAILED == describe_failure(JOB, ROUND, PlanRefused("")).exit_code


def test_rounds_with_and_without_runs_are_told_by_their_time() -> None:
    rounds, _ = group_rounds((make_run("web"),), since=SINCE, limit=10)
    together = add_rounds(rounds, (FAILED,), under_way=frozenset({FAILED.round}))
    assert [(ROUND, False), (FAILED.round, True)] == [
        (told.round, told.under_way) for told in together
    ]


def test_a_round_that_was_given_up_in_the_middle_keeps_its_runs_and_says_why() -> None:
    rounds, _ = group_rounds((make_run("web"),), since=SINCE, limit=10)
    (told,) = add_rounds(rounds, (replace(FAILED, round=ROUND),), under_way=frozenset())
    assert ("The hook said no.", ["web"]) == (told.error, [run.domain for run in told.runs])


def test_the_newest_round_of_a_job_is_a_finding_when_it_failed_as_a_whole() -> None:
    good = make_report().rounds[0]
    later = replace(good, round="20261122T050000Z-bbbbbb", ended_at=NIGHT + timedelta(hours=3))
    assert ["round-failed"] == codes(rounds=(good, FAILED))
    assert [] == codes(rounds=(good, FAILED, later))
    assert [] == codes(rounds=(good, replace(FAILED, outcome=Outcome.CANCELLED)))
    assert [] == codes(rounds=(good, replace(FAILED, under_way=True)))


def test_the_last_run_of_a_guest_counts() -> None:
    first = make_run("web", outcome=Outcome.FAILED, ended_at=NIGHT, error="too small", point="")
    (told,) = group_rounds((make_run("web", run="b"), first), since=SINCE, limit=10)[0]
    assert (Outcome.OK, 2) == (told.outcome, len(told.runs))


def test_a_round_whose_guest_waits_for_another_try_is_under_way(tmp_path: Path) -> None:
    house = build_house(build_host(tmp_path / "host"))
    result = describe_failure(JOB, ROUND, PlanRefused("No."))
    finish_round(house, JOB, result)
    waits = WaitingRun(
        round=ROUND, job="nightly", domain="", origin=Origin.SCHEDULE, since=NOW, reason="x"
    )
    (told,) = gather_status(house, replace(LIVE, waiting=(waits,))).rounds
    assert told.under_way


def test_what_could_not_be_told_is_a_finding() -> None:
    told = "Telling by mail failed: no MTA. Hint: install one."
    report = make_report(live=replace(LIVE, telling_problems=(told,)))
    assert [("telling-failed", Level.WARNING, "Telling by mail failed: no MTA.")] == [
        (finding.code, finding.level, finding.message) for finding in report.findings
    ]
    assert report.findings[0].hint.startswith("install one; the next message")


def test_hint_of_a_reload_that_was_refused_reads_as_one_sentence() -> None:
    told = "jobs/weekly.toml, line 3: `schedul` is no key. Hint: did you mean `schedule`."
    report = make_report(live=replace(LIVE, configuration_problems=(told,)))
    expected = "did you mean `schedule`; once mended it is taken over within a minute"
    assert [expected] == [finding.hint for finding in report.findings]
