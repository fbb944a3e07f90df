"""A client of the daemon: connects, asks one thing, and gives the events of the answer.

It imports little: a command that the daemon answers should cost next to nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from xenbackup.errors import DaemonAbsent, DaemonGone, DaemonSilent, RequestRefused
from xenbackup.service.control.address import shorten_address
from xenbackup.service.control.events import (
    Alive,
    AnyEvent,
    End,
    Error,
    ResultTold,
    Welcome,
    decode_event,
)
from xenbackup.service.control.frames import (
    CLIENT_LIMIT_BYTES,
    DAEMON_LIMIT_BYTES,
    FrameReader,
    encode_frame,
)
from xenbackup.service.control.protocol import Request, encode_request

if TYPE_CHECKING:
    from pathlib import Path

CONNECT_SECONDS = 3.0
QUIET_SECONDS = 60.0
"""The daemon gives a sign of life every 15 seconds, whatever it does."""

_PIECE_BYTES = 64 * 1024
_RETRY_SECONDS = 0.05
_START_HINT = "`systemctl start xenbackup` starts it"
_SILENT_HINT = "`systemctl status xenbackup` and `journalctl -u xenbackup` show what it is at"


class ControlClient:
    """One connection for one request. Closing it detaches: the daemon goes on with what it does."""

    def __init__(self, connection: socket.socket, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._reader = FrameReader(DAEMON_LIMIT_BYTES)

    @classmethod
    def connect(cls, path: Path, *, timeout_seconds: float = CONNECT_SECONDS) -> Self:
        """Connect, and hear the daemon's first word.

        Raises: DaemonAbsent when there is no socket, or nobody behind it; DaemonSilent when there
        is somebody who does not answer in time; RequestRefused when the daemon has no room, or
        the socket is out of reach for this user; FrameRefused for a daemon of another version.
        """
        deadline = time.monotonic() + timeout_seconds
        connection = _open(path, deadline)
        client = cls(connection, path)
        try:
            client._hear_welcome(deadline)
        except BaseException:
            connection.close()
            raise
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave; safe to repeat."""
        self._connection.close()

    def request(
        self, request: Request, *, quiet_seconds: float = QUIET_SECONDS
    ) -> Iterator[AnyEvent]:
        """Ask, and give the events of the answer up to `End`, the last one.

        A result that came in parts is given whole. Signs of life are not given.

        Raises: RequestRefused with the daemon's reason; DaemonGone when the connection ended
        before the answer did; DaemonSilent after `quiet_seconds` without a sign of life;
        FrameRefused for an answer that cannot be read.
        """
        self._connection.settimeout(quiet_seconds)
        frame = encode_frame(encode_request(request), limit_bytes=CLIENT_LIMIT_BYTES)
        try:
            self._connection.sendall(frame)
        except TimeoutError as error:
            raise self._describe_silence(quiet_seconds) from error
        except OSError:
            # The daemon has closed already; why, it may have said before.
            pass
        parts: tuple[ResultTold, ...] = ()
        while True:
            event = self._read_event(quiet_seconds)
            if isinstance(event, Error):
                raise RequestRefused(event.message, hint=event.hint, exit_code=event.exit_code)
            if isinstance(event, Alive | Welcome):
                continue
            if isinstance(event, ResultTold):
                parts = (*parts, event)
                if event.more:
                    continue
                runs = tuple(run for part in parts for run in part.runs)
                event, parts = msgspec.structs.replace(event, runs=runs), ()
            yield event
            if isinstance(event, End):
                return

    def _hear_welcome(self, deadline: float) -> None:
        seconds = max(deadline - time.monotonic(), _RETRY_SECONDS)
        self._connection.settimeout(seconds)
        event = self._read_event(seconds)
        if isinstance(event, Error):
            raise RequestRefused(event.message, hint=event.hint, exit_code=event.exit_code)

    def _read_event(self, quiet_seconds: float) -> AnyEvent:
        while True:
            try:
                piece = self._connection.recv(min(self._reader.wanted_bytes, _PIECE_BYTES))
            except TimeoutError as error:
                raise self._describe_silence(quiet_seconds) from error
            except OSError as error:
                raise self._describe_loss() from error
            if not piece:
                raise self._describe_loss()
            body = self._reader.feed(piece)
            if body is not None:
                return decode_event(body)

    def _describe_silence(self, seconds: float) -> DaemonSilent:
        return DaemonSilent(
            f"The daemon at {self._path} has given no sign of life for {seconds:.0f} seconds.",
            hint=_SILENT_HINT,
        )

    def _describe_loss(self) -> DaemonGone:
        return DaemonGone(
            f"The daemon at {self._path} ended the connection before its answer was whole.",
            hint=f"{_SILENT_HINT}; what it was doing it finishes or undoes when it starts again",
        )


def has_socket(path: Path) -> bool:
    """Whether there is a socket at all; a daemon may still not be behind it."""
    try:
        return path.is_socket()
    except OSError:
        return False


def _open(path: Path, deadline: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _connect(connection, path, deadline)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    while True:
        connection.settimeout(max(deadline - time.monotonic(), _RETRY_SECONDS))
        try:
            with shorten_address(path) as address:
                connection.connect(address)
            return
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise DaemonAbsent(f"No daemon listens at {path}.", hint=_START_HINT) from error
        except PermissionError as error:
            raise RequestRefused(
                f"The daemon's socket {path} is out of reach for this user.", hint="ask as root"
            ) from error
        except (BlockingIOError, TimeoutError) as error:
            # The daemon takes no connections at the moment: its queue of them is full (unix(7)).
            if time.monotonic() >= deadline:
                raise DaemonSilent(
                    f"The daemon at {path} takes no connections.", hint=_SILENT_HINT
                ) from error
            time.sleep(_RETRY_SECONDS)
        except OSError as error:
            raise DaemonAbsent(f"Cannot reach a daemon at {path}: {error.strerror}.") from error
