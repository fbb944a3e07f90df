"""What cannot be removed now is owed: written down, told, and tried again until it is gone."""

from __future__ import annotations

import os

import pytest

from tests.house import Watcher, back_up, build_house, find_wrongs, recover
from tests.pipeline.strikes import call, run_killed_at
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.operations.check import Verdict, check_house
from xenbackup.operations.house import House
from xenbackup.operations.recover import settle_debts
from xenbackup.operations.runs import find_unfinished
from xenbackup.records.journal import list_journals, read_record
from xenbackup.system.block_device import BlockDevice


def find_snapshots(house: House) -> list[str]:
    return [volume.path for volume in house.lvm.list_volumes() if "xenbackup" in volume.tags]


def hold_snapshot(house: House, held: list[BlockDevice]) -> Watcher:
    """A watcher that opens the run's snapshot of xvda as its removal begins."""

    def open_it(step: StepName) -> None:
        if step is StepName.REMOVE_SNAPSHOT:
            path = next(path for path in find_snapshots(house) if path.endswith("xvda"))
            held.append(house.host.open_volume(path))

    return Watcher(on_step=open_it)


def list_codes(house: House) -> list[tuple[str, str]]:
    """Codes of the doctor's runs, and the verdict of their line."""
    checks = [found for found in check_house(house).checks if found.check.value == "runs"]
    return [(problem.code, found.verdict.value) for found in checks for problem in found.problems]


def test_snapshot_that_is_held_open_is_owed_until_its_holder_is_gone(host: SimulatedHost) -> None:
    house = build_house(host)
    held: list[BlockDevice] = []
    began = host.monotonic_seconds()
    (run,) = back_up(house, "checkpoint", watcher=hold_snapshot(house, held)).runs
    assert Outcome.PARTIAL is run.outcome
    assert run.point, "the backup itself is good"
    assert "in use" in run.warnings[-1]
    assert "It is owed" in run.warnings[-1]
    holder = f"it is held open by process {os.getpid()} (dd if=snapshot of=copy)."
    assert holder in run.warnings[-1]
    assert host.monotonic_seconds() - began > 30, "it was tried for half a minute, with back-off"
    assert 1 == len(find_snapshots(house))
    assert [("debt-owed", Verdict.WARNING.value)] == list_codes(house)

    (left,) = recover(house)
    assert (False, False) == (left.healed, left.running)
    assert any("in use" in text for text in left.messages)
    ((_, record),) = find_unfinished(house)
    assert record is not None
    assert record.owes
    assert holder in record.debts[-1]
    assert 1 == len(find_snapshots(house))

    held.pop().close()
    (healed,) = recover(house)
    assert healed.healed
    assert [] == find_wrongs(house)
    assert [] == list_codes(house)
    assert Outcome.PARTIAL is read_record(list_journals(house.journals_folder)[0]).ended
    assert () == recover(house)


def test_debts_are_settled_without_touching_runs_that_were_cut_off(host: SimulatedHost) -> None:
    house = build_house(host)
    assert () == settle_debts(house, Watcher())
    held: list[BlockDevice] = []
    back_up(house, "checkpoint", watcher=hold_snapshot(house, held))
    assert [False] == [run.healed for run in settle_debts(house, Watcher())]
    held.pop().close()
    assert [True] == [run.healed for run in settle_debts(house, Watcher())]
    assert [] == find_wrongs(house)

    def die(step: StepName) -> None:
        if step is StepName.COPY:
            raise Died

    with pytest.raises(Died):
        back_up(house, "checkpoint", watcher=Watcher(on_step=die))
    later = build_house(host)
    assert () == settle_debts(later, Watcher())
    assert 1 == len(find_unfinished(later))


class Died(BaseException):
    """SIGKILL, as far as our own code can tell."""


