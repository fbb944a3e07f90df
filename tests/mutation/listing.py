"""The list of survivors that somebody has looked at: the tables of `docs/mutants.md`.

A row is `| line | before | after | why |`, below a heading that names the module; before and after
are code in backticks, their bars written `\\|`.
"""

from __future__ import annotations

import re
from pathlib import Path

_HEADING = re.compile(r"^## `(?P<module>[^`]+)`")
_ROW = re.compile(
    r"^\| (?P<line>\d+) \| `(?P<before>.*?)` \| (?:`(?P<after>.*?)`|gone) \| (?P<why>.+) \|$"
)


def read_listing(path: Path) -> frozenset[tuple[str, str, str]]:
    """`Survivor.key` of each row. Raises: ValueError for a row of a table that is not one."""
    module = ""
    keys = set()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if heading := _HEADING.match(line):
            module = heading["module"]
        elif module and line.startswith("| ") and line[2].isdigit():
            row = _ROW.match(line)
            if row is None:
                raise ValueError(f"{path}, line {number}: not a row of survivors: {line}")
            before, after = ((row[name] or "").replace("\\|", "|") for name in ("before", "after"))
            keys.add((module, before, after))
    return frozenset(keys)
