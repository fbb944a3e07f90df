"""Tools that are slow or never return: the guest comes back within what its job allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.house import Watcher, build_house, find_wrongs, make_job
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.dom0.simulated.state import KIB
from xenbackup.model.run import Outcome, RunResult
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.runs import find_unfinished

# A rescue by `xl save -c` waits for 60 s: the guest does not answer, for it stands still already.
RESCUE_SECONDS = 80.0


def run_within(house: House, preset: str, max_away_seconds: float) -> RunResult:
    job = replace(make_job(preset), max_away_seconds=max_away_seconds)
    (run,) = run_round(house, job, plan_job(house, job), Watcher(), lambda: "").runs
    return run


def slow(tool: str, seconds: float, **fields: object) -> Fault:
    return Fault(tool=tool, kind=FaultKind.SLOW, seconds=seconds, **fields)  # type: ignore[arg-type]


def hang(tool: str, **fields: object) -> Fault:
    return Fault(tool=tool, kind=FaultKind.HANG, **fields)  # type: ignore[arg-type]


def assert_given_back(house: House, run: RunResult, *words: str) -> None:
    assert Outcome.FAILED is run.outcome, run
    for word in words:
        assert word in run.error
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "cold"])
@pytest.mark.parametrize("boundary", ["begin", "suspended"])
def test_save_that_hangs_ends_when_the_guest_was_away_for_long_enough(
    host: SimulatedHost, preset: str, boundary: str
) -> None:
    house = build_house(host)
    host.set_fault(hang("xl", verb="save", boundary=boundary, times=1))
    run = run_within(house, preset, 300.0)
    assert_given_back(house, run, "xl passed its deadline after 300s")
    assert "max_away" in run.hint
    assert run.away_seconds < 300 + RESCUE_SECONDS


def test_guest_that_ignores_the_suspend_costs_xl_two_minutes_whatever_max_away(
    host: SimulatedHost,
) -> None:
    """Ended before that, xl would leave its request behind, and the guest would suspend later."""
    house = build_house(host)
    host.set_fault(slow("xl", 121.0, verb="save", boundary="begin", times=1))
    run = run_within(house, "checkpoint", 60.0)
    assert_given_back(house, run, "has been away for 12", "max_away is 60s")


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_save_that_took_too_long_is_not_followed_by_snapshots(
    host: SimulatedHost, preset: str
) -> None:
    house = build_house(host)
    tools: list[str] = []
    host.on_boundary = tools.append
    host.set_fault(slow("xl", 140.0, verb="save", boundary="suspended", times=1))
    run = run_within(house, preset, 100.0)
    assert_given_back(house, run, "web has been away for 14", "max_away is 100s", "brings it back")
    assert "lvcreate:begin" not in tools
    assert "xl-destroy:begin" not in tools, "a guest that is only paused is not destroyed for it"


@pytest.mark.parametrize("preset", ["checkpoint", "crash", "snapshot"])
def test_snapshots_stop_between_disks(host: SimulatedHost, preset: str) -> None:
    house = build_house(host)
    tools: list[str] = []
    host.on_boundary = tools.append
    host.set_fault(slow("lvcreate", 50.0))
    run = run_within(house, preset, 40.0)
    assert_given_back(house, run, "web has been away for 5", "max_away is 40s")
    assert 1 == tools.count("lvcreate:begin"), "the second disk's snapshot is not begun"
    assert run.away_seconds < 50 + RESCUE_SECONDS


def test_copy_of_a_standing_guest_stops(host: SimulatedHost) -> None:
    with host.machine() as machine:
        machine.state.read_bytes_per_second = 200 * KIB
        machine.commit()
    house = build_house(host)
    run = run_within(house, "cold", 15.0)
    assert_given_back(house, run, "web has been away for", "max_away is 15s")


def test_return_that_takes_too_long_is_told_and_the_backup_kept(host: SimulatedHost) -> None:
    """There is nothing left to give up: the way back is the way back."""
    house = build_house(host)
    host.set_fault(slow("xl", 120.0, verb="restore", times=1))
    run = run_within(house, "snapshot", 60.0)
    assert (Outcome.OK, "") == (run.outcome, run.error)
    (told,) = run.warnings
    assert "web was away for 12" in told
    assert "max_away is 60s" in told
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("domain_is_thin", [False, True])
def test_lvcreate_that_hangs_suspended_does_not_freeze_the_guest(
    host: SimulatedHost, domain_is_thin: bool
) -> None:
    house = build_house(host)
    name = "thinny" if domain_is_thin else "web"
    host.set_fault(hang("lvcreate", boundary="suspended", times=1))
    job = make_job("crash", name)
    (run,) = run_round(house, job, plan_job(house, job), Watcher(), lambda: "").runs
    assert Outcome.FAILED is run.outcome
    assert "lvcreate" in run.error
    assert [] == find_wrongs(house, name)
