"""Marks of damage: durable beside the manifest, trusted in nothing, no part of what they mark."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.points import POINT
from tests.unit.stored_points import store_point
from xenbackup.errors import (
    CommandFailed,
    CopyFailed,
    DestinationFailed,
    DestinationMissing,
    PointDamaged,
    PointNotFound,
    StateFailed,
    XenbackupError,
)
from xenbackup.storage.damage_marks import (
    FINDINGS_LIMIT,
    LIMIT_BYTES,
    decode_mark,
    describe_findings,
    encode_mark,
    tells_damage,
)
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.points import VerifyFinding

NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
FINDING = VerifyFinding(
    file="xvda.img", message="differs from its digests", offset_bytes=4 << 20, length_bytes=512
)
UNFINISHED = "..damaged.4711-0123abcd.new"


@pytest.fixture
def destination(tmp_path: Path) -> ImagesDestination:
    destination = ImagesDestination(tmp_path / "usb", "usb")
    destination.initialise()
    return destination


@pytest.fixture
def point(destination: ImagesDestination) -> Path:
    return store_point(destination)


texts = st.text(st.characters(exclude_categories=()), max_size=2000)
findings = st.builds(
    VerifyFinding,
    file=texts,
    message=texts,
    offset_bytes=st.none() | st.integers(0, 2**63 - 1),
    length_bytes=st.none() | st.integers(0, 2**63 - 1),
)
EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
times = st.integers(0, 8000 * 366 * 86400).map(lambda seconds: EPOCH + timedelta(seconds=seconds))


@given(times, st.lists(findings, min_size=1, max_size=2 * FINDINGS_LIMIT))
def test_any_findings_make_a_mark_that_is_bounded_and_can_be_read(
    found_at: datetime, found: list[VerifyFinding]
) -> None:
    content = encode_mark(found_at, found)
    assert len(content) <= LIMIT_BYTES
    damage = decode_mark(content)
    assert found_at == damage.found_at
    assert damage == describe_findings(found_at, found)
    assert (len(found) > 1) == (f"and {len(found) - 1} more finding" in damage.reason)
    assert json.loads(content)["more"] == max(len(found) - FINDINGS_LIMIT, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document | {"version": 2},
        lambda document: document | {"findings": []},
        lambda document: document | {"found_at": "2026-11-23T11:00:00"},
        lambda document: document | {"found_at": "0001-01-01T00:00:00+23:00"},
        lambda document: document | {"found_at": "yesterday"},
        lambda document: document | {"more": -1},
        lambda document: document | {"unknown": 1},
        lambda document: document | {"findings": document["findings"] * (FINDINGS_LIMIT + 1)},
        lambda document: document | {"findings": [{"file": "x"}]},
        lambda document: [document],
    ],
)
def test_what_is_no_mark_of_ours_is_refused(change: Callable[[object], object]) -> None:
    content = encode_mark(NOW, (FINDING,))
    with pytest.raises(ValueError, match=r"."):
        decode_mark(json.dumps(change(json.loads(content))).encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_a_mark_or_refused(content: bytes) -> None:
    try:
        decode_mark(content)
    except ValueError as error:
        assert str(error)


def test_marked_point_is_listed_with_the_time_and_the_finding(
    destination: ImagesDestination, point: Path
) -> None:
    destination.mark_damaged(POINT, NOW, (FINDING,))
    (summary,) = destination.list_points()
    assert describe_findings(NOW, (FINDING,)) == summary.damage
    assert 0o600 == (point / ".damaged").stat().st_mode & 0o777
    assert destination.has_point(POINT)
    assert () == destination.verify_point(POINT).findings


def test_mark_is_replaced_and_taken_off(destination: ImagesDestination, point: Path) -> None:
    destination.mark_damaged(POINT, NOW, (FINDING,))
    destination.mark_damaged(POINT, NOW + timedelta(days=1), (FINDING, FINDING))
    (summary,) = destination.list_points()
    assert describe_findings(NOW + timedelta(days=1), (FINDING, FINDING)) == summary.damage
    assert destination.clear_damage(POINT)
    assert not destination.clear_damage(POINT)
    assert None is destination.list_points()[0].damage
    assert not (point / ".damaged").exists()


def make_empty(mark: Path) -> None:
    mark.write_bytes(b"")


def make_large(mark: Path) -> None:
    mark.write_bytes(encode_mark(NOW, (FINDING,)) + b" " * LIMIT_BYTES)


def make_link(mark: Path) -> None:
    other = mark.parent.parent / "elsewhere"
    other.write_bytes(encode_mark(NOW, (FINDING,)))
    mark.symlink_to(other)


def make_fifo(mark: Path) -> None:
    os.mkfifo(mark)


def make_folder(mark: Path) -> None:
    mark.mkdir()


@pytest.mark.parametrize("make", [make_empty, make_large, make_link, make_fifo, make_folder])
def test_mark_that_cannot_be_read_counts_as_damage(
    destination: ImagesDestination, point: Path, make: Callable[[Path], None]
) -> None:
    make(point / ".damaged")
    (summary,) = destination.list_points()
    assert summary.damage is not None
    assert None is summary.damage.found_at
    assert "its mark .damaged cannot be read" in summary.damage.reason


def test_mark_that_a_kill_left_half_written_says_nothing_and_goes_with_the_point(
    destination: ImagesDestination, point: Path
) -> None:
    (point / UNFINISHED).write_bytes(b'{"ver')
    assert None is destination.list_points()[0].damage
    assert destination.verify_point(POINT).good
    assert not destination.clear_damage(POINT)
    assert not (point / UNFINISHED).exists()
    (point / UNFINISHED).write_bytes(b'{"ver')
    destination.mark_damaged(POINT, NOW, (FINDING,))
    assert destination.delete_point(POINT)
    assert () == destination.list_points()
    assert not point.exists()


def test_mark_is_on_the_disk_under_another_name_before_it_has_its_own(
    destination: ImagesDestination, point: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", cut_off)
    with pytest.raises(DestinationFailed, match="No space left"):
        destination.mark_damaged(POINT, NOW, (FINDING,))
    assert None is destination.list_points()[0].damage
    assert [] == [name for name in os.listdir(point) if "damaged" in name]  # noqa: PTH208


def test_point_that_is_gone_is_neither_marked_nor_cleared(destination: ImagesDestination) -> None:
    with pytest.raises(PointNotFound):
        destination.mark_damaged(POINT, NOW, (FINDING,))
    with pytest.raises(PointNotFound):
        destination.clear_damage(POINT)


def fail_with(error: XenbackupError, *causes: BaseException) -> XenbackupError:
    """The error as it is raised from the first of the causes, that from the second, and so on."""
    for outer, inner in zip((error, *causes), causes, strict=False):
        outer.__cause__ = inner
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PointDamaged("no JSON"), True),
        (DestinationFailed("not a regular file"), True),
        (fail_with(DestinationFailed("x"), FileNotFoundError(errno.ENOENT, "x")), True),
        (fail_with(PointDamaged("x"), DestinationFailed("x"), OSError(errno.ELOOP, "x")), True),
        (fail_with(DestinationFailed("x"), OSError(errno.EIO, "x")), False),
        (fail_with(PointDamaged("x"), DestinationFailed("x"), OSError(errno.ESTALE, "x")), False),
        (fail_with(DestinationFailed("x"), PermissionError(errno.EACCES, "x")), False),
        (fail_with(DestinationFailed("x"), OSError(errno.EMFILE, "x")), False),
        (fail_with(CopyFailed("x"), FileNotFoundError(errno.ENOENT, "x")), False),
        (fail_with(PointDamaged("x"), CommandFailed("lvs")), False),
        (CommandFailed("lvs"), False),
        (CopyFailed("x"), False),
        (DestinationMissing("x"), False),
        (StateFailed("x"), False),
    ],
)
def test_only_what_does_not_pass_is_damage(error: XenbackupError, expected: bool) -> None:
    assert expected is tells_damage(error)