def test_run_that_failed_may_owe_too(host: SimulatedHost) -> None:
    """The guest is back, the snapshot is not gone: the doctor tells one from the other."""
    house = build_house(host)
    host.set_fault(Fault(tool="lvremove", kind=FaultKind.FAIL, exit_code=5, stderr="  No.\n"))
    host.set_fault(
        Fault(tool="lvcreate", kind=FaultKind.FAIL, exit_code=5, stderr="  No.\n", nth=2)
    )
    (run,) = back_up(house, "checkpoint").runs
    assert Outcome.FAILED is run.outcome
    assert [("debt-owed", "warning")] == list_codes(house)
    host.clear_faults()
    assert [True] == [found.healed for found in recover(house)]
    assert [] == find_wrongs(house)


def test_run_that_was_cut_off_is_no_debt(host: SimulatedHost) -> None:
    def die(step: StepName) -> None:
        if step is StepName.COPY:
            raise Died

    house = build_house(host)
    with pytest.raises(Died):
        back_up(house, "checkpoint", watcher=Watcher(on_step=die))
    assert [("run-unfinished", "failed")] == list_codes(build_house(host))


def test_lvremove_that_hangs_leaves_no_device_suspended(host: SimulatedHost) -> None:
    """Killed in its suspended window it freezes the guest's disk: healed before all else."""
    house = build_house(host)
    tools: list[str] = []
    host.on_boundary = tools.append
    host.set_fault(Fault(tool="lvremove", kind=FaultKind.HANG, boundary="suspended", times=1))
    (run,) = back_up(house, "checkpoint").runs
    assert (Outcome.OK, "") == (run.outcome, run.error)
    begun = [name for name in tools if name.endswith(":begin")]
    after = begun[begun.index("lvremove:begin") + 1 :]
    assert after.index("lvchange:begin") < after.index("lvremove:begin")
    assert [] == find_wrongs(house)


def test_lvremove_that_always_hangs_is_owed_and_the_guest_goes_on(host: SimulatedHost) -> None:
    house = build_house(host)
    host.set_fault(Fault(tool="lvremove", kind=FaultKind.HANG, boundary="suspended"))
    (run,) = back_up(house, "crash").runs
    assert Outcome.PARTIAL is run.outcome
    assert ["volume"] == sorted({wrong.split()[0] for wrong in find_wrongs(house)})
    host.clear_faults()
    assert [True] == [found.healed for found in recover(house)]
    assert [] == find_wrongs(house)


def test_snapshot_of_a_group_that_is_not_there_just_now_is_owed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk comes late, or is away: what cannot be seen is not gone."""
    house = run_killed_at(house, "crash", "lvcreate:end")
    (group,) = {path.split("/")[2] for path in find_snapshots(house)}
    list_volumes, list_groups = Lvm.list_volumes, Lvm.list_groups

    def list_other_volumes(self: Lvm, wanted: str = "") -> tuple[LogicalVolume, ...]:
        return tuple(found for found in list_volumes(self, wanted) if found.group != group)

    def list_other_groups(self: Lvm) -> tuple[VolumeGroup, ...]:
        return tuple(found for found in list_groups(self) if found.name != group)

    with monkeypatch.context() as away:
        away.setattr(Lvm, "list_volumes", list_other_volumes)
        away.setattr(Lvm, "list_groups", list_other_groups)
        recover(house)
        (record,) = [read_record(path) for path in list_journals(house.journals_folder)]
        assert f"the volume group {group} is not there" in " ".join(record.debts)
    assert find_snapshots(house)
    recover(house)
    assert [] == find_snapshots(house)
    assert () == find_unfinished(house)


def test_snapshot_that_went_with_its_volume_is_owed_by_nobody(house: House) -> None:
    """Its owner removed the guest and its disks after the kill: LVM removes their snapshots too."""
    house = run_killed_at(house, "crash", "lvcreate:end")
    (snapshot,) = [found for found in house.lvm.list_volumes() if "xenbackup" in found.tags]
    host = house.host
    assert isinstance(host, SimulatedHost)
    call(host, "xl", "destroy", "web")
    call(host, "lvremove", "-y", f"{snapshot.group}/{snapshot.origin}")
    recover(house)
    assert [] == find_snapshots(house)
    assert () == find_unfinished(house)
