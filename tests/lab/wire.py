"""Wires to a QEMU process: its monitor (QMP) and the guest agent inside dom0, both in JSON.

Owns the protocols only. What is asked over them is `machine.py`'s business.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

AGENT_CHUNK_BYTES = 1 << 20
"""One guest-file-read or -write; base64 of it stays far below the agent's message limit."""


class LabError(Exception):
    """Something the lab's own machinery could not do; never a verdict about the product."""


class WireSilent(LabError):
    """Nothing (or half an answer) came before the deadline."""


class WireRefused(LabError):
    """The other side answered with an error."""


def connect_unix(folder: Path, name: str, *, timeout_seconds: float) -> socket.socket:
    """Connect to the socket `name` in `folder`, however long the folder's path is.

    A Unix socket address ends at 107 bytes, so the folder is reached through a descriptor of it.
    """
    deadline = time.monotonic() + timeout_seconds
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        while True:
            wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                wire.connect(f"/proc/self/fd/{descriptor}/{name}")
                return wire
            except OSError as error:
                wire.close()
                if time.monotonic() > deadline:
                    raise WireSilent(f"cannot connect to {folder / name}: {error}") from error
                time.sleep(0.1)
    finally:
        os.close(descriptor)


class _Line:
    """Newline-ended JSON objects over one stream socket, with a deadline for each read."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._buffer = b""

    def send(self, message: object, *, prefix: bytes = b"") -> None:
        self._wire.settimeout(120)
        try:
            self._wire.sendall(prefix + json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise WireSilent(f"cannot send: {error}") from error

    def receive_until(self, mark: bytes, deadline: float) -> bytes:
        """The bytes before `mark`, which is dropped."""
        while mark not in self._buffer:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise WireSilent(f"no answer in time; so far {self._buffer[:200]!r}")
            self._wire.settimeout(remaining)
            try:
                piece = self._wire.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                raise WireSilent(f"cannot receive: {error}") from error
            if not piece:
                raise WireSilent("the other side closed the connection")
            self._buffer += piece
        before, self._buffer = self._buffer.split(mark, 1)
        return before

    def receive(self, deadline: float) -> dict[str, Any]:
        while True:
            line = self.receive_until(b"\n", deadline).strip(b"\xff\r ")
            if line:
                answer = json.loads(line)
                if not isinstance(answer, dict):
                    raise WireRefused(f"not an object: {line[:200]!r}")
                return answer

    def close(self) -> None:
        self._wire.close()


class Monitor:
    """QMP: one connection to QEMU's monitor."""

    def __init__(self, folder: Path, name: str, *, timeout_seconds: float = 60) -> None:
        self._line = _Line(connect_unix(folder, name, timeout_seconds=timeout_seconds))
        self._line.receive(time.monotonic() + timeout_seconds)
        self.execute("qmp_capabilities", timeout_seconds=timeout_seconds)

    def execute(self, command: str, *, timeout_seconds: float = 120, **arguments: object) -> Any:
        """Run one QMP command; events that arrive meanwhile are dropped."""
        self._line.send({"execute": command, "arguments": arguments})
        deadline = time.monotonic() + timeout_seconds
        while True:
            answer = self._line.receive(deadline)
            if "error" in answer:
                raise WireRefused(f"{command}: {answer['error'].get('desc', answer['error'])}")
            if "return" in answer:
                return answer["return"]

    def human(self, command: str, *, timeout_seconds: float = 600) -> str:
        """Run one command of the human monitor; its text is empty for most that succeed."""
        text = self.execute(
            "human-monitor-command",
            timeout_seconds=timeout_seconds,
            **{"command-line": command},
        )
        return str(text)

    def close(self) -> None:
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Agent:
    """qemu-guest-agent in dom0, over virtio-serial.

    The port keeps what an earlier client left unread, and an agent that was saved in the middle of
    something answers late: so every conversation begins with a delimited sync.
    """

    _ids = itertools.count(os.getpid() * 1000 + 1)

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._line: _Line | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the wire is synchronised and nothing has gone wrong on it since."""
        return self._line is not None

    def synchronise(self, *, timeout_seconds: float, still_alive: Callable[[], None]) -> None:
        """Connect anew and agree on where the stream stands, trying until the deadline.

        `still_alive` is called between tries; it raises when waiting has become pointless.
        """
        deadline = time.monotonic() + timeout_seconds
        patience_seconds = 2.0
        while True:
            still_alive()
            self.close()
            try:
                self._synchronise_once(min(deadline, time.monotonic() + patience_seconds))
                return
            except WireSilent as error:
                patience_seconds = min(patience_seconds * 1.5, 20.0)
                if time.monotonic() > deadline:
                    raise WireSilent(
                        f"the guest agent did not answer within {timeout_seconds:.0f} s: {error}"
                    ) from error

    def _synchronise_once(self, deadline: float) -> None:
        line = _Line(connect_unix(self._folder, self._name, timeout_seconds=5))
        self._line = line
        wanted = next(self._ids)
        line.send({"execute": "guest-sync-delimited", "arguments": {"id": wanted}}, prefix=b"\xff")
        while True:
            line.receive_until(b"\xff", deadline)
            text = line.receive_until(b"\n", deadline)
            try:
                if json.loads(text).get("return") == wanted:
                    return
            except ValueError:
                continue

    def call(self, command: str, *, timeout_seconds: float = 120, **arguments: object) -> Any:
        """One agent command on a synchronised wire.

        Raises:
            WireSilent: no answer; whether the command ran is unknown.
            WireRefused: the agent answered with an error.
        """
        if self._line is None:
            raise WireSilent("the guest agent's wire is not connected")
        try:
            self._line.send({"execute": command, "arguments": arguments})
            answer = self._line.receive(time.monotonic() + timeout_seconds)
        except WireSilent:
            self.close()  # a late answer must not be taken for that of the next command
            raise
        if "error" in answer:
            raise WireRefused(f"{command}: {answer['error'].get('desc', answer['error'])}")
        return answer["return"]

    def write_file(self, path: str, chunks: Callable[[int], bytes]) -> None:
        """Write a file in dom0 from `chunks(size_bytes)`, called until it returns nothing."""
        handle = self.call("guest-file-open", path=path, mode="wb")
        try:
            while piece := chunks(AGENT_CHUNK_BYTES):
                self._write_piece(handle, piece)
        finally:
            self.call("guest-file-close", handle=handle)

    def _write_piece(self, handle: int, piece: bytes) -> None:
        while piece:
            encoded = base64.b64encode(piece).decode()
            written = self.call(
                "guest-file-write", handle=handle, timeout_seconds=300, **{"buf-b64": encoded}
            )["count"]
            piece = piece[written:]

    def read_file(self, path: str) -> bytes:
        """The whole content of a file in dom0."""
        handle = self.call("guest-file-open", path=path, mode="rb")
        pieces = []
        try:
            while True:
                got = self.call(
                    "guest-file-read", handle=handle, count=AGENT_CHUNK_BYTES, timeout_seconds=300
                )
                pieces.append(base64.b64decode(got["buf-b64"]))
                if got["eof"]:
                    return b"".join(pieces)
        finally:
            self.call("guest-file-close", handle=handle)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
