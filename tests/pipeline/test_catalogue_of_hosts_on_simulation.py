"""Faults of the host around a run, and acts of others on its guest, one by one.

Numbers are the rows of docs/reliability.md, as in `test_catalogue_on_simulation.py`.
"""

from __future__ import annotations

import signal

import pytest

from tests.house import WEB_UUID, back_up, build_house, find_wrongs, make_job, recover
from tests.pipeline.strikes import (
    At,
    at_moment,
    call,
    noting_syncs,
    run_killed_at,
    set_fault,
    strike_and_fail,
)
from tests.pipeline.test_kills_on_simulation import Killed
from xenbackup.dom0.monitor import find_monitors
from xenbackup.dom0.simulated import FaultKind, SimulatedHost
from xenbackup.dom0.simulated.state import NANOSECONDS, SimulatedProcess
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.xendomains import start_domains, stop_domains
from xenbackup.dom0.simulated.xl_power import end_guest
from xenbackup.dom0.xenstore import read_shutdown_request
from xenbackup.errors import ExitCode
from xenbackup.model.domain import Domain
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import undo


def find_web(house: House) -> Domain | None:
    return next((d for d in house.toolstack.list_domains() if d.name == "web"), None)


def assert_recovered(house: House, *, afresh: bool = False) -> str:
    """Recovery brings all in order; returns what it said."""
    (run,) = recover(house)
    assert run.healed, run.messages
    assert [] == find_wrongs(house), run.messages
    assert () == find_unfinished(house)
    told = "\n".join(run.messages)
    assert afresh == ("afresh" in told), told
    return told


# What others do to the guest: rows 18, 54 to 56


@pytest.mark.parametrize("preset", ["checkpoint", "crash"])
def test_row_18_guest_that_was_made_anew_since_the_plan_is_left_alone(
    host: SimulatedHost, house: House, preset: str
) -> None:
    first = StepName.SYNC if preset == "crash" else StepName.SAVE_PAUSED

    def create_anew(run_id: str) -> None:
        call(host, "xl", "destroy", "web")
        call(host, "xl", "create", "/etc/xen/web.cfg")

    run = strike_and_fail(house, preset, At(step=first, act=create_anew))
    assert "it rebooted or was re-created during the run" in run.error


@pytest.mark.parametrize("ending", ["reboot", "poweroff", "crash"])
@pytest.mark.parametrize(("preset", "step"), [("crash", "pause"), ("snapshot", "save")])
def test_row_54_guest_that_ends_by_itself_is_its_own_affair(
    host: SimulatedHost, house: House, preset: str, step: str, ending: str
) -> None:
    def end(run_id: str) -> None:
        with host.machine() as machine:
            (web,) = [d for d in machine.state.domains if d.name == "web"]
            end_guest(machine, web, ending)
            machine.commit()

    (run,) = back_up(house, preset, watcher=At(step=StepName(step), act=end)).runs
    assert Outcome.FAILED is run.outcome
    assert () == find_unfinished(house)
    # By its configuration it comes back from a reboot, and from nothing else.
    assert ([] if ending == "reboot" else ["web is down"]) == find_wrongs(house)


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_row_55_suspend_request_left_behind_is_withdrawn(
    host: SimulatedHost, house: House, preset: str
) -> None:
    """The guest had not seen it yet; seen later, it would suspend with nobody to wake it."""
    house = run_killed_at(house, preset, "xl-save:requested")
    web = find_web(house)
    assert web is not None
    assert "suspend" == read_shutdown_request(host, web.domid)
    with host.machine() as machine:
        (found,) = [d for d in machine.state.domains if d.name == "web"]
        found.suspend_due_ns = machine.state.clock_ns + 90 * NANOSECONDS
        machine.commit()
    assert_recovered(house)
    assert "suspend" != read_shutdown_request(host, web.domid)
    host.sleep(120.0)
    assert [] == find_wrongs(house), "it would have seen the request long after the all-clear"


@pytest.mark.parametrize("ours", [False, True])
def test_row_56_pauses_of_others_are_respected(
    host: SimulatedHost, house: House, ours: bool
) -> None:
    """Before our pause: never unpaused. On top of ours: unpaused until nothing holds the guest."""
    if not ours:
        call(host, "xl", "pause", "web")
    else:
        at_moment(host, "xl-pause:end", lambda: call(host, "xl", "pause", "web"))
    (run,) = back_up(house, "crash").runs
    assert () == find_unfinished(house)
    web = find_web(house)
    assert web is not None
    if ours:
        assert [] == find_wrongs(house)
        return
    assert Outcome.OK is run.outcome
    assert web.state.paused


