"""Whole runs at the edges of their steps: refusals, vanished snapshots, marks that come late."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.house import Watcher, back_up, find_wrong_points, find_wrongs, recover
from tests.pipeline.acts import open_context, told
from tests.pipeline.strikes import At, call, read_records, set_fault, strike_and_fail
from tests.pipeline.test_kills_on_simulation import Killed
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated import FaultKind, SimulatedHost
from xenbackup.dom0.xl import Xl
from xenbackup.errors import CommandFailed, CopyFailed, SnapshotOverflowed
from xenbackup.model import entries as e
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.model.volume import LogicalVolume
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import guest
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps import snapshot, watching
from xenbackup.pipeline.steps.watching import SnapshotWatch, report_overflow
from xenbackup.records.journal import Journal, list_journals, read_journal
from xenbackup.storage import staging
from xenbackup.system.block_device import BlockFile
from xenbackup.system.folder import Folder

# The guest


def test_guest_that_cannot_sync_is_backed_up_with_a_warning(house: House) -> None:
    set_fault(house, FaultKind.FAIL, "xl", "sysrq", stderr="no such thing")
    (run,) = back_up(house, "crash").runs
    assert Outcome.OK is run.outcome
    assert ("web was not asked to sync: exit 1, no such thing.",) == run.warnings
    assert [] == find_wrongs(house)


def test_guest_that_nobody_can_unpause_is_told_and_healed_later(
    host: SimulatedHost, house: House
) -> None:
    set_fault(house, FaultKind.FAIL, "xl", "unpause", stderr="refused")
    (run,) = back_up(house, "crash").runs
    assert Outcome.FAILED is run.outcome
    assert "web could not be unpaused: exit 1, refused" in run.error
    assert any("needs a person" in text for text in run.warnings), run.warnings
    assert 1 == len(find_unfinished(house)), "recovery must come back to it"
    host.clear_faults()
    (recovered,) = recover(house)
    assert recovered.healed, recovered.messages
    assert [] == find_wrongs(house)


def test_unpause_that_worked_in_spite_of_its_exit_code_is_believed(house: House) -> None:
    set_fault(house, FaultKind.LIE_FAILED, "xl", "unpause")
    (run,) = back_up(house, "crash").runs
    assert Outcome.OK is run.outcome, run
    assert [] == find_wrongs(house)


def test_tuning_that_does_not_take_after_a_restore_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Xl, "apply_tuning", lambda self, domid, tuning: ("weight: 5, not 6",))
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK is run.outcome
    assert ("web: weight: 5, not 6",) == run.warnings
    assert [] == find_wrongs(house)


# Snapshots


def test_snapshot_that_somebody_removed_while_it_was_to_be_read_fails_the_run(
    host: SimulatedHost, house: House
) -> None:
    def remove(run_id: str) -> None:
        call(host, "lvremove", "-f", f"xenvols/xb-{run_id}-xvda")

    run = strike_and_fail(house, "checkpoint", At(step=StepName.COPY, act=remove))
    assert "xvda is gone" in run.error


def test_snapshot_that_somebody_put_in_the_place_of_ours_is_not_read(
    host: SimulatedHost, house: House
) -> None:
    """It is of another instant than the memory and the other disk."""

    def replace_it(run_id: str) -> None:
        name = f"xb-{run_id}-xvda"
        call(host, "lvremove", "-f", f"xenvols/{name}")
        call(host, "lvcreate", "-s", "-L", "4m", "-n", name, "xenvols/web_root")

    (run,) = back_up(house, "checkpoint", watcher=At(step=StepName.COPY, act=replace_it)).runs
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert "xvda is gone" in run.error
    assert [] == find_wrong_points(house)


def test_volume_that_lvcreate_gives_out_as_a_snapshot_must_be_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Lvm.create_thick_snapshot

    def lie(self: Lvm, origin: LogicalVolume, **options: object) -> LogicalVolume:
        made = create(self, origin, **options)  # type: ignore[arg-type]
        return replace(made, origin="", attributes="-wi-a-----")

    monkeypatch.setattr(Lvm, "create_thick_snapshot", lie)
    run = strike_and_fail(house, "checkpoint")
    assert "is no usable snapshot of web_root" in run.error
    assert "origin none" in run.error


def test_debt_is_owed_even_where_devices_cannot_be_looked_at(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(context: RunContext) -> tuple[str, ...]:
        raise CommandFailed("dmsetup is not there.")

    set_fault(house, FaultKind.FAIL, "lvremove")
    with monkeypatch.context() as blind:
        blind.setattr(snapshot, "find_suspended", fail)
        (run,) = back_up(house, "crash").runs
    assert Outcome.PARTIAL is run.outcome
    assert any("could not be seen to: dmsetup is not there." in text for text in run.warnings)
    assert any("It is owed" in text for text in run.warnings)
    host.clear_faults()
    (recovered,) = recover(house)
    assert recovered.healed, recovered.messages
    assert [] == find_wrongs(house)


def take_snapshots(context: RunContext) -> tuple[LogicalVolume, ...]:
    """The guest paused, its snapshots made; all volumes as they are then."""
    guest.pause_guest(context)
    step = next(step for step in context.plan.steps if step.step is StepName.SNAPSHOT)
    snapshot.snapshot(context, step)
    return context.lvm.list_volumes()


def make_full(volumes: tuple[LogicalVolume, ...]) -> tuple[LogicalVolume, ...]:
    return tuple(
        replace(volume, attributes="swi-I-s---") if volume.name.startswith("xb-") else volume
        for volume in volumes
    )


def test_snapshot_that_is_full_is_written_down_once(house: House) -> None:
    context = open_context(house)
    volumes = make_full(take_snapshots(context))
    first, second = context.plan.disks
    watch = SnapshotWatch(context)
    watch.begin_disk(first, volumes)
    assert "filled up" in watch.explain_stop()
    with pytest.raises(SnapshotOverflowed, match="xvda filled up"):
        watch.raise_failure(CopyFailed("stopped"))
    assert ("xvda",) == context.record.too_small, "the first reason is enough"
    made = context.record.snapshots[0]
    found = snapshot.find_snapshot(volumes, made.group, made.name)
    assert found is not None
    report_overflow(context, first, made, found)
    assert ("xvda",) == context.record.too_small
    watch.begin_disk(second, volumes)


def test_snapshot_that_is_gone_is_left_to_the_check_of_its_disk(house: House) -> None:
    context = open_context(house)
    volumes = take_snapshots(context)
    watch = SnapshotWatch(context)
    watch.begin_disk(context.plan.disks[0], volumes)
    watch.begin_disk(context.plan.disks[0], ())
    assert "" == watch.explain_stop()


def test_snapshot_whose_group_is_not_listed_is_given_up_with_that_reason(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So full, and filling so fast, that it cannot last, and nothing to extend it from."""
    context = open_context(house)
    volumes = take_snapshots(context)
    monkeypatch.setattr(Lvm, "list_groups", lambda self: ())
    watch = SnapshotWatch(context)
    percent = 0.0
    for _ in range(8):
        percent = min(percent + 12.0, 99.0)
        filling = tuple(
            replace(volume, snapshot_percent=percent) if volume.name.startswith("xb-") else volume
            for volume in volumes
        )
        watch.begin_disk(context.plan.disks[0], filling)
        watch.report(1, 8 << 20)
        context.host.sleep(1.0)
        if watch.explain_stop():
            break
    with pytest.raises(SnapshotOverflowed, match="group xenvols is not listed any more"):
        watch.raise_failure()
    assert watching.LOOKS_UNTIL_FULL


