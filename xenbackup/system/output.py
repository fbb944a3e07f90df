"""Bounded keeping of what a command prints: its beginning, its end, and how much lies between."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

FIRST_BYTES: Final = 256 << 10
LAST_BYTES: Final = 4 << 20
LINE_BYTES: Final = 64 << 10

_READ_BYTES = 1 << 16


class OutputCollector:
    """Collects bytes, hands out whole lines as they come, and gives the text back at the end.

    Undecodable bytes become surrogates, so that names with odd bytes survive unchanged.
    """

    def __init__(
        self,
        *,
        on_line: Callable[[str], None] | None = None,
        first_bytes: int = FIRST_BYTES,
        last_bytes: int = LAST_BYTES,
    ) -> None:
        self._on_line = on_line
        self._first_limit = first_bytes
        self._last_limit = last_bytes
        self._first = bytearray()
        self._last = bytearray()
        self._cut_bytes = 0
        self._line = bytearray()

    def add(self, content: bytes) -> None:
        """Take what was read next."""
        room = self._first_limit - len(self._first)
        self._first += content[:room]
        self._last += content[room:] if room > 0 else content
        # Cut in strides: moving the whole tail for every read would be quadratic.
        if len(self._last) > 2 * self._last_limit:
            self._cut_tail()
        if self._on_line is not None:
            self._split_lines(content)

    def finish(self) -> None:
        """Hand out a last line that has no newline."""
        if self._line:
            self._emit(bytes(self._line))
            self._line.clear()

    def text(self) -> str:
        """First and last part; where something was left out a line says how much."""
        self._cut_tail()
        parts = [_decode(self._first)]
        if self._cut_bytes:
            parts.append(f"\n[{self._cut_bytes} bytes of output left out here]\n")
        parts.append(_decode(self._last))
        return "".join(parts)

    def _cut_tail(self) -> None:
        surplus = len(self._last) - self._last_limit
        if surplus > 0:
            del self._last[:surplus]
            self._cut_bytes += surplus

    def _split_lines(self, content: bytes) -> None:
        self._line += content
        # Progress bars end their lines with a carriage return alone.
        *lines, rest = bytes(self._line).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if line:
                self._emit(line)
        self._line = bytearray(rest)
        if len(self._line) > LINE_BYTES:
            self._emit(bytes(self._line))
            self._line.clear()

    def _emit(self, line: bytes) -> None:
        if self._on_line is not None:
            self._on_line(_decode(line))


class FileFollower:
    """Reads what is appended to a file, from its present end on, into a collector."""

    def __init__(self, path: Path, collector: OutputCollector) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset = os.fstat(self._descriptor).st_size
        self._collector = collector

    def read_news(self) -> None:
        """Hand over everything that was appended since."""
        while content := os.pread(self._descriptor, _READ_BYTES, self._offset):
            self._offset += len(content)
            self._collector.add(content)

    def close(self) -> None:
        os.close(self._descriptor)


def _decode(content: bytes | bytearray) -> str:
    return content.decode("utf-8", "surrogateescape")
