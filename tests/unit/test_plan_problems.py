"""What validation finds, in the plan: errors refuse a guest, warnings go with its run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.builders import UUID, make_plan
from tests.house import build_host, build_house, make_job
from xenbackup.model.job import JobSet
from xenbackup.model.plan import Plan
from xenbackup.model.problem import Problem, Severity
from xenbackup.operations.check import check_house
from xenbackup.operations.plan import apply_problems, plan_job

PLAN = Plan(job="nightly", domains=(make_plan(),))


def make(code: str, severity: Severity, domain: str = "web") -> Problem:
    return Problem(
        severity=severity,
        code=code,
        subject=domain,
        message=f"{domain}: something is wrong.",
        hint="mend it",
        domain=domain,
    )


def test_an_error_of_a_guest_refuses_that_guest_with_its_first_reason() -> None:
    errors = (make("spool-too-small", Severity.ERROR), make("place-on-guest", Severity.ERROR))
    planned = apply_problems(PLAN, errors)
    assert () == planned.domains
    (refused,) = planned.refused
    assert ("web", UUID, "something is wrong", "mend it", 1) == (
        refused.name, refused.uuid, refused.reason, refused.hint, refused.exit_code,
    )  # fmt: skip


def test_a_warning_of_a_guests_own_run_goes_into_its_result() -> None:
    planned = apply_problems(PLAN, (make("guest-without-monitor", Severity.WARNING),))
    assert ("something is wrong",) == planned.domains[0].warnings
    assert () == planned.problems


def test_other_warnings_are_told_before_the_run_and_not_after_every_one() -> None:
    warning = make("driver-finding", Severity.WARNING)
    planned = apply_problems(PLAN, (warning,))
    assert (warning,) == planned.problems
    assert () == planned.domains[0].warnings


def test_an_error_of_the_job_refuses_no_guest_here() -> None:
    error = make("destination-missing", Severity.ERROR, domain="")
    planned = apply_problems(PLAN, (error,))
    assert PLAN.domains == planned.domains
    assert (error,) == planned.problems


def test_a_problem_of_a_guest_that_is_refused_already_is_not_told_twice() -> None:
    planned = apply_problems(
        Plan(job="nightly", domains=()), (make("disk-absent", Severity.ERROR),)
    )
    assert ((), ()) == (planned.refused, planned.problems)


def test_jobs_without_a_zone_mean_the_hosts_own_also_after_its_next_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Berlin's change on 28 March 2027 half past four is 03:30 UTC, from it on 02:30 UTC."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    host = build_host(tmp_path / "host")
    monkeypatch.setattr(host, "now", lambda: datetime(2027, 3, 26, 12, tzinfo=UTC))
    nightly = replace(make_job("crash"), name="nightly", schedule="30 4 * * *")
    sunday = replace(nightly, name="sunday", schedule="30 2 * * 0", timezone="UTC")
    house = replace(build_house(host), jobs=JobSet(jobs=(nightly, sunday)))
    (problem,) = [
        problem
        for problem in plan_job(house, nightly).problems
        if problem.code == "schedule-collision"
    ]
    assert "due at 2027-03-28 02:30 UTC" in problem.message
    checked = [
        problem for found in check_house(house, nightly).checks for problem in found.problems
    ]
    assert problem in checked
