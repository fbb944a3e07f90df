"""What a person reads: sizes, times, tables and colours, for terminals and for pipes.

Plain text and the standard library alone: a table must not cost the memory and the time of a
drawing library. Whatever comes from outside (names of guests above all) is escaped on its way in.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum
from typing import TextIO

from xenbackup.model.amounts import format_duration as format_duration  # noqa: PLC0414
from xenbackup.model.amounts import format_size as format_size  # noqa: PLC0414
from xenbackup.model.printable import show_text

_AGE_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_GAP = "  "
# A column is cut to this before its neighbours, or the whole table, give in.
_NARROWEST_COLUMN = 6
_NARROWEST_WRAPPED = 16
DEFAULT_WIDTH = 80


# Sizes and times


def format_rate(bytes_per_second: float) -> str:
    """`120 MiB/s`."""
    return f"{format_size(bytes_per_second)}/s"


def format_age(moment: datetime, *, now: datetime) -> str:
    """`just now`, `42 s ago`, `5 min ago`, `3 h ago`, `2 d ago`; `in 3 h` for what is to come."""
    seconds = int((now - moment).total_seconds())
    if seconds == 0:
        return "just now"
    distance = abs(seconds)
    length, unit = next(pair for pair in _AGE_UNITS if distance >= pair[0])
    amount = f"{distance // length} {unit}"
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def format_time(moment: datetime, *, now: datetime, zone: tzinfo | None = None) -> str:
    """`2026-11-22 02:30 (5 h ago)`, in `zone` or else in the host's own; both are aware times."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M} ({format_age(moment, now=now)})"


# Width