# The host: rows 36, 37, 39, 52, 53, 58, 63


@pytest.mark.parametrize(
    ("preset", "moment"),
    [
        ("checkpoint", "xl-save:writing"),
        ("checkpoint", "lvcreate:plain"),
        ("checkpoint", "xl-unpause:begin"),
        ("checkpoint", "lvremove:begin"),
        ("snapshot", "xl-destroy:begin"),
        ("snapshot", "xl-destroy:dying"),
        ("snapshot", "xl-destroy:end"),
        ("snapshot", "xl-restore:begin"),
        ("snapshot", "xl-unpause:begin"),
        ("crash", "xl-pause:end"),
        ("cold", "xl-restore:end"),
    ],
)
def test_row_36_run_that_was_killed_is_recovered_before_the_next_one(
    house: House, preset: str, moment: str
) -> None:
    """The moments that matter most; all of them are in `test_kills_on_simulation.py`."""
    house = run_killed_at(house, preset, moment)
    (refused,) = back_up(house, preset).runs
    assert Outcome.FAILED is refused.outcome
    assert (ExitCode.LOCKED, "") == (refused.exit_code, refused.point)
    assert "xenbackup recover" in refused.hint
    assert_recovered(house)
    (run,) = back_up(house, preset).runs
    assert Outcome.OK is run.outcome, run
    assert [] == find_wrongs(house)


def test_row_36_run_that_was_cut_off_since_the_plan_is_not_run_over(house: House) -> None:
    job = make_job("checkpoint")
    plan = plan_job(house, job)
    house = run_killed_at(house, "checkpoint", "lvcreate:end")
    (run,) = run_round(house, job, plan, At(), lambda: "").runs
    assert ExitCode.LOCKED == run.exit_code
    assert "was left unfinished" in run.error
    assert_recovered(house)


def test_row_39_second_run_of_a_domain_at_the_same_time_is_refused(house: House) -> None:
    with house.lock_domain(WEB_UUID, "back up web elsewhere"):
        (run,) = back_up(house, "checkpoint").runs
    assert Outcome.FAILED is run.outcome
    assert "back up web elsewhere" in run.error
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


@pytest.mark.parametrize("xendomains", ["before", "after"])
@pytest.mark.parametrize("preset", ["snapshot", "checkpoint", "crash", "cold"])
def test_row_37_host_that_reboots_gets_its_guest_back_once(
    host: SimulatedHost,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    xendomains: str,
) -> None:
    """The guest starts by itself at boot (autostart): whoever comes first, it runs once."""
    link = host.place("/etc/xen/auto/web.cfg")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.write_text(host.place("/etc/xen/web.cfg").read_text())
    moments = {"crash": "lvcreate:end", "checkpoint": "lvcreate:end"}
    with noting_syncs(host, monkeypatch):
        house = run_killed_at(house, preset, moments.get(preset, "xl-destroy:end"))
    host.cut_power()
    store = Store(host.directory)
    if xendomains == "before":
        start_domains(store, {})
    (run,) = recover(house)
    assert run.healed, run.messages
    if xendomains == "after":
        start_domains(store, {})
    store.close()
    assert [] == find_wrongs(house), run.messages
    assert 1 == sum(d.name == "web" for d in house.toolstack.list_domains())
    assert () == find_unfinished(house)


@pytest.mark.parametrize(
    ("preset", "moment"), [("crash", "lvcreate:end"), ("checkpoint", "xl-unpause:begin")]
)
def test_row_37_guest_that_stood_still_when_the_host_went_down_boots_afresh(
    host: SimulatedHost, house: House, preset: str, moment: str
) -> None:
    """It is not that somebody destroyed it: the whole host went, while it was in our hands."""
    house = run_killed_at(house, preset, moment)
    host.cut_power()
    assert_recovered(house, afresh=True)


