"""Block devices and image files, read and written past the page cache."""

from __future__ import annotations

from typing import Protocol


class BlockDevice(Protocol):
    """Something with a size that is read and written at offsets.

    Buffers come page-aligned from the copier; offsets and lengths are multiples of 512 bytes save
    for the tail of an odd-sized image file.
    """

    @property
    def path(self) -> str:
        """What messages call it."""

    @property
    def size_bytes(self) -> int: ...

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; returns bytes read, short only at the end of the device.

        Raises: CopyFailed naming offset and device.
        """

    def write_at(self, offset: int, content: memoryview) -> None:
        """Write all of `content` at `offset`. Raises: CopyFailed naming offset and device."""

    def flush(self) -> None:
        """Make every write durable; an error is final and never retried. Raises: CopyFailed."""

    def close(self) -> None: ...
