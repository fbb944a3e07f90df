"""What a run owes keeps its guest from no later run, until a volume has two owed snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.house import Watcher, back_up, build_house, find_wrongs, make_job, recover
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import DestinationFailed, ExitCode
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome, RunResult
from xenbackup.model.status import RunState
from xenbackup.operations.backup import run_round
from xenbackup.operations.check import Verdict, check_house
from xenbackup.operations.house import House
from xenbackup.operations.open_runs import list_open_runs
from xenbackup.operations.plan import plan_job
from xenbackup.operations.recover import settle_debts
from xenbackup.operations.runs import find_unfinished
from xenbackup.storage.images import ImagesDestination

IN_USE = Fault(tool="lvremove", kind=FaultKind.FAIL, exit_code=5, stderr="  It is in use.\n")


class Died(BaseException):
    """SIGKILL, as far as our own code can tell."""


def find_snapshots(house: House) -> list[str]:
    return sorted(v.name for v in house.lvm.list_volumes() if "xenbackup" in v.tags)


def list_codes(house: House) -> set[tuple[str, Verdict]]:
    checks = [found for found in check_house(house).checks if found.check.value == "runs"]
    return {(problem.code, found.verdict) for found in checks for problem in found.problems}


def run_tonight(house: House, preset: str, watcher: Watcher | None = None) -> RunResult:
    """As `run` and the daemon do it: what is owed is tried once more, then comes the plan."""
    settle_debts(house, Watcher())
    (run,) = back_up(house, preset, watcher=watcher or Watcher()).runs
    return run


@pytest.mark.parametrize("preset", ["checkpoint", "crash"])
def test_night_after_a_debt_backs_its_guest_up_and_says_what_is_owed(
    host: SimulatedHost, preset: str
) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    first = run_tonight(house, preset)
    second = run_tonight(house, preset)
    assert (Outcome.PARTIAL, "") == (second.outcome, second.error)
    assert second.point, "the night has its point"
    (told,) = [text for text in second.warnings if f"Run {first.run} of web owes" in text]
    for vdev in ("xvda", "xvdb"):
        assert f"xenvols/xb-{first.run}-{vdev}" in told
    assert "It is in use" in told
    assert 4 == len(find_snapshots(house))

    host.clear_faults()
    third = run_tonight(house, preset)
    assert (Outcome.OK, ()) == (third.outcome, third.warnings)
    assert () == find_unfinished(house)
    assert [] == find_wrongs(house)


def test_volume_with_two_owed_snapshots_gets_no_third(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    owing = [run_tonight(house, "checkpoint").run for _ in range(2)]
    before = find_snapshots(house)
    assert {("debt-owed", Verdict.FAILED), ("snapshots-owed", Verdict.FAILED)} == list_codes(house)

    refused = run_tonight(house, "checkpoint")
    assert (Outcome.FAILED, "") == (refused.outcome, refused.point)
    assert refused.may_pass, "the daemon comes back to it"
    assert "xenvols/web_root has 2 owed snapshots already" in refused.error
    for run in owing:
        assert f"xenvols/xb-{run}-xvda" in refused.error
    assert "It is in use" in refused.error
    assert "end what holds it open, then `xenbackup recover`" == refused.hint
    assert before == find_snapshots(house)

    host.clear_faults()
    assert Outcome.OK is run_tonight(house, "checkpoint").outcome
    assert [] == find_snapshots(house)
    assert set() == list_codes(house)


def test_plan_made_before_the_second_debt_adds_no_third_snapshot(host: SimulatedHost) -> None:
    """A round may wait for hours: what counts is what is owed as the run begins."""
    house = build_house(host)
    job = make_job("crash")
    plan = plan_job(house, job)
    host.set_fault(IN_USE)
    results = [run_round(house, job, plan, Watcher(), lambda: "").runs[0].outcome for _ in range(3)]
    assert [Outcome.PARTIAL, Outcome.PARTIAL, Outcome.FAILED] == results
    assert 4 == len(find_snapshots(house)), "two disks, two snapshots each"


def test_run_without_snapshots_goes_on_beside_any_number_of_them(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    owing = [run_tonight(house, "crash").run for _ in range(2)]
    run = run_tonight(house, "cold")
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert owing == [
        run_id for run_id in owing if any(f"Run {run_id} of web owes" in t for t in run.warnings)
    ]


def test_snapshot_that_a_person_removed_is_not_counted(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    first, _ = [run_tonight(house, "crash").run for _ in range(2)]
    host.clear_faults()
    for volume in house.lvm.list_volumes():
        if volume.name.startswith(f"xb-{first}-"):
            house.lvm.remove_snapshot(volume, first)
    host.set_fault(IN_USE)
    (run,) = back_up(house, "crash").runs
    assert run.point


def test_debt_that_is_no_snapshot_keeps_no_run_from_beginning(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build_house(host)

    def refuse(self: ImagesDestination, point: str) -> None:
        raise DestinationFailed(f"{point} cannot be removed: read-only.")

    with monkeypatch.context() as patched:
        patched.setattr(ImagesDestination, "discard_partial", refuse)
        host.set_fault(Fault(tool="read", kind=FaultKind.EIO, verb="-xvdb", offset=MIB))
        failed = [run_tonight(house, "crash") for _ in range(3)]
        assert [Outcome.FAILED] * 3 == [run.outcome for run in failed]
        assert 3 == len(find_unfinished(house)), "each began, and owes its part of a point"
        host.clear_faults()
        good = run_tonight(house, "crash")
    assert Outcome.OK is good.outcome
    assert 3 == sum("The unfinished point is still there" in text for text in good.warnings)
    recover(house)
    assert () == find_unfinished(house)


def test_run_that_was_cut_off_beside_a_debt_comes_before_any_other(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    run_tonight(house, "checkpoint")

    def die(step: StepName) -> None:
        if step is StepName.SNAPSHOT:
            raise Died

    with pytest.raises(Died):
        run_tonight(house, "checkpoint", watcher=Watcher(on_step=die))
    later = build_house(host)
    assert [RunState.OWES, RunState.CUT_OFF] == [run.state for run in list_open_runs(later)]
    assert {("debt-owed", Verdict.FAILED), ("run-unfinished", Verdict.FAILED)} == list_codes(later)
    refused = run_tonight(later, "checkpoint")
    assert Outcome.FAILED is refused.outcome
    assert "has not ended, or was cut off" in refused.error
    host.clear_faults()
    assert [True, True] == [found.healed for found in recover(later)]
    assert [] == find_wrongs(later)


def test_run_that_was_cut_off_beside_a_debt_refuses_a_plan_of_before(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    job = make_job("crash")
    plan = plan_job(house, job)
    run_round(house, job, plan, Watcher(), lambda: "")

    def die(step: StepName) -> None:
        if step is StepName.COPY:
            raise Died

    with pytest.raises(Died):
        run_round(house, job, plan, Watcher(on_step=die), lambda: "")
    (refused,) = run_round(build_house(host), job, plan, Watcher(), lambda: "").runs
    assert (Outcome.FAILED, ExitCode.LOCKED) == (refused.outcome, refused.exit_code)
    assert "was left unfinished" in refused.error


def test_debt_stays_a_debt_while_the_next_run_is_at_work(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    run_tonight(house, "crash")
    seen: list[object] = []

    def look(step: StepName) -> None:
        if step is StepName.COPY:
            seen.append([run.state for run in list_open_runs(house)])
            seen.append(list_codes(house))

    run_tonight(house, "crash", watcher=Watcher(on_step=look))
    assert [RunState.OWES, RunState.AT_WORK] == seen[0]
    assert {("debt-owed", Verdict.WARNING)} == seen[1]


def test_guest_that_owes_and_was_shut_down_by_its_owner_is_not_missed(
    host: SimulatedHost,
) -> None:
    house = build_house(host)
    host.set_fault(IN_USE)
    run_tonight(house, "crash")
    with host.machine() as machine:
        machine.state.domains[:] = [d for d in machine.state.domains if d.name != "web"]
    job = replace(make_job("crash"), domains=("*",))
    assert "web" not in [refused.name for refused in plan_job(house, job, "").refused]
