"""What bounds a run from outside: its time limit; and which failures are worth another try."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.house import DESTINATION, Watcher, build_house, find_wrongs, make_job
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome, RunResult
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job


def run_job(house: House, watcher: Watcher | None = None, **changes: object) -> RunResult:
    job = replace(make_job("checkpoint"), **changes)  # type: ignore[arg-type]
    plan = plan_job(house, job)
    (run,) = run_round(house, job, plan, watcher or Watcher(), lambda: "").runs
    return run


@pytest.mark.parametrize("step", [StepName.SNAPSHOT, StepName.UNPAUSE, StepName.COPY])
def test_run_past_its_time_limit_is_undone_and_has_failed(
    host: SimulatedHost, step: StepName
) -> None:
    house = build_house(host)

    def dawdle(begun: StepName) -> None:
        if begun is step:
            host.sleep(61.0)

    run = run_job(house, Watcher(on_step=dawdle), time_limit_seconds=60.0)
    assert (Outcome.FAILED, False) == (run.outcome, run.may_pass)
    assert "it took longer than its time limit of 60s" in run.error
    assert "" == run.point
    assert [] == find_wrongs(house)


def test_run_within_its_time_limit_is_good(host: SimulatedHost) -> None:
    run = run_job(build_house(host), time_limit_seconds=3600.0)
    assert Outcome.OK is run.outcome


def test_missing_destination_may_pass(host: SimulatedHost) -> None:
    host.place(DESTINATION).rename(host.place("/srv/elsewhere"))
    run = run_job(build_house(host))
    assert (Outcome.FAILED, True) == (run.outcome, run.may_pass)


def test_locked_guest_may_pass(host: SimulatedHost) -> None:
    house = build_house(host)
    job = make_job("checkpoint")
    plan = plan_job(house, job)
    domain = plan.domains[0].domain
    with house.lock_domain(domain.configured_uuid or domain.name, "test"):
        (run,) = run_round(house, job, plan, Watcher(), lambda: "").runs
    assert (Outcome.FAILED, True) == (run.outcome, run.may_pass)


def test_tool_that_refuses_will_refuse_again(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(Fault(tool="lvcreate", kind=FaultKind.FAIL, times=1))
    run = run_job(house)
    assert (Outcome.FAILED, False) == (run.outcome, run.may_pass)
    assert [] == find_wrongs(house)


def test_cancelled_run_is_not_one_that_may_pass(host: SimulatedHost) -> None:
    house = build_house(host)
    job = make_job("checkpoint")
    asked = iter(["", "", ""])
    (run,) = run_round(
        house, job, plan_job(house, job), Watcher(), lambda: next(asked, "a person said so")
    ).runs
    assert (Outcome.CANCELLED, False) == (run.outcome, run.may_pass)
    assert [] == find_wrongs(house)
