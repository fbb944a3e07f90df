"""Durable files: whole or not at all, private, and locks that die with their holder."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from xenbackup.errors import Locked, StateFailed
from xenbackup.system import durable
from xenbackup.system.durable import (
    FileLock,
    append_durably,
    make_private_folder,
    replace_file,
    sync_folder,
    write_whole,
)


def test_replace_file_writes_content_with_private_mode(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    replace_file(path, b"new")
    assert b"new" == path.read_bytes()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_replace_file_sets_the_asked_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "metrics", b"", mode=0o644)
    finally:
        os.umask(before)
    assert 0o644 == stat.S_IMODE((tmp_path / "metrics").stat().st_mode)


def test_replace_file_replaces_a_link_and_leaves_its_target_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / "link").symlink_to(victim)
    replace_file(tmp_path / "link", b"mine")
    assert b"untouched" == victim.read_bytes()
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_failed_replacement_keeps_the_old_content_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def fail(*_arguments: object, **_options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StateFailed, match=r"Cannot write .*state: No space left on device"):
        replace_file(path, b"new")
    assert b"old" == path.read_bytes()
    assert ["state"] == [entry.name for entry in tmp_path.iterdir()]


def test_replacement_is_synced_before_its_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        acts.append(f"sync {kind}")
        fsync(descriptor)

    def note_rename(old: str, new: str) -> None:
        acts.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    replace_file(tmp_path / "state", b"new")
    assert ["sync file", "rename", "sync folder"] == acts


def test_write_whole_goes_on_after_short_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: write(descriptor, view[:3]))
    with (tmp_path / "file").open("wb") as stream:
        write_whole(stream.fileno(), b"0123456789")
    assert b"0123456789" == (tmp_path / "file").read_bytes()


def test_write_whole_takes_a_write_of_nothing_for_a_full_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "write", lambda _descriptor, _view: 0)
    with pytest.raises(OSError, match="No space"):
        write_whole(1, b"x")


def test_append_is_synced_and_its_failed_sync_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []

    def fail(descriptor: int) -> None:
        syncs.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "journal"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        append_durably(descriptor, b"one\n")
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StateFailed, match=r"journal.*Input/output error"):
            append_durably(descriptor, b"two\n")
    finally:
        os.close(descriptor)
    assert 1 == len(syncs)
    assert b"one\ntwo\n" == path.read_bytes()


def test_private_folder_is_made_with_its_parents_and_only_it_is_private(tmp_path: Path) -> None:
    made = make_private_folder(tmp_path / "lib" / "xenbackup")
    assert 0o700 == stat.S_IMODE(made.stat().st_mode)
    assert 0 != stat.S_IMODE(made.parent.stat().st_mode) & 0o055


def test_private_folder_that_others_could_read_is_narrowed(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)
    make_private_folder(tmp_path / "spool")
    make_private_folder(tmp_path / "spool")
    assert 0o700 == stat.S_IMODE((tmp_path / "spool").stat().st_mode)


def test_private_folder_refuses_a_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(StateFailed, match="spool"):
        make_private_folder(tmp_path / "spool")


def test_private_folder_refuses_another_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(StateFailed, match=f"belongs to user {owner}"):
        make_private_folder(tmp_path)


def test_missing_folder_cannot_be_synced_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateFailed, match=r"sync the folder .*absent"):
        sync_folder(tmp_path / "absent")


def test_full_disk_comes_with_a_hint(tmp_path: Path) -> None:
    with (
        pytest.raises(StateFailed) as caught,
        durable.translate_errors(StateFailed, "write a line"),
    ):
        raise OSError(errno.ENOSPC, "x")
    assert "Cannot write a line: No space left on device." == caught.value.message
    assert "free some space" in caught.value.hint
    assert tmp_path.exists()


def test_second_lock_names_the_holder_and_what_it_does(tmp_path: Path) -> None:
    path = tmp_path / "domain.lock"
    with FileLock(path, "back up web"):
        with pytest.raises(Locked, match=rf"process {os.getpid()} \(back up web\)") as caught:
            FileLock(path, "restore web").acquire()
        assert "restore web" in caught.value.message
    with FileLock(path, "restore web") as lock:
        assert lock.held


def test_lock_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    path = tmp_path / "host.lock"
    program = (
        "import sys; from pathlib import Path; from xenbackup.system.durable import FileLock\n"
        "FileLock(Path(sys.argv[1]), 'run').acquire(); print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        with pytest.raises(Locked, match=f"process {holder.pid}"):
            FileLock(path, "recover").acquire()
        holder.kill()
        holder.wait()
    lock = FileLock(path, "recover")
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()
    assert path.exists()


def test_lock_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"kept")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StateFailed, match="lock"):
        FileLock(tmp_path / "lock", "run").acquire()
    assert b"kept" == (tmp_path / "victim").read_bytes()
