"""Sentences of the xl.cfg(5) language: assignments of literals, in linear time, without recursion.

Grammar (libxlu_cfg_y.y): `key = value` or `key += value`, ended by a new line or `;`; a value is a
string, a number or a bracketed list of values, in which new lines are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from xenbackup.dom0.guest_configuration.tokens import Token, TokenKind, cut_tokens, refuse, shorten
from xenbackup.dom0.guest_configuration.values import ConfigurationValue, Setting

_DEPTH_LIMIT = 8
_BOOLEANS = {"True": 1, "False": 0}


@dataclass
class _Growing:
    """A key under way: `+=` adds a part, `=` begins anew; joined once, at the end."""

    parts: list[ConfigurationValue] = field(default_factory=list)
    text: str = ""
    line: int = 0


def parse_settings(text: str, source: str) -> tuple[Setting, ...]:
    """Every key with its final value, in the order in which keys first appear.

    `source` is the file's name, for sentences. The last assignment of a key wins, as in xl and xm.

    Raises: ConfigurationError naming source, line and what was found there instead of a literal.
    """
    tokens = cut_tokens(text, source)
    growing: dict[str, _Growing] = {}
    for token in tokens:
        if token.kind in (TokenKind.NEWLINE, TokenKind.END) or token.is_mark(";"):
            continue
        if token.kind is not TokenKind.NAME:
            raise refuse(
                source, token.line, f"found {token.description}, where `key = value` begins."
            )
        _read_assignment(token, tokens, source, growing)
    return tuple(_finish(key, entry) for key, entry in growing.items())


def _read_assignment(
    key: Token, tokens: Iterator[Token], source: str, growing: dict[str, _Growing]
) -> None:
    sign, name = next(tokens), shorten(key.text)
    if not (sign.is_mark("=") or sign.is_mark("+=")):
        raise refuse(
            source, sign.line, f"found {sign.description} after {name}, where `=` was expected."
        )
    first = next(tokens)
    value = _read_list(first, tokens, source) if first.is_mark("[") else _read_atom(first, source)
    entry = growing.setdefault(key.text, _Growing())
    if sign.text == "=":
        entry.parts.clear()
        entry.text = ""
    elif isinstance(value, int) or (entry.parts and type(entry.parts[0]) is not type(value)):
        raise refuse(
            source,
            key.line,
            f"found {name} += {first.description}; only strings can be added to a string and "
            f"lists to a list.",
        )
    entry.parts.append(value)
    entry.line = key.line
    # Only a number's own text differs from its value, and numbers are never added to.
    entry.text = first.text if isinstance(value, int) else ""
    end = next(tokens)
    if end.kind not in (TokenKind.NEWLINE, TokenKind.END) and not end.is_mark(";"):
        raise refuse(
            source,
            end.line,
            f"found {end.description} after the value of {name}, where its line should end.",
        )


def _read_atom(token: Token, source: str) -> str | int:
    if token.kind in (TokenKind.STRING, TokenKind.ATOM):
        return token.text
    if token.kind is TokenKind.NUMBER:
        number = read_whole_number(token.text)
        return token.text if number is None else number
    if token.kind is TokenKind.NAME and token.text in _BOOLEANS:
        return _BOOLEANS[token.text]
    raise refuse(
        source,
        token.line,
        f"found {token.description}, where a string, a number or a list was expected.",
    )


def read_whole_number(text: str) -> int | None:
    """The number that strtol(…, 0) reads: `0x` is hexadecimal, a leading 0 octal; None if none."""
    digits = text.strip().lower().removeprefix("+")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.removeprefix("-")
    if not digits.isascii() or not digits.isalnum() or len(digits) > 20:
        return None
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    try:
        return sign * int(digits, base)
    except ValueError:
        return None


def _read_list(
    opening: Token, tokens: Iterator[Token], source: str
) -> tuple[ConfigurationValue, ...]:
    unfinished: list[list[ConfigurationValue]] = []
    current: list[ConfigurationValue] = []
    awaits_value = True
    while (token := next(tokens)).kind is not TokenKind.END:
        if token.kind is TokenKind.NEWLINE:
            continue
        if token.is_mark("]"):
            finished = tuple(current)
            if not unfinished:
                return finished
            current = unfinished.pop()
            current.append(finished)
            awaits_value = False
        elif token.is_mark(","):
            if awaits_value:
                raise refuse(source, token.line, "found a comma in a list, before any value.")
            awaits_value = True
        elif not awaits_value:
            raise refuse(
                source,
                token.line,
                f"found {token.description} in a list, where a comma or `]` was expected.",
            )
        elif token.is_mark("["):
            if len(unfinished) >= _DEPTH_LIMIT:
                raise refuse(source, token.line, "found lists within lists, deeper than any key.")
            unfinished.append(current)
            current = []
        else:
            current.append(_read_atom(token, source))
            awaits_value = False
    raise refuse(source, opening.line, "found a list that is never closed with `]`.")


def _finish(key: str, entry: _Growing) -> Setting:
    first = entry.parts[0]
    if isinstance(first, int):
        return Setting(key=key, value=first, text=entry.text, line=entry.line)
    if isinstance(first, str):
        joined = "".join(part for part in entry.parts if isinstance(part, str))
        return Setting(key=key, value=joined, text=joined, line=entry.line)
    items = tuple(item for part in entry.parts if isinstance(part, tuple) for item in part)
    return Setting(key=key, value=items, text="", line=entry.line)
