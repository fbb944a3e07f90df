"""Block devices in memory that fail on request, for tests of what copies through them."""

from __future__ import annotations

import threading

from xenbackup.errors import CopyFailed


class MemoryDevice:
    """A device over bytes that notes its writes.

    `read_error_at` is a byte that cannot be read, `room_bytes` how much may be written, `ends_at`
    where reads end early although the size says otherwise.
    """

    def __init__(
        self,
        content: bytes,
        path: str = "source",
        *,
        read_error_at: int | None = None,
        room_bytes: int | None = None,
        ends_at: int | None = None,
        flush_fails: bool = False,
    ) -> None:
        self.content = content
        self.writes: list[tuple[int, bytes]] = []
        self.reader_threads: set[int] = set()
        self.flushes = 0
        self.closed = False
        self._path = path
        self._read_error_at = read_error_at
        self._room_bytes = room_bytes
        self._ends_at = ends_at
        self._flush_fails = flush_fails

    @property
    def path(self) -> str:
        return self._path

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self.reader_threads.add(threading.get_ident())
        end = len(self.content) if self._ends_at is None else self._ends_at
        piece = self.content[offset : min(offset + len(buffer), end)]
        bad = self._read_error_at
        if bad is not None and offset <= bad < offset + len(piece):
            raise CopyFailed(f"Cannot read {self.path} at byte {bad}: Input/output error.")
        buffer[: len(piece)] = piece
        return len(piece)

    def write_at(self, offset: int, content: memoryview) -> None:
        written = sum(len(earlier) for _, earlier in self.writes)
        if self._room_bytes is not None and written + len(content) > self._room_bytes:
            failed = offset + self._room_bytes - written
            raise CopyFailed(f"Cannot write {self.path} at byte {failed}: No space left on device.")
        if offset + len(content) > len(self.content):
            raise CopyFailed(f"Cannot write {self.path} at byte {offset}: it ends before.")
        self.writes.append((offset, bytes(content)))
        before, after = self.content[:offset], self.content[offset + len(content) :]
        self.content = before + bytes(content) + after

    def flush(self) -> None:
        self.flushes += 1
        if self._flush_fails:
            raise CopyFailed(f"Cannot make the writes to {self.path} durable: Input/output error.")

    def close(self) -> None:
        self.closed = True
