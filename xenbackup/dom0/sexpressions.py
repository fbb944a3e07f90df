"""S-expressions as xm prints them: nested lists of words, some quoted.

(domain (domid 1) (name linux01) (device (vbd (uname phy:/dev/x) (mode w))))
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from xenbackup.dom0.tool_output import refuse_output

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'"""
    r"""|(?P<word>[^\s()"']+))""",
    re.DOTALL,
)
_DEPTH_LIMIT = 64


@dataclass(frozen=True)
class Expression:
    """A list: its head (the first word, "" without one), the words and the lists after it."""

    head: str
    words: tuple[str, ...]
    children: tuple[Expression, ...]

    def find_all(self, head: str) -> Iterator[Expression]:
        """Direct children with this head, in order."""
        return (child for child in self.children if child.head == head)

    def find(self, head: str) -> Expression | None:
        return next(self.find_all(head), None)

    def word(self, head: str, default: str = "") -> str:
        """The first word of the first child with this head: `1` in `(domid 1)`."""
        child = self.find(head)
        return child.words[0] if child is not None and child.words else default


def parse_expressions(command: str, text: str) -> tuple[Expression, ...]:
    """All top-level lists of the text. Raises: UnexpectedOutput."""
    stack: list[tuple[list[str], list[Expression]]] = [([], [])]
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise refuse_output(command, text[position : position + 80], expected="a list or word")
        position = match.end()
        if match["open"]:
            if len(stack) > _DEPTH_LIMIT:
                raise refuse_output(command, text[:80], expected="fewer nested lists")
            stack.append(([], []))
        elif match["close"]:
            if len(stack) == 1:
                raise refuse_output(command, text[:position][-80:], expected="an open list")
            words, children = stack.pop()
            head, rest = (words[0], tuple(words[1:])) if words else ("", ())
            stack[-1][1].append(Expression(head, rest, tuple(children)))
        else:
            stack[-1][0].append(_read_word(match))
    if len(stack) != 1 or stack[0][0]:
        raise refuse_output(command, text[-80:], expected="whole lists")
    return tuple(stack[0][1])


def compose_expression(expression: Expression, *, without: Collection[str] = ()) -> str:
    """The list as text that `parse_expressions` reads again, but for children with these heads.

    Words come before lists, whatever order they had: xend looks both up by head.
    """
    parts = [_write_word(expression.head)] if expression.head else []
    parts += [_write_word(word) for word in expression.words]
    parts += [
        compose_expression(child) for child in expression.children if child.head not in without
    ]
    return f"({' '.join(parts)})"


def _write_word(word: str) -> str:
    if re.fullmatch(r"""[^\s()"'\\]+""", word):
        return word
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _read_word(match: re.Match[str]) -> str:
    if match["word"] is not None:
        return match["word"]
    quoted = match["double"] if match["double"] is not None else match["single"]
    return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
