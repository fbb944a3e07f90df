"""Faults that strike snapshots, sources and destinations, one by one, each undone or recovered.

Numbers are the rows of docs/reliability.md; what strikes the guest itself is in
`test_catalogue_on_simulation.py`.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import ClassVar

import pytest

from tests.house import (
    DESTINATION,
    back_up,
    build_house,
    find_wrongs,
    make_job,
    recover,
)
from tests.pipeline.strikes import At, call, read_records, run_killed_at, set_fault, strike_and_fail
from xenbackup.dom0.device_mapper import list_suspended
from xenbackup.dom0.simulated import FaultKind, SimulatedHost, create_host
from xenbackup.dom0.simulated.building import DiskSpec, GroupSpec, GuestSpec
from xenbackup.dom0.simulated.state import KIB, MIB
from xenbackup.errors import CopyFailed
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.runs import find_unfinished
from xenbackup.storage.images import MARKER_FILE, ImagesDestination
from xenbackup.system.block_device import BlockDevice, BlockFile

HOSTILE_NAMES = ("a b", "--help", "quo'te", "ünïcode", "..", "$(reboot);", "w" * 63)


# Snapshots: rows 20 to 26, 29, 59, 60


@pytest.mark.parametrize("preset", ["checkpoint", "crash"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_disks_of_two_instants_are_never_taken_for_one(
    host: SimulatedHost, house: House, preset: str, when: str
) -> None:
    """Somebody lets the guest run for a moment: seen before the first snapshot or after the last.

    What is on again by then is unpaused and paused behind our back between two looks.
    """
    verbs = {"before": ("pause", 1), "after": ("unpause", 2)}
    verb, nth = verbs[when]
    seen: list[str] = []

    def reach(name: str) -> None:
        if name == "lvcreate:end":
            seen.append(name)
            if len(seen) == nth:
                call(host, "xl", verb, "web")

    host.on_boundary = reach
    let_run = call if when == "before" else lambda *words: None
    watcher = At(step=StepName.SNAPSHOT, act=lambda run_id: let_run(host, "xl", "unpause", "web"))
    run = strike_and_fail(house, preset, watcher)
    assert f"is not paused {when} its snapshots" in run.error


def test_guest_that_was_started_while_cold_read_its_disks_gives_no_point(
    host: SimulatedHost, house: House
) -> None:
    def start_anew(run_id: str) -> None:
        call(host, "xl", "create", "/etc/xen/web.cfg")

    run = strike_and_fail(house, "cold", At(step=StepName.COPY, act=start_anew))
    assert any("Left web alone" in warning for warning in run.warnings), run.warnings


def test_row_20_snapshot_that_overflowed_with_its_last_read_is_worthless(
    host: SimulatedHost, house: House
) -> None:
    """All of the disk was read without an error by then, as from a good one."""

    class Filler(At):
        def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
            if what == "xvda" and done == total and not self.filled:
                self.filled.append(run_id)
                device = host.open_volume("/dev/xenvols/web_root", writable=True)
                device.write_at(MIB, memoryview(os.urandom(6 * MIB)))
                device.close()

        filled: ClassVar[list[str]] = []

    Filler.filled.clear()
    result = back_up(house, "checkpoint", watcher=Filler())
    (record, *_) = read_records(house)
    assert Filler.filled == [record.start.run]
    assert not record.published
    assert ("xvda",) == record.too_small
    assert record.start.run not in [run.point for run in result.runs]
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


def test_row_21_group_that_filled_up_since_the_plan_is_told_with_its_room(
    host: SimulatedHost, house: House
) -> None:
    (group,) = house.lvm.list_groups()

    def fill(run_id: str) -> None:
        room = f"{group.free_bytes - MIB}b"
        call(host, "lvcreate", "-y", "-L", room, "-n", "filler", group.name)

    run = strike_and_fail(house, "checkpoint", At(step=StepName.SNAPSHOT, act=fill))
    assert "insufficient free space" in run.error
    assert "1 MiB free" in run.hint


def test_row_22_volume_of_a_snapshots_name_is_never_removed(
    host: SimulatedHost, house: House
) -> None:
    """It is owed and told: the guest is back, and a person must say what that volume is."""

    def take_name(run_id: str) -> None:
        call(host, "lvcreate", "-y", "-L", "1m", "-n", f"xb-{run_id}-xvdb", "xenvols")

    watcher = At(step=StepName.SNAPSHOT, act=take_name)
    (run,) = back_up(house, "checkpoint", watcher=watcher).runs
    assert Outcome.FAILED is run.outcome
    assert "already exists" in run.error
    assert [] == find_wrongs(house), "ours is gone, and the guest is back"
    foreign = f"xb-{run.run}-xvdb"
    assert foreign in {volume.name for volume in house.lvm.list_volumes()}
    (again,) = recover(house)
    assert not again.healed
    call(host, "lvremove", "-y", f"xenvols/{foreign}")
    (last,) = recover(house)
    assert last.healed
    assert () == find_unfinished(house)


def test_row_23_snapshot_in_use_is_owed_and_goes_later(host: SimulatedHost, house: House) -> None:
    held: list[BlockDevice] = []

    def hold(run_id: str) -> None:
        held.append(host.open_volume(f"/dev/xenvols/xb-{run_id}-xvda"))

    (run,) = back_up(house, "checkpoint", watcher=At(step=StepName.REMOVE_SNAPSHOT, act=hold)).runs
    assert Outcome.PARTIAL is run.outcome, run
    assert run.run == run.point, "the point is good all the same"
    assert any("owed" in warning for warning in run.warnings), run.warnings
    assert [f"volume xb-{run.run}-xvda is left"] == find_wrongs(house)
    (again,) = recover(house)
    assert not again.healed
    held[0].close()
    (last,) = recover(house)
    assert last.healed, last.messages
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "crash"])
@pytest.mark.parametrize("kind", [FaultKind.HANG, FaultKind.KILL_MIDDLE])
def test_row_24_origin_that_a_late_lvcreate_left_suspended_is_resumed(
    host: SimulatedHost, house: House, preset: str, kind: FaultKind
) -> None:
    """The guest's disk stands still: that is seen to before anything else is judged."""
    set_fault(house, kind, "lvcreate", boundary="suspended", times=1)
    strike_and_fail(house, preset)
    assert () == list_suspended(host)


