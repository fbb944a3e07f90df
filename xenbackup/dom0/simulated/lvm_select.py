"""LVM's selection language, as far as reports and removals here use it: `-S 'a=b && c={d}'`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from xenbackup.dom0.simulated.session import ToolFailed

_TOKENS = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<and>&&|,)|(?P<or>\|\||#)|(?P<not>!(?![=~]))"
    r"|(?P<field>[a-z_]+)\s*(?P<operator>=~|!~|!=|>=|<=|=|>|<)\s*"
    r"(?P<value>\"[^\"]*\"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|(?:(?!&&|\|\||[\s,#)]).)+))"
)

Values = Mapping[str, Callable[[], str | int]]
_LIST_TOKENS = re.compile(r"\"[^\"]*\"|'[^']*'|&&|\|\||[,#]|(?:(?!&&|\|\||[\s,#]).)+")
_LIST_OPERATORS = frozenset(("&&", "||", ",", "#"))
_LIST_FIELDS = frozenset(("lv_tags", "vg_tags", "tags"))


def matches(selection: str, values: Values) -> bool:
    """Does a row fit the selection? Raises: ToolFailed when the selection cannot be read."""
    parser = _Parser(selection, values)
    verdict = parser.parse_or()
    if parser.position != len(parser.tokens):
        raise parser.refuse()
    return verdict


class _Parser:
    def __init__(self, selection: str, values: Values) -> None:
        self.selection, self.values = selection, values
        self.tokens: list[re.Match[str]] = []
        self.position = 0
        offset = 0
        text = selection.strip()
        while offset < len(text):
            token = _TOKENS.match(text, offset)
            if token is None:
                raise self.refuse()
            self.tokens.append(token)
            offset = token.end()

    def refuse(self) -> ToolFailed:
        return ToolFailed(
            5,
            f"  Selection syntax error at '{self.selection}'.\n"
            "  Use 'help' for selection to get more help.\n",
        )

    def parse_or(self) -> bool:
        verdict = self._parse_and()
        while self._take("or"):
            other = self._parse_and()
            verdict = verdict or other
        return verdict

    def _parse_and(self) -> bool:
        verdict = self._parse_one()
        while self._take("and"):
            other = self._parse_one()
            verdict = verdict and other
        return verdict

    def _parse_one(self) -> bool:
        if self._take("not"):
            return not self._parse_one()
        if self._take("open"):
            verdict = self.parse_or()
            if not self._take("close"):
                raise self.refuse()
            return verdict
        if self.position >= len(self.tokens) or not self.tokens[self.position]["field"]:
            raise self.refuse()
        token = self.tokens[self.position]
        self.position += 1
        return self._compare(token["field"], token["operator"], token["value"])

    def _take(self, kind: str) -> bool:
        if self.position < len(self.tokens) and self.tokens[self.position][kind]:
            self.position += 1
            return True
        return False

    def _compare(self, field: str, operator: str, wanted: str) -> bool:
        name = next((f for f in (field, f"lv_{field}", f"vg_{field}") if f in self.values), None)
        if name is None:
            raise ToolFailed(5, f"  Unrecognised selection field: {field}\n" + self.refuse().stderr)
        actual = self.values[name]()
        if name in _LIST_FIELDS:
            return _compare_list(str(actual), wanted) != (operator in ("!=", "!~"))
        text = _unquote(wanted)
        if operator in ("=~", "!~"):
            return (re.search(text, str(actual)) is not None) != (operator == "!~")
        if isinstance(actual, int) and operator not in ("=", "!="):
            return _compare_numbers(actual, operator, self._number(text))
        equal = str(actual) == text
        return equal != (operator == "!=")

    def _number(self, text: str) -> int:
        match = re.fullmatch(r"(\d+)([bkmg]?)", text.lower())
        if match is None:
            raise self.refuse()
        return int(match[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[match[2]]


def _compare_list(actual: str, wanted: str) -> bool:
    """`[a,b]`: exactly these; `{a,b}`: these among others; a bare word, or `||` inside: any."""
    have = set(actual.split(",")) - {""}
    bracket = wanted[:1] if wanted[:1] in ("{", "[") else ""
    inside = wanted[1:-1] if bracket else wanted
    parts = [part for part in _LIST_TOKENS.findall(inside) if part not in _LIST_OPERATORS]
    want = {_unquote(part) for part in parts} - {""}
    if not want:
        return not have
    if not bracket or "||" in inside or "#" in inside:
        return bool(have & want)
    return want <= have if bracket == "{" else want == have


def _compare_numbers(actual: int, operator: str, wanted: int) -> bool:
    return {
        ">": actual > wanted,
        "<": actual < wanted,
        ">=": actual >= wanted,
        "<=": actual <= wanted,
    }[operator]


def _unquote(text: str) -> str:
    return text[1:-1] if text[:1] in "\"'" else text
