"""Frames: whole whatever pieces they come in, bounded before they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.errors import FrameRefused
from xenbackup.service.control.frames import (
    CLIENT_LIMIT_BYTES,
    HEADER_BYTES,
    FrameReader,
    encode_frame,
)


def feed_all(reader: FrameReader, stream: bytes, cuts: list[int]) -> list[bytes]:
    """Feed as a socket would: never more than is wanted, and never more than a cut."""
    bodies = []
    at = 0
    turn = 0
    while at < len(stream):
        size = min(reader.wanted_bytes, cuts[turn % len(cuts)] if cuts else 1 << 20)
        body = reader.feed(stream[at : at + size])
        if body is not None:
            bodies.append(body)
        at += size
        turn += 1
    return bodies


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    st.lists(st.integers(1, 50), max_size=10),
)
def test_frames_come_out_as_they_went_in_whatever_the_pieces(
    bodies: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(encode_frame(body, limit_bytes=1000) for body in bodies)
    reader = FrameReader(1000)
    assert bodies == feed_all(reader, stream, cuts)
    assert reader.between_frames


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), max_size=5))
def test_reader_never_holds_more_than_its_limit(noise: bytes, cuts: list[int]) -> None:
    reader = FrameReader(100)
    try:
        for body in feed_all(reader, noise, cuts):
            assert 1 <= len(body) <= 100
        assert reader.wanted_bytes <= max(100, HEADER_BYTES)
    except FrameRefused:
        pass


@pytest.mark.parametrize(
    "header", [b"\0\0\0\0", b"\0\1\0\1", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"GET "]
)
def test_length_out_of_bounds_is_refused_with_the_header(header: bytes) -> None:
    reader = FrameReader(CLIENT_LIMIT_BYTES)
    with pytest.raises(FrameRefused):
        reader.feed(header)


def test_largest_frame_is_taken_and_one_byte_more_is_not() -> None:
    whole = encode_frame(b"x" * 100, limit_bytes=100)
    assert [b"x" * 100] == feed_all(FrameReader(100), whole, [])
    with pytest.raises(FrameRefused, match="101 bytes is announced; the limit is 100"):
        encode_frame(b"x" * 101, limit_bytes=100)
    with pytest.raises(FrameRefused, match="empty"):
        encode_frame(b"", limit_bytes=100)


def test_piece_larger_than_was_wanted_is_refused() -> None:
    reader = FrameReader(100)
    reader.feed(b"\0\0\0\2")
    with pytest.raises(FrameRefused, match="behind the end"):
        reader.feed(b"abc")
