"""A journal that cannot be written: cut back to its last whole line, and done without at need."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from pathlib import Path

import pytest

from tests import builders as b
from tests.unit.test_journal_edges import NOW, create
from xenbackup.errors import StateFailed
from xenbackup.model import entries as e
from xenbackup.records import journal as journals
from xenbackup.records.journal import Journal, read_journal
from xenbackup.system import durable


def entries_of(journal: Journal) -> list[e.AnyEntry]:
    return [line.entry for line in read_journal(journal.path)][1:]


def fail_sync(monkeypatch: pytest.MonkeyPatch, *, times: int = 1) -> None:
    """The next so many syncs fail, as they do on a disk that gives up."""
    fsync, left = os.fsync, [times]

    def fail(descriptor: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


def test_line_that_failed_is_cut_off_and_the_next_one_takes_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = create(tmp_path, e.Pausing())
    before = journal.path.read_bytes()
    fail_sync(monkeypatch)
    with pytest.raises(StateFailed, match="Input/output error"):
        journal.write(e.Paused())
    assert before == journal.path.read_bytes()
    assert "" == journal.unwritten
    journal.write(e.Saved())
    journal.close()
    assert [e.Pausing(), e.Saved()] == entries_of(journal)


@pytest.mark.parametrize("reopened", [False, True])
def test_line_that_cannot_even_be_cut_off_stays_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reopened: bool
) -> None:
    journal = create(tmp_path, e.Pausing())
    if reopened:
        journal.close()
        journal.reopen()
    write = os.write
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda descriptor, view: write(descriptor, view[:9]) and 0)
        broken.setattr(os, "ftruncate", _refuse)
        with pytest.raises(StateFailed):
            journal.write(e.Paused())
    with pytest.raises(StateFailed):
        journal.write(e.Saved())
    assert [e.Pausing()] == entries_of(journal), "what follows its last new line is torn"
    assert not journal.path.read_bytes().endswith(b"\n")


def _refuse(*_arguments: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_undo_goes_on_without_its_journal_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = create(tmp_path)
    done: list[str] = []
    journal.go_on_unwritten()
    journal.write(e.Pausing(), instead=lambda: done.append("needless"))
    assert ("", []) == (journal.unwritten, done)
    fail_sync(monkeypatch, times=2)
    with caplog.at_level(logging.ERROR):
        journal.write(e.Destroying(), instead=lambda: done.append("instead"))
        monkeypatch.undo()
        fail_sync(monkeypatch, times=2)
        journal.write(e.Destroyed())
    assert ["instead"] == done
    assert "Input/output error" in journal.unwritten
    assert journal.record.destroy_begun and journal.record.destroyed
    assert ["journal-unwritten"] == [record.message for record in caplog.records]
    assert str(journal.path) == caplog.records[0].__dict__["path"]
    monkeypatch.undo()


def test_what_is_as_good_as_a_line_must_work_where_the_line_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = create(tmp_path)
    journal.go_on_unwritten()
    fail_sync(monkeypatch)

    def fail() -> None:
        raise StateFailed("The image is still there.")

    with pytest.raises(StateFailed, match="The image is still there"):
        journal.write(e.Resuming(), instead=fail)
    assert not journal.record.resuming


def test_room_for_the_whole_story_is_set_aside_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[tuple[int, int]] = []
    back: list[int] = []
    give = durable.give_room_back

    def note(descriptor: int) -> None:
        back.append(descriptor)
        give(descriptor)

    def reserve(_descriptor: int, offset: int, size_bytes: int) -> None:
        reserved.append((offset, size_bytes))

    monkeypatch.setattr(durable, "reserve_room", reserve)
    monkeypatch.setattr(durable, "give_room_back", note)
    journal = create(tmp_path)
    size_bytes = journal.path.stat().st_size
    assert [(size_bytes, journals.RESERVE_BYTES)] == reserved
    assert 65536 == journals.RESERVE_BYTES
    journal.close()
    journal.close()
    assert 1 == len(back)


@pytest.mark.parametrize("closed", [False, True])
def test_journal_that_is_not_open_writes_nowhere(tmp_path: Path, closed: bool) -> None:
    """Least of all to a descriptor of somebody else."""
    journal = Journal(tmp_path / f"{b.RUN}.jsonl", lambda: NOW)
    if closed:
        journal = create(tmp_path)
        journal.close()
    with pytest.raises(StateFailed, match="Bad file descriptor"):
        journal.write(e.Pausing())


def test_journal_is_closed_once_and_nothing_else_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    close = os.close

    def note(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "close", note)
    Journal(tmp_path / f"{b.RUN}.jsonl", lambda: NOW).close()
    assert [] == closed
    journal = create(tmp_path)
    del closed[:]
    journal.close()
    journal.close()
    assert 1 == len(closed)


# The room itself


def open_file(folder: Path) -> int:
    return os.open(folder / "file", os.O_RDWR | os.O_CREAT)


def test_room_that_is_set_aside_changes_nothing_to_be_seen(tmp_path: Path) -> None:
    descriptor = open_file(tmp_path)
    try:
        os.write(descriptor, b"abc")
        durable.reserve_room(descriptor, 3, 65536)
        assert 3 == os.fstat(descriptor).st_size
        durable.give_room_back(descriptor)
        assert b"abc" == (tmp_path / "file").read_bytes()
        assert os.fstat(descriptor).st_blocks * 512 < 65536
    finally:
        os.close(descriptor)
    durable.give_room_back(descriptor)  # closed meanwhile: best effort


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP])
def test_only_a_full_disk_keeps_room_from_being_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Library:
        @staticmethod
        def fallocate64(*_arguments: object) -> int:
            return -1

    monkeypatch.setattr(durable, "_LIBRARY", Library)
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    descriptor = open_file(tmp_path)
    try:
        if number == errno.EOPNOTSUPP:
            durable.reserve_room(descriptor, 0, 65536)
            return
        with pytest.raises(StateFailed, match=r"Cannot set room aside for .*/file"):
            durable.reserve_room(descriptor, 0, 65536)
    finally:
        os.close(descriptor)


def test_system_without_such_a_call_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_LIBRARY", object())
    descriptor = open_file(tmp_path)
    try:
        durable.reserve_room(descriptor, 0, 65536)
        assert 0 == os.fstat(descriptor).st_blocks
    finally:
        os.close(descriptor)
