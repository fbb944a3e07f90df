"""Files that we make are new ones: what somebody put at their place keeps its content.

A hard link tells the two flags of a new file apart: that it is no link is seen by O_NOFOLLOW, that
it was there before only by O_EXCL.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.restore_house import RestoreWatcher, Site
from tests.unit.test_restore_interrupted import stop_after
from xenbackup.errors import (
    DestinationFailed,
    Interrupted,
    RestoreFailed,
    SnapshotFailed,
    StateFailed,
)
from xenbackup.model.restore import TargetAct
from xenbackup.operations.restore import list_incomplete_restores, restore_point
from xenbackup.records.restore_marks import MarkKeeper
from xenbackup.system import durable
from xenbackup.system.folder import Folder
from xenbackup.system.reflink import clone_file

PRECIOUS = b"precious" * 1000
PLANTS: dict[str, Callable[[Path, Path], object]] = {
    "file": lambda place, victim: place.write_bytes(victim.read_bytes()),
    "hard link": lambda place, victim: place.hardlink_to(victim),
    "symbolic link": lambda place, victim: place.symlink_to(victim),
    "link to nothing": lambda place, victim: place.symlink_to(victim.with_name("absent")),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    victim = tmp_path / "elsewhere" / "victim"
    victim.parent.mkdir()
    victim.write_bytes(PRECIOUS)
    return victim


def assert_untouched(victim: Path) -> None:
    assert PRECIOUS == victim.read_bytes()
    assert [victim] == list(victim.parent.iterdir())


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_part_of_a_point_is_never_written_to_what_lay_at_its_place(
    tmp_path: Path, victim: Path, plant: Callable[[Path, Path], object]
) -> None:
    plant(tmp_path / "xvda.img", victim)
    with Folder.open(tmp_path, DestinationFailed) as folder:
        with pytest.raises(DestinationFailed, match="File exists"):
            folder.create_file("xvda.img")
        with pytest.raises(DestinationFailed, match="File exists"):
            folder.write_file("xvda.img", b"mine")
    assert_untouched(victim)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_new_content_is_never_written_to_what_lay_at_the_place_of_its_temporary_file(
    tmp_path: Path,
    victim: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Path, Path], object],
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "guessed")
    temporary = tmp_path / f".settings.{os.getpid()}-guessed.new"
    plant(temporary, victim)
    with pytest.raises(StateFailed, match=r"Cannot write .*settings: File exists"):
        durable.replace_file(tmp_path / "settings", b"mine")
    assert_untouched(victim)
    assert not (tmp_path / "settings").exists()
    assert os.path.lexists(temporary)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_reflink_copy_is_never_made_over_what_lay_at_its_place(
    tmp_path: Path, victim: Path, plant: Callable[[Path, Path], object]
) -> None:
    (tmp_path / "disk.img").write_bytes(b"disk")
    plant(tmp_path / ".xb-copy", victim)
    with pytest.raises(SnapshotFailed, match="File exists"):
        clone_file(tmp_path / "disk.img", tmp_path / ".xb-copy")
    assert (tmp_path / ".xb-copy").is_symlink() or (tmp_path / ".xb-copy").exists()
    assert_untouched(victim)


# Image files of a restore


def plant_after_the_last_look(
    monkeypatch: pytest.MonkeyPatch, place: Path, plant: Callable[[], object]
) -> None:
    """Somebody is quicker than the restore, which has looked and is about to make its files."""
    begin = MarkKeeper.begin

    def hurry(self: MarkKeeper) -> None:
        begin(self)
        place.unlink(missing_ok=True)
        plant()

    monkeypatch.setattr(MarkKeeper, "begin", hurry)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_restored_image_is_never_written_to_what_came_to_its_place_meanwhile(
    tmp_path: Path,
    victim: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Path, Path], object],
) -> None:
    site = Site(tmp_path / "host")
    images = site.host.place("/srv/guests")
    images.mkdir()
    plan = site.plan(site.back_up("crash"), domain="web2", image_folder="/srv/guests")
    target = site.host.place(plan.targets[0].path)
    plant_after_the_last_look(monkeypatch, target, lambda: plant(target, victim))

    with pytest.raises(RestoreFailed, match="File exists"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert_untouched(victim)


def test_restored_image_that_is_gone_on_with_is_not_reached_through_a_link(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "host")
    site.host.place("/srv/guests").mkdir()
    point = site.back_up("crash")
    options = {"domain": "web2", "image_folder": "/srv/guests"}
    with pytest.raises(Interrupted):
        restore_point(site.house, site.plan(point, **options), RestoreWatcher(), stop_after(1))
    plan = site.plan(point, **options)
    assert [TargetAct.CONTINUE] * 2 == [target.act for target in plan.targets]
    target = site.host.place(plan.targets[0].path)
    plant_after_the_last_look(monkeypatch, target, lambda: target.symlink_to(victim))

    with pytest.raises(RestoreFailed, match="it is a symbolic link"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert_untouched(victim)
    assert 1 == len(list_incomplete_restores(site.house)), "it is still to be completed"
