"""What waits for a client that does not read: bounded, and never without what was asked for."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.control.conftest import RUN, make_round, make_run
from xenbackup.errors import FrameRefused, UsageError
from xenbackup.service.control.events import (
    AmountDone,
    AnyEvent,
    End,
    Error,
    Event,
    Noted,
    PageText,
    ResultTold,
    StatusTold,
    StepBegan,
    StepDone,
    Welcome,
    decode_event,
    encode_event,
)
from xenbackup.service.control.frames import DAEMON_LIMIT_BYTES, FrameReader
from xenbackup.service.control.outbox import Outbox
from xenbackup.service.control.stream import PAGE_LIMIT_LETTERS, Stream

LIMIT_BYTES = 2000


def drain(outbox: Outbox, piece_bytes: int = 1 << 30) -> list[AnyEvent]:
    sent = bytearray()
    while piece := outbox.take():
        sent += piece[:piece_bytes]
        outbox.advance(len(piece[:piece_bytes]))
    return read(bytes(sent))


def read(sent: bytes) -> list[AnyEvent]:
    reader = FrameReader(DAEMON_LIMIT_BYTES)
    events = []
    at = 0
    while at < len(sent):
        size = reader.wanted_bytes
        body = reader.feed(sent[at : at + size])
        if body is not None:
            events.append(decode_event(body))
        at += size
    assert reader.between_frames
    return events


def read_stream(stream: Stream) -> list[AnyEvent]:
    sent = bytearray()

    def write(piece: memoryview) -> int:
        sent.extend(piece)
        return len(piece)

    assert not stream.flush(write)
    return read(bytes(sent))


def make_amount(number: int, what: str = "xvda") -> AmountDone:
    return AmountDone(run=RUN, what=what, done=number, total=10**6)


EVENTS = st.one_of(
    st.builds(make_amount, st.integers(0, 99), st.sampled_from(["xvda", "xvdb"])),
    st.sampled_from(["save", "copy"]).map(lambda step: StepBegan(run=RUN, step=step)),
    st.integers(0, 9).map(lambda number: PageText(stream="stdout", text=str(number))),
)


@given(st.lists(EVENTS, max_size=60), st.integers(1, 100))
def test_order_is_kept_and_what_was_asked_for_always_comes(
    events: list[Event], piece_bytes: int
) -> None:
    outbox = Outbox(limit_bytes=LIMIT_BYTES)
    for event in events:
        outbox.put(event)
    found = drain(outbox, piece_bytes)
    assert [event for event in events if isinstance(event, PageText)] == [
        event for event in found if isinstance(event, PageText)
    ]
    for what in ("xvda", "xvdb"):
        last = [event for event in events if isinstance(event, AmountDone) and event.what == what]
        told = [event for event in found if isinstance(event, AmountDone) and event.what == what]
        assert told in ([], last[-1:])
    assert 0 == outbox.size_bytes


def test_of_an_amount_only_the_newest_waits() -> None:
    outbox = Outbox()
    for number in range(10_000):
        outbox.put(make_amount(number))
    assert 0 == outbox.lost
    assert [make_amount(9999)] == drain(outbox)


def test_amounts_go_before_steps_and_steps_before_the_result() -> None:
    outbox = Outbox(limit_bytes=LIMIT_BYTES)
    result = ResultTold(round=RUN, job="nightly", outcome="ok", exit_code=0, runs=())
    outbox.put(make_amount(1))
    outbox.put(result)
    for _ in range(LIMIT_BYTES):
        outbox.put(StepDone(run=RUN, step="copy"))
        assert outbox.size_bytes <= LIMIT_BYTES + 200
    found = drain(outbox)
    assert not any(isinstance(event, AmountDone) for event in found)
    assert result == found[0]
    assert 1 < len(found) < 40
    assert outbox.lost + len(found) - 1 == LIMIT_BYTES


def test_half_sent_frame_is_finished_whatever_is_dropped() -> None:
    outbox = Outbox()
    outbox.put(Noted(text="first"))
    outbox.put(Noted(text="second"))
    begun = bytes(outbox.take()[:3])
    outbox.advance(3)
    outbox.clear()
    outbox.put(End(exit_code=1))
    rest = bytearray(begun)
    while piece := outbox.take():
        rest += piece
        outbox.advance(len(piece))
    assert [Noted(text="first"), End(exit_code=1)] == read(bytes(rest))


def test_stream_that_lost_steps_says_so_before_its_end() -> None:
    stream = Stream(lambda: None, outbox=Outbox(limit_bytes=LIMIT_BYTES))
    for _ in range(200):
        assert stream.send(StepDone(run=RUN, step="copy"))
    assert stream.send_result(make_round(make_run()))
    stream.end(0)
    *_, result, note, end = read_stream(stream)
    assert isinstance(result, ResultTold)
    assert isinstance(note, Noted)
    assert "events were left out" in note.text
    assert End(exit_code=0) == end


def test_nothing_follows_the_end() -> None:
    wakes: list[int] = []
    stream = Stream(lambda: wakes.append(1))
    stream.end(3)
    assert not stream.send(Noted(text="late"))
    stream.fail(UsageError("late"))
    stream.end(4)
    assert [End(exit_code=3)] == read_stream(stream)
    assert [1] == wakes


def test_stream_wakes_only_when_there_was_nothing_to_send() -> None:
    wakes: list[int] = []
    stream = Stream(lambda: wakes.append(1))
    for number in range(100):
        stream.send(make_amount(number))
    assert [1] == wakes
    read_stream(stream)
    stream.send(make_amount(1))
    assert [1, 1] == wakes


def test_stream_without_a_client_takes_nothing() -> None:
    stream = Stream(lambda: None)
    stream.send(Noted(text="early"))
    stream.cut()
    assert stream.gone
    assert not stream.send(Noted(text="late"))
    assert 0 == stream.waiting_bytes


def test_error_replaces_all_that_waits() -> None:
    stream = Stream(lambda: None)
    stream.send_page("much", "", 0)
    stream.replace(UsageError("no", hint="so"))
    assert [Error(message="no", hint="so", exit_code=2), End(exit_code=2)] == read_stream(stream)


@pytest.mark.parametrize("letter", ["x", "\x1b", "\u00fc", "\U0001f600", "\udc80"])
def test_large_page_comes_in_pieces_that_fit(letter: str) -> None:
    stream = Stream(lambda: None)
    page = letter * 400_000
    stream.send_page(page, "why", 3)
    *pieces, end = read_stream(stream)
    text = "".join(
        piece.text for piece in pieces if isinstance(piece, PageText) and piece.stream == "stdout"
    )
    assert page.encode("utf-8", "backslashreplace").decode() == text
    assert PageText(stream="stderr", text="why") == pieces[-1]
    assert End(exit_code=3) == end


def test_page_that_is_too_large_is_refused_in_words() -> None:
    stream = Stream(lambda: None)
    stream.send_page("x" * (PAGE_LIMIT_LETTERS + 1), "", 0)
    error, end = read_stream(stream)
    assert isinstance(error, Error)
    assert "ask for less" in error.hint
    assert End(exit_code=1) == end


def test_event_that_no_frame_holds_is_told_of_and_ends_nothing() -> None:
    with pytest.raises(FrameRefused):
        Outbox().put(StatusTold(status=msgspec.Raw(b'"' + b"x" * DAEMON_LIMIT_BYTES + b'"')))
    stream = Stream(lambda: None)
    stream.send(StatusTold(status=msgspec.Raw(b'"' + b"x" * DAEMON_LIMIT_BYTES + b'"')))
    stream.end(1)
    assert [Noted(text="An event (StatusTold) is too large to be told."), End(exit_code=1)] == (
        read_stream(stream)
    )


def test_events_of_another_version_are_told_apart_from_nonsense() -> None:
    with pytest.raises(FrameRefused, match="speaks version 2 of the protocol") as caught:
        decode_event(b'{"event":"teleported","version":2}')
    assert "restart the daemon" in caught.value.hint
    for body in (b"", b"\xff", b"[]", b"[" * 60_000, b'{"event":"end","exit_code":0,"more":1}'):
        with pytest.raises(FrameRefused, match="cannot be read"):
            decode_event(body)
    assert Welcome(daemon="1") == decode_event(encode_event(Welcome(daemon="1")))
