"""Verification of points: each kind of damage is found and its place named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.points import POINT
from tests.unit.stored_points import make_content, store_point
from xenbackup.errors import CopyCancelled, PointDamaged, PointNotFound
from xenbackup.storage.copying import BLOCK_SIZE_BYTES
from xenbackup.storage.images import ImagesDestination


@pytest.fixture
def destination(tmp_path: Path) -> ImagesDestination:
    made = ImagesDestination(tmp_path / "backup", "usb")
    made.initialise()
    return made


@pytest.fixture
def point(destination: ImagesDestination, tmp_path: Path) -> Path:
    image = tmp_path / "spool.save"
    image.write_bytes(os.urandom(50001))
    return store_point(destination, content=make_content() * 3, memory=image)


def flip_bit(path: Path, offset: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


def test_good_point_verifies_and_counts_every_byte(
    destination: ImagesDestination, point: Path
) -> None:
    seen: list[tuple[int, int]] = []
    report = destination.verify_point(POINT, lambda done, total: seen.append((done, total)))
    size = (point / "xvda.img").stat().st_size + (point / "memory.save").stat().st_size
    assert report.good
    assert size == report.bytes_checked
    assert (size, size) == seen[-1]
    assert sorted(seen) == seen


def test_flipped_bits_are_found_at_their_blocks(
    destination: ImagesDestination, point: Path
) -> None:
    size = (point / "xvda.img").stat().st_size
    for offset in (5, BLOCK_SIZE_BYTES + 5, size - 1):
        flip_bit(point / "xvda.img", offset)
    last = (size - 1) // BLOCK_SIZE_BYTES * BLOCK_SIZE_BYTES
    report = destination.verify_point(POINT)
    assert [(0, 2 * BLOCK_SIZE_BYTES), (last, size - last)] == [
        (finding.offset_bytes, finding.length_bytes) for finding in report.findings
    ]
    assert {"xvda.img"} == {finding.file for finding in report.findings}


def test_flipped_bit_in_a_hole_is_found(destination: ImagesDestination, point: Path) -> None:
    flip_bit(point / "xvda.img", 3 << 20)
    assert [0] == [f.offset_bytes for f in destination.verify_point(POINT).findings]


@pytest.mark.parametrize("change", [-1, -4096, 1])
def test_image_of_another_length_is_found(
    destination: ImagesDestination, point: Path, change: int
) -> None:
    size = (point / "xvda.img").stat().st_size
    os.truncate(point / "xvda.img", size + change)
    (finding,) = destination.verify_point(POINT).findings
    assert f"has {size + change} bytes, its manifest says {size}" == finding.message


@pytest.mark.parametrize("name", ["xvda.img", "memory.save", "domain.json", "domain.cfg"])
def test_missing_file_is_found(destination: ImagesDestination, point: Path, name: str) -> None:
    (point / name).unlink()
    assert [name] == [finding.file for finding in destination.verify_point(POINT).findings]


@pytest.mark.parametrize("name", ["memory.save", "domain.json", "domain.cfg"])
def test_rotten_file_is_found(destination: ImagesDestination, point: Path, name: str) -> None:
    flip_bit(point / name, 3)
    (finding,) = destination.verify_point(POINT).findings
    assert name == finding.file
    assert "differs from its digest" in finding.message


@pytest.mark.parametrize("name", ["manifest.json", "domain.json", "domain.cfg"])
def test_small_files_are_read_from_the_disk_and_not_from_memory(
    destination: ImagesDestination, point: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever lists the points has just left them in the page cache."""
    place, (fadvise, fdopen) = point / name, (os.posix_fadvise, os.fdopen)
    acts: list[str] = []

    def note(descriptor: int, act: str) -> None:
        if os.path.samestat(os.fstat(descriptor), place.stat()):
            acts.append(act)

    def note_advice(descriptor: int, begin: int, length: int, advice: int) -> None:
        fadvise(descriptor, begin, length, advice)
        if (begin, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED):
            note(descriptor, "dropped")

    def note_reading(descriptor: int, *args: Any, **options: Any) -> Any:
        note(descriptor, "read")
        return fdopen(descriptor, *args, **options)

    monkeypatch.setattr(os, "posix_fadvise", note_advice)
    monkeypatch.setattr(os, "fdopen", note_reading)
    assert destination.verify_point(POINT).good
    assert ["dropped", "read"] == acts


def test_rotten_configuration_is_not_handed_out(
    destination: ImagesDestination, point: Path
) -> None:
    flip_bit(point / "domain.json", 3)
    with pytest.raises(PointDamaged, match="differs from its digest"):
        destination.read_domain(POINT)
    flip_bit(point / "domain.cfg", 3)
    with pytest.raises(PointDamaged, match="differs from its digest"):
        destination.read_configuration(POINT)


def test_configuration_file_that_the_manifest_does_not_know_is_found(
    destination: ImagesDestination,
) -> None:
    folder = store_point(destination, configuration="")
    assert "" == destination.read_configuration(POINT)
    (folder / "domain.cfg").write_text('name = "web"\n')
    (finding,) = destination.verify_point(POINT).findings
    assert ("domain.cfg", "is there and not in the manifest") == (finding.file, finding.message)


def test_extra_file_is_found(destination: ImagesDestination, point: Path) -> None:
    (point / "xvdb.img").write_bytes(b"")
    (finding,) = destination.verify_point(POINT).findings
    assert ("xvdb.img", "is there and not in the manifest") == (finding.file, finding.message)


def test_what_a_file_server_keeps_beside_its_files_is_no_damage(
    destination: ImagesDestination, point: Path
) -> None:
    (point / "@eaDir").mkdir()
    (point / ".nfs0000000002").write_bytes(b"")
    assert () == destination.verify_point(POINT).findings


def test_all_damage_is_named_at_once(destination: ImagesDestination, point: Path) -> None:
    flip_bit(point / "xvda.img", 0)
    (point / "memory.save").unlink()
    (point / "extra").write_bytes(b"")
    findings = destination.verify_point(POINT).findings
    assert ["extra", "xvda.img", "memory.save"] == [finding.file for finding in findings]


def test_unreadable_block_is_a_finding_and_the_rest_is_still_read(
    destination: ImagesDestination, point: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv

    def fail(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset == BLOCK_SIZE_BYTES:
            raise OSError(5, "Input/output error")
        return preadv(descriptor, buffers, offset)

    flip_bit(point / "memory.save", 0)
    monkeypatch.setattr(os, "preadv", fail)
    disk, memory = destination.verify_point(POINT).findings
    assert f"xvda.img at byte {BLOCK_SIZE_BYTES}: Input/output error" in disk.message
    assert "memory.save" == memory.file
    assert (False, True) == (disk.certain, memory.certain)


def test_very_many_differences_are_summed_up(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xenbackup.storage import verification

    monkeypatch.setattr(verification, "_SPANS_LIMIT", 1)
    folder = store_point(destination, content=bytes(9 * BLOCK_SIZE_BYTES))
    for block in (0, 2, 4):
        flip_bit(folder / "xvda.img", block * BLOCK_SIZE_BYTES)
    messages = [finding.message for finding in destination.verify_point(POINT).findings]
    assert 2 == len(messages)
    assert "differs in 2 more places" == messages[1]


def test_verification_can_be_cancelled(destination: ImagesDestination, point: Path) -> None:
    assert point.exists()
    with pytest.raises(CopyCancelled, match="enough"):
        destination.verify_point(POINT, cancelled=lambda: "enough")


def test_unknown_point_cannot_be_verified(destination: ImagesDestination) -> None:
    with pytest.raises(PointNotFound):
        destination.verify_point(POINT)
