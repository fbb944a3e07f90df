"""Files of accepted rounds: what is kept is read again, and nothing else passes for one."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from xenbackup.errors import StateFailed
from xenbackup.records.accepted_rounds import AcceptedRound, RoundFolder

ROUND = "20261123T023000Z-abcdef"
ACCEPTED = AcceptedRound(
    round=ROUND,
    job="nightly",
    due_at=datetime(2026, 11, 23, 2, 30, tzinfo=UTC),
    settled=frozenset({"web", "näme with\nnewline"}),
    resumed=2,
)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path / "rounds")
    folder.keep(ACCEPTED)
    assert ((ACCEPTED,), ()) == folder.list_rounds()
    assert 0o600 == (tmp_path / "rounds" / f"{ROUND}.json").stat().st_mode & 0o777


def test_removed_is_removed_and_may_be_twice(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path / "rounds")
    folder.keep(ACCEPTED)
    folder.remove(ROUND)
    folder.remove(ROUND)
    assert ((), ()) == folder.list_rounds()


def test_no_folder_is_no_round(tmp_path: Path) -> None:
    assert ((), ()) == RoundFolder(tmp_path / "rounds").list_rounds()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"schema": 2}',
        b'{"schema": 1, "round": "other"}',
        b'{"schema": 1, "round": "20261123T023000Z-abcdef", "job": 1}',
        b'{"schema": 1, "round": "20261123T023000Z-abcdef", "job": "a", "due_at": "x",'
        b' "settled": [], "resumed": 0}',
        b'{"schema": 1, "round": "20261123T023000Z-abcdef", "job": "a",'
        b' "due_at": "2026-11-23T02:30:00", "settled": [], "resumed": 0}',
        b'{"schema": 1, "round": "20261123T023000Z-abcdef", "job": "a",'
        b' "due_at": "2026-11-23T02:30:00+00:00", "settled": [1], "resumed": 0}',
        b'{"schema": 1, "round": "20261123T023000Z-abcdef", "job": "a",'
        b' "due_at": "0001-01-01T00:00:00+23:59", "settled": [], "resumed": 0}',
        b'{"schema": 1, "round": "20261123T023000Z-abcdef", "job": "a",'
        b' "due_at": "9999-12-31T23:59:59-23:59", "settled": [], "resumed": 0}',
        b"[" * 100_000,
        b'{"resumed": ' + b"9" * 5000 + b"}",
        b'"' + b"x" * (2 << 20) + b'"',
    ],
    ids=range(15),
)
def test_anything_else_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    folder = RoundFolder(tmp_path / "rounds")
    folder.keep(ACCEPTED)
    path = tmp_path / "rounds" / f"{ROUND}.json"
    path.write_bytes(content)
    rounds, wrong = folder.list_rounds()
    assert ((), 1) == (rounds, len(wrong))
    assert str(path) in wrong[0]
    assert path.exists()


def test_files_of_other_names_are_none_of_ours(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path / "rounds")
    folder.keep(ACCEPTED)
    (tmp_path / "rounds" / ".20261123T023000Z-abcdef.json.1-ab.new").write_text("half")
    (tmp_path / "rounds" / "notes.json").write_text("{}")
    assert ((ACCEPTED,), ()) == folder.list_rounds()


def test_id_that_is_none_names_no_file(tmp_path: Path) -> None:
    with pytest.raises(StateFailed, match="no id of a round"):
        RoundFolder(tmp_path).remove("../../etc/passwd")


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_plain_file_is_told_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    folder = RoundFolder(tmp_path / "rounds")
    folder.keep(ACCEPTED)
    path = tmp_path / "rounds" / f"{ROUND}.json"
    target = path.rename(tmp_path / "elsewhere")
    makers: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(target),
        "folder": path.mkdir,
    }
    makers[kind]()
    rounds, wrong = folder.list_rounds()
    assert ((), 1) == (rounds, len(wrong))
