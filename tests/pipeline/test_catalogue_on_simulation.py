"""Faults that strike the guest, its memory and its host, one by one, each undone or recovered.

Numbers are the rows of docs/reliability.md. After each: `find_wrongs` is empty, which means that
the guest ticks with its disks, nothing of ours is left, and every listed point is good.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import (
    WEB_UUID,
    back_up,
    build_host,
    build_house,
    find_wrongs,
    make_job,
    recover,
)
from tests.pipeline.strikes import (
    At,
    at_moment,
    call,
    noting_syncs,
    read_records,
    run_killed_at,
    set_fault,
    strike_and_fail,
)
from xenbackup.dom0.memory_image import MemoryImage, inspect_memory_image
from xenbackup.dom0.simulated import FaultKind, SimulatedHost
from xenbackup.dom0.simulated.holders import hold_toolstack_lock, release_toolstack_lock
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.domain import Domain
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.operations.check import check_house
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline.steps import copy

OTHER_UUID = "11111111-2222-4333-8444-555555555555"


def find_web(house: House) -> Domain | None:
    return next((d for d in house.toolstack.list_domains() if d.name == "web"), None)


def set_manner(host: SimulatedHost, manner: str) -> None:
    with host.machine() as machine:
        machine.state.program_of("web").suspend = manner
        machine.commit()


def assert_recovered(house: House, *, afresh: bool = False) -> str:
    """Recovery brings all in order; returns what it said."""
    (run,) = recover(house)
    assert run.healed, run.messages
    assert [] == find_wrongs(house), run.messages
    assert () == find_unfinished(house)
    told = "\n".join(run.messages)
    assert afresh == ("afresh" in told), told
    return told


# The save: rows 1 to 10


def test_row_1_save_that_cannot_open_its_file_fails_the_run(house: House) -> None:
    set_fault(
        house, FaultKind.FAIL, "xl", "save", stderr="Failed to open temp file /x for writing\n"
    )
    run = strike_and_fail(house, "checkpoint")
    assert "Failed to open temp file" in run.error


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
@pytest.mark.parametrize("manner", ["ignores", "acknowledges"])
def test_rows_2_and_4_guest_that_does_not_suspend_runs_on(
    host: SimulatedHost, house: House, preset: str, manner: str
) -> None:
    set_manner(host, manner)
    before = find_web(house)
    run = strike_and_fail(house, preset)
    after = find_web(house)
    assert before is not None and after is not None
    assert before.domid == after.domid
    assert "Failed to save domain, resuming domain" in run.error


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "cold"])
def test_row_3_full_spool_resumes_the_guest_and_leaves_no_partial_file(
    house: House, preset: str
) -> None:
    set_fault(house, FaultKind.ENOSPC, "xl", "save", size_bytes=5000)
    strike_and_fail(house, preset)


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
@pytest.mark.parametrize("times", [1, 0])
def test_row_5_save_that_did_not_resume_is_seen_in_spite_of_its_exit_code(
    house: House, preset: str, times: int
) -> None:
    set_fault(house, FaultKind.NO_RESUME, "xl", "save", times=times)
    run = strike_and_fail(house, preset)
    assert "should be paused after `save -p`" in run.error


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
@pytest.mark.parametrize("boundary", ["suspended", "writing", "written"])
def test_row_6_save_killed_with_the_guest_suspended_lets_it_go_on(
    house: House, preset: str, boundary: str
) -> None:
    before = find_web(house)
    set_fault(house, FaultKind.KILL_MIDDLE, "xl", "save", boundary=boundary, times=1)
    strike_and_fail(house, preset)
    after = find_web(house)
    assert before is not None and after is not None
    assert before.domid == after.domid, "never destroyed: its devices were connected"


def test_rows_7_and_10_destroy_that_was_killed_is_asked_for_again(house: House) -> None:
    """The domain stays dying until somebody destroys it once more; the saved guest comes back."""
    set_fault(house, FaultKind.KILL_MIDDLE, "xl", "destroy", boundary="dying", times=1)
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK is run.outcome, run
    assert [] == find_wrongs(house)


def test_row_7_save_killed_while_it_destroys_comes_back_from_its_whole_image(
    tmp_path: Path,
) -> None:
    """An xl that destroys by itself: its devices are gone, its image is complete."""
    house = build_house(build_host(tmp_path / "old", xen_version=(4, 3)))
    assert_recovered(run_killed_at(house, "snapshot", "xl-save:destroying"))


@pytest.mark.parametrize("moment", ["xl-destroy:dying", "xl-destroy:end", "xl-restore:building"])
@pytest.mark.parametrize("preset", ["snapshot", "cold"])
def test_row_8_power_cut_after_the_destroy_finds_the_image_on_the_disk(
    host: SimulatedHost,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    moment: str,
) -> None:
    with noting_syncs(host, monkeypatch):
        house = run_killed_at(house, preset, moment)
    assert () == host.cut_power()
    assert_recovered(house)


def test_row_9_guest_whose_kernel_does_not_suspend_is_told_of_before(
    host: SimulatedHost, house: House
) -> None:
    """Told, and tried all the same: what a guest says of itself refuses nothing."""

    def list_told(preset: str) -> list[str]:
        (plan,) = plan_job(house, make_job(preset)).domains
        return [warning for warning in plan.warnings if "suspend is not among it" in warning]

    assert [] == list_told("checkpoint")
    set_manner(host, "cannot")
    (told,) = list_told("checkpoint")
    assert "its kernel lists what it obeys in xenstore" in told
    assert 1 == len(list_told("snapshot"))
    assert [] == list_told("crash")
    codes = [
        problem.code
        for found in check_house(house, make_job("checkpoint")).checks
        for problem in found.problems
    ]
    assert ["suspend-not-offered"] == codes
    run = strike_and_fail(house, "checkpoint")
    assert "Failed to save domain, resuming domain" in run.error
    assert f"web: {told}." in run.warnings


# The restore: rows 11 to 17


def test_row_11_restore_short_of_memory_is_tried_again(house: House) -> None:
    set_fault(house, FaultKind.ENOSPC, "xl", "restore", times=3)
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK is run.outcome, run
    assert [] == find_wrongs(house)


def test_row_11_image_is_kept_until_there_is_memory_again(
    host: SimulatedHost, house: House
) -> None:
    set_fault(house, FaultKind.ENOSPC, "xl", "restore")
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.FAILED is run.outcome
    assert "could not be rebuilt" in run.error
    assert run.error.endswith("The image is kept.")
    assert [f"{run.run}.save"] == [
        path.name for path in host.place("/var/lib/xenbackup/spool").glob("*.save")
    ]
    (unfinished,) = find_unfinished(house)
    assert run.run == unfinished[0]
    host.clear_faults()
    assert_recovered(house)


def test_row_12_name_that_somebody_else_took_makes_the_image_stale(
    host: SimulatedHost, house: House
) -> None:
    def start_namesake(run_id: str) -> None:
        text = host.place("/etc/xen/web.cfg").read_text()
        assert WEB_UUID in text
        host.place("/etc/xen/other.cfg").write_text(text.replace(WEB_UUID, OTHER_UUID))
        call(host, "xl", "create", "/etc/xen/other.cfg")

    run = strike_and_fail(house, "snapshot", At(step=StepName.RESTORE, act=start_namesake))
    web = find_web(house)
    assert web is not None
    assert OTHER_UUID == web.uuid
    assert any("stale" in warning for warning in run.warnings), run.warnings


@pytest.mark.parametrize("boundary", ["begin", "building", "built"])
def test_row_13_restore_that_hangs_is_ended_and_done_again(house: House, boundary: str) -> None:
    set_fault(house, FaultKind.HANG, "xl", "restore", boundary=boundary, times=1)
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK is run.outcome, run
    assert [] == find_wrongs(house)


def test_row_13_restore_that_always_hangs_is_told(host: SimulatedHost, house: House) -> None:
    set_fault(house, FaultKind.HANG, "xl", "restore", boundary="begin")
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.FAILED is run.outcome
    assert "passed its deadline" in run.error
    assert "lock" not in run.error, "nobody holds it"
    host.clear_faults()
    assert_recovered(house)


def hold_lock(host: SimulatedHost) -> None:
    hold_toolstack_lock(host.directory, pid=4242, command="xl create /etc/xen/other.cfg")


def test_row_13_holder_of_the_lock_is_named_as_often_as_it_changes(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes away in the end: the guest is back, and it is known who kept it waiting."""
    sleep, waits = host.sleep, []

    def let_go(seconds: float) -> None:
        sleep(seconds)
        waits.append(seconds)
        if waits == [2.0, 4.0]:
            release_toolstack_lock(host.directory, pid=4242)

    def act(run_id: str) -> None:
        hold_lock(host)
        monkeypatch.setattr(host, "sleep", let_go)

    (run,) = back_up(house, "snapshot", watcher=At(step=StepName.RESTORE, act=act)).runs
    assert [2.0, 4.0] == waits[:2]
    assert Outcome.OK is run.outcome, run
    told = [warning for warning in run.warnings if "lock" in warning]
    assert [
        "The restore of web passed its deadline: xl's lock /var/lock/xl is held by process 4242 "
        "(xl create /etc/xen/other.cfg)."
    ] == told
    assert [] == find_wrongs(house)


