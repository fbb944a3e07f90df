"""A child that `command.py` started: whether it and its group have ended, and what it writes.

Nothing is started here. Its output is read as it comes, through pipes of ours that no child has to
wait for; what others still write into them after its end is not waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xenbackup.errors import CommandFailed
from xenbackup.model.command import Command
from xenbackup.system.output import FileFollower, OutputCollector

_POLL_SECONDS = 0.2
_DRAIN_SECONDS = 1.0
_READ_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Child:
    """A started process: its pid leads a session and a process group of its own.

    `process` is what `sh` knows it by; `exit_descriptor` becomes readable when it ends, None where
    the kernel has no such thing.
    """

    pid: int
    process: Any
    exit_descriptor: int | None

    def has_ended(self) -> bool:
        """It has, and its exit code is known."""
        alive, _ = self.process.is_alive()
        return not alive

    def group_has_ended(self) -> bool:
        """Neither it nor a child of its that stayed in its group is left."""
        return self.has_ended() and not signal_group(self, 0)


class ChildStreams:
    """What one child reads and writes: its stdin, and its two outputs as far as they were read.

    All descriptors are closed with `resources`. Raises: CommandFailed when the file for its stderr
    cannot be opened; OSError when there are no descriptors left.
    """

    def __init__(self, command: Command, resources: contextlib.ExitStack) -> None:
        self._callback_error: Exception | None = None
        self._on_line = command.on_stderr_line
        self._stdin = command.stdin
        self._resources = resources
        self._write_ends: list[int] = []
        resources.callback(self._close_write_ends)
        self._follower: FileFollower | None = None
        self._open: dict[int, OutputCollector] = {}
        self.stdout = OutputCollector()
        self.stderr = OutputCollector(on_line=self._deliver if command.on_stderr_line else None)
        self._stdout_write = self._open_pipe(self.stdout)
        self._stderr_write = (
            self._open_pipe(self.stderr)
            if command.stderr_path is None
            else self._open_file(command.stderr_path)
        )

    @contextlib.contextmanager
    def child_ends(self) -> Iterator[tuple[BinaryIO, int, int]]:
        """The child's stdin, stdout and stderr; our copies are closed afterwards."""
        with _open_input(self._stdin) as stdin:
            try:
                yield stdin, self._stdout_write, self._stderr_write
            finally:
                self._close_write_ends()

    def _close_write_ends(self) -> None:
        while self._write_ends:
            os.close(self._write_ends.pop())

    def pump_until(self, ended: Callable[[], bool], child: Child, deadline: float) -> bool:
        """Read output until it has ended (True) or the deadline has passed (False)."""
        while True:
            if ended():
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            # Readable for good once the child has ended: of no use while its group is awaited.
            descriptor = None if child.has_ended() else child.exit_descriptor
            self._pump(descriptor, min(remaining, _POLL_SECONDS))

    def finish(self) -> None:
        """Read what is there already; what a surviving grandchild may write yet is not awaited."""
        limit = time.monotonic() + _DRAIN_SECONDS
        while self._open and time.monotonic() < limit and self._pump(None, 0):
            pass
        if self._follower is not None:
            self._follower.read_news()
        self.stdout.finish()
        self.stderr.finish()

    def raise_callback_error(self) -> None:
        """An error of `on_stderr_line` ends no command; it is raised when the command has ended."""
        if self._callback_error is not None:
            raise self._callback_error

    def _pump(self, exit_descriptor: int | None, timeout_seconds: float) -> bool:
        """Read once from whatever is ready; False when nothing was."""
        poll = select.poll()
        for descriptor in self._open:
            poll.register(descriptor, select.POLLIN)
        if exit_descriptor is not None:
            poll.register(exit_descriptor, select.POLLIN)
        elif timeout_seconds:
            timeout_seconds = min(timeout_seconds, _POLL_SECONDS / 10)
        ready = [found for found, _ in poll.poll(timeout_seconds * 1000)]
        for descriptor in ready:
            collector = self._open.get(descriptor)
            if collector is None:
                continue
            content = os.read(descriptor, _READ_BYTES)
            if content:
                collector.add(content)
            else:
                del self._open[descriptor]
        if self._follower is not None:
            self._follower.read_news()
        return bool(ready)

    def _open_pipe(self, collector: OutputCollector) -> int:
        read_end, write_end = os.pipe()
        self._resources.callback(os.close, read_end)
        self._write_ends.append(write_end)
        self._open[read_end] = collector
        return write_end

    def _open_file(self, path: Path) -> int:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o600)
            self._write_ends.append(descriptor)
            self._follower = FileFollower(path, self.stderr)
        except OSError as error:
            raise CommandFailed(
                f"Cannot open {path} for the messages of a command: {error.strerror}."
            ) from error
        self._resources.callback(self._follower.close)
        return descriptor

    def _deliver(self, line: str) -> None:
        if self._on_line is None or self._callback_error is not None:
            return
        try:
            self._on_line(line)
        except Exception as error:  # noqa: BLE001 - kept, and raised when the command has ended
            self._callback_error = error


def open_exit_descriptor(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where that is unknown."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def signal_group(child: Child, number: int) -> bool:
    """Send to every process of the child's group; False when there is none."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


def _open_input(content: bytes) -> BinaryIO:
    """What the child reads: a file in memory, which no child can leave unread and so block us."""
    if not content:
        return Path(os.devnull).open("rb")
    file = os.fdopen(os.memfd_create("stdin", os.MFD_CLOEXEC), "w+b")
    try:
        file.write(content)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
