"""The copy-on-write store of one thick snapshot, in dm-snapshot's own persistent format.

Chunk 0 holds the header; then come areas: one chunk of 256 pairs (old chunk, new chunk), followed
by the data chunks of those pairs. Metadata chunks count against the size, so a store really fills.
The file is the truth about the snapshot: what was copied, and whether it is still valid.
"""

from __future__ import annotations

import os
import struct

CHUNK_BYTES = 4096
SECTORS_PER_CHUNK = CHUNK_BYTES // 512

_MAGIC = 0x70416E53
_HEADER = struct.Struct("<IIII")
_PAIR = struct.Struct("<QQ")
_PAIRS_PER_AREA = CHUNK_BYTES // _PAIR.size
_STRIDE = _PAIRS_PER_AREA + 1


class StoreFull(Exception):
    """No chunk is left: the snapshot is invalid from now on."""


class ExceptionStore:
    """Copied chunks of one snapshot: `fd` is its file, `size_bytes` its logical volume's size.

    The table is only ever appended to; `refresh` reads what other processes added.
    """

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self._count = 0
        self.size_bytes = size_bytes
        self.valid = True
        self.table: dict[int, int] = {}
        self.refresh()

    @staticmethod
    def format(fd: int) -> None:
        """Write the header of an empty store."""
        os.pwrite(fd, _HEADER.pack(_MAGIC, 1, 1, SECTORS_PER_CHUNK), 0)

    @property
    def allocated_chunks(self) -> int:
        """Chunks in use, header and areas among them."""
        return self._position_of(self._count)

    @property
    def metadata_chunks(self) -> int:
        return 2 + self._count // _PAIRS_PER_AREA

    @property
    def size_chunks(self) -> int:
        return self.size_bytes // CHUNK_BYTES

    @property
    def percent(self) -> float:
        """Fill as LVM shows it: nothing but metadata is 0, a little is never 0, nor almost 100."""
        if not self.valid:
            return 100.0
        if self.allocated_chunks == self.metadata_chunks:
            return 0.0
        share = 100.0 * self.allocated_chunks / self.size_chunks
        return min(max(round(share, 2), 0.01), 99.99)

    def refresh(self) -> None:
        """Read validity, and the pairs that were appended since the last look."""
        header = os.pread(self._fd, _HEADER.size, 0)
        self.valid = len(header) == _HEADER.size and _HEADER.unpack(header)[1] == 1
        while True:
            first = self._count % _PAIRS_PER_AREA
            wanted = (_PAIRS_PER_AREA - first) * _PAIR.size
            pairs = os.pread(self._fd, wanted, self._offset_of_pair(self._count))
            if self._add_pairs(pairs) < wanted // _PAIR.size:
                return

    def preserve(self, chunk: int, content: bytes | memoryview) -> None:
        """Keep the old `content` of `chunk`: data first, then its pair, as the kernel does.

        Raises: StoreFull, having marked the store invalid.
        """
        if chunk in self.table or not self.valid:
            return
        self._write_chunk(self._allocate(), content, chunk)

    def overwrite(self, chunk: int, content: bytes | memoryview) -> None:
        """Write to the snapshot itself: a new `content` for `chunk`. Raises: StoreFull."""
        place = self.table.get(chunk)
        if place is None:
            self._write_chunk(self._allocate(), content, chunk)
        else:
            os.pwrite(self._fd, content, place * CHUNK_BYTES)

    def read_chunk(self, chunk: int) -> bytes | None:
        """The kept content of `chunk`, None when the origin still holds it."""
        place = self.table.get(chunk)
        return None if place is None else os.pread(self._fd, CHUNK_BYTES, place * CHUNK_BYTES)

    def invalidate(self) -> None:
        os.pwrite(self._fd, _HEADER.pack(_MAGIC, 0, 1, SECTORS_PER_CHUNK), 0)
        self.valid = False

    def _allocate(self) -> int:
        place = self.allocated_chunks
        if place + 1 > self.size_chunks:
            self.invalidate()
            raise StoreFull
        return place

    def _write_chunk(self, place: int, content: bytes | memoryview, chunk: int) -> None:
        os.pwrite(self._fd, content, place * CHUNK_BYTES)
        os.pwrite(self._fd, _PAIR.pack(chunk, place), self._offset_of_pair(self._count))
        self.table[chunk] = place
        self._count += 1

    def _add_pairs(self, pairs: bytes) -> int:
        added = 0
        for old, new in _PAIR.iter_unpack(pairs[: len(pairs) - len(pairs) % _PAIR.size]):
            if new == 0:
                break
            self.table[old] = new
            added += 1
        self._count += added
        return added

    @staticmethod
    def _position_of(index: int) -> int:
        """Chunk of the data of pair `index`: behind the header and every area up to its own."""
        return 2 + index + index // _PAIRS_PER_AREA

    @staticmethod
    def _offset_of_pair(index: int) -> int:
        area = 1 + (index // _PAIRS_PER_AREA) * _STRIDE
        return area * CHUNK_BYTES + (index % _PAIRS_PER_AREA) * _PAIR.size
