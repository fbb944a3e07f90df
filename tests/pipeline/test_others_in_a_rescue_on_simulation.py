"""What others did to a guest that a run had in its hands: seen, written down, and left to them.

Whoever starts a guest moves its disks on. Its memory image must not meet them again, even where
its owner has ended the guest by the time that anybody looks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.house import Watcher, back_up, build_house, find_wrongs, recover
from tests.pipeline.acts import open_context
from tests.pipeline.strikes import At, at_moment, call, read_records, run_killed_at, set_fault
from xenbackup.dom0.simulated import FaultKind, SimulatedHost
from xenbackup.dom0.simulated.state import NANOSECONDS
from xenbackup.dom0.simulated.xl_power import end_guest
from xenbackup.errors import DomainUnhealthy, RestoreFailed, SaveFailed, SnapshotFailed
from xenbackup.model import entries as e
from xenbackup.model.job import StepName
from xenbackup.model.rescue import Decision, RescueAction
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import guest, undo
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps import copy, snapshot
from xenbackup.records.journal import list_journals, read_journal

OTHER_UUID = "11111111-bc1e-4273-8175-79ad2f3505e8"


def start_by_hand(host: SimulatedHost) -> None:
    call(host, "xl", "create", "/etc/xen/web.cfg")
    host.sleep(30.0)


def write_configuration(host: SimulatedHost, name: str) -> str:
    """A configuration like that of web, under another name and UUID; returns its path."""
    text = host.place("/etc/xen/web.cfg").read_text().replace('"web"', f'"{name}"')
    text = re.sub(r'uuid *= *"[^"]*"', f'uuid = "{OTHER_UUID}"', text)
    host.place(f"/etc/xen/{name}.cfg").write_text(text)
    return f"/etc/xen/{name}.cfg"


def is_stale(house: House) -> bool:
    """Is it in the run's journal that its image must not be restored?"""
    (path,) = list_journals(house.journals_folder)
    return any(isinstance(line.entry, e.ImageStale) for line in read_journal(path))


# Started, seen by the run itself, and ended again


