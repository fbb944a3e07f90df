"""The copy engine: what arrives equals what was read, and no failure passes for success."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.devices import MemoryDevice
from xenbackup.errors import CopyCancelled, CopyFailed, PointDamaged
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.copying import (
    BLOCK_SIZE_BYTES,
    GRAIN_SIZE_BYTES,
    CopyResult,
    copy_blocks,
    fit_block_size,
    hash_blocks,
    write_differences,
)
from xenbackup.system.block_device import open_block_device

BLOCK = 4 * GRAIN_SIZE_BYTES
"""A small block, so that patterns of many blocks stay quick."""


def lay_out(grains: list[int], tail: bytes) -> bytes:
    """An image of grains, each filled with one byte (0: zeros), and an odd tail."""
    return b"".join(bytes([value]) * GRAIN_SIZE_BYTES for value in grains) + tail


images = st.builds(
    lay_out,
    st.lists(st.sampled_from([0, 0, 0, 1, 2, 255]), max_size=14),
    st.one_of(st.just(b""), st.just(bytes(100)), st.binary(min_size=1, max_size=700)),
)


def expect_digests(content: bytes, block_size_bytes: int = BLOCK) -> tuple[str, ...]:
    return tuple(
        blake3(content[begin : begin + block_size_bytes]).hexdigest()
        for begin in range(0, len(content), block_size_bytes)
    )


def copy_sparse(content: bytes, target: MemoryDevice) -> CopyResult:
    return copy_blocks(
        MemoryDevice(content), target, size_bytes=len(content), sparse=True, block_size_bytes=BLOCK
    )


@given(content=images)
def test_sparse_copy_equals_its_source_and_leaves_zero_grains_unwritten(content: bytes) -> None:
    target = MemoryDevice(bytes(len(content)), "image")
    result = copy_sparse(content, target)
    assert content == target.content
    assert blake3(content).hexdigest() == result.digest
    assert expect_digests(content) == result.block_digests
    assert len(content) == result.bytes_read == result.bytes_written + result.hole_bytes
    for offset, written in target.writes:
        for begin in range(0, len(written), GRAIN_SIZE_BYTES):
            assert any(written[begin : begin + GRAIN_SIZE_BYTES]), f"zeros written at {offset}"


@given(content=images, old=st.integers(0, 255))
def test_plain_copy_overwrites_everything_also_with_zeros(content: bytes, old: int) -> None:
    target = MemoryDevice(bytes([old]) * (len(content) + 512), "volume")
    result = copy_blocks(
        MemoryDevice(content), target, size_bytes=len(content), block_size_bytes=BLOCK
    )
    assert content + bytes([old]) * 512 == target.content
    assert (len(content), 0) == (result.bytes_written, result.hole_bytes)


@given(content=images, other=images)
def test_differences_make_the_target_equal_and_touch_only_what_differs(
    content: bytes, other: bytes
) -> None:
    old = (other + bytes(len(content)))[: len(content)]
    target = MemoryDevice(old, "volume")
    result = write_differences(
        MemoryDevice(content), target, size_bytes=len(content), block_size_bytes=BLOCK
    )
    assert content == target.content
    assert expect_digests(content) == result.block_digests
    differing = sum(
        len(content[begin : begin + GRAIN_SIZE_BYTES])
        for begin in range(0, len(content), GRAIN_SIZE_BYTES)
        if content[begin : begin + GRAIN_SIZE_BYTES] != old[begin : begin + GRAIN_SIZE_BYTES]
    )
    assert differing == result.bytes_written
    assert len(content) - differing == result.same_bytes
    assert differing == sum(len(written) for _, written in target.writes)


@pytest.mark.parametrize(
    ("gibibytes", "mebibytes"),
    [(0, 4), (1, 4), (512, 4), (513, 8), (2048, 16), (8192, 64), (1 << 20, 64)],
)
def test_large_disks_have_larger_blocks(gibibytes: int, mebibytes: int) -> None:
    """2 TiB in blocks of 4 MiB have digests that a dom0's memory has no room for."""
    assert mebibytes << 20 == fit_block_size(gibibytes << 30, BLOCK_SIZE_BYTES)


