"""The copy engine: block by block from a device to an image or another device, hashed on the way.

Three threads share a small ring of page-aligned buffers: the caller's reads the source, one hashes
the whole, one hashes each block and writes it. So memory stays flat whatever the size, and reading,
hashing and writing overlap. The source and all callbacks are touched in the caller's thread alone,
the target's reads and writes in the writer's alone, until all is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache

from blake3 import blake3

from xenbackup.errors import CopyCancelled, CopyFailed, PointDamaged
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.grains import GRAIN_SIZE_BYTES, LeftZeros, find_runs, is_nonzero
from xenbackup.system.block_device import BlockDevice, allocate_buffer

__all__ = [
    "BLOCK_SIZE_BYTES",
    "BLOCK_SIZE_LIMIT_BYTES",
    "GRAIN_SIZE_BYTES",
    "BandwidthLimit",
    "Cancelled",
    "CopyProgress",
    "CopyResult",
    "copy_blocks",
    "fit_block_size",
    "hash_blocks",
    "write_differences",
]

BLOCK_SIZE_BYTES = 4 << 20
BLOCKS_WANTED = 1 << 17
"""At most, of one disk: each has a digest, and the manifest of 2 TiB in 4 MiB blocks took 314 MiB
of memory to write. So disks of more than 512 GiB have larger blocks."""
BLOCK_SIZE_LIMIT_BYTES = 64 << 20
_RING_SLOTS = 4

CopyProgress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total), in the caller's thread."""

Cancelled = Callable[[], str]
"""Asked before each block: a reason cancels, "" goes on."""