def test_guest_that_the_run_saw_started_is_not_restored_though_it_is_gone_again(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = snapshot.check_guest_stands_still

    def look(context: RunContext, *, when: str) -> None:
        start_by_hand(host)
        try:
            check(context, when=when)
        finally:
            call(host, "xl", "destroy", "web")

    monkeypatch.setattr(copy, "check_guest_stands_still", look)
    (run,) = back_up(house, "cold").runs
    assert Outcome.FAILED is run.outcome
    assert "somebody started it" in run.error
    assert is_stale(house)
    assert [] == find_wrongs(house, runs=False)
    assert () == find_unfinished(house)


def test_guest_that_the_run_saw_unpaused_is_not_restored_either(
    host: SimulatedHost, house: House
) -> None:
    watcher = At(step=StepName.SNAPSHOT, act=lambda run_id: call(host, "xl", "unpause", "web"))
    (run,) = back_up(house, "checkpoint", watcher=watcher).runs
    assert "is not paused before its snapshots" in run.error
    (path,) = list_journals(house.journals_folder)
    told = [line.entry for line in read_journal(path)]
    stale, failed = (
        next(n for n, entry in enumerate(told) if isinstance(entry, kind))
        for kind in (e.ImageStale, e.Failed)
    )
    assert stale < failed, "before anything else was looked at"
    assert [] == find_wrongs(house)


def test_guest_that_was_destroyed_in_its_pause_makes_no_image_stale(house: House) -> None:
    """Not paused, and not running either: nobody let it run."""
    context = open_context(house)
    context.journal.write(e.Saving(path="/x", stays=True))
    with house.host.machine() as machine:  # type: ignore[attr-defined]
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        web.shutdown = "suspend"
        machine.commit()
    with pytest.raises(SnapshotFailed, match="is not paused"):
        snapshot.check_guest_stands_still(context, when="now")
    assert not context.record.resuming


def let_run(context: RunContext) -> None:
    """Saved by us, its image verified, and somebody lets it go on."""
    path = context.record.start.memory_image_path
    for entry in (e.Saving(path=path, stays=True), e.ImageVerified(path=path, size_bytes=1)):
        context.journal.write(entry)


def see_at_the_destroy(context: RunContext) -> None:
    guest.destroy_saved_guest(context)


def see_after_the_destroy(context: RunContext) -> None:
    context.journal.write(e.Destroying())
    guest.wait_until_gone(context)


@pytest.mark.parametrize(
    ("see", "error"),
    [(see_at_the_destroy, SaveFailed), (see_after_the_destroy, DomainUnhealthy)],
)
def test_guest_that_is_seen_running_instead_of_dying_makes_its_image_stale(
    house: House, see: Callable[[RunContext], None], error: type[Exception]
) -> None:
    context = open_context(house)
    let_run(context)
    with pytest.raises(error, match="let it run"):
        see(context)
    assert context.record.resuming


def test_guest_that_runs_though_it_was_saved_paused_makes_its_image_stale(
    host: SimulatedHost, house: House
) -> None:
    at_moment(host, "xl-save:end", lambda: call(host, "xl", "unpause", "web"))
    (run,) = back_up(house, "checkpoint").runs
    assert "should be paused after `save -p`" in run.error
    assert is_stale(house)
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("paused", [True, False])
def test_guest_that_somebody_started_in_the_place_of_ours_is_not_cleared_away(
    host: SimulatedHost, house: House, paused: bool
) -> None:
    """Between a restore that fails and the look that follows it: paused or not, it is not ours."""

    def fail(run_id: str) -> None:
        set_fault(house, FaultKind.FAIL, "xl", "restore", stderr="libxl: error: no memory")

    def start() -> None:
        start_by_hand(host)
        if paused:
            call(host, "xl", "pause", "web")

    at_moment(host, "xl-restore:begin", start)
    (run,) = back_up(house, "snapshot", watcher=At(step=StepName.RESTORE, act=fail)).runs
    assert Outcome.FAILED is run.outcome
    assert is_stale(house)
    (web,) = [d for d in house.toolstack.list_domains() if d.name == "web"]
    assert (paused, not paused) == (web.state.paused, web.state.alive)
    assert () == find_unfinished(house)
    assert ([] if not paused else ["web is --p---", "web does not tick"]) == find_wrongs(house)


def test_domain_that_a_restore_of_ours_left_half_built_is_cleared_away(
    host: SimulatedHost, house: House
) -> None:
    """Nobody watches it: it is ours, and the next attempt finds its place free."""
    set_fault(house, FaultKind.KILL_MIDDLE, "xl", "restore", boundary="building", times=1)
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK is run.outcome, run.error
    assert not is_stale(house)
    assert [] == find_wrongs(house)


CLEAR_AWAY = Decision(action=RescueAction.DESTROY_HALF_BUILT, reason="its restore never finished")


@pytest.mark.parametrize("paused", [True, False])
def test_guest_that_somebody_started_as_it_was_rescued_is_not_cleared_away(
    host: SimulatedHost, house: House, paused: bool
) -> None:
    context = open_context(house, "snapshot")
    let_run(context)
    call(host, "xl", "destroy", "web")
    start_by_hand(host)
    if paused:
        call(host, "xl", "pause", "web")
    words = "was created by somebody else" if paused else "let run by somebody else"
    with pytest.raises(RestoreFailed, match=words):
        undo.perform(context, CLEAR_AWAY)
    assert context.record.resuming
    assert "web" in {domain.name for domain in house.toolstack.list_domains()}


# Started by hand after a failure, and paused


def test_guest_that_a_person_started_and_paused_is_left_to_them(
    host: SimulatedHost, house: House
) -> None:
    set_fault(house, FaultKind.FAIL, "xl", "restore", stderr="libxl: error: no memory")
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.FAILED is run.outcome
    host.clear_faults()
    start_by_hand(host)
    call(host, "xl", "pause", "web")
    (recovered,) = recover(build_house(host))
    assert recovered.healed, recovered.messages
    assert "not of this run watches it" in " ".join(recovered.messages)
    assert is_stale(house)
    assert () == find_unfinished(house)
    call(host, "xl", "unpause", "web")
    assert [] == find_wrongs(house)


# Under another name


def test_guest_that_was_started_under_another_name_is_left_to_its_owner(
    host: SimulatedHost, house: House
) -> None:
    house = run_killed_at(house, "snapshot", "xl-destroy:end")
    call(host, "xl", "create", write_configuration(host, "web-new"))
    host.sleep(30.0)
    (run,) = recover(house)
    assert run.healed, run.messages
    assert "(web-new) was started on its disks" in " ".join(run.messages)
    assert is_stale(house)
    call(host, "xl", "destroy", "web-new")
    assert () == recover(house)
    assert [] == find_wrongs(house, runs=False)


def test_guest_that_shared_its_disks_before_the_run_started_nothing(
    host: SimulatedHost, house: House
) -> None:
    """A cluster's other node: disks that it writes give no point, and the guest comes back."""
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        (node,) = [d for d in machine.state.domains if d.name == "thinny"]
        both = json.loads(node.configuration_json)
        both["disks"] += json.loads(web.configuration_json)["disks"][1:]
        node.configuration_json = json.dumps(both)
        machine.commit()
    (run,) = back_up(house, "cold").runs
    assert Outcome.FAILED is run.outcome
    assert "(thinny) is there" in run.error
    assert not is_stale(house)
    assert [] == find_wrongs(house)


# The guest itself, let go on after its save


def test_guest_that_ran_on_and_rebooted_is_not_destroyed_for_its_image(
    host: SimulatedHost, house: House
) -> None:
    """Killed before its destroy; its monitor is held, so the reboot waits for recovery."""
    house = run_killed_at(house, "snapshot", "xl-destroy:begin")
    call(host, "xl", "unpause", "web")
    host.sleep(30.0)
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        end_guest(machine, web, "reboot")
        machine.commit()
    (run,) = recover(house)
    assert run.healed, run.messages
    assert is_stale(house)
    assert [] == find_wrongs(house)


# Requests of somebody else


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_suspend_request_of_somebody_else_is_not_withdrawn(
    host: SimulatedHost, house: House, preset: str
) -> None:
    """The guest has returned; an administrator saves it while its disks are copied."""
    asked: list[int] = []

    def request(run_id: str) -> None:
        with host.machine() as machine:
            (web,) = [d for d in machine.state.domains if d.name == "web"]
            web.control_shutdown = "suspend"
            web.suspend_due_ns = machine.state.clock_ns + 3600 * NANOSECONDS
            asked.append(web.suspend_due_ns)
            machine.commit()

    watcher = At(step=StepName.COPY, act=request)
    (run,) = back_up(
        house, preset, watcher=watcher, cancelled=lambda: "asked" if asked else ""
    ).runs
    assert Outcome.CANCELLED is run.outcome
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        assert ("suspend", asked[0]) == (web.control_shutdown, web.suspend_due_ns)
    assert isinstance(watcher, Watcher)
    assert not any("suspend request" in rescue for rescue in watcher.rescues)


def test_those_who_shared_the_disks_before_any_save_are_remembered(house: House) -> None:
    context = open_context(house)
    for sharers in ((), (OTHER_UUID,), ()):
        context.journal.write(e.Saving(path="/x", stays=True, sharers=sharers))
    assert [(OTHER_UUID,)] == [record.sharers for record in read_records(house)]
