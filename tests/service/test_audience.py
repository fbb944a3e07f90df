"""Who begins to look on late: told what was told before, of a very long round the newest of it."""

from __future__ import annotations

from collections.abc import Iterator

from xenbackup.service.audience import HISTORY_LIMIT, Audience
from xenbackup.service.control.events import AnyEvent, Attached, Noted, decode_event
from xenbackup.service.control.frames import DAEMON_LIMIT_BYTES, FrameReader
from xenbackup.service.control.stream import Stream

ROUND = "20261123T023000Z-abcdef"


def follow(audience: Audience) -> Iterator[AnyEvent]:
    taken = bytearray()
    stream = Stream(lambda: None)
    audience.follow(stream, lambda _: "")

    def take(piece: memoryview) -> int:
        taken.extend(piece)
        return len(piece)

    stream.flush(take)
    reader, at = FrameReader(DAEMON_LIMIT_BYTES), 0
    while at < len(taken):
        piece = bytes(taken[at : at + reader.wanted_bytes])
        at += len(piece)
        body = reader.feed(piece)
        if body is not None:
            yield decode_event(body)


def test_of_a_very_long_round_the_oldest_is_forgotten_not_what_is_under_way() -> None:
    audience = Audience(ROUND, "nightly")
    for number in range(HISTORY_LIMIT + 10):
        audience.note(str(number))
    attached, *told = follow(audience)
    assert Attached(round=ROUND, job="nightly") == attached
    expected = [Noted(text=str(number)) for number in range(10, HISTORY_LIMIT + 10)]
    assert expected == told
