"""What an administrator does in the middle of a run is left as it is."""

from __future__ import annotations

from tests.house import Watcher, back_up, build_house, find_wrongs
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.model.command import Command
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.operations.runs import find_unfinished


def act_at(host: SimulatedHost, step: StepName, *argv: str) -> Watcher:
    """A watcher that plays the administrator as a step begins."""

    def act(began: StepName) -> None:
        if began is step:
            done = host.run(Command(argv=argv, timeout_seconds=60))
            assert 0 == done.exit_code, done.stderr

    return Watcher(on_step=act)


def test_a_guest_started_by_somebody_else_is_not_destroyed_for_its_old_memory(
    host: SimulatedHost,
) -> None:
    house = build_house(host)
    watcher = act_at(host, StepName.RESTORE, "xl", "create", "/etc/xen/web.cfg")
    (run,) = back_up(house, "snapshot", watcher=watcher).runs
    assert Outcome.FAILED == run.outcome
    (web,) = [d for d in house.toolstack.list_domains() if d.name == "web"]
    assert web.state.alive
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


def test_a_guest_destroyed_by_somebody_else_is_not_started_again(host: SimulatedHost) -> None:
    house = build_house(host)
    watcher = act_at(host, StepName.SNAPSHOT, "xl", "destroy", "web")
    (run,) = back_up(house, "crash", watcher=watcher).runs
    assert Outcome.FAILED == run.outcome
    assert ["web is down"] == find_wrongs(house)
    assert () == find_unfinished(house)


def test_a_guest_that_was_paused_before_stays_paused(host: SimulatedHost) -> None:
    house = build_house(host)
    host.run(Command(argv=("xl", "pause", "web"), timeout_seconds=60))
    (run,) = back_up(house, "crash").runs
    assert Outcome.OK == run.outcome
    (web,) = [d for d in house.toolstack.list_domains() if d.name == "web"]
    assert web.state.paused
    assert () == find_unfinished(house)


def test_a_guest_unpaused_by_somebody_else_fails_the_snapshot(host: SimulatedHost) -> None:
    house = build_house(host)
    watcher = act_at(host, StepName.SNAPSHOT, "xl", "unpause", "web")
    (run,) = back_up(house, "checkpoint", watcher=watcher).runs
    assert Outcome.FAILED == run.outcome
    assert "not paused" in run.error
    assert [] == find_wrongs(house)
