"""A strict reader of Prometheus' text format 0.0.4, for tests of what is written in it.

Written from the format's own description: it refuses whatever that does not allow, and more than
the exporter does (a metric must have its HELP and TYPE right before its samples).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (NaN|[+-]Inf|-?[0-9.]+(?:e[+-]?[0-9]+)?)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')
_UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


@dataclass(frozen=True, kw_only=True)
class Series:
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    def label(self, name: str) -> str:
        return dict(self.labels)[name]


def parse_exposition(text: str) -> tuple[Series, ...]:
    """Every sample. Raises: ValueError with the line that is not right."""
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    found: list[Series] = []
    begun: list[str] = []
    expected = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            if name in begun or expected:
                raise ValueError(f"a second group, or an empty one: {line!r}")
            begun.append(name)
            expected = "type"
        elif line.startswith("# TYPE "):
            if expected != "type" or line != f"# TYPE {begun[-1]} gauge":
                raise ValueError(f"no such TYPE here: {line!r}")
            expected = "sample"
        else:
            series = _parse_sample(line)
            if expected == "type" or not begun or series.name != begun[-1]:
                raise ValueError(f"a sample out of place: {line!r}")
            expected = ""
            found.append(series)
    if expected:
        raise ValueError("the last group is empty")
    seen = {(series.name, series.labels) for series in found}
    if len(seen) != len(found):
        raise ValueError("the same series twice")
    return tuple(found)


def _parse_sample(line: str) -> Series:
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(f"no sample: {line!r}")
    labels: list[tuple[str, str]] = []
    rest = match.group(2) or ""
    while rest:
        label = _LABEL.match(rest)
        if label is None:
            raise ValueError(f"no label: {rest!r} in {line!r}")
        value = re.sub(r'\\\\|\\"|\\n', lambda m: _UNESCAPED[m.group()], label.group(2))
        labels.append((label.group(1), value))
        rest = rest[label.end() :]
    names = [name for name, _ in labels]
    if len(set(names)) != len(names):
        raise ValueError(f"a label twice: {line!r}")
    return Series(name=match.group(1), labels=tuple(labels), value=float(match.group(3)))
