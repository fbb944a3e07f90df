"""Waking the daemon's main thread: from any thread, and from a signal's handler."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

_DRAIN_BYTES = 4096


class Wake:
    """A pipe that the main thread sleeps at. A signal wakes it too, once `watch_signals` is on."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._read_end, select.POLLIN)

    def watch_signals(self) -> None:
        """Python runs its handlers in the main thread: this brings it there. Call it from there."""
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)

    def call(self) -> None:
        """Wake it now, or as soon as it wants to sleep."""
        with suppress(BlockingIOError):
            os.write(self._write_end, b"!")

    def wait(self, timeout_seconds: float | None) -> None:
        """Sleep until called, or that long."""
        milliseconds = None if timeout_seconds is None else max(timeout_seconds, 0.0) * 1000 + 1
        self._poll.poll(milliseconds)
        with suppress(BlockingIOError):
            while len(os.read(self._read_end, _DRAIN_BYTES)) == _DRAIN_BYTES:
                pass

    def close(self) -> None:
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
        os.close(self._read_end)
        os.close(self._write_end)
