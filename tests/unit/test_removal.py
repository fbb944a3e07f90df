"""Removal of points: killed and cut off at every boundary, and never under a reader's hands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.points import OTHER_POINT, POINT
from tests.unit.power import PowerSupply
from tests.unit.pruned_house import Attic
from tests.unit.restore_house import RestoreWatcher, Site
from tests.unit.stored_points import list_ids, store_point
from xenbackup.errors import DestinationFailed, Locked, PointNotFound
from xenbackup.model.restore import RestoreOptions
from xenbackup.operations.prune import Fate, prune_points
from xenbackup.operations.restore import plan_restore, restore_point
from xenbackup.operations.verify import SilentVerifyWatcher, verify_points
from xenbackup.storage.images import ImagesDestination

HOLDER = """
import sys
from pathlib import Path
from xenbackup.storage.images import ImagesDestination
store = ImagesDestination(Path(sys.argv[1]), "usb")
with store.hold_point(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder: Path, point: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that reads the point until its stdin ends, or it is killed."""
    argv = [sys.executable, "-c", HOLDER, str(folder), point]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        try:
            yield holder
        finally:
            holder.stdin.close()
            holder.wait(60)


def make_destination(folder: Path) -> ImagesDestination:
    destination = ImagesDestination(folder / "backup", "usb")
    destination.initialise()
    destination.open()
    return destination


def test_point_that_another_process_reads_is_not_removed(tmp_path: Path) -> None:
    destination = make_destination(tmp_path)
    store_point(destination)
    with held_elsewhere(destination.folder, POINT):
        with pytest.raises(Locked, match=f"Point {POINT} is in use"):
            destination.delete_point(POINT)
        assert destination.verify_point(POINT).good, "readers get along"
    assert destination.delete_point(POINT)


def test_reader_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    destination = make_destination(tmp_path)
    store_point(destination)
    with held_elsewhere(destination.folder, POINT) as holder:
        holder.kill()
        holder.wait(60)
        assert destination.delete_point(POINT)


def test_prune_leaves_a_point_that_is_read_until_the_next_time(tmp_path: Path) -> None:
    attic = Attic(tmp_path / "host")
    first, second, *_ = attic.store_nights(4)
    with held_elsewhere(attic.folder, first):
        report = prune_points(attic.house)
        fates = {found.point.point: found.fate for found in report.points}
        assert (Fate.BUSY, Fate.REMOVED, 0) == (fates[first], fates[second], report.exit_code)
    assert Fate.REMOVED is prune_points(attic.house).points[0].fate
    assert 2 == len(attic.list_ids())


def test_point_is_not_removed_while_it_is_restored(tmp_path: Path) -> None:
    site = Site(tmp_path / "host")
    point = site.back_up("crash")
    site.lose("web_root", "web_data")
    plan = plan_restore(site.house, point, RestoreOptions())
    refused = []

    class Watcher(RestoreWatcher):
        def act_began(self, what: str) -> None:
            with pytest.raises(Locked):
                site.house.open_destination("local").delete_point(point.point)
            refused.append(what)

    restore_point(site.house, plan, Watcher(), lambda: "")
    assert refused
    assert site.house.open_destination("local").delete_point(point.point)


def test_restore_of_a_point_that_was_removed_since_the_plan_touches_nothing(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path / "host")
    point = site.back_up("crash")
    site.lose("web_root", "web_data")
    plan = plan_restore(site.house, point, RestoreOptions())
    assert site.house.open_destination("local").delete_point(point.point)
    with pytest.raises(PointNotFound):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")
    assert not list((site.house.state_folder).glob("restores/*"))


def test_point_removed_before_its_turn_fails_no_verification(tmp_path: Path) -> None:
    attic = Attic(tmp_path / "host")
    first, second = attic.store_nights(2)

    class Watcher(SilentVerifyWatcher):
        def point_began(self, point: str, domain: str) -> None:
            if point == first:
                attic.house.open_destination("local").delete_point(second)

    results = verify_points(attic.house, None, Watcher())
    assert [(first, 0)] == [(result.point, result.exit_code) for result in results]


def test_pinned_point_is_not_removed_even_if_somebody_asks_for_it(tmp_path: Path) -> None:
    destination = make_destination(tmp_path)
    store_point(destination)
    destination.pin(POINT)
    with pytest.raises(DestinationFailed, match="is pinned"):
        destination.delete_point(POINT)
    assert destination.verify_point(POINT).good


def test_pin_is_on_the_disk_when_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = make_destination(tmp_path)
    store_point(destination)
    for act, expected in ((destination.pin, True), (destination.unpin, False)):
        supply = PowerSupply()
        with supply.plugged_in(monkeypatch):
            act(POINT)
            assert [] == supply.list_unsynced(destination.folder)
        assert expected is destination.list_points()[0].pinned


def test_pin_cut_off_before_its_sync_is_made_durable_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = make_destination(tmp_path)
    store_point(destination)
    supply = PowerSupply()
    with supply.plugged_in(monkeypatch):
        destination.pin(POINT)
    calls = len(supply.calls)
    destination.unpin(POINT)
    supply = PowerSupply(calls)
    with supply.plugged_in(monkeypatch):
        destination.pin(POINT)
    assert supply.was_cut
    supply.cut_at = 0
    with supply.plugged_in(monkeypatch):
        assert not destination.pin(POINT)
        assert [] == supply.list_unsynced(destination.folder)


@pytest.mark.parametrize("renames_too", [False, True])
def test_prune_cut_off_at_any_call_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames_too: bool
) -> None:
    def build(name: str) -> Attic:
        attic = Attic(tmp_path / name)
        attic.store_nights(4)
        return attic

    counted = build("count")
    supply = PowerSupply()
    with supply.plugged_in(monkeypatch):
        store = counted.house.open_destination("local")
        for point in counted.list_ids()[:2]:
            store.delete_point(point)
    for cut_at in range(1, len(supply.calls) + 1):
        attic = build(str(cut_at))
        points = attic.list_ids()
        supply = PowerSupply(cut_at)
        with supply.plugged_in(monkeypatch):
            store = attic.house.open_destination("local")
            for point in points[:2]:
                store.delete_point(point)
        assert supply.was_cut
        supply.lose_unsynced(attic.folder, renames_too=renames_too)
        listing = attic.house.open_destination("local").scan()
        named = f"call {cut_at}, {supply.calls[cut_at - 1]}"
        assert ((), ()) == (listing.damaged, listing.flawed), named
        assert set(points[2:]) <= {found.point for found in listing.points}, named

        report = prune_points(attic.house)
        assert 0 == report.exit_code, named
        listing = attic.house.open_destination("local").scan()
        assert (points[2:], ()) == ([p.point for p in listing.points], listing.leftovers), named


def test_two_that_remove_the_same_point_at_once_harm_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = make_destination(tmp_path)
    store_point(destination)
    store_point(destination, point=OTHER_POINT)
    other = ImagesDestination(destination.folder, "usb")
    from xenbackup.storage import removal

    empty = removal._empty
    seen: list[object] = []

    def meet(opened: object) -> None:
        seen.append(other.delete_point(POINT))
        seen.append(other.finish_removals())
        empty(opened)  # type: ignore[arg-type]

    monkeypatch.setattr(removal, "_empty", meet)
    assert destination.delete_point(POINT)
    assert [False, ((), ())] == seen
    assert [OTHER_POINT] == list_ids(destination)
