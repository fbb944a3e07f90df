"""The journal: durable line by line, folded into a record, torn only at its end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders as b
from xenbackup.errors import JournalDamaged
from xenbackup.model import entries as e
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome
from xenbackup.records.journal import (
    Journal,
    fold_entries,
    list_journals,
    read_journal,
    read_record,
)

NOW = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
STORY: tuple[e.AnyEntry, ...] = (
    e.StepBegan(step=StepName.SAVE_PAUSED),
    e.FreezingMonitors(monitors=(b.MONITOR,)),
    e.Saving(path="/spool/x.save", stays=True),
    e.Saved(),
    e.ImageVerified(path="/spool/x.save", size_bytes=5),
    e.Snapshotting(vdev="xvda", group="xenvols", name="xb-1-xvda", origin_uuid=b.LV_UUID),
    e.Snapshotted(
        vdev="xvda", group="xenvols", name="xb-1-xvda", lv_uuid="made", size_bytes=12 * b.MIB
    ),
    e.Resuming(),
    e.MonitorsWoken(alive=1),
    e.Returned(domid=b.DOMID, away_seconds=1.5),
    e.Staging(destination="local", point=b.RUN),
    e.DiskCopied(vdev="xvda", bytes_read=64, bytes_written=32, digest="d"),
    e.MemoryCopied(bytes_read=5, digest="m"),
    e.Published(point=b.RUN),
    e.SnapshotRemoved(group="xenvols", name="xb-1-xvda"),
    e.ImageDiscarded(),
    e.RunEnded(outcome=Outcome.OK),
)


def write_journal(folder: Path, entries: tuple[e.AnyEntry, ...]) -> Path:
    path = folder / f"{b.RUN}.jsonl"
    journal = Journal(path, lambda: NOW)
    journal.create(e.RunStarted(start=b.make_start()))
    for entry in entries:
        journal.write(entry)
    journal.close()
    return path


def test_a_journal_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = write_journal(tmp_path, STORY)
    lines = read_journal(path)
    assert (e.RunStarted(start=b.make_start()), *STORY) == tuple(line.entry for line in lines)
    assert list(range(1, len(STORY) + 2)) == [line.number for line in lines]
    assert 0o600 == path.stat().st_mode & 0o777


def test_the_record_says_what_the_story_came_to(tmp_path: Path) -> None:
    record = read_record(write_journal(tmp_path, STORY))
    assert record.save_begun and record.image_verified and record.resuming and record.published
    assert b.DOMID == record.returned_domid
    assert 69 == record.bytes_read
    assert 37 == record.bytes_written
    assert () == record.monitors_frozen
    assert [("made", True)] == [(s.lv_uuid, s.removed) for s in record.snapshots]
    assert Outcome.OK == record.ended


def test_record_knows_the_room_that_a_snapshot_came_to_and_that_it_was_too_small() -> None:
    extended = e.SnapshotExtended(group="xenvols", name="xb-1-xvda", size_bytes=20 * b.MIB)
    small = e.SnapshotTooSmall(
        group="xenvols", name="xb-1-xvda", vdev="xvda", size_bytes=20 * b.MIB
    )
    record = fold_entries((e.RunStarted(start=b.make_start()), *STORY[:7]))
    assert 12 * b.MIB == record.snapshots[0].size_bytes
    record = fold_entries((e.RunStarted(start=b.make_start()), *STORY[:7], extended, small))
    assert 20 * b.MIB == record.snapshots[0].size_bytes
    assert ("xvda",) == record.too_small


def test_run_owes_while_it_has_not_ended_and_its_guest_needs_nothing() -> None:
    begun = (e.RunStarted(start=b.make_start()), *STORY[:8])
    debt = e.DebtIncurred(message="Snapshot xenvols/xb-1-xvda is in use.")
    returned = e.Returned(domid=b.DOMID, away_seconds=1.5)
    assert not fold_entries((*begun, returned)).owes
    assert not fold_entries((*begun, debt)).owes, "the guest comes first: it is more than a debt"
    assert fold_entries((*begun, returned, debt)).owes
    assert not fold_entries((*begun, returned, debt, e.RunEnded(outcome=Outcome.PARTIAL))).owes


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(min_value=1, max_value=10_000))
def test_a_torn_last_line_is_ignored_wherever_it_is_torn(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_journal(tmp_path_factory.mktemp("journal"), STORY)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    kept = whole[: max(len(lines[0]), len(whole) - cut)]
    path.write_bytes(kept)
    assert kept.count(b"\n") == len(read_journal(path))


def test_a_reopened_journal_cuts_the_torn_line_and_goes_on(tmp_path: Path) -> None:
    path = write_journal(tmp_path, STORY[:3])
    path.write_bytes(path.read_bytes() + b'{"v":1,"n":5,"at":"2026')
    journal = Journal(path, lambda: NOW)
    journal.reopen()
    journal.write(e.Saved())
    journal.close()
    assert isinstance(read_journal(path)[-1].entry, e.Saved)
    assert 5 == len(read_journal(path))


@pytest.mark.parametrize(
    "damage",
    [
        b"garbage\n",
        b'{"v":2,"n":2,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}\n',
        b'{"v":1,"n":7,"at":"2026-11-22T02:30:00Z","entry":{"event":"paused"}}\n',
        b'{"v":1,"n":2,"at":"2026-11-22T02:30:00Z","entry":{"event":"flew-away"}}\n',
    ],
)
def test_a_damaged_line_is_named_and_never_guessed(tmp_path: Path, damage: bytes) -> None:
    path = write_journal(tmp_path, ())
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(JournalDamaged, match="line 2"):
        read_journal(path)


def test_a_journal_that_begins_otherwise_is_refused() -> None:
    with pytest.raises(JournalDamaged):
        fold_entries((e.Paused(),))
    with pytest.raises(JournalDamaged):
        fold_entries(())


def test_a_new_save_makes_an_older_image_untrusted() -> None:
    record = fold_entries(
        (
            e.RunStarted(start=b.make_start()),
            e.Saving(path="x", stays=True),
            e.ImageVerified(path="x", size_bytes=1),
            e.Resuming(),
            e.Saving(path="x", stays=False),
        )
    )
    assert not record.image_verified
    assert not record.resuming
    assert record.save_destroys


def test_foreign_files_are_no_journals(tmp_path: Path) -> None:
    path = write_journal(tmp_path, ())
    (tmp_path / "notes.jsonl").write_text("")
    (tmp_path / f"{b.RUN}.txt").write_text("")
    assert (path,) == list_journals(tmp_path)
    assert () == list_journals(tmp_path / "absent")


def test_every_entry_tells_a_person_something() -> None:
    for entry in (e.RunStarted(start=b.make_start()), *STORY):
        assert entry.describe()
        assert "{" not in entry.describe()