def test_row_13_holder_of_the_lock_is_named_in_the_error(host: SimulatedHost, house: House) -> None:
    watcher = At(step=StepName.RESTORE, act=lambda run_id: hold_lock(host))
    (run,) = back_up(house, "snapshot", watcher=watcher).runs
    assert Outcome.FAILED is run.outcome
    assert (
        "xl passed its deadline after 3600s; xl's lock /var/lock/xl is held by process 4242 "
        "(xl create /etc/xen/other.cfg). The image is kept."
    ) in run.error
    release_toolstack_lock(host.directory, pid=4242)
    assert_recovered(house)


def test_row_13_boot_that_waits_for_the_lock_names_its_holder(
    host: SimulatedHost, house: House
) -> None:
    """Its image is damaged, so the guest is to be booted; that waits for the same lock."""

    def act(run_id: str) -> None:
        image = host.place(f"/var/lib/xenbackup/spool/{run_id}.save")
        with image.open("r+b") as file:
            file.truncate(image.stat().st_size - 4096)
        hold_lock(host)

    (run,) = back_up(house, "snapshot", watcher=At(step=StepName.RESTORE, act=act)).runs
    assert Outcome.FAILED is run.outcome
    ((_, record),) = find_unfinished(house)
    assert record is not None
    assert any(
        "could not be booted afresh: xl passed its deadline after 120s; xl's lock" in text
        for text in (run.error, *run.warnings, *record.failures)
    ), run
    release_toolstack_lock(host.directory, pid=4242)
    assert_recovered(house, afresh=True)


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_row_14_guest_is_never_destroyed_for_a_truncated_image(
    host: SimulatedHost, house: House, preset: str
) -> None:
    before = find_web(house)

    def truncate() -> None:
        (image,) = host.place("/var/lib/xenbackup/spool").glob("*.save")
        with image.open("r+b") as file:
            file.truncate(image.stat().st_size - 4096)

    at_moment(host, "xl-save:end", truncate)
    run = strike_and_fail(house, preset)
    assert "is not whole" in run.error
    after = find_web(house)
    assert before is not None and after is not None
    assert before.domid == after.domid