@dataclass(frozen=True, kw_only=True)
class CopyResult:
    """What a copy moved, in bytes, and the BLAKE3 (hex) of the whole and of every block.

    `hole_bytes` were zeros and left unwritten; `same_bytes` were already there.
    """

    digest: str
    block_digests: tuple[str, ...]
    block_size_bytes: int
    bytes_read: int
    bytes_written: int
    hole_bytes: int
    same_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What became of one block."""

    digest: str
    written: int = 0
    holes: int = 0
    same: int = 0


@dataclass(kw_only=True)
class _Slot:
    """One buffer of the ring with the work that still reads it."""

    buffer: memoryview
    length: int = 0
    hashing: Future[None] | None = None
    storing: Future[_Stored] | None = None


_Store = Callable[[int, memoryview], _Stored]


@dataclass(kw_only=True)
class _Tally:
    """Sums of a copy as its blocks come out of the ring, in order."""

    block_digests: list[str] = field(default_factory=list)
    bytes_done: int = 0
    written: int = 0
    holes: int = 0
    same: int = 0

    def add(self, stored: _Stored, length: int) -> None:
        self.block_digests.append(stored.digest)
        self.bytes_done += length
        self.written += stored.written
        self.holes += stored.holes
        self.same += stored.same


def fit_block_size(size_bytes: int, block_size_bytes: int) -> int:
    """The block size, doubled until a disk has no more blocks than wanted, or up to the limit."""
    while size_bytes > block_size_bytes * BLOCKS_WANTED and (
        2 * block_size_bytes <= BLOCK_SIZE_LIMIT_BYTES
    ):
        block_size_bytes *= 2
    return block_size_bytes


def copy_blocks(
    source: BlockDevice,
    target: BlockDevice,
    *,
    size_bytes: int,
    sparse: bool = False,
    block_size_bytes: int = BLOCK_SIZE_BYTES,
    expected_digests: Sequence[str] = (),
    on_progress: CopyProgress | None = None,
    cancelled: Cancelled | None = None,
    limit: BandwidthLimit | None = None,
) -> CopyResult:
    """Copy `size_bytes` from the start of `source` to the start of `target`, and flush it.

    `sparse` leaves zero grains unwritten: only for a target that reads as zeros throughout (a
    fresh file), since elsewhere the old content would show. `expected_digests` are the digests
    that the source's blocks must have; a block is compared before it is written. Without them the
    blocks of a large disk are larger (`fit_block_size`).

    Raises: CopyFailed naming offset and device (read or write error, a size that is not
    `size_bytes` before or after); CopyCancelled; PointDamaged for a block that is not as expected.
    """
    if not expected_digests:
        block_size_bytes = fit_block_size(size_bytes, block_size_bytes)

    def store(offset: int, block: memoryview) -> _Stored:
        if not sparse:
            digest = _hash_expected(source, offset, block, block_size_bytes, expected_digests)
            target.write_at(offset, block)
            return _Stored(digest=digest, written=len(block))
        runs = tuple(find_runs(block, is_nonzero))
        digest = _hash_expected(
            source, offset, block, block_size_bytes, expected_digests, zero=not runs
        )
        for begin, end in runs:
            target.write_at(offset + begin, block[begin:end])
        written = sum(end - begin for begin, end in runs)
        return _Stored(digest=digest, written=written, holes=len(block) - written)

    _check_target(target, source, size_bytes)
    engine = _Engine(source, size_bytes, block_size_bytes, store)
    result = engine.run(on_progress, cancelled, limit)
    target.flush()
    return result


def write_differences(
    source: BlockDevice,
    target: BlockDevice,
    *,
    size_bytes: int,
    stale_chunks: bool = False,
    block_size_bytes: int = BLOCK_SIZE_BYTES,
    expected_digests: Sequence[str] = (),
    on_progress: CopyProgress | None = None,
    cancelled: Cancelled | None = None,
    limit: BandwidthLimit | None = None,
) -> CopyResult:
    """Make the start of `target` equal `source`, writing only the grains that differ; flush it.

    `stale_chunks` is for a target in a thin pool that does not zero its chunks (`grains.py`).
    Other arguments and errors as for `copy_blocks`; a target that cannot be read fails too.
    """
    if not expected_digests:
        block_size_bytes = fit_block_size(size_bytes, block_size_bytes)
    old = allocate_buffer(block_size_bytes)
    left = LeftZeros(size_bytes) if stale_chunks else None

    def store(offset: int, block: memoryview) -> _Stored:
        digest = _hash_expected(source, offset, block, block_size_bytes, expected_digests)
        _read_target(target, offset, old[: len(block)])

        def differs(begin: int, end: int, grain: memoryview) -> bool:
            if grain.tobytes() != old[begin:end].tobytes():
                return True
            if left is not None and not is_nonzero(begin, end, grain):
                left.note(offset + begin)
            return False

        written = 0
        for begin, end in find_runs(block, differs):
            target.write_at(offset + begin, block[begin:end])
            written += end - begin
        return _Stored(digest=digest, written=written, same=len(block) - written)

    _check_target(target, source, size_bytes)
    engine = _Engine(source, size_bytes, block_size_bytes, store)
    result = engine.run(on_progress, cancelled, limit)
    if left is not None:
        written = _write_lost_zeros(target, left, size_bytes, old, cancelled)
        result = replace(
            result,
            bytes_written=result.bytes_written + written,
            same_bytes=result.same_bytes - written,
        )
    target.flush()
    return result


def _write_lost_zeros(
    target: BlockDevice,
    left: LeftZeros,
    size_bytes: int,
    buffer: memoryview,
    cancelled: Cancelled | None,
) -> int:
    """Write zeros where they were left alone and are none any more; returns the bytes written.

    Raises: CopyFailed, CopyCancelled.
    """
    # What was not written past the page cache has no chunk before it is synced.
    target.flush()
    blank = allocate_buffer(GRAIN_SIZE_BYTES)
    written = 0
    for offset in range(0, size_bytes, len(buffer)):
        length = min(len(buffer), size_bytes - offset)
        noted = left.list_within(offset, offset + length)
        if not noted:
            continue
        if cancelled is not None and (reason := cancelled()):
            raise CopyCancelled(f"The copy to {target.path} was stopped at its end: {reason}.")
        _read_target(target, offset, buffer[:length])
        for place in noted:
            begin = place - offset
            end = min(begin + GRAIN_SIZE_BYTES, length)
            if is_nonzero(begin, end, buffer[begin:end]):
                target.write_at(place, blank[: end - begin])
                written += end - begin
    return written


def _read_target(target: BlockDevice, offset: int, buffer: memoryview) -> None:
    found = target.read_into(offset, buffer)
    if found != len(buffer):
        raise CopyFailed(f"{target.path} ended at byte {offset + found} while it was compared.")


def hash_blocks(
    source: BlockDevice,
    *,
    size_bytes: int,
    block_size_bytes: int = BLOCK_SIZE_BYTES,
    on_progress: CopyProgress | None = None,
    cancelled: Cancelled | None = None,
    limit: BandwidthLimit | None = None,
) -> CopyResult:
    """Read and hash without writing anything. Raises: as `copy_blocks`."""

    def store(offset: int, block: memoryview) -> _Stored:
        zero = next(find_runs(block, is_nonzero), None) is None
        return _Stored(digest=_hash_block(block, zero=zero))

    engine = _Engine(source, size_bytes, block_size_bytes, store)
    return engine.run(on_progress, cancelled, limit)


class _Engine:
    """One walk over the source: the ring, its two helpers, and what stops it."""

    def __init__(
        self, source: BlockDevice, size_bytes: int, block_size_bytes: int, store: _Store
    ) -> None:
        self._source = source
        self._size_bytes = size_bytes
        self._block_size_bytes = block_size_bytes
        self._store = store
        self._stopped = threading.Event()
        self._whole = blake3()
        self._tally = _Tally()

    def run(
        self,
        on_progress: CopyProgress | None,
        cancelled: Cancelled | None,
        limit: BandwidthLimit | None,
    ) -> CopyResult:
        self._check_source("when the copy began")
        slots = [_Slot(buffer=allocate_buffer(self._block_size_bytes)) for _ in range(_RING_SLOTS)]
        with (
            ThreadPoolExecutor(1, thread_name_prefix="hash") as hashing,
            ThreadPoolExecutor(1, thread_name_prefix="store") as storing,
        ):
            try:
                for index, offset in enumerate(range(0, self._size_bytes, self._block_size_bytes)):
                    slot = slots[index % _RING_SLOTS]
                    self._collect(slot, on_progress)
                    self._wait(offset, cancelled, limit)
                    block = self._read(offset, slot)
                    slot.hashing = hashing.submit(self._hash_whole, block)
                    slot.storing = storing.submit(self._store_block, offset, block)
                first = -(-self._size_bytes // self._block_size_bytes) % _RING_SLOTS
                for slot in slots[first:] + slots[:first]:
                    self._collect(slot, on_progress)
            except BaseException:
                self._stopped.set()
                raise
        self._check_source("when it ended")
        return CopyResult(
            digest=self._whole.hexdigest(),
            block_digests=tuple(self._tally.block_digests),
            block_size_bytes=self._block_size_bytes,
            bytes_read=self._tally.bytes_done,
            bytes_written=self._tally.written,
            hole_bytes=self._tally.holes,
            same_bytes=self._tally.same,
        )

    def _check_source(self, moment: str) -> None:
        found = self._source.size_bytes
        if found != self._size_bytes:
            raise CopyFailed(
                f"{self._source.path} had {found} bytes {moment}, not the {self._size_bytes}"
                " that were planned.",
                hint="it was resized or replaced: run the job again",
            )

    def _wait(self, offset: int, cancelled: Cancelled | None, limit: BandwidthLimit | None) -> None:
        def keep_waiting() -> bool:
            return cancelled is None or not cancelled()

        if limit is not None:
            length = min(self._block_size_bytes, self._size_bytes - offset)
            limit.wait_for(length, keep_waiting)
        if cancelled is not None and (reason := cancelled()):
            raise CopyCancelled(
                f"The copy of {self._source.path} was stopped at byte {offset}: {reason}."
            )

    def _read(self, offset: int, slot: _Slot) -> memoryview:
        slot.length = min(self._block_size_bytes, self._size_bytes - offset)
        # The whole buffer is offered even where the tail is shorter: an odd length would not
        # qualify for O_DIRECT, and a source that has grown shows itself.
        found = self._source.read_into(offset, slot.buffer)
        if found < slot.length:
            raise CopyFailed(
                f"{self._source.path} ended at byte {offset + found},"
                f" {self._size_bytes} were planned."
            )
        return slot.buffer[: slot.length]

    def _hash_whole(self, block: memoryview) -> None:
        if not self._stopped.is_set():
            self._whole.update(block)

    def _store_block(self, offset: int, block: memoryview) -> _Stored:
        if self._stopped.is_set():
            raise CopyCancelled(f"The copy of {self._source.path} was stopped at byte {offset}.")
        try:
            return self._store(offset, block)
        except BaseException:
            self._stopped.set()
            raise

    def _collect(self, slot: _Slot, on_progress: CopyProgress | None) -> None:
        """Wait until nobody reads the slot's buffer; errors of its work come out here."""
        if slot.storing is None or slot.hashing is None:
            return
        stored = slot.storing.result()
        slot.hashing.result()
        slot.storing = slot.hashing = None
        self._tally.add(stored, slot.length)
        if on_progress is not None:
            on_progress(self._tally.bytes_done, self._size_bytes)


def _check_target(target: BlockDevice, source: BlockDevice, size_bytes: int) -> None:
    found = target.size_bytes
    if found < size_bytes:
        raise CopyFailed(
            f"{target.path} has {found} bytes, fewer than the {size_bytes} of {source.path}."
        )


def _hash_expected(
    source: BlockDevice,
    offset: int,
    block: memoryview,
    block_size_bytes: int,
    expected: Sequence[str],
    *,
    zero: bool = False,
) -> str:
    """Digest of a block, compared with the expected one where there are any."""
    digest = _hash_block(block, zero=zero)
    index = offset // block_size_bytes
    if expected and (index >= len(expected) or expected[index] != digest):
        raise PointDamaged(
            f"{source.path} is not what its manifest promises: the block at byte {offset} differs.",
            hint="run `xenbackup verify` on the point, and restore from another one",
        )
    return digest


def _hash_block(block: memoryview, *, zero: bool) -> str:
    return _hash_zeros(len(block)) if zero else blake3(block).hexdigest()


@lru_cache(maxsize=8)
def _hash_zeros(length: int) -> str:
    return blake3(bytes(length)).hexdigest()
