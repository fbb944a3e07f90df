"""Frames of the control socket: four bytes of length, then that many bytes of one message.

A length is judged before a byte of its message is read, so nobody can make the reader hold more
than the limit of its side.
"""

from __future__ import annotations

from xenbackup.errors import FrameRefused

CLIENT_LIMIT_BYTES = 64 * 1024
"""What a client may send in one frame."""

DAEMON_LIMIT_BYTES = 16 * 1024 * 1024
"""What the daemon may send in one frame: the status of hundreds of guests that several jobs each
failed to back up takes some MiB.
"""

PIECE_BYTES = 1024 * 1024
"""Into pieces of about so much the daemon cuts what need not come in one."""

HEADER_BYTES = 4


def encode_frame(body: bytes, *, limit_bytes: int) -> bytes:
    """The body with its length in front, big-endian.

    Raises: FrameRefused for an empty body, or one above the limit.
    """
    _check_length(len(body), limit_bytes)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class FrameReader:
    """Puts frames together from whatever pieces arrive; reads no file and no socket itself.

    Ask for at most `wanted_bytes`, `feed` what came, and take the body when `feed` returns one.
    After a refusal the stream has no known frame borders any more: close it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._header = bytearray()
        self._body = bytearray()
        self._length = 0

    @property
    def wanted_bytes(self) -> int:
        """How much is missing of the header, or of the body once its length is known."""
        if len(self._header) < HEADER_BYTES:
            return HEADER_BYTES - len(self._header)
        return self._length - len(self._body)

    @property
    def between_frames(self) -> bool:
        """Nothing of a next frame has come yet: here an end of the stream is a clean one."""
        return not self._header

    def feed(self, piece: bytes) -> bytes | None:
        """The body that this piece completes, None while something is missing.

        Raises: FrameRefused for a length out of bounds, and for a piece larger than was wanted.
        """
        if len(piece) > self.wanted_bytes:
            raise FrameRefused("There is something behind the end of the frame.")
        if len(self._header) < HEADER_BYTES:
            self._header += piece
            if len(self._header) == HEADER_BYTES:
                self._length = int.from_bytes(self._header, "big")
                _check_length(self._length, self._limit_bytes)
            return None
        self._body += piece
        if len(self._body) < self._length:
            return None
        body = bytes(self._body)
        self._header.clear()
        self._body.clear()
        self._length = 0
        return body


def _check_length(length_bytes: int, limit_bytes: int) -> None:
    if length_bytes == 0:
        raise FrameRefused("A frame is empty.")
    if length_bytes > limit_bytes:
        raise FrameRefused(
            f"A frame of {length_bytes} bytes is announced; the limit is {limit_bytes}.",
            hint="a frame is four bytes of length, most significant first, then the message",
        )
