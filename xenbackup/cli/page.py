"""The page that a person reads: how wide it is, and whether it may have colour."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from xenbackup.cli.text import (
    DEFAULT_WIDTH,
    Cell,
    Colour,
    Painter,
    Styled,
    can_encode,
    measure_terminal,
    measure_width,
    render_fields,
    render_table,
    wants_colour,
    wrap_text,
)

UNWRAPPED = 1 << 20
"""A width at which nothing is wrapped."""

_GOOD = ("ok", "healed", "good", "restored")
_BAD = ("failed", "damaged", "left over")


@dataclass(frozen=True, kw_only=True)
class Page:
    """Tables and paragraphs for one stream, `width` columns at most."""

    width: int = DEFAULT_WIDTH
    painter: Painter = field(default_factory=Painter)
    ellipsis: str = "…"

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[Cell]], alignments: str = ""
    ) -> str:
        return render_table(
            headers,
            rows,
            width=self.width,
            alignments=alignments,
            painter=self.painter,
            ellipsis=self.ellipsis,
        )

    def fields(self, fields: Sequence[tuple[str, Cell]]) -> str:
        return render_fields(fields, width=self.width, painter=self.painter)

    def heading(self, text: str) -> str:
        return self.painter.paint(text, Colour.BOLD)

    def note(self, text: str, *, mark: str = "", colour: Colour | None = None) -> str:
        """A paragraph; with a mark (`Warning:`), later lines stand below its text."""
        indent = " " * (measure_width(mark) + 1) if mark else ""
        lines = wrap_text(text, max(self.width - len(indent), 20))
        first = f"{self.painter.paint(mark, colour)} {lines[0]}" if mark else lines[0]
        return "\n".join([first, *(f"{indent}{line}" for line in lines[1:])])


def open_page(stream: TextIO | None = None) -> Page:
    """The page for stdout, or another stream."""
    stream = stream or sys.stdout
    return Page(
        width=measure_terminal(stream),
        painter=Painter(wants_colour(stream, os.environ)),
        ellipsis="…" if can_encode(stream) else "...",
    )


def style_outcome(outcome: str) -> Cell:
    """An outcome in its colour."""
    if outcome in _GOOD:
        return Styled(outcome, Colour.GREEN)
    return Styled(outcome, Colour.RED if outcome in _BAD else Colour.YELLOW)