@pytest.mark.parametrize("preset", ["checkpoint", "crash"])
def test_row_24_lvremove_that_hangs_is_tried_again_once_the_disk_moves(
    host: SimulatedHost, house: House, preset: str
) -> None:
    set_fault(house, FaultKind.HANG, "lvremove", boundary="suspended", times=1)
    (run,) = back_up(house, preset).runs
    assert run.run == run.point
    recover(house)
    assert [] == find_wrongs(house)
    assert () == list_suspended(host)
    assert () == find_unfinished(house)


@pytest.mark.parametrize("boundary", ["plain", "suspended", "end"])
def test_rows_25_and_59_what_a_killed_lvcreate_left_is_no_snapshot_and_goes(
    house: House, boundary: str
) -> None:
    """A plain volume with our name and tag is never read as a snapshot."""
    set_fault(house, FaultKind.KILL_MIDDLE, "lvcreate", boundary=boundary, times=1)
    strike_and_fail(house, "checkpoint")


@pytest.mark.parametrize("boundary", ["suspended", "removed"])
def test_row_25_lvremove_killed_between_its_steps_is_finished_by_recovery(
    house: House, boundary: str
) -> None:
    house = run_killed_at(house, "checkpoint", f"lvremove:{boundary}")
    (run,) = recover(house)
    assert run.healed, run.messages
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


