"""A guest that was renamed: its monitor keeps the log of its old name, and is its monitor still."""

from __future__ import annotations

import pytest

from tests.house import Watcher, back_up, build_house, find_wrongs, recover
from tests.pipeline.strikes import At, at_moment, call, run_killed_at
from tests.pipeline.test_kills_on_simulation import Killed
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.xl_power import end_guest
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.pipeline import undo


def rename(host: SimulatedHost) -> None:
    call(host, "xl", "rename", "web", "web2")


def reboot(host: SimulatedHost) -> None:
    """The guest reboots by itself: it comes back if a monitor that is awake acts on it."""
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web2"]
        end_guest(machine, web, "reboot")
        machine.commit()
    host.sleep(5.0)


def held(host: SimulatedHost) -> list[int]:
    return [process.pid for process in host.list_processes() if process.stopped]


def test_monitor_of_a_guest_that_was_renamed_before_its_save_is_no_command_that_lives_on(
    host: SimulatedHost, house: House
) -> None:
    """Rebuilt under its new name, its monitor carries the mark of this run."""

    def die() -> None:
        raise Killed

    at_moment(host, "xl-unpause:end", die)
    watcher = At(step=StepName.SAVE, act=lambda run_id: rename(host))
    with pytest.raises(Killed):
        back_up(house, "snapshot", watcher=watcher)
    host.on_boundary = None
    house = build_house(host)
    began = host.monotonic_seconds()
    (run,) = recover(house)
    assert run.healed, run.messages
    assert host.monotonic_seconds() - began < undo.SURVIVOR_DEADLINE_SECONDS
    reboot(host)
    assert [] == find_wrongs(house, "web2")


def test_monitor_of_a_guest_that_is_gone_is_waited_for(host: SimulatedHost, house: House) -> None:
    """Its own guest rebooting, it is about to build it anew: what is judged now may be wrong."""
    house = run_killed_at(house, "snapshot", "xl-unpause:end")
    with host.machine() as machine:
        (mine,) = [p for p in machine.state.processes if p.run_mark]
        mine.log_path = "/var/log/xen/xl-web2.log"
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        machine.state.domains.remove(web)
        machine.commit()
    sleep, waited = host.sleep, []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        with host.machine() as machine:
            if web.domid not in {d.domid for d in machine.state.domains}:
                machine.state.domains.append(web)
                machine.commit()
        sleep(seconds)

    host.sleep = wait  # type: ignore[method-assign]
    (run,) = recover(house)
    assert waited
    assert run.healed, run.messages
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_monitor_of_a_guest_that_was_renamed_before_the_run_outlives_the_suspend(
    host: SimulatedHost, house: House, preset: str
) -> None:
    rename(host)
    stopped: list[list[int]] = []
    at_moment(host, "xl-save:written", lambda: stopped.append(held(host)))
    (run,) = back_up(house, preset, domain="web2").runs
    assert Outcome.OK is run.outcome, run.error
    assert 1 == len(stopped[0]), "its own, and nobody else's"
    assert [] == held(host)
    reboot(host)
    assert [] == find_wrongs(house, "web2")


@pytest.mark.parametrize("moment", ["xl-save:begin", "xl-save:written", "lvcreate:end"])
def test_monitor_of_a_renamed_guest_is_woken_by_recovery_too(
    host: SimulatedHost, house: House, moment: str
) -> None:
    rename(host)
    house = run_killed_at(house, "checkpoint", moment, domain="web2")
    assert 1 == len(held(host))
    (run,) = recover(house)
    assert run.healed, run.messages
    assert [] == held(host)
    reboot(host)
    assert [] == find_wrongs(house, "web2")


def test_monitor_of_nobody_is_held_only_where_the_guest_has_none_of_its_name(
    host: SimulatedHost, house: House
) -> None:
    """It may be rebuilding its own guest just now, and should not be kept from that."""
    with host.machine() as machine:
        (other,) = [p for p in machine.state.processes if p.log_path.endswith("xl-thinny.log")]
        other.log_path = "/var/log/xen/xl-gone.log"
        other_pid = other.pid
        machine.commit()
    stopped: list[list[int]] = []
    at_moment(host, "xl-save:written", lambda: stopped.append(held(host)))
    watcher = Watcher()
    (run,) = back_up(house, "checkpoint", watcher=watcher).runs
    assert Outcome.OK is run.outcome, run.error
    assert 1 == len(stopped[0])
    assert other_pid not in stopped[0]
