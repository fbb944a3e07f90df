"""A folder held open: plain names only, no link followed, errors of the kind that was asked for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from xenbackup.errors import DestinationFailed, StateFailed
from xenbackup.system.durable import sync_folder
from xenbackup.system.folder import EntryKind, Folder, is_plain_name

HOSTILE = ("", ".", "..", "a/b", "/etc", "../x", "nul\0", "x" * 256)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path, DestinationFailed)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_are_refused_by_every_act(folder: Folder, name: str) -> None:
    assert not is_plain_name(name)
    acts: tuple[Callable[[], object], ...] = (
        lambda: folder.open_folder(name),
        lambda: folder.make_folder(name),
        lambda: folder.create_file(name),
        lambda: folder.open_file(name),
        lambda: folder.read_file(name, limit_bytes=1),
        lambda: folder.write_file(name, b""),
        lambda: folder.replace_file(name, b""),
        lambda: folder.find(name),
        lambda: folder.rename(name, "x"),
        lambda: folder.rename("x", name),
        lambda: folder.remove_file(name),
        lambda: folder.remove_tree(name),
    )
    for act in acts:
        with pytest.raises(DestinationFailed, match="not a plain file name"):
            act()
    assert [] == list(folder.path.iterdir())


def test_links_are_followed_by_nothing(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "kept").write_bytes(b"kept")
    (folder.path / "file").symlink_to(outside / "kept")
    (folder.path / "folder").symlink_to(outside)
    with pytest.raises(DestinationFailed, match="symbolic link"):
        folder.open_file("file")
    for act in (folder.open_folder, folder.remove_tree):
        with pytest.raises(DestinationFailed, match="folder"):
            act("folder")
    assert [EntryKind.LINK, EntryKind.LINK] == [entry.kind for entry in folder.list_entries()]
    folder.replace_file("file", b"mine")
    folder.remove_file("folder")
    assert b"kept" == (outside / "kept").read_bytes()
    assert b"mine" == (folder.path / "file").read_bytes()


def test_whole_trees_are_removed_and_missing_ones_are_no_error(folder: Folder) -> None:
    (folder.path / "tree" / "inner").mkdir(parents=True)
    (folder.path / "tree" / "inner" / "file").write_bytes(b"")
    for _ in range(2):
        folder.remove_tree("tree")
        folder.remove_file("file")
    assert () == folder.list_entries()


def test_file_larger_than_its_limit_is_refused(folder: Folder) -> None:
    folder.write_file("file", b"12345")
    assert b"12345" == folder.read_file("file", limit_bytes=5)
    with pytest.raises(DestinationFailed, match="larger than 4 bytes"):
        folder.read_file("file", limit_bytes=4)


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EOPNOTSUPP])
def test_file_system_that_syncs_no_folders_is_taken_as_it_is(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    """CIFS before Linux 4.17, gocryptfs."""
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(refusal, os.strerror(refusal))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    folder.replace_file("file", b"content")
    sync_folder(tmp_path)
    assert b"content" == folder.read_file("file", limit_bytes=7)


def test_folder_whose_disk_fails_is_an_error(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DestinationFailed, match="Input/output error"):
        folder.sync()
    with pytest.raises(StateFailed, match="Input/output error"):
        sync_folder(tmp_path)


def test_new_file_never_replaces_one_that_is_there(folder: Folder) -> None:
    folder.write_file("file", b"first")
    with pytest.raises(DestinationFailed, match="File exists"):
        folder.write_file("file", b"second")
    assert b"first" == folder.read_file("file", limit_bytes=10)


def test_failed_replacement_keeps_the_old_content_and_leaves_no_litter(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    folder.write_file("file", b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DestinationFailed, match="Input/output error"):
        folder.replace_file("file", b"new")
    assert [folder.path / "file"] == list(folder.path.iterdir())
    assert b"old" == folder.read_file("file", limit_bytes=10)


def test_special_files_are_told_apart(folder: Folder) -> None:
    os.mkfifo(folder.path / "fifo")
    (folder.path / "inner").mkdir()
    folder.write_file("file", b"")
    assert [EntryKind.OTHER, EntryKind.FILE, EntryKind.FOLDER] == [
        entry.kind for entry in folder.list_entries()
    ]
    with pytest.raises(DestinationFailed, match="not a regular file"):
        folder.open_file("fifo")


def test_holes_take_no_room(folder: Folder) -> None:
    with (folder.path / "sparse").open("wb") as stream:
        stream.truncate(1 << 30)
    entry = folder.find("sparse")
    assert entry is not None
    assert (1 << 30, True) == (entry.size_bytes, entry.allocated_bytes < 1 << 16)


def test_folder_that_was_moved_away_is_not_at_its_path_any_more(folder: Folder) -> None:
    path = folder.path
    assert folder.is_still_at(path)
    moved = path.with_name("moved")
    path.rename(moved)
    assert not folder.is_still_at(path)
    path.mkdir()
    assert not folder.is_still_at(path)
    assert folder.is_still_at(moved)


def test_closed_folder_may_be_closed_again(folder: Folder) -> None:
    with folder:
        assert not folder.closed
    folder.close()
    assert folder.closed