def test_row_29_origin_that_was_resized_meanwhile_gives_no_point(
    host: SimulatedHost, house: House
) -> None:
    def grow(run_id: str) -> None:
        with host.machine() as machine:
            (volume,) = [v for v in machine.state.volumes.values() if v.name == "web_data"]
            volume.size_bytes += MIB
            machine.commit()

    run = strike_and_fail(house, "checkpoint", At(step=StepName.COPY, act=grow))
    assert "was resized during the run" in run.error


def test_row_29_origin_that_was_replaced_meanwhile_gives_no_point(
    host: SimulatedHost, house: House
) -> None:
    def rename(run_id: str) -> None:
        with host.machine() as machine:
            (volume,) = [v for v in machine.state.volumes.values() if v.name == "web_data"]
            volume.name = "web_data_old"
            machine.commit()

    def rename_back(run_id: str) -> None:
        with host.machine() as machine:
            for volume in machine.state.volumes.values():
                if volume.name == "web_data_old":
                    volume.name = "web_data"
            machine.commit()

    class Both(At):
        def rescue_began(self, run_id: str, reason: str) -> None:
            rename_back(run_id)

    run = strike_and_fail(house, "checkpoint", Both(step=StepName.COPY, act=rename))
    assert "is gone" in run.error


@pytest.mark.parametrize(
    ("preset", "step"),
    [
        ("checkpoint", StepName.SNAPSHOT),
        ("crash", StepName.SNAPSHOT),
        # A destroyed guest has no disks any more: they are looked at before that.
        ("cold", StepName.SAVE),
        ("snapshot", StepName.SAVE),
    ],
)
@pytest.mark.parametrize("change", ["attached", "detached"])
def test_row_60_disk_set_that_changed_since_the_plan_ends_the_run(
    host: SimulatedHost, house: House, preset: str, step: StepName, change: str
) -> None:
    """Inside the pause itself: seen there, or the memory would meet a disk of another time."""
    before: list[str] = []

    def alter(run_id: str) -> None:
        with host.machine() as machine:
            (web,) = [d for d in machine.state.domains if d.name == "web"]
            before.append(web.configuration_json)
            configuration = json.loads(web.configuration_json)
            disks = configuration["disks"]
            extra = {**disks[0], "vdev": "xvdc", "pdev_path": "/dev/xenvols/thinny_root"}
            configuration["disks"] = disks[:1] if change == "detached" else [*disks, extra]
            web.configuration_json = json.dumps(configuration)
            machine.commit()

    class PutBack(At):
        """What was changed is its owner's affair: it is as before when the guest goes on."""

        def rescue_began(self, run_id: str, reason: str) -> None:
            with host.machine() as machine:
                (web,) = [d for d in machine.state.domains if d.name == "web"]
                web.configuration_json = before[0]
                machine.commit()

    run = strike_and_fail(house, preset, PutBack(step=step, act=alter))
    assert "changed between plan and snapshot" in run.error


# Sources and destinations: rows 30 to 34


@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "crash"])
def test_row_30_read_error_names_its_offset_and_leaves_no_hole(house: House, preset: str) -> None:
    set_fault(house, FaultKind.EIO, "read", "-xvdb", offset=MIB + 8192)
    run = strike_and_fail(house, preset)
    assert "-xvdb" in run.error
    assert "Input/output error" in run.error


def test_row_30_read_error_in_cold_brings_the_guest_back_first(house: House) -> None:
    set_fault(house, FaultKind.EIO, "read", "web_root", offset=MIB)
    run = strike_and_fail(house, "cold")
    assert "web_root" in run.error


