"""The spool: memory images are private, and the files of a run are found and removed together."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.points import OTHER_POINT, POINT
from xenbackup.errors import StateFailed
from xenbackup.storage.spool import Spool

MIB = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "lib" / "spool")
    made.open()
    return made


class FakeStatistics(NamedTuple):
    """What statvfs tells of free space."""

    f_bavail: int
    f_frsize: int


def test_spool_is_private_also_where_it_was_not(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)
    Spool(tmp_path / "spool").open()
    assert 0o700 == stat.S_IMODE((tmp_path / "spool").stat().st_mode)


def test_image_path_bears_the_runs_id(spool: Spool) -> None:
    assert spool.folder / f"{POINT}.save" == spool.image_path(POINT)


@pytest.mark.parametrize(
    "run_id", ["", "..", "../../etc/shadow", "web", f"{POINT}/x", f"{POINT}\n"]
)
def test_what_is_no_runs_id_is_refused(spool: Spool, run_id: str) -> None:
    for act in (spool.image_path, spool.remove, spool.secure_image):
        with pytest.raises(StateFailed, match="no id of a run"):
            act(run_id)


def test_image_written_for_all_to_read_becomes_private_and_durable(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spool.image_path(POINT)
    path.write_bytes(b"memory")
    path.chmod(0o644)
    synced: list[int] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    assert 6 == spool.secure_image(POINT)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert [path.stat().st_ino, spool.folder.stat().st_ino] == synced


def test_image_that_is_a_link_is_refused(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "victim").chmod(0o644)
    spool.image_path(POINT).symlink_to(tmp_path / "victim")
    with pytest.raises(StateFailed, match="symbolic link"):
        spool.secure_image(POINT)
    assert 0o644 == stat.S_IMODE((tmp_path / "victim").stat().st_mode)


def test_missing_image_is_named(spool: Spool) -> None:
    with pytest.raises(StateFailed, match=rf"{POINT}\.save: No such file"):
        spool.secure_image(POINT)


def test_files_of_a_run_go_together_and_others_stay(spool: Spool) -> None:
    for name in (f"{POINT}.save", f"{POINT}.stderr", f"{OTHER_POINT}.save", "notes", f"{POINT}x"):
        (spool.folder / name).write_bytes(b"12345")
    (spool.folder / f"{POINT}.folder").mkdir()
    assert [(POINT, 5), (POINT, 5), (OTHER_POINT, 5)] == [
        (spooled.run, spooled.size_bytes) for spooled in spool.list_files()
    ]
    assert spool.remove(POINT)
    assert not spool.remove(POINT)
    assert [OTHER_POINT] == [spooled.run for spooled in spool.list_files()]
    assert (spool.folder / "notes").exists()
    assert (spool.folder / f"{POINT}x").exists()


def test_removing_a_link_leaves_its_target(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"kept")
    spool.image_path(POINT).symlink_to(tmp_path / "victim")
    assert spool.remove(POINT)
    assert b"kept" == (tmp_path / "victim").read_bytes()


def test_spool_that_was_never_opened_holds_nothing(tmp_path: Path) -> None:
    assert () == Spool(tmp_path / "absent").list_files()
    assert not Spool(tmp_path / "absent").remove(POINT)


@pytest.mark.parametrize(("free", "fits"), [(164, True), (163, False), (0, False)])
def test_room_is_checked_with_a_reserve(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, free: int, fits: bool
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: FakeStatistics(free * 256, 4096))
    if fits:
        spool.check_room(100 * MIB)
        return
    with pytest.raises(StateFailed, match=f"has {free} MiB free.* needs 100 MiB") as caught:
        spool.check_room(100 * MIB)
    assert "[spool] path" in caught.value.hint


def test_free_space_of_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateFailed, match=r"free space of .*absent"):
        Spool(tmp_path / "absent").free_bytes()
