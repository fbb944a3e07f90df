"""A power cut at every single system call: a point is invisible or complete, before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.points import OTHER_POINT, POINT
from tests.unit.power import PowerSupply
from tests.unit.stored_points import list_ids, store_point
from xenbackup.errors import DestinationFailed
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.points import PointListing
from xenbackup.storage.shelf import Shelf
from xenbackup.system.durable import replace_file
from xenbackup.system.folder import Folder

CONTENT = b"data" * 20000 + bytes(200000) + b"end"


def make_destination(tmp_path: Path) -> ImagesDestination:
    destination = ImagesDestination(tmp_path / "backup", "usb")
    destination.initialise()
    destination.open()
    return destination


def store(destination: ImagesDestination, tmp_path: Path) -> None:
    image = tmp_path / "spool.save"
    if not image.exists():
        image.write_bytes(b"memory" * 1000)
    store_point(destination, content=CONTENT, memory=image)


def count_calls(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[ImagesDestination, Path], object],
) -> int:
    supply = PowerSupply()
    (tmp_path / "count").mkdir()
    destination = make_destination(tmp_path / "count")
    if act is not store:
        store(destination, tmp_path / "count")
    with supply.plugged_in(monkeypatch):
        act(destination, tmp_path / "count")
    return len(supply.calls)


@pytest.mark.parametrize(
    ("renames_too", "names_too"), [(False, False), (True, False), (False, True)]
)
def test_a_point_is_invisible_or_complete_wherever_the_power_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames_too: bool, names_too: bool
) -> None:
    calls = count_calls(tmp_path, monkeypatch, store)
    assert calls > 20
    visible = []
    for cut_at in range(1, calls + 1):
        place = tmp_path / str(cut_at)
        place.mkdir()
        supply = PowerSupply(cut_at)
        destination = make_destination(place)
        with supply.plugged_in(monkeypatch):
            store(destination, place)
        assert supply.was_cut
        supply.lose_unsynced(place, renames_too=renames_too, names_too=names_too)

        found = ImagesDestination(destination.folder, "usb")
        listing = found.scan()
        assert () == listing.damaged, f"call {cut_at} ({supply.calls[cut_at - 1]})"
        visible.append(bool(listing.points))
        if listing.points:
            assert found.verify_point(POINT).good
            assert found.has_point(POINT)
        else:
            found.discard_partial(POINT)
            assert PointListing() == found.scan()
            store(found, place)
            assert found.verify_point(POINT).good
    # Only the sync of the folder, the very last call, comes after the rename.
    assert [False] * (calls - 1) + [not renames_too] == visible


def test_a_point_after_a_kill_anywhere_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie in a folder whose maker was killed before that folder's name was durable."""
    for cut_at in range(1, count_calls(tmp_path, monkeypatch, store) + 1):
        place = tmp_path / str(cut_at)
        place.mkdir()
        supply = PowerSupply(cut_at)
        destination = make_destination(place)
        with supply.plugged_in(monkeypatch):
            store(destination, place)
        supply.cut_at = 0
        with supply.plugged_in(monkeypatch):
            store_point(ImagesDestination(destination.folder, "usb"), point=OTHER_POINT)
        supply.lose_unsynced(place, renames_too=True, names_too=True)
        found = ImagesDestination(destination.folder, "usb")
        assert found.verify_point(OTHER_POINT).good, f"killed at call {cut_at}"


def test_a_published_point_is_on_the_disk_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supply = PowerSupply()
    destination = make_destination(tmp_path)
    with supply.plugged_in(monkeypatch):
        store(destination, tmp_path)
        assert [] == supply.list_unsynced(destination.folder)


def test_a_point_whose_publisher_was_killed_is_synced_before_it_is_called_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(tmp_path, monkeypatch, store)
    supply = PowerSupply(calls)
    destination = make_destination(tmp_path)
    with supply.plugged_in(monkeypatch):
        store(destination, tmp_path)
    assert [destination.folder / "web"] == supply.list_unsynced(destination.folder)
    supply.cut_at = 0
    with supply.plugged_in(monkeypatch):
        assert ImagesDestination(destination.folder, "usb").has_point(POINT)
        assert [] == supply.list_unsynced(destination.folder)


@pytest.mark.parametrize("renames_too", [False, True])
def test_removal_never_leaves_half_a_point_in_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames_too: bool
) -> None:
    def delete(destination: ImagesDestination, _place: Path) -> None:
        destination.delete_point(POINT)

    calls = count_calls(tmp_path, monkeypatch, delete)
    for cut_at in range(1, calls + 1):
        place = tmp_path / str(cut_at)
        place.mkdir()
        supply = PowerSupply(cut_at)
        destination = make_destination(place)
        store(destination, place)
        store_point(destination, point=OTHER_POINT, content=b"other")
        with supply.plugged_in(monkeypatch):
            delete(destination, place)
        supply.lose_unsynced(place, renames_too=renames_too)

        found = ImagesDestination(destination.folder, "usb")
        listing = found.scan()
        assert () == listing.damaged, f"call {cut_at} ({supply.calls[cut_at - 1]})"
        if len(listing.points) == 2:
            assert found.verify_point(POINT).good
            found.delete_point(POINT)
        found.discard_partial(POINT)
        assert () == found.scan().leftovers
        assert [OTHER_POINT] == list_ids(found)
        assert found.verify_point(OTHER_POINT).good


def test_point_to_be_written_over_is_out_of_sight_on_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = make_destination(tmp_path)
    store(destination, tmp_path)
    supply = PowerSupply()
    root = Folder.open(destination.folder, DestinationFailed)
    with root, supply.plugged_in(monkeypatch):
        Shelf(root, "usb").mark_overwritten(POINT)
        assert [] == supply.list_unsynced(destination.folder)
    assert [] == list_ids(destination)
    assert [POINT] == [damaged.point for damaged in destination.scan().damaged]


def test_initialisation_leaves_no_marker_or_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cut_at in range(1, 20):
        place = tmp_path / str(cut_at)
        place.mkdir()
        supply = PowerSupply(cut_at)
        destination = ImagesDestination(place / "backup", "usb")
        with supply.plugged_in(monkeypatch):
            destination.initialise()
        supply.lose_unsynced(place)
        destination.initialise()
        destination.open()
        if not supply.was_cut:
            break
    else:
        pytest.fail("initialising took more calls than this test foresaw")


def test_replaced_file_is_old_or_new_wherever_the_power_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cut_at in range(1, 20):
        path = tmp_path / f"settings-{cut_at}"
        path.write_bytes(b"old")
        supply = PowerSupply(cut_at)
        with supply.plugged_in(monkeypatch):
            replace_file(path, b"new")
            assert [] == supply.list_unsynced(tmp_path)
        supply.lose_unsynced(tmp_path)
        assert path.read_bytes() in (b"old", b"new")
        if not supply.was_cut:
            assert b"new" == path.read_bytes()
            break
    else:
        pytest.fail("replacing took more calls than this test foresaw")