@pytest.mark.parametrize("preset", ["checkpoint", "cold"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_rows_31_and_32_failing_write_discards_the_point_and_older_ones_stay(
    host: SimulatedHost,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    number: int,
) -> None:
    (older,) = back_up(house, "crash").runs
    write_at = BlockFile.write_at

    def fail(device: BlockFile, offset: int, content: memoryview) -> None:
        if "xvdb.img" in device.path:
            raise CopyFailed(f"Cannot write {device.path} at {offset}: {os.strerror(number)}.")
        write_at(device, offset, content)

    monkeypatch.setattr(BlockFile, "write_at", fail)
    run = strike_and_fail(house, preset)
    assert os.strerror(number) in run.error
    destination = ImagesDestination(host.place(DESTINATION), "local")
    destination.open()
    assert [older.point] == [found.point for found in destination.list_points()]
    destination.close()


@pytest.mark.parametrize("preset", ["checkpoint", "cold"])
def test_row_31_failing_sync_is_fatal_and_not_repeated(
    house: House, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    synced: list[str] = []

    def fail(device: BlockFile) -> None:
        synced.append(device.path)
        raise CopyFailed(f"Cannot sync {device.path}: Input/output error.")

    monkeypatch.setattr(BlockFile, "flush", fail)
    strike_and_fail(house, preset)
    assert 1 == len(synced), synced


def test_row_33_destination_without_its_marker_is_refused_before_the_guest_is_touched(
    host: SimulatedHost, house: House
) -> None:
    """Its disk is not mounted: the folder below would take what belongs there."""
    plan = plan_job(house, make_job("checkpoint"))
    host.place(f"{DESTINATION}/{MARKER_FILE}").rename(host.place("/srv/marker"))
    assert plan.domains
    watcher = At()
    (run,) = back_up(house, "checkpoint", watcher=watcher).runs
    assert Outcome.FAILED is run.outcome
    assert [] == watcher.steps
    assert [] == list(host.place(DESTINATION).iterdir())
    host.place("/srv/marker").rename(host.place(f"{DESTINATION}/{MARKER_FILE}"))
    assert [] == find_wrongs(house)


def test_row_33_destination_unmounted_in_the_middle_gets_no_point(
    host: SimulatedHost, house: House
) -> None:
    """Guest and snapshots first; the partial point is owed until the disk is back."""
    folder, away = host.place(DESTINATION), host.place("/srv/away")

    def unmount(run_id: str) -> None:
        folder.rename(away)
        folder.mkdir()

    (run,) = back_up(house, "checkpoint", watcher=At(step=StepName.COPY, act=unmount)).runs
    assert Outcome.FAILED is run.outcome
    assert [] == list(folder.iterdir()), "nothing on the disk below"
    folder.rmdir()
    away.rename(folder)
    recover(house)
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


def test_row_34_destination_too_slow_for_cold_is_given_up_and_the_guest_brought_back(
    host: SimulatedHost, house: House
) -> None:
    """A destination that answers slowly; one that never answers again waits for its kernel."""

    class Slow(At):
        def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
            if what.startswith("xvd"):
                host.sleep(3600.0)

    run = strike_and_fail(house, "cold", Slow())
    assert "max_away" in run.error


# Names: row 50


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_row_50_hostile_name_is_backed_up_or_refused_and_leads_nowhere(
    tmp_path: Path, name: str
) -> None:
    disk = DiskSpec(volume="odd_root", size_bytes=2 * MIB)
    guest = GuestSpec(name=name, disks=(disk,), scratch_region_bytes=256 * KIB)
    group = GroupSpec(name="xenvols", size_bytes=32 * MIB, extent_bytes=MIB)
    create_host(tmp_path / "host", groups=(group,), guests=(guest,))
    host = SimulatedHost(tmp_path / "host")
    host.place(DESTINATION).mkdir(parents=True)
    destination = ImagesDestination(host.place(DESTINATION), "local")
    destination.initialise()
    destination.close()
    house = build_house(host)
    outside = sorted(path.name for path in tmp_path.iterdir())
    (domain,) = house.toolstack.list_domains()
    assert name == domain.name
    for preset in ("checkpoint", "crash"):
        (run,) = back_up(house, preset, domain=name).runs
        assert Outcome.OK is run.outcome, run
        assert [] == find_wrongs(house, name)
    assert outside == sorted(path.name for path in tmp_path.iterdir())
    (folder,) = [path for path in host.place(DESTINATION).iterdir() if path.is_dir()]
    assert folder.name.isascii()
