"""`docs/problems.md` tells of every code that there is, of no other, and the same of each."""

from __future__ import annotations

import re
from pathlib import Path

from xenbackup.planning.validation import CODES, Check

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "problems.md").read_text(encoding="utf-8")


def list_rows() -> dict[str, list[tuple[str, ...]]]:
    """The cells of the table below each heading, without its head lines."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.M)
    return {
        title: [
            tuple(cell.strip() for cell in line.strip("|").split(" | "))
            for line in body.splitlines()
            if line.startswith("| `")
        ]
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_codes_of_the_page_are_those_of_the_code() -> None:
    expected = {
        check.value: [
            (f"`{code.code}`", code.severity.value, code.meaning)
            for code in CODES.values()
            if code.check is check
        ]
        for check in Check
    }
    assert expected == {title: [row[:3] for row in rows] for title, rows in list_rows().items()}


def test_each_code_has_a_reason_and_a_remedy() -> None:
    for rows in list_rows().values():
        for row in rows:
            assert 5 == len(row), row
            assert all(cell.endswith(".") for cell in row[3:]), row
