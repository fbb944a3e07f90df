"""Marks of restores under way: durable, strict, and gone when what they name is whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xenbackup.errors import JournalDamaged, StateFailed
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore import MarkedTarget, RestoreMark, RestorePhase
from xenbackup.records.restore_marks import MarkKeeper, RestoreMarks

OLDER = "20261122T023000Z-aaaaaa"
NEWER = "20261123T023000Z-bbbbbb"


def make_target(vdev: str, path: str, uuid: str = "") -> MarkedTarget:
    return MarkedTarget(
        vdev=vdev,
        path=path,
        kind=VolumeKind.LOGICAL_VOLUME,
        created=True,
        lv_uuid=uuid,
        capacity_bytes=8,
    )


def make_mark(*targets: MarkedTarget, restore: str = OLDER, domain: str = "web") -> RestoreMark:
    return RestoreMark(
        restore=restore,
        point=OLDER,
        destination="local",
        source_domain="web",
        domain=domain,
        uuid="u",
        boot_id="b",
        phase=RestorePhase.WRITING,
        targets=targets,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "restores"


@pytest.fixture
def marks(folder: Path) -> RestoreMarks:
    return RestoreMarks(folder)


def test_what_was_written_is_listed_oldest_first(marks: RestoreMarks) -> None:
    older = make_mark(make_target("xvda", "/dev/a/b"))
    newer = make_mark(make_target("xvda", "/dev/a/c"), restore=NEWER, domain="wéb \" '")

    marks.write(newer)
    marks.write(older)

    assert marks.list_marks() == (older, newer)


def test_without_a_folder_there_are_no_marks(marks: RestoreMarks) -> None:
    assert marks.list_marks() == ()


def test_marks_are_private(marks: RestoreMarks, folder: Path) -> None:
    marks.write(make_mark())

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / f"{OLDER}.json").stat().st_mode & 0o777 == 0o600


def test_every_change_is_on_disk_at_once(marks: RestoreMarks) -> None:
    keeper = MarkKeeper(marks, make_mark(make_target("xvda", "/dev/a/b")))

    keeper.begin()
    keeper.note_target("xvda", lambda target: replace(target, lv_uuid="new"))
    keeper.note_phase(RestorePhase.REBUILDING, "other boot")

    (found,) = marks.list_marks()
    assert (found.phase, found.boot_id) == (RestorePhase.REBUILDING, "other boot")
    assert found.targets[0].lv_uuid == "new"
    keeper.end()
    assert marks.list_marks() == ()


def test_an_ended_restore_takes_its_targets_out_of_older_marks(marks: RestoreMarks) -> None:
    kept = make_target("xvdb", "/dev/a/c", "kept")
    marks.write(make_mark(make_target("xvda", "/dev/a/b", "same"), kept))
    keeper = MarkKeeper(
        marks, make_mark(make_target("xvda", "/dev/mapper/a-b", "same"), restore=NEWER)
    )

    keeper.begin()
    keeper.end()

    assert marks.list_marks() == (make_mark(kept),)


def test_a_mark_without_targets_left_goes(marks: RestoreMarks) -> None:
    target = make_target("xvda", "/srv/a.img")
    marks.write(make_mark(target))
    keeper = MarkKeeper(marks, make_mark(target, restore=NEWER))

    keeper.begin()
    keeper.end()

    assert marks.list_marks() == ()


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"version":1}', "\xff", '{"version":2,"mark":{}}', "[" * 100_000],
)
def test_a_file_that_is_no_mark_is_refused_by_its_path(
    marks: RestoreMarks, folder: Path, content: str
) -> None:
    folder.mkdir()
    path = folder / f"{OLDER}.json"
    path.write_bytes(content.encode("latin-1"))

    with pytest.raises(JournalDamaged, match=OLDER):
        marks.list_marks()


def test_a_mark_under_another_name_is_refused(marks: RestoreMarks, folder: Path) -> None:
    marks.write(make_mark())
    (folder / f"{OLDER}.json").rename(folder / f"{NEWER}.json")

    with pytest.raises(JournalDamaged, match=f"expected version 1 and {NEWER}"):
        marks.list_marks()


def test_foreign_files_are_left_alone(marks: RestoreMarks, folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.json").write_text("mine")
    (folder / f".{OLDER}.json.1-2.new").write_text("half")

    assert marks.list_marks() == ()


def test_a_name_that_cannot_be_written_down_is_told(marks: RestoreMarks) -> None:
    with pytest.raises(StateFailed, match="not UTF-8"):
        marks.write(make_mark(domain="w\udcffb"))
