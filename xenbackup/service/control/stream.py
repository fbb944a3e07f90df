"""The answer to one request, as whoever answers sees it: told from any thread, without waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import structlog

from xenbackup.errors import FrameRefused, XenbackupError
from xenbackup.model.run import RoundResult
from xenbackup.service.control.events import End, Error, Event, Noted, PageText, clip
from xenbackup.service.control.frames import PIECE_BYTES
from xenbackup.service.control.outbox import Outbox
from xenbackup.service.control.relay import tell_round

PAGE_LIMIT_LETTERS = 4 * 1024 * 1024
# A letter takes six bytes at most as JSON spells it, and the frame has other fields.
_PIECE_LETTERS = PIECE_BYTES // 8

_log = structlog.get_logger("xenbackup.control")


class Stream:
    """What a client is told. No method waits for the client, or raises because of it.

    `wake` is called, outside of any lock, when something waits that did not before.
    """

    def __init__(self, wake: Callable[[], None], *, outbox: Outbox | None = None) -> None:
        self._wake = wake
        self._outbox = Outbox() if outbox is None else outbox
        self._lock = threading.Lock()
        self._gone = False
        self._ended = False

    @property
    def gone(self) -> bool:
        """The client left or was cut off: nothing that is sent would be read."""
        return self._gone

    @property
    def ended(self) -> bool:
        """The last event was put in: the answer is whole."""
        return self._ended

    def send(self, event: Event) -> bool:
        """Tell one event. False: the client is gone, or the stream has ended; send no more."""
        return self._put(event)

    def send_result(self, result: RoundResult) -> bool:
        """Tell the result of a round, in parts where it is a large one."""
        return self._put(*tell_round(result, limit_bytes=PIECE_BYTES // 2))

    def send_page(self, stdout: str, stderr: str, exit_code: int) -> None:
        """Tell a rendered page, and end. Too large a page is an error instead."""
        size = len(stdout) + len(stderr)
        if size > PAGE_LIMIT_LETTERS:
            message = f"The page has {size} letters; the daemon hands out {PAGE_LIMIT_LETTERS}."
            hint = "ask for less, or do it as root without the daemon"
            self._put(Error(message=message, hint=hint), End(exit_code=1))
            return
        pieces = [PageText(stream="stdout", text=text) for text in _cut(stdout)]
        pieces += [PageText(stream="stderr", text=text) for text in _cut(stderr)]
        self._put(*pieces, End(exit_code=exit_code))

    def fail(self, error: XenbackupError) -> None:
        """Tell why it cannot be, and end."""
        exit_code = int(error.exit_code)
        message, hint = clip(error.message), clip(error.hint)
        self._put(Error(message=message, hint=hint, exit_code=exit_code), End(exit_code=exit_code))

    def end(self, exit_code: int) -> None:
        """Nothing follows; a stream that has ended stays as it is."""
        self._put(End(exit_code=exit_code))

    def cut(self) -> None:
        """The client is gone; whoever sends learns of it by the answer."""
        with self._lock:
            self._gone = True
            self._outbox.clear()

    def replace(self, error: XenbackupError) -> None:
        """Tell this instead of all that still waits, and end."""
        with self._lock:
            self._outbox.clear()
            self._ended = False
        self.fail(error)

    def flush(self, write: Callable[[memoryview], int]) -> bool:
        """Hand what waits to `write`, which returns how much it took; False when all is sent.

        Raises: whatever `write` does.
        """
        while True:
            with self._lock:
                piece = self._outbox.take()
                if not piece:
                    return False
                sent_bytes = write(piece)
                self._outbox.advance(sent_bytes)
                if sent_bytes < len(piece):
                    return True

    @property
    def waiting_bytes(self) -> int:
        with self._lock:
            return self._outbox.size_bytes

    def _put(self, *events: Event) -> bool:
        with self._lock:
            if self._gone or self._ended:
                return False
            # What waits already has been announced, or waits for the client to take it.
            announce = not self._outbox
            for event in events:
                self._put_one(event)
        if announce:
            self._wake()
        return True

    def _put_one(self, event: Event) -> None:
        if isinstance(event, End):
            self._ended = True
            if self._outbox.lost:
                text = f"{self._outbox.lost} events were left out: this client read too slowly."
                self._outbox.put(Noted(text=text))
        try:
            self._outbox.put(event)
        except FrameRefused:
            kind = type(event).__name__
            _log.warning("control-event-too-large", kind=kind)
            self._outbox.put(Noted(text=f"An event ({kind}) is too large to be told."))


def _cut(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE_LETTERS] for at in range(0, len(text), _PIECE_LETTERS))
