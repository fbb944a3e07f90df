"""What a person reads: sizes, times, widths, tables, colours."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.cli.text import (
    Cell,
    Colour,
    Painter,
    Styled,
    can_encode,
    cut_text,
    format_age,
    format_duration,
    format_rate,
    format_size,
    format_time,
    measure_terminal,
    measure_width,
    render_fields,
    render_table,
    wants_colour,
    wrap_text,
)
from xenbackup.model.printable import show_text

NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC)


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64.0 MiB"),
        (512 << 20, "512 MiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (int(99.96 * 1024), "100 KiB"),
        (1 << 30, "1.0 GiB"),
        (3 << 40, "3.0 TiB"),
        (5 << 50, "5.0 PiB"),
        (4096 << 50, "4096 PiB"),
    ],
)
def test_sizes_read_well(size_bytes: int, expected: str) -> None:
    assert expected == format_size(size_bytes)


def test_rates_read_well() -> None:
    assert "120 MiB/s" == format_rate(120 << 20)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0.00 s"),
        (0, "0.00 s"),
        (0.351, "0.35 s"),
        (0.999, "1.0 s"),
        (4.21, "4.2 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (86399, "1 d 0 h"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_read_well(seconds: float, expected: str) -> None:
    assert expected == format_duration(seconds)


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=42), "42 s ago"),
        (timedelta(minutes=5, seconds=59), "5 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=2), "2 d ago"),
        (timedelta(hours=-3), "in 3 h"),
        (timedelta(seconds=-0.5), "just now"),
    ],
)
def test_ages_read_well(ago: timedelta, expected: str) -> None:
    assert expected == format_age(NOW - ago, now=NOW)


def test_time_is_absolute_in_the_zone_and_relative() -> None:
    moment = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)

    assert "2026-11-22 02:30 (6 h ago)" == format_time(
        moment, now=NOW, zone=ZoneInfo("Europe/Berlin")
    )


def test_width_counts_wide_letters_twice_and_marks_not_at_all() -> None:
    assert 3 == measure_width("web")
    assert 4 == measure_width("日本")
    assert 1 == measure_width("e\u0301")
    assert 5 == measure_width("käse!")


def test_text_is_cut_by_columns_with_an_ellipsis() -> None:
    assert "abc" == cut_text("abc", 3)
    assert "ab…" == cut_text("abcd", 3)
    assert "日…" == cut_text("日本語", 4)
    assert "a..." == cut_text("abcdef", 4, ellipsis="...")
    assert "" == cut_text("abc", 0)
    assert ".." == cut_text("abc", 2, ellipsis="...")


@given(st.text(max_size=30), st.integers(0, 20))
def test_cut_text_never_exceeds_its_width(text: str, width: int) -> None:
    assert measure_width(cut_text(show_text(text), width)) <= width


def test_text_wraps_at_blanks_and_inside_words_only_if_need_be() -> None:
    assert ["no room in", "xenvols"] == wrap_text("no room in xenvols", 10)
    assert ["abcdef", "gh ij"] == wrap_text("abcdefgh ij", 6)
    assert ["日", "本"] == wrap_text("日本", 1)
    assert [""] == wrap_text("", 5)


@given(st.text("ab 日\u0301", max_size=40), st.integers(2, 12))
def test_wrapping_loses_nothing_and_keeps_the_width(text: str, width: int) -> None:
    lines = wrap_text(text, width)

    assert "".join(text.split()) == "".join("".join(lines).split())
    assert all(measure_width(line) <= width for line in lines)


def test_table_is_aligned_under_its_headers() -> None:
    table = render_table(
        ["GUEST", "SIZE", "NOTE"],
        [["web", "64.0 MiB", "ok"], ["mailserver", "1.5 GiB", ""]],
        alignments="lrl",
    )

    assert (
        "GUEST           SIZE  NOTE\n"
        "----------  --------  ----\n"
        "web         64.0 MiB  ok\n"
        "mailserver   1.5 GiB" == table
    )


def test_table_aligns_wide_letters_too() -> None:
    lines = render_table(["NAME", "N"], [["日本", "1"], ["abcd", "2"]]).splitlines()

    assert [measure_width(line) for line in lines] == [7, 7, 7, 7]
    assert ["日本  1", "abcd  2"] == lines[2:]


def test_last_column_wraps_below_itself() -> None:
    table = render_table(
        ["GUEST", "REASON"],
        [["fw", "it owns the PCI device 0000:03:01.0 and cannot be saved"], ["web", "ok"]],
        width=40,
    )

    assert (
        "GUEST  REASON\n"
        "-----  ---------------------------------\n"
        "fw     it owns the PCI device\n"
        "       0000:03:01.0 and cannot be saved\n"
        "web    ok" == table
    )


def test_terminal_too_narrow_for_any_table_gets_longer_lines() -> None:
    table = render_table(["GUEST-1", "GUEST-2"], [["mailserver", "webserver"]], width=8)

    assert 14 == max(measure_width(line) for line in table.splitlines())


def test_columns_are_cut_when_wrapping_is_not_enough() -> None:
    table = render_table(["GUEST", "POINT", "NOTE"], [["g" * 40, "p" * 30, "n" * 40]], width=60)

    assert all(measure_width(line) <= 60 for line in table.splitlines())
    assert "…" in table


def test_table_without_rows_has_its_headers() -> None:
    assert "GUEST\n-----" == render_table(["GUEST"], [])


def test_hostile_names_cannot_break_a_table() -> None:
    table = render_table(["GUEST", "X"], [["a\nb\x1b[2J\u202eevil\udcff", "y"]])

    assert 3 == len(table.splitlines())
    assert all(line.isprintable() for line in table.splitlines())
    assert "a\\nb\\x1b[2J\\u202eevil\\udcff" in table


@given(
    st.integers(1, 5).flatmap(
        lambda columns: st.lists(
            st.lists(st.text(max_size=40), min_size=columns, max_size=columns),
            min_size=1,
            max_size=5,
        )
    ),
    st.text("lr", max_size=5),
    st.integers(60, 140),
)
def test_tables_keep_their_width_whatever_they_hold(
    rows: list[list[str]], alignments: str, width: int
) -> None:
    headers = [f"COLUMN{number}" for number in range(len(rows[0]))]
    lines = render_table(headers, rows, width=width, alignments=alignments).split("\n")

    assert len(rows) + 2 <= len(lines)
    assert all(measure_width(line) <= width for line in lines)
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_colour_changes_no_alignment() -> None:
    rows: list[list[Cell]] = [
        ["web", Styled("ok", Colour.GREEN), "1"],
        ["mailserver", "failed", "2"],
    ]
    plain = render_table(["A", "B", "C"], rows)
    coloured = render_table(["A", "B", "C"], rows, painter=Painter(enabled=True))

    assert "\x1b[32mok" in coloured
    stripped = [line.rstrip() for line in re.sub(r"\x1b\[\d+m", "", coloured).splitlines()]
    assert plain.splitlines() == stripped


def test_fields_stand_below_each_other() -> None:
    shown = render_fields(
        [("run", "20261122T023000Z-k3f9qa"), ("outcome", Styled("ok", Colour.GREEN))]
    )

    assert "run:      20261122T023000Z-k3f9qa\noutcome:  ok" == shown


def test_long_fields_wrap_beside_their_name() -> None:
    shown = render_fields([("why", "the group has no room left")], width=24)

    assert "why:  the group has no\n      room left" == shown


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
    ],
)
def test_colour_is_for_terminals_that_want_it(environment: dict[str, str], expected: bool) -> None:
    assert expected is wants_colour(Terminal(), environment)
    assert not wants_colour(io.StringIO(), environment)


def test_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()

    assert not wants_colour(stream, {})


def test_painter_leaves_text_alone_unless_enabled() -> None:
    assert "ok" == Painter().paint("ok", Colour.RED)
    assert "ok" == Painter(enabled=True).paint("ok", None)
    assert "\x1b[31mok\x1b[0m" == Painter(enabled=True).paint("ok", Colour.RED)


def test_encoding_of_the_stream_decides_which_letters_are_drawn() -> None:
    assert can_encode(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert not can_encode(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert not can_encode(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert not can_encode(io.StringIO())


def test_terminal_tells_its_width_and_other_streams_get_the_default() -> None:
    import fcntl
    import struct
    import termios

    master, slave = os.openpty()
    try:
        with os.fdopen(slave, "w") as stream:
            fcntl.ioctl(stream, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 132, 0, 0))
            assert 132 == measure_terminal(stream)
            fcntl.ioctl(stream, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
            assert 100 == measure_terminal(stream, default=100)
    finally:
        os.close(master)
    assert 80 == measure_terminal(io.StringIO())


@given(st.text())
def test_shown_text_is_printable_and_says_the_same(text: str) -> None:
    shown = show_text(text)

    assert shown.isprintable()
    assert shown == text or any(unicodedata.category(letter)[0] in "CZ" for letter in text)


def test_shown_text_is_cut_at_its_limit() -> None:
    assert "abc" == show_text("abc", limit=3)
    assert "ab…" == show_text("abcd", limit=3)
