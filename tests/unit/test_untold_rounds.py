"""What rounds came to, written down until somebody was told."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.rounds import make_round, make_run
from xenbackup.errors import StateFailed
from xenbackup.model.run import Outcome
from xenbackup.records.untold_rounds import UntoldFolder, UntoldRound

FIRST = "20261123T023000Z-abcdef"
SECOND = "20261124T023000Z-abcdef"
ENDED_AT = datetime(2026, 11, 23, 3, 10, tzinfo=UTC)


def make_untold(round_id: str = FIRST, **changes: object) -> UntoldRound:
    runs = (
        make_run("web", warnings=("One.", "Two.")),
        make_run("na\udcefve", "It broke.", outcome=Outcome.PARTIAL, hint="mend it"),
    )
    result = make_round(*runs, round=round_id)
    return replace(UntoldRound(result=result, ended_at=ENDED_AT), **changes)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> UntoldFolder:
    return UntoldFolder(tmp_path / "untold")


def test_what_was_kept_comes_back_as_it_was_oldest_first(folder: UntoldFolder) -> None:
    second, first = make_untold(SECOND, timezone="Asia/Tokyo"), make_untold()
    folder.keep(second)
    folder.keep(first)
    assert ((first, second), ()) == folder.list_rounds()


def test_round_that_is_kept_again_takes_the_place_of_what_was_there(folder: UntoldFolder) -> None:
    folder.keep(make_untold())
    later = make_untold(ended_at=ENDED_AT.replace(hour=4))
    folder.keep(later)
    assert ((later,), ()) == folder.list_rounds()


def test_told_rounds_go_and_those_without_a_file_change_nothing(folder: UntoldFolder) -> None:
    folder.remove((FIRST,))
    folder.keep(make_untold())
    folder.keep(make_untold(SECOND))
    folder.remove((FIRST, "20261125T023000Z-abcdef"))
    assert [SECOND] == [untold.result.round for untold in folder.list_rounds()[0]]


def test_name_that_leads_elsewhere_is_refused(folder: UntoldFolder) -> None:
    with pytest.raises(StateFailed):
        folder.remove(("../catalog",))


def write(folder: UntoldFolder, content: bytes, name: str = FIRST) -> None:
    folder.folder.mkdir(exist_ok=True)
    (folder.folder / f"{name}.json").write_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[1]",
        b"\xff",
        b'{"schema": 2}',
        b'{"schema": 1}',
        b'{"schema": 1, "untold": {"result": 1}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_outcome_is_told_and_stops_no_other(
    folder: UntoldFolder, content: bytes
) -> None:
    write(folder, content)
    folder.keep(make_untold(SECOND))
    found, wrong = folder.list_rounds()
    assert ([SECOND], 1) == ([untold.result.round for untold in found], len(wrong))
    assert f"{FIRST}.json tells of no round" in wrong[0]


def test_outcome_of_another_round_is_told_and_not_taken(folder: UntoldFolder) -> None:
    folder.keep(make_untold())
    content = (folder.folder / f"{FIRST}.json").read_bytes()
    write(folder, content, SECOND)
    naive = json.loads(content)
    naive["untold"]["ended_at"] = "2026-11-23T03:10:00"
    write(folder, json.dumps(naive).encode())
    found, wrong = folder.list_rounds()
    assert ((), 2) == (found, len(wrong))


def test_other_files_and_links_are_left_alone(folder: UntoldFolder, tmp_path: Path) -> None:
    folder.keep(make_untold())
    os.link(folder.folder / f"{FIRST}.json", tmp_path / "real.json")
    folder.remove((FIRST,))
    (folder.folder / f"{FIRST}.json").symlink_to(tmp_path / "real.json")
    (folder.folder / "notes.json").write_text("mine")
    found, wrong = folder.list_rounds()
    assert ((), 1) == (found, len(wrong))
    assert (folder.folder / "notes.json").exists()
