"""Destination `images`: points are whole or invisible, private, confined, and found to be so."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.devices import MemoryDevice
from tests.unit.points import OTHER_POINT, POINT, make_manifest
from tests.unit.stored_points import MIB, list_ids, make_content, store_point
from xenbackup.errors import (
    CopyCancelled,
    CopyFailed,
    DestinationFailed,
    DestinationMissing,
    PointNotFound,
)
from xenbackup.storage.destination import Destination, StagedPoint
from xenbackup.storage.images import MARKER_FILE, ImagesDestination
from xenbackup.storage.points import PointListing
from xenbackup.system.block_device import allocate_buffer


@pytest.fixture
def destination(tmp_path: Path) -> ImagesDestination:
    made = ImagesDestination(tmp_path / "backup", "usb")
    made.initialise()
    made.open()
    return made


def test_destination_is_what_the_pipeline_asks_for(destination: ImagesDestination) -> None:
    asked: Destination = destination
    staged: StagedPoint = destination.stage_point("web", "web", POINT)
    staged.discard()
    assert asked.holds_memory


def test_published_point_holds_raw_images_that_equal_their_disks(
    destination: ImagesDestination, tmp_path: Path
) -> None:
    image = tmp_path / "spool.save"
    image.write_bytes(os.urandom(70001))
    folder = store_point(destination, memory=image)
    assert destination.folder / "web" / POINT == folder
    assert make_content() == (folder / "xvda.img").read_bytes()
    assert image.read_bytes() == (folder / "memory.save").read_bytes()
    assert '{"name": "web"}\n' == destination.read_domain(POINT)
    assert folder / "memory.save" == destination.memory_path(POINT)
    files = ["domain.cfg", "domain.json", "manifest.json", "memory.save", "xvda.img"]
    assert files == sorted(path.name for path in folder.iterdir())


def test_everything_in_a_point_is_private(destination: ImagesDestination) -> None:
    before = os.umask(0)
    try:
        folder = store_point(destination)
    finally:
        os.umask(before)
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)}
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_summary_tells_apparent_and_stored_sizes(destination: ImagesDestination) -> None:
    store_point(destination)
    (summary,) = destination.list_points()
    assert len(make_content()) == summary.size_bytes
    assert 2 * MIB <= summary.stored_bytes < 3 * MIB
    assert ("usb", "web", "nightly", False) == (
        summary.destination,
        summary.domain,
        summary.job,
        summary.has_memory,
    )


def test_stored_disk_reads_back_through_its_device(destination: ImagesDestination) -> None:
    store_point(destination)
    device = destination.open_disk(POINT, "xvda")
    buffer = allocate_buffer(MIB)
    assert MIB == device.read_into(0, buffer)
    assert make_content()[:MIB] == bytes(buffer)
    device.close()


def test_unknown_disk_and_missing_memory_are_named(destination: ImagesDestination) -> None:
    store_point(destination)
    with pytest.raises(PointNotFound, match=r"no disk 'xvdz'; it has: xvda"):
        destination.open_disk(POINT, "xvdz")
    with pytest.raises(PointNotFound, match="no memory image"):
        destination.memory_path(POINT)
    with pytest.raises(PointNotFound, match=OTHER_POINT):
        destination.read_manifest(OTHER_POINT)


# The marker


def test_folder_without_a_marker_is_never_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "mountpoint"
    folder.mkdir()
    destination = ImagesDestination(folder, "usb")
    with pytest.raises(DestinationMissing) as caught:
        destination.stage_point("web", "web", POINT)
    assert "may not be mounted" in caught.value.message
    assert "xenbackup destination init usb" in caught.value.hint
    assert [] == list(folder.iterdir())


def test_missing_folder_is_a_missing_destination(tmp_path: Path) -> None:
    with pytest.raises(DestinationMissing, match="No such file") as caught:
        ImagesDestination(tmp_path / "absent", "usb").open()
    assert 10 == caught.value.exit_code
    assert "xenbackup destination init usb" in caught.value.hint


def test_second_initialisation_keeps_the_marker(destination: ImagesDestination) -> None:
    assert destination.marker_id == destination.initialise()


@pytest.mark.parametrize(
    "marker",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 4000,
        b'{"schema": 2, "kind": "images", "id": "x"}',
        b'{"schema": 1, "kind": "volume", "id": "x"}',
        b'{"schema": 1, "kind": "images", "id": 5}',
    ],
)
def test_foreign_marker_is_refused(tmp_path: Path, marker: bytes) -> None:
    (tmp_path / MARKER_FILE).write_bytes(marker)
    with pytest.raises(DestinationMissing, match="is no marker"):
        ImagesDestination(tmp_path, "usb").open()


def test_disk_unmounted_during_a_run_keeps_the_point_from_being_published(
    destination: ImagesDestination,
) -> None:
    content = make_content()
    staged = destination.stage_point("web", "web", POINT)
    copied = staged.add_disk("xvda", MemoryDevice(content), size_bytes=len(content), source_name="")
    destination.folder.rename(destination.folder.with_name("elsewhere"))
    destination.folder.mkdir()
    with pytest.raises(DestinationMissing, match="changed while it was in use"):
        staged.publish(make_manifest(disks=(copied.stored,)))
    staged.discard()
    assert [] == list(destination.folder.iterdir())
    elsewhere = ImagesDestination(destination.folder.with_name("elsewhere"), "usb")
    assert PointListing() == elsewhere.scan()


def test_another_disk_mounted_in_its_place_is_noticed(destination: ImagesDestination) -> None:
    staged = destination.stage_point("web", "web", POINT)
    (destination.folder / MARKER_FILE).unlink()
    ImagesDestination(destination.folder, "usb").initialise()
    with pytest.raises(DestinationMissing, match="changed while"):
        staged.publish(make_manifest())


# Failures


def test_failed_disk_leaves_nothing_listed_and_is_discarded_whole(
    destination: ImagesDestination,
) -> None:
    staged = destination.stage_point("web", "web", POINT)
    with pytest.raises(CopyFailed, match="at byte 1000"):
        staged.add_disk(
            "xvda",
            MemoryDevice(make_content(), read_error_at=1000),
            size_bytes=len(make_content()),
            source_name="",
        )
    assert [] == list_ids(destination)
    assert (f"web/.partial-{POINT}",) == destination.scan().leftovers
    staged.discard()
    staged.discard()
    assert PointListing() == destination.scan()


def test_full_destination_fails_with_a_hint_and_names_the_image(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    staged = destination.stage_point("web", "web", POINT)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DestinationFailed, match=r"xvda.img at byte 0: No space left") as caught:
        staged.add_disk(
            "xvda", MemoryDevice(make_content()), size_bytes=len(make_content()), source_name=""
        )
    assert "prune" in caught.value.hint


def test_destination_that_tells_only_at_the_sync_that_it_is_full_is_called_full(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    staged = destination.stage_point("web", "web", POINT)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DestinationFailed, match=r"is full.*No space left") as caught:
        staged.add_disk(
            "xvda", MemoryDevice(make_content()), size_bytes=len(make_content()), source_name=""
        )
    assert "prune" in caught.value.hint


def test_failed_sync_of_an_image_is_the_destinations_failure(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    staged = destination.stage_point("web", "web", POINT)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DestinationFailed, match="durable"):
        staged.add_disk(
            "xvda", MemoryDevice(make_content()), size_bytes=len(make_content()), source_name=""
        )


def test_cancelled_copy_is_told_from_a_failed_one(destination: ImagesDestination) -> None:
    staged = destination.stage_point("web", "web", POINT)
    with pytest.raises(CopyCancelled, match="Ctrl-C"):
        staged.add_disk(
            "xvda",
            MemoryDevice(make_content()),
            size_bytes=len(make_content()),
            source_name="",
            cancelled=lambda: "Ctrl-C",
        )


def test_manifest_that_does_not_describe_what_was_copied_is_not_published(
    destination: ImagesDestination,
) -> None:
    content = make_content()
    staged = destination.stage_point("web", "web", POINT)
    copied = staged.add_disk("xvda", MemoryDevice(content), size_bytes=len(content), source_name="")
    wrong = replace(copied.stored, digest="0" * 64)
    for manifest in (
        make_manifest(),
        make_manifest(disks=(wrong,)),
        make_manifest(disks=(copied.stored, copied.stored)),
        make_manifest(disks=(copied.stored,), point=OTHER_POINT),
        make_manifest(disks=(copied.stored,), identity="other"),
    ):
        with pytest.raises(DestinationFailed, match="cannot be published"):
            staged.publish(manifest)
    assert [] == list_ids(destination)
    staged.publish(make_manifest(disks=(replace(copied.stored, writable=False),)))
    assert [POINT] == list_ids(destination)


def test_point_that_exists_is_not_staged_again(destination: ImagesDestination) -> None:
    store_point(destination)
    with pytest.raises(DestinationFailed, match=f"{POINT} is already in"):
        destination.stage_point("web", "web", POINT)
    assert [POINT] == list_ids(destination)


def test_staging_again_begins_afresh(destination: ImagesDestination) -> None:
    staged = destination.stage_point("web", "web", POINT)
    staged.add_disk("xvda", MemoryDevice(b"a" * 512), size_bytes=512, source_name="")
    staged.close()
    folder = store_point(destination)
    assert make_content() == (folder / "xvda.img").read_bytes()


# Removing, pinning


def test_deleted_point_is_gone_and_a_second_removal_finds_nothing(
    destination: ImagesDestination,
) -> None:
    store_point(destination)
    store_point(destination, point=OTHER_POINT)
    assert destination.delete_point(POINT)
    assert not destination.delete_point(POINT)
    assert [OTHER_POINT] == list_ids(destination)


def test_discard_removes_leftovers_of_that_point_alone(destination: ImagesDestination) -> None:
    destination.stage_point("web", "web", POINT).close()
    destination.stage_point("db", "db", OTHER_POINT).close()
    assert destination.discard_partial(POINT)
    assert not destination.discard_partial(POINT)
    assert (f"db/.partial-{OTHER_POINT}",) == destination.scan().leftovers


def test_discard_never_touches_a_published_point(destination: ImagesDestination) -> None:
    store_point(destination)
    assert not destination.discard_partial(POINT)
    assert [POINT] == list_ids(destination)


def test_pinned_point_says_so_and_still_verifies(destination: ImagesDestination) -> None:
    store_point(destination)
    for _ in range(2):
        destination.pin(POINT)
        assert destination.list_points()[0].pinned
    assert destination.verify_point(POINT).good
    for _ in range(2):
        destination.unpin(POINT)
        assert not destination.list_points()[0].pinned


def test_closed_destination_can_be_taken_away_and_opens_again(
    destination: ImagesDestination,
) -> None:
    store_point(destination)
    destination.close()
    shutil.move(destination.folder, destination.folder.with_name("moved"))
    with pytest.raises(DestinationMissing):
        destination.list_points()
    shutil.move(destination.folder.with_name("moved"), destination.folder)
    with destination:
        assert [POINT] == list_ids(destination)
