"""Lines that the coverage report may leave out: each says why, and there are few of them."""

from __future__ import annotations

import re
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT = 0
_PRAGMA = re.compile(r"#\s*pragma\s*:?\s*no\s*(cover|branch)", re.IGNORECASE)
_WITH_REASON = re.compile(r"# pragma: no (cover|branch) - \S.{9,}")


def list_pragmas(folder: Path) -> list[tuple[str, str]]:
    """Place and words of each comment that leaves something out of the report."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        with path.open("rb") as source:
            found += [
                (f"{path.relative_to(folder)}:{token.start[0]}", token.string)
                for token in tokenize.tokenize(source.readline)
                if token.type == tokenize.COMMENT and _PRAGMA.search(token.string)
            ]
    return found


def test_lines_left_out_of_the_report_are_few_and_say_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = list_pragmas(ROOT / "xenbackup")
    with capsys.disabled():
        print(f"{len(found)} lines of xenbackup are left out of the coverage report", end=" ")
    assert [] == [place for place, words in found if not _WITH_REASON.search(words)]
    assert len(found) <= LIMIT, found


def test_pragma_without_a_reason_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'x = 1  # pragma: no cover\ny = "# pragma: no cover"\n'
        "z = 2  # pragma: no cover - the kernel alone can make it fail\n"
    )
    found = list_pragmas(tmp_path)
    assert ["a.py:1", "a.py:3"] == [place for place, _ in found]
    assert [False, True] == [bool(_WITH_REASON.search(words)) for _, words in found]


@pytest.mark.parametrize(
    ("line", "left_out"),
    [
        ("    x = 1  # pragma: no cover", False),
        ("    x = 1  # pragma: no cover - the kernel alone can make it fail", True),
        ("    def name(self) -> str: ...", True),
        ("    ) -> CommandResult: ...", True),
        ("if TYPE_CHECKING:", True),
        ("    x = [..., 1]", False),
        ("    raise NotImplementedError", False),
    ],
)
def test_rules_of_the_report_leave_out_what_cannot_run_and_nothing_else(
    line: str, left_out: bool
) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["coverage"]
    rules = settings["report"]["exclude_lines"]
    assert left_out == any(re.search(rule, line) for rule in rules)
