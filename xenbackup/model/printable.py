"""Text from outside, made fit for a terminal: no letter of it moves a cursor or forges a line."""

from __future__ import annotations


def show_text(text: str, *, limit: int = 0) -> str:
    """The text with unprintable letters escaped as Python spells them; 0 is no limit.

    A limit counts letters of the original; what is cut off is marked by an ellipsis. Lone
    surrogates, which stand for bytes that are not UTF-8 in names, are escaped too.
    """
    cut = text[: limit - 1] if 0 < limit < len(text) else text
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in cut
    )
    return shown if cut == text else shown + "…"
