"""Disks that were written before the host went down: its counts begin anew with each boot, and only
snapshots and the logs of xl still tell that a memory image does not fit them any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import back_up, build_house, find_wrongs, recover
from tests.pipeline.acts import reopen_context
from tests.pipeline.meddling import LOG, look_corrupted, run_for_a_while
from tests.pipeline.strikes import call, noting_syncs, read_records, run_killed_at, set_fault
from tests.pipeline.test_kills_on_simulation import Killed
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.memory_image import MemoryImage, inspect_memory_image
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.faults import FaultKind
from xenbackup.errors import CommandFailed, CommandTimedOut
from xenbackup.model import entries as e
from xenbackup.model.command import CommandResult
from xenbackup.model.rescue import ImageState
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.operations.house import House
from xenbackup.pipeline import guest, observing, stillness
from xenbackup.pipeline.context import RunContext
from xenbackup.records.journal import apply_entry, list_journals, read_journal


def cut_off_after(
    host: SimulatedHost,
    monkeypatch: pytest.MonkeyPatch,
    strike: tuple[str, str],
    act: Callable[[], None],
) -> House:
    """Our process is killed, a person acts, days later the power goes: nobody looked between."""
    with noting_syncs(host, monkeypatch):
        run_killed_at(build_house(host), *strike)
        act()
    host.cut_power()
    return build_house(host)


def let_run_for_a_while(host: SimulatedHost) -> None:
    call(host, "xl", "unpause", "web")
    host.sleep(30.0)


@pytest.mark.parametrize("moment", ["xl-destroy:end", "xl-restore:begin"])
@pytest.mark.parametrize("preset", ["cold", "snapshot"])
def test_guest_that_a_person_started_is_booted_afresh_after_a_power_cut(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, preset: str, moment: str
) -> None:
    house = cut_off_after(host, monkeypatch, (preset, moment), lambda: run_for_a_while(host))
    recover(house)
    assert {} == look_corrupted(host)
    (record,) = read_records(house)
    assert record.resuming, "the image is never restored, by nobody"
    assert record.boot_begun
    assert [] == find_wrongs(house)


def kill_when_restored(host: SimulatedHost, house: House) -> None:
    """Between the two phases of the restore: the guest is there, and paused."""

    def die(context: RunContext, domid: int) -> None:
        raise Killed("restored")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(guest, "let_guest_run", die)
        back_up(house, "cold")


@pytest.mark.parametrize("cut", [False, True], ids=["at once", "after a power cut"])
def test_guest_that_a_person_started_in_place_of_the_restored_one_is_not_restored_again(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    monkeypatch.setattr(stillness, "SERVED_BY_KERNEL", "/local/domain/0/backend/vkbd/")
    with noting_syncs(host, monkeypatch):
        kill_when_restored(host, build_house(host))
        call(host, "xl", "destroy", "web")
        run_for_a_while(host)
    if cut:
        host.cut_power()
    house = build_house(host)
    recover(house)
    assert {} == look_corrupted(host)
    (record,) = read_records(house)
    assert (True, cut) == (record.resuming, record.boot_begun)


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
def test_restored_guest_that_nobody_touched_keeps_its_memory_over_a_power_cut(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Its new log lay on no disk yet as the power went: the one before is there again."""
    log = host.place(LOG)
    before = log.read_bytes() if log.exists() else b"Waiting for domain web (domid 1) to die\n"
    log.write_bytes(before)
    with noting_syncs(host, monkeypatch):
        kill_when_restored(host, build_house(host))
    assert before != log.read_bytes()
    host.cut_power()
    if lost:
        log.with_name("old").write_bytes(before)
        log.with_name("old").rename(log)
    house = build_house(host)
    (found,) = recover(house)
    assert (True, ()) == (found.healed, found.messages)
    assert not read_records(house)[0].boot_begun, "its memory came back"
    assert [] == find_wrongs(house)


