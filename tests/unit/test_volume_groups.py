"""Destination `volume` on disks that take turns: a point belongs to its group, by the uuid."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import house as houses
from tests.unit.devices import MemoryDevice
from tests.unit.points import OTHER_POINT, POINT
from tests.unit.test_volume_destination import SIZE, SPEC, Scene, list_ids, make_content
from xenbackup.dom0.simulated import GroupSpec
from xenbackup.errors import DestinationFailed, DestinationMissing, XenbackupError
from xenbackup.operations.destinations import initialise_destination
from xenbackup.storage import volume_records
from xenbackup.storage.points import PointListing
from xenbackup.storage.volume import VolumeDestination
from xenbackup.system.durable import FileLock
from xenbackup.system.folder import Folder

A_UUID = "AAAAAA-aaaa-aaaa-aaaa-aaaa-aaaa-AAAAAA"
B_UUID = "BBBBBB-bbbb-bbbb-bbbb-bbbb-bbbb-BBBBBB"
SLOTS = ("web--xvda", "web--xvdb")


class Turns(Scene):
    """One host, and two disks that each have a group `backup` with volumes of the same names."""

    group = GroupSpec(name="backup", uuid=A_UUID)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._disks: dict[str, dict[str, bytes]] = {}
        self.uuid = A_UUID
        self.records = folder / "state" / "volumes" / "spare"

    def insert(self, uuid: str) -> None:
        """Take the disk out that is in, and put the one in whose group has this uuid."""
        self._disks[self.uuid] = {name: self.read_slot(name, SIZE) for name in SLOTS}
        self.name_group(uuid)
        for name in SLOTS:
            device = self.host.open_volume(f"/dev/backup/{name}", writable=True)
            device.write_at(0, memoryview(self._disks.get(uuid, {}).get(name, bytes(SIZE))))
            device.close()
        self.destination = self.find_destination()

    def name_group(self, uuid: str) -> None:
        with self.host.machine() as machine:
            (group,) = [found for found in machine.state.groups if found.name == "backup"]
            group.uuid = self.uuid = uuid
            machine.commit()

    def rename_slots(self, old: str, new: str) -> None:
        with self.host.machine() as machine:
            for volume in machine.state.volumes.values():
                if volume.group == "backup":
                    volume.name = volume.name.replace(old, new)
            machine.commit()

    def find_destination(self) -> VolumeDestination:
        return VolumeDestination(self.host, self.lvm, SPEC, self.records)

    def stage(self, point: str) -> None:
        """A run into the present disk that is killed before anything else."""
        self.destination.stage_point("web", "web", point).close()


@pytest.fixture
def turns(tmp_path: Path) -> Turns:
    return Turns(tmp_path)


def test_disks_that_take_turns_keep_their_points(turns: Turns) -> None:
    content = make_content()
    turns.store({"xvda": content})

    turns.insert(B_UUID)
    assert B_UUID == turns.destination.initialise()
    assert PointListing() == turns.destination.scan()
    turns.store({"xvda": make_content()}, point=OTHER_POINT)
    assert [OTHER_POINT] == list_ids(turns)
    assert turns.destination.verify_point(OTHER_POINT).good

    turns.insert(A_UUID)
    assert content == turns.read_slot("web--xvda", SIZE)
    assert PointListing(points=turns.destination.list_points()) == turns.destination.scan()
    assert [POINT] == list_ids(turns)
    assert turns.destination.verify_point(POINT).good

    turns.insert(B_UUID)
    assert [OTHER_POINT] == list_ids(turns)


def test_another_group_of_the_name_is_told_and_nothing_is_written_to_it(turns: Turns) -> None:
    turns.store({"xvda": make_content()})
    turns.insert(B_UUID)
    with pytest.raises(DestinationMissing) as caught:
        turns.store({"xvda": make_content()}, point=OTHER_POINT)
    assert f"(uuid {B_UUID}) is another one than was made ready (uuid {A_UUID})" in (
        caught.value.message
    )
    assert "`xenbackup destination init spare`" in caught.value.hint
    assert bytes(SIZE) == turns.read_slot("web--xvda", SIZE)
    turns.insert(A_UUID)
    assert turns.destination.verify_point(POINT).good


def test_a_group_of_another_name_with_the_same_uuid_is_the_same(turns: Turns) -> None:
    turns.store({"xvda": make_content()})
    with turns.host.machine() as machine:
        for group in machine.state.groups:
            group.name = "renamed" if group.name == "backup" else group.name
        for volume in machine.state.volumes.values():
            volume.group = "renamed" if volume.group == "backup" else volume.group
        machine.commit()
    spec = replace(SPEC, path="renamed")
    found = VolumeDestination(turns.host, turns.lvm, spec, turns.records)
    assert found.verify_point(POINT).good


def test_two_groups_of_the_name_at_once_are_refused(turns: Turns) -> None:
    with turns.host.machine() as machine:
        (group,) = [found for found in machine.state.groups if found.name == "xenvols"]
        group.name, group.uuid = "backup", B_UUID
        machine.commit()
    for act in (turns.destination.open, turns.destination.initialise):
        with pytest.raises(DestinationFailed, match="2 volume groups 'backup'") as caught:
            act()
        assert A_UUID in caught.value.message
        assert B_UUID in caught.value.message
        assert "vgrename" in caught.value.hint


def test_a_disk_that_is_exchanged_during_a_run_gets_nothing(turns: Turns) -> None:
    turns.store({"xvda": make_content()})
    staged = turns.destination.stage_point("web", "web", OTHER_POINT)
    turns.name_group(B_UUID)
    with pytest.raises(DestinationMissing, match="changed while it was in use"):
        staged.add_disk("xvda", MemoryDevice(bytes(SIZE)), size_bytes=SIZE, source_name="")
    staged.discard()
    turns.name_group(A_UUID)
    assert turns.destination.verify_point(POINT).good


def test_what_a_killed_run_left_is_removed_while_its_disk_is_away(turns: Turns) -> None:
    turns.stage(POINT)
    turns.insert(B_UUID)
    turns.destination.initialise()
    assert turns.destination.has_trace(POINT)
    assert not turns.destination.has_point(POINT)
    assert turns.destination.discard_partial(POINT)
    assert not turns.destination.discard_partial(POINT)
    assert not turns.destination.has_trace(POINT)
    turns.insert(A_UUID)
    assert PointListing() == turns.destination.scan()


def test_a_point_that_was_published_before_its_disk_went_is_known(turns: Turns) -> None:
    turns.store({"xvda": make_content()})
    turns.insert(B_UUID)
    turns.destination.initialise()
    assert turns.destination.has_point(POINT)
    assert turns.destination.has_trace(POINT)
    assert [] == list_ids(turns)
    assert not turns.destination.delete_point(POINT)


def test_remains_of_overwritten_points_go_beside_what_cannot_be_read(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns.store({"xvda": make_content()})
    own = turns.records / A_UUID
    (own / "a note of somebody").write_text("x")
    (own / "db").mkdir()
    open_folder = Folder.open_folder

    def refuse(self: Folder, name: str) -> Folder:
        if name == "db":
            raise DestinationFailed("Cannot open the folder: Input/output error.")
        return open_folder(self, name)

    monkeypatch.setattr(Folder, "open_folder", refuse)
    turns.store({"xvda": make_content()}, point=OTHER_POINT)
    listing = turns.destination.scan()
    assert [OTHER_POINT] == [found.point for found in listing.points]
    assert () == listing.damaged
    assert ("db: Cannot open the folder: Input/output error.",) == listing.unreadable


# Records of an earlier version


def lay_flat(turns: Turns) -> None:
    """Lay the records as an earlier version did: the domains' folders in the destination's own."""
    own = turns.records / A_UUID
    for found in own.iterdir():
        found.rename(turns.records / found.name)
    own.rmdir()


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@pytest.fixture
def earlier(turns: Turns) -> Turns:
    turns.store({"xvda": make_content()})
    (turns.records / A_UUID / "db").mkdir()
    (turns.records / A_UUID / f".new-{OTHER_POINT}").mkdir()
    (turns.records / "lost+found").mkdir()
    lay_flat(turns)
    turns.destination = turns.find_destination()
    return turns


def test_records_of_an_earlier_version_are_taken_over(earlier: Turns) -> None:
    assert [POINT] == list_ids(earlier)
    assert earlier.destination.verify_point(POINT).good
    assert [A_UUID, "lost+found"] == list_names(earlier.records)
    assert [f".new-{OTHER_POINT}", "db", "web"] == list_names(earlier.records / A_UUID)


@pytest.mark.parametrize("act", [VolumeDestination.open, VolumeDestination.initialise])
def test_they_wait_for_the_group_that_has_their_volumes(
    earlier: Turns, act: Callable[[VolumeDestination], object]
) -> None:
    earlier.name_group(B_UUID)
    earlier.rename_slots("web", "mail")
    if act is VolumeDestination.open:
        with pytest.raises(DestinationMissing) as caught:
            act(earlier.destination)
        assert "none of the volumes that its recovery points lie in" in caught.value.message
        assert "`xenbackup destination init spare`" in caught.value.hint
    else:
        act(earlier.destination)
        assert PointListing() == earlier.destination.scan()
    earlier.rename_slots("mail", "web")
    earlier.name_group(A_UUID)
    earlier.destination = earlier.find_destination()
    assert [POINT] == list_ids(earlier)


def test_records_that_name_no_volume_go_to_the_group_that_is_there(earlier: Turns) -> None:
    (earlier.records / "web" / POINT / "manifest.json").write_text("garbage")
    assert [POINT] == [damaged.point for damaged in earlier.destination.scan().damaged]
    assert [A_UUID, "lost+found"] == list_names(earlier.records)


@pytest.mark.parametrize("cut_at", range(1, 5))
def test_taking_over_that_was_cut_off_goes_on(
    earlier: Turns, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    rename, renames = Path.rename, 0

    def cut(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == cut_at:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut)
        with pytest.raises(KeyboardInterrupt):
            earlier.destination.open()
    earlier.insert(B_UUID)
    with pytest.raises(DestinationMissing, match=f"made ready .uuid {A_UUID}"):
        earlier.destination.open()
    earlier.insert(A_UUID)
    assert [POINT] == list_ids(earlier)
    assert [f".new-{OTHER_POINT}", "db", "web"] == list_names(earlier.records / A_UUID)
    assert [A_UUID, "lost+found"] == list_names(earlier.records)


def test_taking_over_is_on_the_disk_before_it_is_used(
    earlier: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[str] = []
    rename, fsync = Path.rename, os.fsync

    def note_rename(self: Path, target: Path) -> Path:
        acts.append(f"rename {self.name}")
        return rename(self, target)

    def note_sync(descriptor: int) -> None:
        acts.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    monkeypatch.setattr(Path, "rename", note_rename)
    monkeypatch.setattr(os, "fsync", note_sync)
    earlier.destination.open()
    moving = f".taken-over-{A_UUID}"
    assert [
        f"rename .new-{OTHER_POINT}",
        "rename db",
        "rename web",
        f"sync {moving}",
        "sync spare",
        f"rename {moving}",
        "sync spare",
    ] == acts[-7:]


def test_records_that_cannot_be_moved_are_told(
    earlier: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(XenbackupError, match="for the group AAAAAA"):
        earlier.destination.open()


def test_whoever_waited_for_the_lock_takes_what_the_other_made(
    earlier: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lock(FileLock):
        def acquire(self, *, wait: bool = False) -> None:
            assert wait
            monkeypatch.undo()
            earlier.find_destination().open()
            super().acquire(wait=wait)

    monkeypatch.setattr(volume_records, "FileLock", Lock)
    assert [POINT] == list_ids(earlier)


# Made ready


def test_init_tells_a_fresh_group_from_one_that_was_ready(turns: Turns) -> None:
    house = replace(
        houses.build_house(turns.host), open_destination=lambda _: turns.find_destination()
    )
    assert not initialise_destination(house, "spare").fresh
    turns.store({"xvda": make_content()})
    turns.insert(B_UUID)
    made = initialise_destination(house, "spare")
    assert (made.fresh, made.id) == (True, B_UUID)
    assert not initialise_destination(house, "spare").fresh
    turns.insert(A_UUID)
    lay_flat(turns)
    made = initialise_destination(house, "spare")
    assert (made.fresh, made.id) == (False, A_UUID)
    assert [POINT] == list_ids(turns)
