"""Removals that were cut off are finished where the destination answers; the others keep nobody."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.pruned_house import Attic
from xenbackup.errors import DestinationFailed
from xenbackup.operations.probing import Probe
from xenbackup.operations.removals import FinishedRemovals, finish_removals
from xenbackup.storage.destination import PointStore
from xenbackup.system.folder import Folder


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    return Attic(tmp_path / "host")


def cut_off(attic: Attic, point: str) -> Path:
    place = attic.place(point)
    return place.rename(place.with_name(f".deleting-{point}"))


def test_points_of_every_destination_go_and_the_catalog_forgets_them(attic: Attic) -> None:
    near, kept = attic.store(3), attic.store(2)
    far = attic.store(1, destination="offsite")
    for point in (near, kept):
        store = attic.house.open_destination("local")
        attic.house.catalog.record_point(store.summarise_point(point))
    home = attic.host.place("/srv/offsite/web")
    (home / far).rename(home / f".deleting-{far}")
    cut_off(attic, near)
    assert FinishedRemovals(points=(near, far)) == finish_removals(attic.house)
    assert [kept] == attic.list_ids()
    assert [kept] == [found.point for found in attic.house.catalog.list_points()]
    assert FinishedRemovals() == finish_removals(attic.house)


def test_a_point_that_lies_there_twice_stays_in_the_catalog(attic: Attic) -> None:
    point = attic.store(2)
    store = attic.house.open_destination("local")
    attic.house.catalog.record_point(store.summarise_point(point))
    place = attic.place(point)
    copy = attic.folder / "copied-by-somebody"
    copy.mkdir()
    (copy / ".owner.json").write_bytes((place.parent / ".owner.json").read_bytes())
    (copy / f".deleting-{point}").mkdir()
    assert (point,) == finish_removals(attic.house).points
    assert [point] == [found.point for found in attic.house.catalog.list_points()]


def test_a_destination_that_does_not_answer_keeps_nobody(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attic.store(2)
    rest = cut_off(attic, first)
    released, open_one = threading.Event(), attic.house.open_destination

    def open_destination(name: str) -> PointStore:
        if name == "offsite":
            released.wait(60)
        return open_one(name)

    house = replace(attic.house, open_destination=open_destination)
    probe = Probe(3.0)
    for _ in range(2):
        found = finish_removals(house, probe)
        assert () == found.troubles
        assert "offsite" in found.silent
    released.set()
    assert () == finish_removals(attic.house, Probe(60)).silent
    assert not rest.exists()


def test_a_disk_that_fails_is_told_and_the_others_go_on(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = attic.store(1, destination="offsite")
    home = attic.host.place("/srv/offsite/web")
    (home / point).rename(home / f".deleting-{point}")
    list_names = Folder.list_names

    def fail(self: Folder) -> object:
        if self.path == attic.folder:
            raise DestinationFailed("Cannot read the folder: Input/output error.")
        return list_names(self)

    monkeypatch.setattr(Folder, "list_names", fail)
    assert FinishedRemovals(
        points=(point,), troubles=("local: Cannot read the folder: Input/output error",)
    ) == finish_removals(attic.house)


def test_a_question_that_gets_no_thread_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    probe = Probe(60)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert {} == probe.ask({"x": lambda: 1})
    monkeypatch.undo()
    assert {"x": 1} == probe.ask({"x": lambda: 1})