def test_row_14_damaged_image_is_not_restored_and_the_guest_boots(
    host: SimulatedHost, house: House
) -> None:
    """Its disks are as a power cut would have left them: a boot is all that is safe."""

    def truncate(run_id: str) -> None:
        image = host.place(f"/var/lib/xenbackup/spool/{run_id}.save")
        with image.open("r+b") as file:
            file.truncate(image.stat().st_size - 4096)

    run = strike_and_fail(house, "snapshot", At(step=StepName.RESTORE, act=truncate))
    assert "cannot be restored" in run.error
    assert any("booted afresh" in warning for warning in run.warnings), run.warnings


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "cold"])
@pytest.mark.parametrize("change_bytes", [-4096, 4096])
def test_row_14_image_that_changed_after_it_was_verified_gives_no_point(
    host: SimulatedHost, house: House, preset: str, change_bytes: int
) -> None:
    """Its copy would have the right digest: that of what was left."""

    def change(run_id: str) -> None:
        image = host.place(f"/var/lib/xenbackup/spool/{run_id}.save")
        with image.open("r+b") as file:
            file.truncate(image.stat().st_size + change_bytes)

    run = strike_and_fail(house, preset, At(step=StepName.COPY, act=change))
    assert "changed after it was verified" in run.error


def test_row_14_image_that_is_whole_but_another_than_was_verified_gives_no_point(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a format whose end says nothing of its length."""

    def grow(run_id: str) -> None:
        with host.place(f"/var/lib/xenbackup/spool/{run_id}.save").open("ab") as file:
            file.write(bytes(4096))
        monkeypatch.setattr(copy, "inspect_memory_image", be_content)

    def be_content(path: Path) -> MemoryImage:
        return replace(inspect_memory_image(path), complete=True, reason="")

    run = strike_and_fail(house, "checkpoint", At(step=StepName.COPY, act=grow))
    assert "when it was verified, and" in run.error


def test_row_15_disk_error_at_a_restore_is_tried_again(house: House) -> None:
    set_fault(
        house,
        FaultKind.FAIL,
        "xl",
        "restore",
        times=2,
        stderr="libxl: error: Domain 5:Unable to add disk devices\n",
    )
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK is run.outcome, run
    assert [] == find_wrongs(house)


def test_row_15_restore_that_finds_the_name_taken_is_not_tried_again_blindly(house: House) -> None:
    """Whose guest that is must be looked at first: recovery does, and brings ours back."""
    taken = "libxl: error: Domain with name web already exists\n"
    set_fault(house, FaultKind.FAIL, "xl", "restore", times=1, stderr=taken)
    run = strike_and_fail(house, "snapshot")
    assert "could not be rebuilt" in run.error
    assert "already exists" in run.error


def test_row_16_image_never_comes_back_after_the_guest_was_let_run(
    host: SimulatedHost, house: House
) -> None:
    """Its disks moved on, then somebody destroyed it: its old memory would corrupt them."""
    house = run_killed_at(house, "snapshot", "xl-unpause:end")
    host.sleep(10.0)
    call(host, "xl", "destroy", "web")
    (run,) = recover(house)
    assert run.healed
    assert ["web is down"] == find_wrongs(house)
    (record,) = read_records(house)
    assert "its own or its owner's act" in record.hands_off


def test_row_17_restored_guest_lives_in_a_unit_of_its_own(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    units: list[str] = []
    run_command = host.run

    def note(command: Command) -> CommandResult:
        if command.argv[:2] == ("xl", "restore"):
            units.append(command.own_unit)
        return run_command(command)

    monkeypatch.setattr(host, "run", note)
    (run,) = back_up(house, "snapshot").runs
    assert [f"xenbackup-restore-{run.run}"] == units