# The point


def test_memory_image_that_cannot_be_copied_fails_the_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: staging.StagedImages, image: Path, **options: object) -> None:
        raise CopyFailed(f"{image.name} cannot be read.")

    monkeypatch.setattr(staging.StagedImages, "add_memory", fail)
    run = strike_and_fail(house, "checkpoint")
    assert ".save cannot be read." in run.error


@pytest.mark.parametrize("killed", [True, False])
def test_point_that_was_whole_before_its_mark_is_kept(
    house: House, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Published, and then no line in the journal: by a kill, or by a failure to write it."""
    write = Journal.write
    struck: list[e.AnyEntry] = []

    def strike(self: Journal, entry: e.AnyEntry, **options: Any) -> None:
        if isinstance(entry, e.Published) and not struck:
            struck.append(entry)
            raise Killed("now") if killed else CopyFailed("The journal could not be written.")
        write(self, entry, **options)

    monkeypatch.setattr(Journal, "write", strike)
    if killed:
        with pytest.raises(Killed):
            back_up(house, "crash")
        (recovered,) = recover(house)
        assert recovered.healed, recovered.messages
    else:
        back_up(house, "crash")
    (record,) = read_records(house)
    assert record.published
    assert not record.partial_discarded
    (journal,) = list_journals(house.journals_folder)
    assert 1 == sum(isinstance(line.entry, e.Published) for line in read_journal(journal))
    assert 1 == len(list(house.host.place("/srv/backup").glob(f"*/{record.start.run}*")))
    assert [] == find_wrongs(house)


def test_watcher_is_told_of_a_warning_as_it_is_written(house: House) -> None:
    context = open_context(house)
    context.warn("something")
    assert isinstance(context.watcher, Watcher)
    assert ["something"] == context.watcher.warnings == told(context)


def test_copy_that_failed_for_want_of_room_says_so_and_holds_no_folder_open(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Folder] = []
    open_folder = Folder.open_folder

    def note(self: Folder, name: str) -> Folder:
        opened.append(open_folder(self, name))
        return opened[-1]

    def write_piece(self: BlockFile, offset: int, content: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Folder, "open_folder", note)
    monkeypatch.setattr(BlockFile, "_write_piece", write_piece)
    (result,) = back_up(house, "checkpoint").runs
    assert Outcome.FAILED is result.outcome
    assert result.error.startswith("The destination is full. Cannot write")
    assert opened
    assert [] == [folder.path for folder in opened if not folder.closed]