def measure_width(text: str) -> int:
    """Columns that printable text takes: wide letters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_measure_letter(letter) for letter in text)


def _measure_letter(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def cut_text(text: str, width: int, *, ellipsis: str = "…") -> str:
    """The text in at most `width` columns, with an ellipsis where some of it had to go."""
    if measure_width(text) <= width:
        return text
    room = width - measure_width(ellipsis)
    if room < 0:
        return ellipsis[: max(width, 0)]
    return _split_at(text, room)[0] + ellipsis


def _split_at(text: str, width: int) -> tuple[str, str]:
    """The part that fits into `width` columns, and the rest."""
    taken = 0
    for at, letter in enumerate(text):
        taken += _measure_letter(letter)
        if taken > width:
            return text[:at], text[at:]
    return text, ""


def wrap_text(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at blanks, and inside a word only if need be.

    One line at least. A letter wider than `width` stands on a line of its own.
    """
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if measure_width(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while measure_width(line) > width:
            head, rest = _split_at(line, width)
            if not head:
                head, rest = line[:1], line[1:]
            lines.append(head)
            line = rest
    return [*lines, line] if line or not lines else lines


def measure_terminal(stream: TextIO, *, default: int = DEFAULT_WIDTH) -> int:
    """Columns of the terminal behind a stream; `default` when it is none, or does not say."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return default
    return columns or default


def is_terminal(stream: TextIO) -> bool:
    """Whether a person may be looking; a stream that is closed has nobody."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def can_encode(stream: TextIO, text: str = "█░…") -> bool:
    """Whether a stream's encoding has these letters."""
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


# Colour


class Colour(Enum):
    """SGR codes that every terminal knows."""

    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"


@dataclass(frozen=True)
class Painter:
    """Colours text, or leaves it alone."""

    enabled: bool = False

    def paint(self, text: str, colour: Colour | None) -> str:
        if not self.enabled or colour is None or not text:
            return text
        return f"\x1b[{colour.value}m{text}\x1b[0m"


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream should get colour: a terminal, not a dumb one, and no NO_COLOR.

    As no-color.org has it, NO_COLOR counts when it is there and not empty.
    """
    return (
        not environment.get("NO_COLOR")
        and environment.get("TERM", "") != "dumb"
        and is_terminal(stream)
    )


# Tables


@dataclass(frozen=True)
class Styled:
    """A cell in a colour."""

    text: str
    colour: Colour


Cell = str | Styled


def render_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    width: int = DEFAULT_WIDTH,
    alignments: str = "",
    painter: Painter | None = None,
    ellipsis: str = "…",
) -> str:
    """A table of at most `width` columns, header and rule first, no newline at its end.

    `alignments` has `l` or `r` for each column, `l` where it is too short. What does not fit is
    wrapped in the last column (unless it is right-aligned), then cut in the widest of the others.
    Only a terminal too narrow for even that gets longer lines.
    """
    painter = painter or Painter()
    sides = (alignments + "l" * len(headers))[: len(headers)]
    cells = [[_open_cell(cell) for cell in row] for row in rows]
    texts = [[show_text(header) for header in headers], *([t for t, _ in row] for row in cells)]
    widths = _fit_columns(texts, width=width, wraps_last=sides[-1:] == "l")
    lines = [
        painter.paint(_join_cells(texts[0], widths, sides, ellipsis)[0], Colour.BOLD),
        _GAP.join("-" * column for column in widths),
    ]
    for row in cells:
        lines += _render_row(row, widths, sides, painter, ellipsis)
    return "\n".join(lines)


def render_fields(
    fields: Sequence[tuple[str, Cell]],
    *,
    width: int = DEFAULT_WIDTH,
    painter: Painter | None = None,
) -> str:
    """Names and values below each other, `name:  value`; long values wrap beside their name."""
    painter = painter or Painter()
    names = [show_text(name) + ":" for name, _ in fields]
    column = max((measure_width(name) for name in names), default=0)
    room = max(width - column - len(_GAP), _NARROWEST_WRAPPED)
    lines = []
    for name, (_, cell) in zip(names, fields, strict=True):
        text, colour = _open_cell(cell)
        for number, part in enumerate(wrap_text(text, room)):
            shown = _pad(name if number == 0 else "", column, "l")
            lines.append(f"{shown}{_GAP}{painter.paint(part, colour)}".rstrip())
    return "\n".join(lines)


def _open_cell(cell: Cell) -> tuple[str, Colour | None]:
    if isinstance(cell, Styled):
        return show_text(cell.text), cell.colour
    return show_text(cell), None


def _fit_columns(texts: Sequence[Sequence[str]], *, width: int, wraps_last: bool) -> list[int]:
    """Widths of the columns, together with their gaps at most `width` where that can be."""
    natural = [max(measure_width(row[at]) for row in texts) for at in range(len(texts[0]))]
    widths = list(natural)
    room = width - len(_GAP) * (len(widths) - 1)
    if wraps_last and widths:
        least = min(natural[-1], max(measure_width(texts[0][-1]), _NARROWEST_WRAPPED))
        widths[-1] = max(least, min(natural[-1], room - sum(widths[:-1])))
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda at: widths[at])
        if widths[widest] <= _NARROWEST_COLUMN:
            break
        widths[widest] -= 1
    return widths


def _render_row(
    row: Sequence[tuple[str, Colour | None]],
    widths: Sequence[int],
    sides: str,
    painter: Painter,
    ellipsis: str,
) -> list[str]:
    """A row's lines: one, or as many as its last cell wraps into."""
    texts = [text for text, _ in row]
    colours = [colour for _, colour in row]
    lasts = wrap_text(texts[-1], widths[-1]) if texts and sides[-1] == "l" else texts[-1:]
    lines = []
    for number, last in enumerate(lasts):
        shown = [*(texts[:-1] if number == 0 else [""] * (len(texts) - 1)), last]
        line, parts = _join_cells(shown, widths, sides, ellipsis)
        if painter.enabled:
            # Padding is reckoned without colour: its codes take no column.
            painted = [painter.paint(*pair) for pair in zip(parts, colours, strict=True)]
            line = _GAP.join(painted)
        lines.append(line.rstrip())
    return lines


def _join_cells(
    texts: Sequence[str], widths: Sequence[int], sides: str, ellipsis: str
) -> tuple[str, list[str]]:
    """A line, and the padded cells that it is made of."""
    parts = [
        _pad(cut_text(text, width, ellipsis=ellipsis), width, side)
        for text, width, side in zip(texts, widths, sides, strict=True)
    ]
    return _GAP.join(parts).rstrip(), parts


def _pad(text: str, width: int, side: str) -> str:
    blanks = " " * (width - measure_width(text))
    return blanks + text if side == "r" else text + blanks
