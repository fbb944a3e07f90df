"""One client's connection, as the server's loop sees it: what came, what waits, and until when."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from dataclasses import dataclass

from xenbackup import __version__
from xenbackup.errors import FrameRefused, XenbackupError
from xenbackup.service.control.events import Alive, Welcome
from xenbackup.service.control.frames import CLIENT_LIMIT_BYTES, FrameReader
from xenbackup.service.control.peers import Credentials
from xenbackup.service.control.protocol import AnyRequest, decode_request
from xenbackup.service.control.stream import Stream


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """How many clients there may be, and how long each may take.

    `clients_of_others` bounds those that are not root's, all together: root always finds room.
    `frame_seconds` is for a whole request to arrive; after `alive_seconds` without an event a sign
    of life is sent; a client that takes nothing of a finished answer is cut after
    `linger_seconds`; `stop_seconds` is for the last words when the server stops.
    """

    clients: int = 256
    clients_of_others: int = 64
    clients_of_one: int = 16
    frame_seconds: float = 10.0
    alive_seconds: float = 15.0
    linger_seconds: float = 600.0
    stop_seconds: float = 5.0


class Connection:
    """Every method is called by the loop alone and returns at once.

    Those that touch the socket raise OSError when the client is gone. `wake` is told of answers
    that wait to be flushed, from any thread.
    """

    def __init__(
        self,
        connection: socket.socket,
        credentials: Credentials,
        limits: ServerLimits,
        wake: Callable[[Connection], None],
        now: float,
    ) -> None:
        self.socket = connection
        self.credentials = credentials
        self.stream = Stream(lambda: wake(self))
        self.asked = False
        self.blocked = False
        self._limits = limits
        self._reader = FrameReader(CLIENT_LIMIT_BYTES)
        self._began = now
        self._moved = now
        self._deaf = False
        connection.setblocking(False)
        self.stream.send(Welcome(daemon=__version__))

    @property
    def events(self) -> int:
        """What to wait for, as `select.poll` spells it; a hang-up is told in any case."""
        wanted = 0 if self._deaf else select.POLLIN
        return wanted | (select.POLLOUT if self.blocked else 0)

    @property
    def finished(self) -> bool:
        """The whole answer is sent."""
        return self.stream.ended and not self.blocked and not self.stream.waiting_bytes

    @property
    def deadline(self) -> float | None:
        """When `expire` is due, None for never."""
        if self.stream.ended:
            return self._moved + self._limits.linger_seconds
        if not self.asked:
            return self._began + self._limits.frame_seconds
        return None if self.blocked else self._moved + self._limits.alive_seconds

    def receive(self) -> AnyRequest | None:
        """The request, once it is whole and nothing stands behind it.

        Raises: FrameRefused for what is none, or not the only one; ConnectionError when the client
        left before it had asked; OSError.
        """
        request = None
        while True:
            # One byte more, once the request is there, shows what does not belong to it.
            wanted = 1 if self.asked else self._reader.wanted_bytes
            try:
                piece = self.socket.recv(wanted)
            except (BlockingIOError, InterruptedError):
                return request
            if not piece:
                if not self.asked and self._reader.between_frames:
                    raise ConnectionResetError("left without a request")
                if not self.asked:
                    raise FrameRefused("The request ends in the middle.")
                # Half closed: it may still read. A whole hang-up is told by the poll.
                self._deaf = True
                return request
            if self.asked:
                raise FrameRefused(
                    "There is something behind the request.", hint="one connection, one request"
                )
            body = self._reader.feed(piece)
            if body is not None:
                self.asked = True
                request = decode_request(body)

    def flush(self, now: float) -> None:
        """Send what the client takes. Raises: OSError."""
        before = self.stream.waiting_bytes
        self.blocked = self.stream.flush(self._write)
        if not self.blocked or self.stream.waiting_bytes != before:
            self._moved = now

    def expire(self) -> bool:
        """The deadline has passed; False when that was all the patience there is.

        Raises: FrameRefused for a request that did not arrive in time.
        """
        if self.stream.ended:
            return False
        if not self.asked:
            seconds = self._limits.frame_seconds
            raise FrameRefused(f"The request was not there after {seconds:g} seconds.")
        self.stream.send(Alive())
        return True

    def refuse(self, error: XenbackupError) -> None:
        """Answer with this alone, and read nothing more: where would a frame begin?"""
        self.asked = True
        self._deaf = True
        self.stream.replace(error)

    def close(self) -> None:
        """Safe to repeat."""
        self.stream.cut()
        self.socket.close()

    def _write(self, piece: memoryview) -> int:
        try:
            return self.socket.send(piece, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
