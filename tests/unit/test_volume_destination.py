"""Destination `volume`: disks land in their volumes; a half-written one is never called good."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.devices import MemoryDevice
from tests.unit.points import OTHER_POINT, POINT, make_manifest
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated import GroupSpec, SimulatedHost, create_host
from xenbackup.errors import (
    CopyCancelled,
    CopyFailed,
    DestinationFailed,
    DestinationMissing,
    Locked,
    NotOurs,
    PointDamaged,
)
from xenbackup.model.job import DestinationKind, DestinationSpec
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.storage.destination import PointStore
from xenbackup.storage.points import PointListing
from xenbackup.storage.volume import VolumeDestination
from xenbackup.system.block_device import allocate_buffer

MIB = 1 << 20
SIZE = 8 * MIB
SPEC = DestinationSpec(name="spare", kind=DestinationKind.VOLUME, path="backup")


class Scene:
    """A simulated host with a group of prepared volumes, and the destination on it."""

    spec = SPEC
    group = GroupSpec(name="backup")

    def __init__(self, folder: Path) -> None:
        create_host(folder / "host", groups=(GroupSpec(), self.group))
        self.folder = folder
        self.host = SimulatedHost(folder / "host")
        self.lvm = Lvm(self.host)
        for name in ("web--xvda", "web--xvdb"):
            self.lvm.create_volume("backup", name, SIZE, tags=(TAG_DESTINATION,))
        self.destination = VolumeDestination(
            self.host, self.lvm, SPEC, folder / "state" / "volumes" / "spare"
        )
        self.destination.open()

    def store(
        self,
        contents: dict[str, bytes],
        *,
        point: str = POINT,
        memory: Path | None = None,
    ) -> None:
        """Stage and publish a point of `web` with these disks."""
        staged = self.destination.stage_point("web", "web", point)
        try:
            disks = tuple(
                staged.add_disk(
                    vdev,
                    MemoryDevice(content, f"/dev/xenvols/{vdev}"),
                    size_bytes=len(content),
                    source_name=f"/dev/xenvols/{vdev}",
                ).stored
                for vdev, content in contents.items()
            )
            stored = staged.add_memory(memory) if memory else None
            staged.write_domain("{}\n")
            staged.write_configuration("name = 'web'\n")
            staged.publish(make_manifest(point=point, disks=disks, memory=stored))
        except BaseException:
            staged.discard()
            raise

    def read_slot(self, name: str, length: int) -> bytes:
        device = self.host.open_volume(f"/dev/backup/{name}")
        buffer = allocate_buffer(length)
        assert length == device.read_into(0, buffer)
        device.close()
        return bytes(buffer)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def make_content(size: int = SIZE) -> bytes:
    return os.urandom(MIB) + bytes(size - 2 * MIB) + os.urandom(MIB)


def list_ids(scene: Scene) -> list[str]:
    return [summary.point for summary in scene.destination.list_points()]


def test_disks_land_in_their_volumes_and_verify(scene: Scene) -> None:
    contents = {"xvda": make_content(), "xvdb": make_content(SIZE - 65536)}
    memory = scene.folder / "image.save"
    memory.write_bytes(os.urandom(70001))
    scene.store(contents, memory=memory)
    store: PointStore = scene.destination
    for vdev, content in contents.items():
        assert content == scene.read_slot(f"web--{vdev}", len(content))
        device = store.open_disk(POINT, vdev)
        assert len(content) == device.size_bytes
        device.close()
    assert store.verify_point(POINT).good
    assert memory.read_bytes() == store.memory_path(POINT).read_bytes()
    assert "{}\n" == store.read_domain(POINT)
    assert "name = 'web'\n" == store.read_configuration(POINT)
    (summary,) = scene.destination.list_points()
    assert 2 * SIZE - 65536 + 70001 == summary.size_bytes
    assert summary.stored_bytes >= summary.size_bytes
    assert {"web--xvda", "web--xvdb"} == {slot.name for slot in scene.destination.list_slots()}


def test_zeros_replace_what_the_volume_held(scene: Scene) -> None:
    scene.store({"xvda": os.urandom(SIZE)})
    scene.store({"xvda": bytes(SIZE)}, point=OTHER_POINT)
    assert bytes(SIZE) == scene.read_slot("web--xvda", SIZE)


def test_volume_holds_one_point_and_a_new_one_takes_its_place(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    scene.store({"xvda": make_content()}, point=OTHER_POINT)
    assert [OTHER_POINT] == list_ids(scene)
    listing = scene.destination.scan()
    assert ((), ()) == (listing.damaged, listing.leftovers)
    assert scene.destination.verify_point(OTHER_POINT).good


def test_half_written_volume_is_never_called_good(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    staged = scene.destination.stage_point("web", "web", OTHER_POINT)
    with pytest.raises(CopyFailed, match="at byte 5242880"):
        staged.add_disk(
            "xvda",
            MemoryDevice(os.urandom(SIZE), "/dev/xenvols/snap", read_error_at=5 * MIB),
            size_bytes=SIZE,
            source_name="",
        )
    staged.close()
    assert [] == list_ids(scene)
    assert not scene.destination.has_point(POINT)
    listing = scene.destination.scan()
    assert [(POINT, "web")] == [(damaged.point, damaged.domain) for damaged in listing.damaged]
    assert "written over" in listing.damaged[0].reason
    assert (f"web/.partial-{OTHER_POINT}",) == listing.leftovers

    assert scene.destination.discard_partial(OTHER_POINT)
    scene.store({"xvda": make_content()}, point=OTHER_POINT)
    assert PointListing(points=scene.destination.list_points()) == scene.destination.scan()
    assert [OTHER_POINT] == list_ids(scene)


def test_point_in_a_volume_is_out_of_sight_while_the_volume_is_written(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    seen: list[list[str]] = []
    staged = scene.destination.stage_point("web", "web", OTHER_POINT)
    staged.add_disk(
        "xvda",
        MemoryDevice(make_content()),
        size_bytes=SIZE,
        source_name="",
        on_progress=lambda _done, _total: seen.append(list_ids(scene)),
    )
    staged.discard()
    assert [[], []] == seen


def test_remains_of_a_point_can_be_deleted(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    staged = scene.destination.stage_point("web", "web", OTHER_POINT)
    with pytest.raises(CopyFailed):
        staged.add_disk(
            "xvda", MemoryDevice(bytes(SIZE), read_error_at=1), size_bytes=SIZE, source_name=""
        )
    staged.discard()
    assert scene.destination.delete_point(POINT)
    assert PointListing() == scene.destination.scan()


def test_refused_disk_leaves_the_point_in_its_volume_good(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    with pytest.raises(DestinationFailed, match="bytes, xvda of web has"):
        scene.store({"xvda": bytes(SIZE + 4 * MIB)}, point=OTHER_POINT)
    with pytest.raises(CopyCancelled):
        scene.destination.stage_point("web", "web", OTHER_POINT).add_disk(
            "xvda",
            MemoryDevice(bytes(SIZE)),
            size_bytes=SIZE,
            source_name="",
            cancelled=lambda: "x",
        )
    assert [POINT] == list_ids(scene)
    assert scene.destination.verify_point(POINT).good


def test_pinned_point_keeps_its_volume(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    scene.destination.pin(POINT)
    with pytest.raises(DestinationFailed, match=f"holds point {POINT}, which is pinned"):
        scene.store({"xvda": make_content()}, point=OTHER_POINT)
    assert scene.destination.verify_point(POINT).good
    scene.destination.unpin(POINT)
    scene.store({"xvda": make_content()}, point=OTHER_POINT)
    assert [OTHER_POINT] == list_ids(scene)


def test_unmarked_volume_is_never_written_to(scene: Scene) -> None:
    (slot, *_) = scene.destination.list_slots()
    scene.lvm.delete_tag(slot, TAG_DESTINATION)
    with pytest.raises(NotOurs, match="not marked"):
        scene.store({"xvda": make_content()})
    assert bytes(SIZE) == scene.read_slot("web--xvda", SIZE)


def test_volume_in_use_is_refused(scene: Scene) -> None:
    reader = scene.host.open_volume("/dev/backup/web--xvda")
    with pytest.raises(DestinationFailed, match="backup/web--xvda is in use"):
        scene.store({"xvda": make_content()})
    reader.close()
    scene.store({"xvda": make_content()})
    assert [POINT] == list_ids(scene)


def test_disk_without_a_prepared_volume_is_refused_before_it_is_read(scene: Scene) -> None:
    source = MemoryDevice(bytes(SIZE))
    staged = scene.destination.stage_point("web", "web", POINT)
    with pytest.raises(DestinationMissing, match="no prepared volume for xvdc"):
        staged.add_disk("xvdc", source, size_bytes=SIZE, source_name="")
    staged.discard()
    assert set() == source.reader_threads


def test_volume_being_written_is_locked_to_its_writer(scene: Scene) -> None:
    (slot, *_) = scene.destination.list_slots()
    with scene.destination.lock_slot(slot), pytest.raises(Locked, match="web--xvda"):
        scene.store({"xvda": make_content()})
    scene.store({"xvda": make_content()})


def test_volume_replaced_while_it_is_written_fails_the_run(scene: Scene) -> None:
    (slot, *_) = scene.destination.list_slots()

    def take_away(done: int, total: int) -> None:
        if done == total:
            scene.lvm.delete_tag(slot, TAG_DESTINATION)

    staged = scene.destination.stage_point("web", "web", POINT)
    with pytest.raises(DestinationFailed, match="replaced, renamed or resized"):
        staged.add_disk(
            "xvda",
            MemoryDevice(make_content()),
            size_bytes=SIZE,
            source_name="",
            on_progress=take_away,
        )
    staged.discard()
    assert PointListing() == scene.destination.scan()


def test_rot_in_a_volume_is_found_at_its_block(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    device = scene.host.open_volume("/dev/backup/web--xvda", writable=True)
    device.write_at(4 * MIB + 65536, memoryview(b"\x01" * 512))
    device.close()
    (finding,) = scene.destination.verify_point(POINT).findings
    assert ("web--xvda", 4 * MIB) == (finding.file, finding.offset_bytes)


def test_volume_that_is_gone_is_a_damaged_point(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    (slot, *_) = scene.destination.list_slots()
    scene.lvm.delete_tag(slot, TAG_DESTINATION)
    with pytest.raises(PointDamaged, match="gone or not marked"):
        scene.destination.open_disk(POINT, "xvda")
    (finding,) = scene.destination.verify_point(POINT).findings
    assert "gone or not marked" in finding.message


def test_stored_disk_cannot_be_written_through_what_reads_it(scene: Scene) -> None:
    scene.store({"xvda": make_content()})
    device = scene.destination.open_disk(POINT, "xvda")
    with pytest.raises(CopyFailed, match="it is a stored disk"):
        device.write_at(0, memoryview(b"x"))
    device.flush()
    device.close()


def test_missing_group_is_a_missing_destination(scene: Scene) -> None:
    spec = DestinationSpec(name="spare", kind=DestinationKind.VOLUME, path="gone")
    destination = VolumeDestination(scene.host, scene.lvm, spec, scene.folder / "other")
    for act in (destination.open, destination.initialise):
        with pytest.raises(DestinationMissing, match="no volume group 'gone'") as caught:
            act()
        assert "backup, xenvols" in caught.value.hint


def test_initialising_names_the_group_and_may_be_repeated(scene: Scene) -> None:
    uuid = scene.destination.initialise()
    assert uuid
    assert uuid == scene.destination.initialise()