@pytest.mark.parametrize("copy", [copy_blocks, write_differences])
def test_copy_of_a_large_disk_says_which_blocks_it_took(
    copy: Callable[..., CopyResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xenbackup.storage.copying.BLOCKS_WANTED", 2)
    content = bytes(range(7)) * BLOCK
    target = MemoryDevice(bytes(len(content)))
    result = copy(MemoryDevice(content), target, size_bytes=len(content), block_size_bytes=BLOCK)
    assert 4 * BLOCK == result.block_size_bytes
    assert expect_digests(content, 4 * BLOCK) == result.block_digests
    assert content == target.content


@pytest.mark.parametrize("copy", [copy_blocks, write_differences])
def test_blocks_of_what_is_restored_stay_what_they_were(
    copy: Callable[..., CopyResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xenbackup.storage.copying.BLOCKS_WANTED", 2)
    content = bytes(range(7)) * BLOCK
    result = copy(
        MemoryDevice(content),
        MemoryDevice(bytes(len(content))),
        size_bytes=len(content),
        block_size_bytes=BLOCK,
        expected_digests=expect_digests(content),
    )
    assert BLOCK == result.block_size_bytes


def test_a_single_changed_bit_is_found_by_the_comparison() -> None:
    content = bytes(BLOCK) + b"\x01" + bytes(BLOCK - 1)
    target = MemoryDevice(bytes(2 * BLOCK))
    write_differences(MemoryDevice(content), target, size_bytes=2 * BLOCK, block_size_bytes=BLOCK)
    assert [(BLOCK, content[BLOCK : BLOCK + GRAIN_SIZE_BYTES])] == target.writes


@pytest.mark.parametrize("position", [0, 511, 512, 513, GRAIN_SIZE_BYTES - 1])
def test_a_single_bit_anywhere_in_a_grain_is_no_hole(position: int) -> None:
    content = bytearray(GRAIN_SIZE_BYTES)
    content[position] = 1
    target = MemoryDevice(bytes(GRAIN_SIZE_BYTES))
    result = copy_sparse(bytes(content), target)
    assert bytes(content) == target.content
    assert 0 == result.hole_bytes


def test_copy_between_files_leaves_holes_on_the_disk(tmp_path: Path) -> None:
    size = 5 * BLOCK_SIZE_BYTES + 12345
    content = bytearray(size)
    content[100:200] = os.urandom(100)
    content[-3:] = b"end"
    (tmp_path / "source").write_bytes(content)
    with (tmp_path / "target").open("wb") as stream:
        stream.truncate(size)
    source = open_block_device(tmp_path / "source")
    target = open_block_device(tmp_path / "target", writable=True)
    result = copy_blocks(source, target, size_bytes=size, sparse=True)
    source.close()
    target.close()
    assert bytes(content) == (tmp_path / "target").read_bytes()
    assert blake3(content).hexdigest() == result.digest
    assert 6 == len(result.block_digests)
    assert result.bytes_written <= 2 * GRAIN_SIZE_BYTES
    assert (tmp_path / "target").stat().st_blocks * 512 <= 4 * GRAIN_SIZE_BYTES


@settings(max_examples=20)
@given(content=images)
def test_hashing_alone_gives_the_digests_of_a_copy(content: bytes) -> None:
    hashed = hash_blocks(MemoryDevice(content), size_bytes=len(content), block_size_bytes=BLOCK)
    copied = copy_sparse(content, MemoryDevice(bytes(len(content))))
    assert copied.digest == hashed.digest
    assert copied.block_digests == hashed.block_digests
    assert 0 == hashed.bytes_written


@pytest.mark.parametrize("copy", [copy_blocks, write_differences])
@pytest.mark.parametrize("offset", [0, 3 * BLOCK + 4096, 9 * BLOCK - 1])
def test_read_error_fails_the_copy_and_names_device_and_offset(
    copy: Callable[..., CopyResult], offset: int
) -> None:
    source = MemoryDevice(bytes([7]) * 9 * BLOCK, "/dev/vg/snap", read_error_at=offset)
    target = MemoryDevice(bytes(9 * BLOCK), "image")
    with pytest.raises(CopyFailed, match=f"Cannot read /dev/vg/snap at byte {offset}"):
        copy(source, target, size_bytes=9 * BLOCK, block_size_bytes=BLOCK)
    assert 0 == target.flushes


@pytest.mark.parametrize("copy", [copy_blocks, write_differences])
@pytest.mark.parametrize("room", [0, BLOCK, 8 * BLOCK + 100])
def test_full_target_fails_the_copy_and_is_written_no_further(
    copy: Callable[..., CopyResult], room: int
) -> None:
    source = MemoryDevice(bytes([7]) * 9 * BLOCK)
    target = MemoryDevice(bytes(9 * BLOCK), "/backup/xvda.img", room_bytes=room)
    with pytest.raises(CopyFailed, match=r"Cannot write /backup/xvda.img at byte \d+: No space"):
        copy(source, target, size_bytes=9 * BLOCK, block_size_bytes=BLOCK)
    assert room // BLOCK == len(target.writes)
    assert 0 == target.flushes


def test_failed_flush_fails_the_copy_and_is_asked_for_once() -> None:
    target = MemoryDevice(bytes(BLOCK), "image", flush_fails=True)
    with pytest.raises(CopyFailed, match="durable"):
        copy_sparse(bytes([1]) * BLOCK, target)
    assert 1 == target.flushes


@pytest.mark.parametrize("planned", [BLOCK - 512, BLOCK + 512, 0])
def test_source_of_another_size_is_refused_before_anything_is_written(planned: int) -> None:
    target = MemoryDevice(bytes(2 * BLOCK))
    with pytest.raises(CopyFailed, match=f"had {BLOCK} bytes when the copy began, not.*{planned}"):
        copy_blocks(
            MemoryDevice(bytes([1]) * BLOCK), target, size_bytes=planned, block_size_bytes=BLOCK
        )
    assert [] == target.writes


def test_source_that_grew_meanwhile_fails_the_copy() -> None:
    source = MemoryDevice(bytes([1]) * 2 * BLOCK, "/dev/vg/root")
    target = MemoryDevice(bytes(2 * BLOCK))

    def grow(done: int, _total: int) -> None:
        if done == BLOCK:
            source.content = source.content + bytes(512)

    with pytest.raises(CopyFailed, match=f"had {2 * BLOCK + 512} bytes when it ended"):
        copy_blocks(source, target, size_bytes=2 * BLOCK, block_size_bytes=BLOCK, on_progress=grow)
    assert 0 == target.flushes


def test_source_that_ends_early_is_no_hole() -> None:
    source = MemoryDevice(bytes([1]) * 3 * BLOCK, "/dev/vg/root", ends_at=BLOCK + 512)
    with pytest.raises(CopyFailed, match=f"/dev/vg/root ended at byte {BLOCK + 512}"):
        copy_blocks(
            source, MemoryDevice(bytes(3 * BLOCK)), size_bytes=3 * BLOCK, block_size_bytes=BLOCK
        )


def test_smaller_target_is_refused_before_anything_is_written() -> None:
    target = MemoryDevice(bytes(BLOCK - 512), "/dev/vg/small")
    with pytest.raises(CopyFailed, match=rf"/dev/vg/small has {BLOCK - 512} bytes, fewer"):
        copy_blocks(
            MemoryDevice(bytes([1]) * BLOCK), target, size_bytes=BLOCK, block_size_bytes=BLOCK
        )
    assert [] == target.writes


@pytest.mark.parametrize("copy", [copy_blocks, write_differences])
def test_block_that_is_not_as_expected_is_never_written(copy: Callable[..., CopyResult]) -> None:
    good = os.urandom(8 * BLOCK)
    rotten = bytearray(good)
    rotten[2 * BLOCK + 77] ^= 1
    target = MemoryDevice(bytes(8 * BLOCK))
    with pytest.raises(PointDamaged, match=f"block at byte {2 * BLOCK} differs"):
        copy(
            MemoryDevice(bytes(rotten)),
            target,
            size_bytes=8 * BLOCK,
            block_size_bytes=BLOCK,
            expected_digests=expect_digests(good),
        )
    assert [0, BLOCK] == [offset for offset, _ in target.writes]
    assert 0 == target.flushes


def test_block_without_an_expected_digest_is_damage_too() -> None:
    content = os.urandom(2 * BLOCK)
    with pytest.raises(PointDamaged):
        copy_blocks(
            MemoryDevice(content),
            MemoryDevice(bytes(2 * BLOCK)),
            size_bytes=2 * BLOCK,
            block_size_bytes=BLOCK,
            expected_digests=expect_digests(content)[:1],
        )


def test_zero_blocks_are_held_to_their_digests_as_well() -> None:
    with pytest.raises(PointDamaged):
        copy_blocks(
            MemoryDevice(bytes(BLOCK)),
            MemoryDevice(bytes(BLOCK)),
            size_bytes=BLOCK,
            sparse=True,
            block_size_bytes=BLOCK,
            expected_digests=expect_digests(b"\x01" + bytes(BLOCK - 1)),
        )


def test_cancelling_stops_the_copy_with_its_reason_and_without_a_flush() -> None:
    asked: list[int] = []

    def cancelled() -> str:
        asked.append(1)
        return "web has been away for too long" if len(asked) > 3 else ""

    target = MemoryDevice(bytes(99 * BLOCK), "image")
    with pytest.raises(CopyCancelled, match=r"stopped at byte \d+: web has been away") as caught:
        copy_blocks(
            MemoryDevice(bytes([1]) * 99 * BLOCK, "/dev/vg/snap"),
            target,
            size_bytes=99 * BLOCK,
            block_size_bytes=BLOCK,
            cancelled=cancelled,
        )
    assert "/dev/vg/snap" in caught.value.message
    assert len(target.writes) <= 4
    assert 0 == target.flushes


def test_progress_rises_to_the_whole_in_the_callers_thread() -> None:
    import threading

    seen: list[tuple[int, int]] = []
    threads: set[int] = set()

    def report(done: int, total: int) -> None:
        seen.append((done, total))
        threads.add(threading.get_ident())

    size = 6 * BLOCK + 100
    source = MemoryDevice(bytes(size))
    copy_blocks(
        source,
        MemoryDevice(bytes(size)),
        size_bytes=size,
        block_size_bytes=BLOCK,
        on_progress=report,
    )
    assert [*range(BLOCK, size, BLOCK), size] == [done for done, _ in seen]
    assert {size} == {total for _, total in seen}
    assert {threading.get_ident()} == threads == source.reader_threads


def test_an_empty_disk_copies_to_nothing() -> None:
    result = copy_blocks(MemoryDevice(b""), MemoryDevice(b""), size_bytes=0)
    assert (0, (), blake3(b"").hexdigest()) == (
        result.bytes_read,
        result.block_digests,
        result.digest,
    )


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps += 1
        self.now += seconds


def test_bandwidth_limit_stretches_the_copy_to_its_rate() -> None:
    clock = FakeClock()
    limit = BandwidthLimit(BLOCK, monotonic=clock.monotonic, sleep=clock.sleep)
    size = 10 * BLOCK
    copy_blocks(
        MemoryDevice(bytes(size)),
        MemoryDevice(bytes(size)),
        size_bytes=size,
        block_size_bytes=BLOCK,
        limit=limit,
    )
    # The first block goes at once, each of the others waits for the one before it.
    assert 9.0 == pytest.approx(clock.now - 100.0, abs=0.01)


def test_bandwidth_limit_earns_no_credit_while_the_copy_stalls() -> None:
    clock = FakeClock()
    limit = BandwidthLimit(1000, monotonic=clock.monotonic, sleep=clock.sleep)
    limit.wait_for(1000, lambda: True)
    clock.now += 3600.0
    begin = clock.now
    for _ in range(3):
        limit.wait_for(1000, lambda: True)
    assert 2.0 == pytest.approx(clock.now - begin, abs=0.01)


def test_cancelling_does_not_wait_for_a_slow_limit() -> None:
    clock = FakeClock()
    limit = BandwidthLimit(1, monotonic=clock.monotonic, sleep=clock.sleep)
    with pytest.raises(CopyCancelled, match="deadline"):
        copy_blocks(
            MemoryDevice(bytes(9 * BLOCK)),
            MemoryDevice(bytes(9 * BLOCK)),
            size_bytes=9 * BLOCK,
            block_size_bytes=BLOCK,
            limit=limit,
            cancelled=lambda: "deadline" if clock.naps > 3 else "",
        )
    assert clock.now < 102.0


def test_changed_rate_holds_for_all_who_share_it_from_the_next_block_on() -> None:
    clock = FakeClock()
    limit = BandwidthLimit(None, monotonic=clock.monotonic, sleep=clock.sleep)
    for _ in range(100):
        limit.wait_for(1000, lambda: True)
    assert 100.0 == clock.now, "no rate, no waiting"
    limit.change_rate(1000)
    for _ in range(3):
        limit.wait_for(1000, lambda: True)
    assert 2.0 == pytest.approx(clock.now - 100.0, abs=0.01)
    limit.change_rate(4000)
    for _ in range(5):
        limit.wait_for(1000, lambda: True)
    assert 2.0 + 2.0 == pytest.approx(clock.now - 100.0, abs=0.3)
    with pytest.raises(ValueError, match="positive"):
        limit.change_rate(-1)


def test_bandwidth_limit_must_be_positive() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="positive"):
        BandwidthLimit(0, monotonic=clock.monotonic, sleep=clock.sleep)
