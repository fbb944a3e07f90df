"""The journal as a file: created once, appended, synced, cut where torn, refused where damaged."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import builders as b
from xenbackup.errors import JournalDamaged, StateFailed
from xenbackup.model import entries as e
from xenbackup.model.record import RunRecord
from xenbackup.records import journal as journals
from xenbackup.records.journal import (
    Journal,
    apply_entry,
    list_journals,
    read_journal,
    read_record,
)

NOW = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
BLANK = RunRecord(start=b.make_start())


def create(folder: Path, *entries: e.AnyEntry) -> Journal:
    journal = Journal(folder / f"{b.RUN}.jsonl", lambda: NOW)
    journal.create(e.RunStarted(start=b.make_start()))
    for entry in entries:
        journal.write(entry)
    return journal


def test_journal_without_its_first_entry_has_no_record(tmp_path: Path) -> None:
    with pytest.raises(JournalDamaged, match="no first entry yet"):
        _ = Journal(tmp_path / "x.jsonl", lambda: NOW).record


def test_record_of_an_open_journal_is_that_of_its_file(tmp_path: Path) -> None:
    journal = create(tmp_path, e.Pausing())
    assert journal.record.pause_begun
    assert journal.record == read_record(journal.path)
    assert [(1, NOW), (2, NOW)] == [(line.number, line.at) for line in read_journal(journal.path)]
    journal.close()
    journal.close()


def test_name_of_a_new_journal_is_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    create(tmp_path, e.Pausing()).close()
    assert ["file", "folder", "file"] == synced


def test_journal_is_never_created_over_another(tmp_path: Path) -> None:
    journal = create(tmp_path, e.Pausing())
    before = journal.path.read_bytes()
    journal.close()
    with pytest.raises(StateFailed, match="File exists"):
        create(tmp_path)
    assert before == journal.path.read_bytes()


@pytest.mark.parametrize("reopened", [False, True])
def test_journal_behind_a_link_is_refused(tmp_path: Path, reopened: bool) -> None:
    target = create(tmp_path)
    target.close()
    link = Journal(tmp_path / f"{b.ROUND}.jsonl", lambda: NOW)
    link.path.symlink_to(target.path if reopened else tmp_path / "victim")
    with pytest.raises(StateFailed, match=r"symbolic link|File exists"):
        link.reopen() if reopened else link.create(e.RunStarted(start=b.make_start()))
    assert not (tmp_path / "victim").exists()
    assert 1 == len(read_journal(target.path))


@pytest.mark.parametrize("reopened", [False, True])
def test_journal_is_not_handed_to_the_commands_that_a_run_starts(
    tmp_path: Path, reopened: bool
) -> None:
    journal = create(tmp_path)
    if reopened:
        journal.close()
        journal.reopen()
    inheritable = [
        os.get_inheritable(int(entry.name))
        for entry in Path("/proc/self/fd").iterdir()
        if entry.exists() and entry.resolve() == journal.path
    ]
    journal.close()
    assert [False] == inheritable


@pytest.mark.parametrize("reopened", [False, True])
def test_lines_are_appended_wherever_another_writer_left_the_file(
    tmp_path: Path, reopened: bool
) -> None:
    journal = create(tmp_path, e.Pausing())
    if reopened:
        journal.close()
        journal.reopen()
    with journal.path.open("ab") as stream:
        stream.write(b'{"v":1,"n":3,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}\n')
    journal._lines = 3
    journal.write(e.Saved())
    journal.close()
    assert [e.Pausing(), e.Paused(), e.Saved()] == [
        line.entry for line in read_journal(journal.path)
    ][1:]


def test_reopened_journal_goes_on_counting_where_it_was(tmp_path: Path) -> None:
    create(tmp_path, e.Pausing()).close()
    journal = Journal(tmp_path / f"{b.RUN}.jsonl", lambda: NOW)
    journal.reopen()
    assert journal.record.pause_begun
    journal.write(e.Paused())
    journal.close()
    assert [1, 2, 3] == [line.number for line in read_journal(journal.path)]


def test_whole_journal_is_reopened_without_being_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path).close()
    cuts: list[int] = []
    monkeypatch.setattr(os, "ftruncate", lambda _descriptor, length: cuts.append(length))
    journal = Journal(tmp_path / f"{b.RUN}.jsonl", lambda: NOW)
    journal.reopen()
    assert [] == cuts
    journal.close()


def test_torn_line_is_cut_off_on_disk_before_anything_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path).close()
    path = tmp_path / f"{b.RUN}.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"v":1')
    sizes: list[int] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    journal = Journal(path, lambda: NOW)
    journal.reopen()
    journal.close()
    assert [len(whole)] == sizes
    assert whole == path.read_bytes()


def test_line_that_could_not_be_written_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = create(tmp_path)

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(StateFailed, match="Input/output error"):
            journal.write(e.Pausing())
    assert not journal.record.pause_begun
    journal.close()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"garbage", "line 2, cannot be read"),
        (b'"\xff\xfe"', "line 2, cannot be read"),
        (
            b'{"v":2,"n":2,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}',
            "line 2: expected version 1 and line 2, found version 2 and line 2",
        ),
        (
            b'{"v":0,"n":2,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}',
            "found version 0 and line 2",
        ),
        (
            b'{"v":1,"n":1,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}',
            "found version 1 and line 1",
        ),
        (
            b'{"v":1,"n":3,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}',
            "found version 1 and line 3",
        ),
        (b"", "line 2, cannot be read"),
        (
            b'{"v":"1","n":2,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}',
            "line 2, cannot be read",
        ),
    ],
)
def test_damaged_line_says_where_it_is_and_what_to_do(
    tmp_path: Path, line: bytes, told: str
) -> None:
    create(tmp_path).close()
    path = tmp_path / f"{b.RUN}.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(JournalDamaged) as caught:
        read_journal(path)
    assert told in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_journal_that_was_trimmed_meanwhile_is_as_good_as_empty(tmp_path: Path) -> None:
    gone = tmp_path / f"{b.RUN}.jsonl"
    assert () == read_journal(gone)
    with pytest.raises(JournalDamaged, match="empty"):
        read_record(gone)
    gone.write_bytes(b'{"v":1,"n":1')
    assert () == read_journal(gone)


def test_more_than_three_hundred_lines_are_numbered_by_value(tmp_path: Path) -> None:
    """Numbers above 256 are objects of their own in CPython."""
    journal = create(tmp_path, *(e.Paused() for _ in range(300)))
    journal.close()
    assert 301 == len(read_journal(journal.path))


def test_first_entry_twice_changes_nothing() -> None:
    assert BLANK == apply_entry(BLANK, e.RunStarted(start=b.make_start("cold")))


def test_journals_are_listed_oldest_first(tmp_path: Path) -> None:
    names = ["20261122T023000Z-k3f9qa", "20261121T023000Z-k3f9qa", "20261123T023000Z-k3f9qa"]
    for name in names:
        (tmp_path / f"{name}{journals.SUFFIX}").write_bytes(b"")
    (tmp_path / f"{names[0]}.aaa").write_bytes(b"")
    (tmp_path / f"{names[0]}.zzz").write_bytes(b"")
    (tmp_path / "notes.jsonl").write_bytes(b"")
    assert sorted(names) == [path.stem for path in list_journals(tmp_path)]
    assert () == list_journals(tmp_path / "absent")
    assert () == list_journals(tmp_path / "notes.jsonl")