def test_guest_that_is_ended_as_it_boots_afresh_is_not_booted_again(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been migrated: a second boot would let two hosts write its disks."""
    house = cut_off_after(host, monkeypatch, ("cold", "xl-destroy:end"), lambda: None)
    confirm = guest.confirm_return

    def end_it(context: RunContext, domid: int, result: CommandResult | None = None) -> None:
        call(host, "xl", "destroy", "web")
        confirm(context, domid, result)

    with monkeypatch.context() as patch:
        patch.setattr(guest, "confirm_return", end_it)
        patch.setattr(observing, "_judge_image", lambda context: ImageState.PARTIAL)
        (found,) = recover(house)
    (record,) = read_records(house)
    assert found.healed
    assert "vanished after it was booted afresh" in record.hands_off
    assert [] == [domain for domain in house.toolstack.list_domains() if domain.name == "web"]


def test_guest_that_a_person_used_after_our_restores_failed_is_booted_afresh(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory was free: recovery comes back later, and a person was faster meanwhile."""
    house = cut_off_after(host, monkeypatch, ("cold", "xl-destroy:end"), lambda: None)
    set_fault(house, FaultKind.FAIL, "xl", "restore", times=1000)
    (found,) = recover(house)
    assert not found.healed
    host.clear_faults()
    run_for_a_while(host)
    recover(build_house(host))
    (record,) = read_records(house)
    assert record.resuming
    assert {} == look_corrupted(host)


def test_log_of_a_start_beside_restores_that_fail_is_told_after_a_reboot(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While our restore counts as under way the log may be its own; in a later boot it is not."""
    monkeypatch.setattr(stillness, "SERVED_BY_KERNEL", "/local/domain/0/backend/vkbd/")
    with noting_syncs(host, monkeypatch):
        house = run_killed_at(build_house(host), "cold", "xl-restore:begin")
        run_for_a_while(host)
        set_fault(house, FaultKind.FAIL, "xl", "restore")
        (found,) = recover(house)
    assert not found.healed
    host.clear_faults()
    host.cut_power()
    recover(build_house(host))
    (record,) = read_records(house)
    assert record.boot_begun
    assert {} == look_corrupted(host)


def test_guest_that_could_not_be_restored_for_a_while_gets_its_memory_back(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = cut_off_after(host, monkeypatch, ("cold", "xl-destroy:end"), lambda: None)
    set_fault(house, FaultKind.FAIL, "xl", "restore", times=1000)
    recover(house)
    host.clear_faults()
    (found,) = recover(build_house(host))
    assert found.healed
    assert not read_records(house)[0].boot_begun, "its memory came back"
    assert [] == find_wrongs(house)


def test_log_of_a_domain_that_may_be_ours_or_a_persons_lets_no_old_memory_back(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power goes before our restore is in the journal: a boot afresh is the lesser harm."""
    house = cut_off_after(host, monkeypatch, ("cold", "xl-restore:end"), lambda: None)
    (found,) = recover(house)
    assert found.healed
    assert read_records(house)[0].boot_begun
    assert [] == find_wrongs(house)


def test_guest_that_a_person_let_run_is_booted_afresh_after_a_power_cut(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No log tells of an unpause; but the snapshot had to keep what it wrote over."""

    strike = ("checkpoint", "lvcreate:end")
    house = cut_off_after(host, monkeypatch, strike, lambda: let_run_for_a_while(host))
    (found,) = recover(house)
    assert any("wrote to xvda of web since" in line for line in found.messages)
    assert {} == look_corrupted(host)
    (record,) = read_records(house)
    assert record.boot_begun
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("preset", ["snapshot", "checkpoint"])
def test_snapshots_that_kept_nothing_say_nothing(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    end = {"snapshot": "xl-restore:begin", "checkpoint": "lvcreate:end"}[preset]
    house = cut_off_after(host, monkeypatch, (preset, end), lambda: None)
    (found,) = recover(house)
    assert (True, ()) == (found.healed, found.messages)
    assert not read_records(house)[0].boot_begun, "its memory came back"
    assert [] == find_wrongs(house)


def test_group_that_is_not_well_after_the_reboot_keeps_no_guest_of_another_one_down(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a cluster whose daemon is late: `lvs` of all groups ends with 5."""
    house = cut_off_after(host, monkeypatch, ("snapshot", "xl-restore:begin"), lambda: None)
    list_volumes = Lvm.list_volumes

    def refuse(self: Lvm, group: str = "") -> tuple[LogicalVolume, ...]:
        if not group:
            raise CommandFailed("`lvs` ended with exit code 5: Skipping clustered volume group.")
        return list_volumes(self, group)

    monkeypatch.setattr(Lvm, "list_volumes", refuse)
    recover(house)
    (record,) = read_records(house)
    assert record.returned
    assert not record.boot_begun, "its memory came back"
    assert record.owes, "the snapshots are seen to later"


def test_group_that_is_gone_after_the_reboot_does_not_keep_the_run_open(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk was lost, and the owner has taken it out of the guest's file and started that."""
    house = cut_off_after(host, monkeypatch, ("snapshot", "xl-restore:begin"), lambda: None)
    (record,) = read_records(house)
    (group,) = {made.group for made in record.snapshots}
    hide_group_until(monkeypatch, group, 1000)
    call(host, "xl", "create", "/etc/xen/web.cfg")
    recover(house)
    (record,) = read_records(house)
    assert "started since" in record.hands_off
    assert record.guest_settled


def test_group_that_is_there_and_cannot_be_listed_is_waited_for(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell whether the guest ran: its old memory must not meet disks that moved on."""
    strike = ("checkpoint", "lvcreate:end")
    house = cut_off_after(host, monkeypatch, strike, lambda: let_run_for_a_while(host))
    list_volumes = Lvm.list_volumes
    refused: list[str] = []

    def stumble(self: Lvm, group: str = "") -> tuple[LogicalVolume, ...]:
        if len(refused) < 4:
            refused.append(group)
            raise CommandFailed("`lvs` ended with exit code 5: no luck.")
        return list_volumes(self, group)

    monkeypatch.setattr(Lvm, "list_volumes", stumble)
    (found,) = recover(house)
    assert 4 == len(refused)
    assert found.healed
    assert read_records(house)[0].boot_begun
    assert {} == look_corrupted(host)


def hide_group_until(monkeypatch: pytest.MonkeyPatch, group: str, times: int) -> None:
    """As LVM tells of a group whose disk the host sees late: not there, so many times."""
    list_volumes, list_groups = Lvm.list_volumes, Lvm.list_groups
    asked: list[str] = []

    def find(self: Lvm, wanted: str = "") -> tuple[LogicalVolume, ...]:
        asked.append(wanted)
        if len(asked) > times:
            return list_volumes(self, wanted)
        if wanted == group:
            raise CommandFailed(f'`lvs` ended with exit code 5: Volume group "{group}" not found.')
        return tuple(volume for volume in list_volumes(self) if volume.group != group)

    def find_groups(self: Lvm) -> tuple[VolumeGroup, ...]:
        shown = len(asked) > times
        return tuple(found for found in list_groups(self) if shown or found.name != group)

    monkeypatch.setattr(Lvm, "list_volumes", find)
    monkeypatch.setattr(Lvm, "list_groups", find_groups)


@pytest.mark.parametrize("times", [*range(1, 12), 25, 1000])
def test_group_that_comes_late_lets_no_old_memory_onto_disks_that_moved_on(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A restore is tried for minutes: it would succeed as soon as the group is there."""
    strike = ("checkpoint", "lvcreate:end")
    house = cut_off_after(host, monkeypatch, strike, lambda: let_run_for_a_while(host))
    with monkeypatch.context() as late:
        hide_group_until(late, "xenvols", times)
        recover(house)
        assert {} == look_corrupted(host)
    recover(build_house(host))
    (record,) = read_records(house)
    assert (True, False) == (record.boot_begun, record.restore_begun)
    assert {} == look_corrupted(host)
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("times", [5, 20, 55])
def test_group_that_comes_late_is_waited_for_as_a_restore_is_tried_again(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Nobody but the one recovery at boot may ever look: it waits for two minutes and more."""
    house = cut_off_after(host, monkeypatch, ("snapshot", "xl-restore:begin"), lambda: None)
    hide_group_until(monkeypatch, "xenvols", times)
    began = host.monotonic_seconds()
    recover(house)
    assert read_records(house)[0].returned
    assert not read_records(house)[0].boot_begun, "its memory came back"
    assert {} == look_corrupted(host)
    assert times < 55 or host.monotonic_seconds() - began > 120.0


def test_snapshots_from_before_a_second_save_tell_nothing_of_it(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest ran on beside them, and was saved anew: they hold what it wrote before that."""
    house = cut_off_after(host, monkeypatch, ("checkpoint", "lvcreate:end"), lambda: None)
    context = reopen_context(house)
    assert stillness.keeps_telling(context)
    record = context.record
    path = record.start.memory_image_path
    again = apply_entry(record, e.Saving(path=path, stays=False))
    again = apply_entry(again, e.ImageVerified(path=path, size_bytes=1))
    context.journal._record = again
    assert not stillness.keeps_telling(context)
    assert () == stillness.find_written_disks(context, surely=True)


def test_group_that_does_not_come_is_named_and_the_memory_kept(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = cut_off_after(host, monkeypatch, ("snapshot", "xl-restore:begin"), lambda: None)
    with monkeypatch.context() as late:
        hide_group_until(late, "xenvols", 1000)
        (found,) = recover(house)
    assert not found.healed
    (journal,) = list_journals(house.journals_folder)
    entries = [line.entry for line in read_journal(journal)]
    failed = next(entry for entry in reversed(entries) if isinstance(entry, e.Failed))
    assert "whether xvda, xvdb was written since it was saved cannot be seen" in failed.message
    (found,) = recover(build_house(host))
    assert found.healed
    assert not read_records(house)[0].boot_begun, "its memory came back"
    assert [] == find_wrongs(house)


def test_snapshots_of_a_guest_that_could_not_be_brought_back_go_on_telling(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can restore it today; a person does what he can; only the snapshots know of that."""
    house = cut_off_after(host, monkeypatch, ("checkpoint", "lvcreate:end"), lambda: None)
    with monkeypatch.context() as failing:
        failing.setattr(guest, "inspect_memory_image", look_incomplete)
        (found,) = recover(house)
    assert not found.healed
    assert any("snapshots of web stay for now" in line for line in found.messages)
    run_for_a_while(host)
    host.cut_power()
    house = build_house(host)
    (found,) = recover(house)
    assert found.healed, found.messages
    assert {} == look_corrupted(host)
    assert [] == find_wrongs(house)


def look_incomplete(path: Path) -> MemoryImage:
    return replace(inspect_memory_image(path), complete=False, reason="the disk stumbles")


def test_snapshots_of_a_group_that_shares_its_name_tell_as_well(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of another host was put in: LVM refuses the name, but lists what both groups hold."""
    strike = ("checkpoint", "lvcreate:end")
    house = cut_off_after(host, monkeypatch, strike, lambda: let_run_for_a_while(host))
    list_volumes = Lvm.list_volumes

    def refuse(self: Lvm, group: str = "") -> tuple[LogicalVolume, ...]:
        if group:
            raise CommandFailed("`lvs` ended with exit code 5: Multiple VGs found with its name.")
        return list_volumes(self)

    monkeypatch.setattr(Lvm, "list_volumes", refuse)
    recover(house)
    (record,) = read_records(house)
    assert (True, False) == (record.boot_begun, record.restore_begun)
    assert {} == look_corrupted(host)


def test_snapshot_that_is_not_active_says_nothing_and_is_waited_for(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike = ("checkpoint", "lvcreate:end")
    house = cut_off_after(host, monkeypatch, strike, lambda: let_run_for_a_while(host))
    list_volumes = Lvm.list_volumes

    def deactivate(self: Lvm, group: str = "") -> tuple[LogicalVolume, ...]:
        return tuple(
            replace(volume, snapshot_percent=None) if volume.thick_snapshot else volume
            for volume in list_volumes(self, group)
        )

    with monkeypatch.context() as inactive:
        inactive.setattr(Lvm, "list_volumes", deactivate)
        recover(house)
        assert not read_records(house)[0].restore_begun
        assert {} == look_corrupted(host)
    recover(build_house(host))
    assert read_records(house)[0].boot_begun
    assert [] == find_wrongs(house)


def test_group_that_does_not_answer_in_time_is_not_asked_for_another_way(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead path may take the group with it while `lvs` hangs: that is no group which is gone."""
    house = cut_off_after(host, monkeypatch, ("snapshot", "xl-restore:begin"), lambda: None)
    list_volumes = Lvm.list_volumes
    late: list[str] = []

    def hang(self: Lvm, group: str = "") -> tuple[LogicalVolume, ...]:
        if group and not late:
            late.append(group)
            raise CommandTimedOut("`lvs` passed its deadline after 60s.")
        return list_volumes(self, group)

    with monkeypatch.context() as hanging:
        hanging.setattr(Lvm, "list_volumes", hang)
        hanging.setattr(Lvm, "list_groups", lambda self: ())
        with pytest.raises(CommandTimedOut):
            stillness.find_written_disks(reopen_context(house))
    recover(house)
    assert [] == find_wrongs(house)


def test_log_that_was_put_back_at_the_boot_is_the_one_of_before(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs that lie in memory are kept on a disk meanwhile: the same lines, in another file."""
    log = host.place(LOG)
    log.write_text("Waiting for domain web (domid 3) to die [pid 77]\n")

    def put_back() -> None:
        text = log.read_text()
        log.rename(log.with_name("kept"))
        log.write_text(f"{text}Domain 3 has been destroyed.\n")

    house = cut_off_after(host, monkeypatch, ("cold", "xl-destroy:end"), put_back)
    (found,) = recover(house)
    assert (True, ()) == (found.healed, found.messages)
    assert not read_records(house)[0].boot_begun, "its memory came back"


def test_log_that_did_not_outlast_the_reboot_says_nothing(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = host.place(LOG)
    log.write_text("Waiting for domain web (domid 3) to die\n")
    house = cut_off_after(host, monkeypatch, ("cold", "xl-destroy:end"), log.unlink)
    (found,) = recover(house)
    assert (True, ()) == (found.healed, found.messages)
    assert not read_records(house)[0].boot_begun, "its memory came back"
