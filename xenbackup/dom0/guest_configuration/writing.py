"""Lines of an xl.cfg file: strings that xl's own lexer gives back letter by letter, lists, numbers.

Of xl's escapes only those with one letter are safe: `\\x` is refused and octal is read in tens and
dropped (xlu__cfgl_dequote in libxlu_cfg.c). So all else stands as itself; a NUL cannot stand at
all.
"""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        '"': '\\"',
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
    }
)


def explain_unquotable(text: str) -> str:
    """Why a text cannot be written as an xl.cfg string; "" when it can."""
    if "\0" in text:
        return "it holds a NUL byte"
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "it holds half a surrogate pair"
    return ""


def quote_string(text: str) -> str:
    """The xl.cfg string for a text of which `explain_unquotable` finds nothing to say."""
    return f'"{text.translate(_ESCAPES)}"'


class Composition:
    """A configuration file under way, and what could not be said in it."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.unwritten: list[str] = []

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)

    def report(self, path: str, reason: str) -> None:
        """Note that what the recorded configuration has at `path` is not in the file."""
        shown = path if path.isprintable() else repr(path)
        self.unwritten.append(f"{shown}: {reason}")

    def comment(self, sentence: str) -> None:
        self._lines.append(f"# {sentence}")

    def set_number(self, key: str, number: int) -> None:
        # xl's lexer knows no signs, but reads numbers out of strings.
        self._lines.append(f"{key} = {number}" if number >= 0 else f'{key} = "{number}"')

    def set_text(self, key: str, text: str, path: str) -> None:
        if reason := explain_unquotable(text):
            self.report(path, reason)
        else:
            self._lines.append(f"{key} = {quote_string(text)}")

    def set_texts(self, key: str, texts: Iterable[str], path: str) -> None:
        """A list of strings; none at all leaves the key out."""
        writable: list[str] = []
        for position, text in enumerate(texts):
            if reason := explain_unquotable(text):
                self.report(f"{path}[{position}]", reason)
            else:
                writable.append(text)
        if writable:
            self._lines += [f"{key} = [", *(f"    {quote_string(text)}," for text in writable), "]"]

    def set_nested_texts(self, key: str, lists: Iterable[Iterable[str]]) -> None:
        """A list of lists of plain strings (numbers and words, which need no check)."""
        inner = [", ".join(quote_string(text) for text in texts) for texts in lists]
        self._lines += [f"{key} = [", *(f"    [ {line} ]," for line in inner), "]"]


def join_pairs(
    pairs: Iterable[tuple[str, str]],
    composition: Composition,
    path: str,
    *,
    forbidden: str = ",",
    trimmed: bool = False,
) -> str:
    """`key=value,key=value` as xl cuts it up again; what its cutting would tear is reported.

    Empty values are left out. `forbidden` letters end a value in the parser that will read it;
    a `trimmed` one loses its outer blanks there.
    """
    parts: list[str] = []
    for key, value in pairs:
        torn = [letter for letter in forbidden if letter in value]
        if torn:
            composition.report(f"{path} ({key})", f"xl would end {value!r} at its `{torn[0]}`")
        elif trimmed and value != value.strip():
            composition.report(f"{path} ({key})", f"xl would trim {value!r}")
        elif value:
            parts.append(f"{key}={value}")
    return ",".join(parts)
