"""Words of the xl.cfg(5) language: the text of a configuration file cut into tokens, nothing run.

The language is what xl's own lexer takes, and the little more that xm took because its files were
Python: triple quotes, signed numbers, `True` and `False`, a backslash at a line's end. Whatever
else Python could have run is refused with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from xenbackup.errors import ConfigurationError

HINT = "values are strings, whole numbers and lists of them; nothing in the file is run"

# Possessive quantifiers: no text, however odd, makes the scanner go over the same letters twice.
_TOKEN = re.compile(
    r"""
      (?P<blank>[ \t]++|\\\r?\n)
    | (?P<comment>\#[^\n]*+)
    | (?P<newline>\r?\n)
    | (?P<triple>\"{3}(?:[^"\\]++|\\.|"(?!""))*+\"{3} | '{3}(?:[^'\\]++|\\.|'(?!''))*+'{3})
    | (?P<string>(?!\"{3}|'{3})(?:"(?:[^"\\\n]++|\\.)*+" | '(?:[^'\\\n]++|\\.)*+'))
    | (?P<number>(?:(?<![\w"'\])])[+-])?+(?:0[xX][0-9a-fA-F]++|[0-9]++)(?![\w.]))
    | (?P<atom>[0-9][0-9a-fx]*+(?![\w.]))
    | (?P<call>[A-Za-z_][\w.]*+[ \t]*+\()
    | (?P<name>[A-Za-z_]\w*+)
    | (?P<mark>\+=|[\[\],;=])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|\r?\n|.)", re.DOTALL)
# Those that xl and xm read alike. xl counts octal in tens and then drops the letter, and refuses
# every \x (xlu__cfgl_dequote); only the latter is unambiguous.
_ESCAPED = {
    "\\": "\\",
    "'": "'",
    '"': '"',
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\n": "",
    "\r\n": "",
}
_NUMBER_DIGITS_LIMIT = 20
_SHOWN_LETTERS = 40


class TokenKind(StrEnum):
    """What a token is; `mark` is punctuation, `atom` a number only xl reads (`3f8`)."""

    STRING = "string"
    NUMBER = "number"
    ATOM = "atom"
    NAME = "name"
    MARK = "mark"
    NEWLINE = "newline"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token and the line it begins on; `text` as written, without a string's quotes.

    `start` and `end` are where it stands in the whole text, a string's quotes included.
    """

    kind: TokenKind
    text: str
    line: int
    start: int
    end: int

    def is_mark(self, mark: str) -> bool:
        return self.kind is TokenKind.MARK and self.text == mark

    @property
    def description(self) -> str:
        """What a sentence calls it: `the string 'abc'`, `the bare word foo`, `a comma`."""
        shown = shorten(self.text)
        match self.kind:
            case TokenKind.STRING:
                return f"the string {shown!r}"
            case TokenKind.NUMBER | TokenKind.ATOM:
                return f"the number {shown}"
            case TokenKind.NAME:
                return f"the bare word {shown}"
            case TokenKind.MARK:
                return f"`{shown}`"
            case TokenKind.NEWLINE:
                return "the end of the line"
            case _:
                return "the end of the file"


def shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 1] + "…"


def refuse(source: str, line: int, sentence: str) -> ConfigurationError:
    """The error of one spot in one file: `web.cfg:12: …`."""
    return ConfigurationError((f"{source}:{line}: {sentence}",), hint=HINT)


def cut_tokens(text: str, source: str) -> Iterator[Token]:
    """The tokens of `text`, ended by one of kind END; blanks and comments left out.

    Raises: ConfigurationError naming `source`, the line and what was found there, for anything
    that is not part of the language: operators, calls, unfinished strings, control characters.
    """
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise refuse(source, line, _explain(text, position))
        kind, found, span = match.lastgroup, match.group(), match.span()
        if kind == "triple":
            yield Token(TokenKind.STRING, _unescape(found[3:-3], source, line), line, *span)
        elif kind == "string":
            yield Token(TokenKind.STRING, _unescape(found[1:-1], source, line), line, *span)
        elif kind == "newline":
            yield Token(TokenKind.NEWLINE, "\n", line, *span)
        elif kind == "number" and len(found) > _NUMBER_DIGITS_LIMIT:
            raise refuse(source, line, f"found a number of {len(found)} digits; none is so long.")
        elif kind == "call":
            raise refuse(source, line, f"found a call, {shorten(found)}…): code is not run.")
        elif kind in ("number", "atom", "name", "mark"):
            yield Token(TokenKind(kind), found, line, *span)
        line += found.count("\n")
        position = match.end()
    yield Token(TokenKind.END, "", line, len(text), len(text))


def _explain(text: str, position: int) -> str:
    letter = text[position]
    line_end = text.find("\n", position)
    rest = text[position : line_end if line_end >= 0 else len(text)]
    if rest.startswith(('"""', "'''")):
        return f"found a string in triple quotes that is never ended: {shorten(rest)}"
    if letter in "'\"":
        return f"found a string that is not ended on its line: {shorten(rest)}"
    if letter.isdigit():
        return f"found {shorten(rest.split()[0])}, which is no whole number."
    if letter in "+-*/%(){}.:@&|^<>~!":
        return f"found `{shorten(rest)}`: that is code, and code is not run."
    return f"found {letter!r}, which has no place outside a string."


def _unescape(body: str, source: str, line: int) -> str:
    if "\0" in body:
        raise refuse(source, line, "found a NUL byte in a string.")
    if "\\" not in body:
        return body

    def replace(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape[0] == "x" and len(escape) == 3 and escape != "x00":
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPED:
            raise refuse(
                source,
                line,
                f"found the escape {match.group()!r} in a string; xl and xm disagree about it. "
                f"Write \\\\ for a backslash.",
            )
        return _ESCAPED[escape]

    return _ESCAPE.sub(replace, body)
