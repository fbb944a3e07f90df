"""Destination `images`: whose folder is whose, and nothing hostile in it leads outside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.devices import MemoryDevice
from tests.unit.points import OTHER_POINT, POINT
from tests.unit.stored_points import list_ids, store_point
from xenbackup.errors import DestinationFailed, DestinationMissing, NotOurs, PointDamaged
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.points import PointListing

UUID = "8f21c3aa-2222-3333-4444-555555555555"
OTHER_UUID = "0a0b0c0d-2222-3333-4444-555555555555"


@pytest.fixture
def destination(tmp_path: Path) -> ImagesDestination:
    made = ImagesDestination(tmp_path / "backup", "usb")
    made.initialise()
    made.open()
    return made


def test_namesake_of_another_identity_gets_a_folder_of_its_own(
    destination: ImagesDestination,
) -> None:
    first = store_point(destination, identity=UUID)
    second = store_point(destination, identity=OTHER_UUID, point=OTHER_POINT)
    assert ("web", "web~0a0b0c0d") == (first.parent.name, second.parent.name)
    assert [POINT, OTHER_POINT] == list_ids(destination)


def test_namesake_known_by_name_alone_is_told_apart_too(destination: ImagesDestination) -> None:
    store_point(destination, identity=UUID)
    folder = store_point(destination, identity="web", point=OTHER_POINT).parent
    assert folder.name.startswith("web~")
    third = "20261124T023000Z-aaaaaa"
    assert folder == store_point(destination, identity="web", point=third).parent


def test_folder_whose_owner_file_is_lost_is_judged_by_its_points(
    destination: ImagesDestination,
) -> None:
    folder = store_point(destination, identity=UUID).parent
    (folder / ".owner.json").unlink()
    again = store_point(destination, identity=UUID, point=OTHER_POINT)
    (folder / ".owner.json").unlink()
    foreign = store_point(destination, identity=OTHER_UUID, point="20261124T023000Z-aaaaaa")
    assert folder == again.parent
    assert "web~0a0b0c0d" == foreign.parent.name


@pytest.mark.parametrize("owner", [b"", b"garbage", b"[1]", b'{"identity": 7}'])
def test_folder_with_a_broken_owner_file_is_left_alone(
    destination: ImagesDestination, owner: bytes
) -> None:
    folder = store_point(destination, identity=UUID).parent
    (folder / ".owner.json").write_bytes(owner)
    assert folder != store_point(destination, identity=UUID, point=OTHER_POINT).parent


@pytest.mark.parametrize(
    "domain",
    ["a/b", "..", ".", "-rf", "with space", "quote'\"", "ünïcode", "%2F", "x" * 63, "\udcff"],
)
def test_hostile_domain_names_stay_inside_and_come_back(
    destination: ImagesDestination, domain: str
) -> None:
    folder = store_point(destination, domain=domain, identity=domain)
    assert destination.folder == folder.parent.parent
    (summary,) = destination.list_points()
    assert domain == summary.domain
    assert destination.verify_point(POINT).good


def test_file_in_the_way_of_a_domain_folder_is_walked_around(
    destination: ImagesDestination,
) -> None:
    (destination.folder / "web").write_bytes(b"mine")
    assert store_point(destination, identity=UUID).parent.name == "web~8f21c3aa"
    assert b"mine" == (destination.folder / "web").read_bytes()


def test_domain_that_finds_no_folder_is_refused_with_where_to_look(
    destination: ImagesDestination,
) -> None:
    for name in (
        "web",
        f"web~{UUID[:8]}",
        "web~8f21c3aa22223333",
        "web~8f21c3aa222233334444555555555555",
    ):
        (destination.folder / name).write_bytes(b"")
    with pytest.raises(DestinationFailed, match="is taken by others") as caught:
        destination.stage_point("web", UUID, POINT)
    assert ".owner.json" in caught.value.hint


def test_namesakes_that_begin_in_the_same_moment_get_a_folder_each(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename
    other = ImagesDestination(destination.folder, "usb")

    def come_first(*names: Any, **folders: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        store_point(other, identity=OTHER_UUID, point=OTHER_POINT)
        rename(*names, **folders)

    monkeypatch.setattr(os, "rename", come_first)
    assert "web~8f21c3aa" == store_point(destination, identity=UUID).parent.name
    assert [POINT, OTHER_POINT] == list_ids(destination)
    assert () == destination.scan().leftovers


def test_memory_image_that_is_lost_is_damage(
    destination: ImagesDestination, tmp_path: Path
) -> None:
    (tmp_path / "spool.save").write_bytes(b"memory")
    folder = store_point(destination, memory=tmp_path / "spool.save")
    (folder / "memory.save").unlink()
    with pytest.raises(PointDamaged, match=r"memory image .* is not there"):
        destination.memory_path(POINT)


def test_links_are_never_followed(destination: ImagesDestination, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (destination.folder / "web").symlink_to(outside)
    folder = store_point(destination, identity=UUID)
    (folder / "xvda.img").unlink()
    (folder / "xvda.img").symlink_to(outside / "secret")
    assert [outside / "secret"] == list(outside.iterdir())
    with pytest.raises(PointDamaged, match=r"xvda\.img"):
        destination.open_disk(POINT, "xvda")
    (finding,) = destination.verify_point(POINT).findings
    assert "xvda.img" == finding.file
    assert "symbolic link" in finding.message
    with pytest.raises(NotOurs, match=r"no part of a point: xvda\.img \(symbolic link\)"):
        destination.delete_point(POINT)
    assert [POINT] == [summary.point for summary in destination.list_points()]
    (folder / "xvda.img").unlink()
    assert destination.delete_point(POINT)
    assert b"secret" == (outside / "secret").read_bytes()


def test_fifo_instead_of_an_image_holds_nobody_up(destination: ImagesDestination) -> None:
    folder = store_point(destination)
    (folder / "xvda.img").unlink()
    os.mkfifo(folder / "xvda.img")
    assert ["xvda.img"] == [f.file for f in destination.verify_point(POINT).findings]


@pytest.mark.parametrize("vdev", ["../xvda", "", "xvda/..", "XVDA", ".hidden", "xvda\n"])
def test_disk_names_that_are_no_devices_are_refused(
    destination: ImagesDestination, vdev: str
) -> None:
    staged = destination.stage_point("web", "web", POINT)
    with pytest.raises(DestinationFailed, match="no device name"):
        staged.add_disk(vdev, MemoryDevice(b"x" * 512), size_bytes=512, source_name="")


@pytest.mark.parametrize("point", ["", "..", "web", "20261122T023000Z-k3f9qa/.."])
def test_points_that_are_no_ids_are_refused(destination: ImagesDestination, point: str) -> None:
    with pytest.raises(DestinationFailed, match="no id"):
        destination.stage_point("web", "web", point)
    assert not destination.has_point(point)
    assert not destination.delete_point(point)
    assert not destination.discard_partial(point)


def test_damaged_manifest_is_listed_as_such_and_hides_no_other_point(
    destination: ImagesDestination,
) -> None:
    folder = store_point(destination)
    store_point(destination, point=OTHER_POINT)
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"vcpus": 1', b'"vcpus": 2', 1))
    listing = destination.scan()
    assert [OTHER_POINT] == [summary.point for summary in listing.points]
    (damaged,) = listing.damaged
    assert (POINT, "web", "usb") == (damaged.point, damaged.domain, damaged.destination)
    assert "checksum" in damaged.reason
    report = destination.verify_point(POINT)
    assert ["manifest.json"] == [finding.file for finding in report.findings]
    assert not destination.has_point(POINT)
    assert destination.delete_point(POINT)


def test_point_moved_under_another_id_is_damaged(destination: ImagesDestination) -> None:
    folder = store_point(destination)
    folder.rename(folder.with_name(OTHER_POINT))
    (damaged,) = destination.scan().damaged
    assert f"it describes point {POINT}" in damaged.reason


def test_foreign_files_and_folders_are_no_points(destination: ImagesDestination) -> None:
    (destination.folder / "lost+found").mkdir()
    (destination.folder / "notes.txt").write_bytes(b"")
    (destination.folder / "photos").mkdir()
    (destination.folder / "photos" / "2026").mkdir()
    (destination.folder / "caf\udce9").mkdir()
    assert PointListing() == destination.scan()


def test_nothing_is_deleted_once_another_disk_lies_at_the_place(
    destination: ImagesDestination,
) -> None:
    folder = store_point(destination)
    away = destination.folder.with_name("away")
    destination.folder.rename(away)
    destination.folder.mkdir()

    with pytest.raises(DestinationMissing):
        destination.delete_point(POINT)

    assert (away / folder.relative_to(destination.folder) / "manifest.json").is_file()