def test_row_37_guest_that_xendomains_saved_at_the_shutdown_is_left_to_it(
    host: SimulatedHost, house: House
) -> None:
    """It ran again, though nobody had seen it healthy yet: what xendomains holds is newer."""
    house = run_killed_at(house, "snapshot", "xl-unpause:end")
    host.sleep(5.0)
    store = Store(host.directory)
    assert () == stop_domains(store, {})
    host.mark_synced("/var/lib/xen/save/web")
    host.cut_power()
    (run,) = recover(house)
    assert run.healed
    assert any("xendomains holds a save file" in message for message in run.messages), run.messages
    assert () == start_domains(store, {})
    store.close()
    assert [] == find_wrongs(house), run.messages
    assert () == find_unfinished(house)


def test_row_37_guest_that_had_returned_is_not_started_after_a_reboot(
    host: SimulatedHost, house: House
) -> None:
    """Whether it starts at boot is its owner's to say, not ours."""

    def die(run_id: str) -> None:
        raise Killed(run_id)

    with pytest.raises(Killed):
        back_up(house, "crash", watcher=At(step=StepName.COPY, act=die))
    host.cut_power()
    house = build_house(host)
    (run,) = recover(house)
    assert run.healed
    assert ["web is down"] == find_wrongs(house)
    assert () == find_unfinished(house)


@pytest.mark.parametrize(
    ("tool", "verb"), [("xl", "list"), ("lvs", ""), ("xenstore-ls", ""), ("xl", "info")]
)
@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_row_52_garbage_from_a_tool_is_never_guessed_at(
    host: SimulatedHost, house: House, preset: str, tool: str, verb: str
) -> None:
    """Once, in the middle of the run: the message names the command, and all is undone."""

    def spoil(run_id: str) -> None:
        set_fault(house, FaultKind.GARBAGE, tool, verb, times=1)

    step = StepName.SNAPSHOT if tool != "xl" or verb == "list" else StepName.COPY
    if tool == "xenstore-ls":
        step = StepName.UNPAUSE if preset == "checkpoint" else StepName.RESTORE
    run = strike_and_fail(house, preset, At(step=step, act=spoil))
    assert tool in run.error, run.error


@pytest.mark.parametrize("boundary", ["building", "built"])
def test_row_53_half_built_domain_is_destroyed_and_built_again(house: House, boundary: str) -> None:
    house = run_killed_at(house, "snapshot", f"xl-restore:{boundary}")
    assert_recovered(house)


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_row_58_monitor_outlives_the_suspend_and_sees_the_next_reboot(
    host: SimulatedHost, house: House, preset: str
) -> None:
    (run,) = back_up(house, preset).runs
    assert Outcome.OK is run.outcome
    assert () == run.warnings
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        end_guest(machine, web, "reboot")
        machine.commit()
    host.sleep(5.0)
    assert [] == find_wrongs(house), "somebody acted on the reboot"


def test_row_58_monitor_that_is_gone_is_told(host: SimulatedHost, house: House) -> None:
    def end_monitor(run_id: str) -> None:
        for process in find_monitors(host, "web"):
            host.signal_process(process, signal.SIGKILL)

    watcher = At(step=StepName.UNPAUSE, act=end_monitor)
    (run,) = back_up(house, "checkpoint", watcher=watcher).runs
    assert Outcome.OK is run.outcome
    assert any("has no xl monitor any more" in warning for warning in run.warnings), run.warnings


@pytest.mark.parametrize("ends", [True, False])
def test_row_63_command_that_outlived_its_caller_is_waited_for_and_ended_at_last(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    house = run_killed_at(house, "checkpoint", "xl-save:end")
    ((run_id, _),) = find_unfinished(house)
    survivor = SimulatedProcess(
        pid=77777, start_ticks=7, argv=["xl", "save", "-p", "5", "/x"], run_mark=run_id
    )
    with host.machine() as machine:
        machine.state.processes.append(survivor)
        machine.commit()
    sleep, slept = host.sleep, [0.0]
    touched: list[str] = []

    def wait(seconds: float) -> None:
        sleep(seconds)
        slept[0] += seconds
        if ends and slept[0] > 20.0:
            with host.machine() as machine:
                machine.state.processes = [p for p in machine.state.processes if p.pid != 77777]
                machine.commit()

    def reach(moment: str) -> None:
        if any(process.pid == 77777 for process in host.list_processes()):
            touched.extend(verb for verb in ("unpause", "save", "destroy") if verb in moment)

    monkeypatch.setattr(host, "sleep", wait)
    host.on_boundary = reach
    assert_recovered(house)
    assert [] == touched, "nothing was judged while it lived"
    assert slept[0] > (20.0 if ends else undo.SURVIVOR_DEADLINE_SECONDS)
