"""What validation finds, in the plan: errors refuse a guest, warnings go with its run."""

from __future__ import annotations

from tests.builders import UUID, make_plan
from xenbackup.model.plan import Plan
from xenbackup.model.problem import Problem, Severity
from xenbackup.operations.plan import apply_problems

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
