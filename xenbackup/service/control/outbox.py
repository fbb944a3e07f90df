"""What waits to be sent to one client: bounded, for a client may stop reading at any time.

Of an amount only the newest is kept. When there is too much, amounts go first, then the course of
the runs; what was asked for (a page, the status, the result, an error, the end) always stays.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from xenbackup.service.control.events import (
    AbsenceBegan,
    AbsenceEnded,
    Alive,
    AmountDone,
    Event,
    Queued,
    RescueBegan,
    StepBegan,
    StepDone,
    Warned,
    encode_event,
)
from xenbackup.service.control.frames import DAEMON_LIMIT_BYTES, encode_frame

COURSE_LIMIT_BYTES = 256 * 1024
"""What may wait of events that can go, the last of which are a client's to miss."""

_AMOUNT, _STEP, _STAYS = 0, 1, 2
_STEP_EVENTS = (
    AbsenceBegan,
    AbsenceEnded,
    Alive,
    Queued,
    RescueBegan,
    StepBegan,
    StepDone,
    Warned,
)


@dataclass(kw_only=True)
class _Waiting:
    rank: int
    key: tuple[str, str] | None
    frame: bytes


class Outbox:
    """Frames in order; `lost` counts the steps that went. Its owner holds a lock around calls."""

    def __init__(self, limit_bytes: int = COURSE_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: deque[_Waiting] = deque()
        self._amounts: dict[tuple[str, str], _Waiting] = {}
        self._course_bytes = 0
        self._current = memoryview(b"")
        self.lost = 0

    def __bool__(self) -> bool:
        return bool(self._current) or bool(self._waiting)

    @property
    def size_bytes(self) -> int:
        """All that waits, the frame under way included."""
        return len(self._current) + sum(len(waiting.frame) for waiting in self._waiting)

    def put(self, event: Event) -> None:
        """Raises: FrameRefused for an event that no frame can hold."""
        frame = encode_frame(encode_event(event), limit_bytes=DAEMON_LIMIT_BYTES)
        if isinstance(event, AmountDone):
            self._put_amount((event.run, event.what), frame)
        else:
            rank = _STEP if isinstance(event, _STEP_EVENTS) else _STAYS
            self._append(_Waiting(rank=rank, key=None, frame=frame))
        self._shed()

    def take(self) -> memoryview:
        """The rest of the frame to send next, empty when nothing waits."""
        if not self._current and self._waiting:
            self._current = memoryview(self._forget(self._waiting.popleft()).frame)
        return self._current

    def advance(self, sent_bytes: int) -> None:
        """So much of what `take` gave is sent."""
        self._current = self._current[sent_bytes:]

    def clear(self) -> None:
        """Drop all but a frame that is half sent: without its rest nothing behind it is read."""
        self._waiting.clear()
        self._amounts.clear()
        self._course_bytes = 0

    def _put_amount(self, key: tuple[str, str], frame: bytes) -> None:
        known = self._amounts.get(key)
        if known is not None:
            self._course_bytes += len(frame) - len(known.frame)
            known.frame = frame
            return
        waiting = _Waiting(rank=_AMOUNT, key=key, frame=frame)
        self._amounts[key] = waiting
        self._append(waiting)

    def _append(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if waiting.rank != _STAYS:
            self._course_bytes += len(waiting.frame)

    def _forget(self, waiting: _Waiting) -> _Waiting:
        if waiting.key is not None:
            self._amounts.pop(waiting.key, None)
        if waiting.rank != _STAYS:
            self._course_bytes -= len(waiting.frame)
        return waiting

    def _shed(self) -> None:
        """Down to half the limit at once, so that a stalled client costs no look at each event."""
        if self._course_bytes <= self._limit_bytes:
            return
        for rank in (_AMOUNT, _STEP):
            kept: deque[_Waiting] = deque()
            for waiting in self._waiting:
                if waiting.rank == rank and self._course_bytes > self._limit_bytes // 2:
                    self._forget(waiting)
                    self.lost += rank == _STEP
                else:
                    kept.append(waiting)
            self._waiting = kept
