"""What kept the daemon from starting is told now and then, and not every few seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from xenbackup.service.told_troubles import MOST_TROUBLES, STAMP_FILE, ToldTroubles

NOW = datetime(2026, 11, 23, 3, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def note(tmp_path: Path, trouble: str, at: datetime = NOW) -> bool:
    """By a process of its own."""
    return ToldTroubles((tmp_path / "missing", tmp_path)).note(trouble, at)


def test_same_trouble_is_told_again_after_an_hour(tmp_path: Path) -> None:
    told = [note(tmp_path, "full", NOW + minutes * MINUTE) for minutes in (0, 1, 59, 60, 61)]
    assert [True, False, False, True, False] == told


def test_another_trouble_is_told_at_once(tmp_path: Path) -> None:
    assert note(tmp_path, "full")
    assert note(tmp_path, "locked")
    assert not note(tmp_path, "full")


def test_troubles_that_differ_each_time_are_few_an_hour(tmp_path: Path) -> None:
    told = [note(tmp_path, f"process {number}", NOW + MINUTE) for number in range(20)]
    assert MOST_TROUBLES == sum(told)
    assert note(tmp_path, "process 21", NOW + 62 * MINUTE)


def test_clock_that_was_ahead_silences_nothing(tmp_path: Path) -> None:
    assert note(tmp_path, "full", NOW + timedelta(days=400))
    assert note(tmp_path, "full")


def test_what_nowhere_can_be_remembered_is_not_told(tmp_path: Path) -> None:
    assert not ToldTroubles((tmp_path / "missing", tmp_path / "too")).note("full", NOW)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"full": 5}', b'{"full": "2026-11-23T03:10:00"}', b"[" * 60_000]
)
def test_stamp_that_makes_no_sense_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STAMP_FILE).write_bytes(content)
    assert note(tmp_path, "full")
    assert not note(tmp_path, "full")
