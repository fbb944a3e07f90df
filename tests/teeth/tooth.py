"""A tooth: one act that keeps the promise, how to take it out, and the tests that bite then."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HOSTS = "tests/pipeline/test_catalogue_of_hosts_on_simulation.py"
MEMORY = "tests/pipeline/test_catalogue_on_simulation.py"
STORAGE = "tests/pipeline/test_catalogue_of_storage_on_simulation.py"


@dataclass(frozen=True, kw_only=True)
class Tooth:
    """`text` stands exactly once in `file` (below xenbackup/); `instead` is the code without it.

    `tests` are ids as pytest takes them; each is fast, and at least one must fail without the act.
    """

    name: str
    act: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]

    def find_misfit(self, project: Path = PROJECT) -> str:
        """Why the edit no longer applies, "" while it does."""
        path = project / "xenbackup" / self.file
        if not path.is_file():
            return f"there is no xenbackup/{self.file}"
        found = path.read_text(encoding="utf-8").count(self.text)
        if found != 1:
            return f"its text is {found} times in xenbackup/{self.file}, not once"
        try:
            ast.parse(path.read_text(encoding="utf-8").replace(self.text, self.instead))
        except SyntaxError as error:
            return f"without it xenbackup/{self.file} is no Python: {error}"
        return ""


def find_missing_test(test_id: str, project: Path = PROJECT) -> str:
    """Why no test has this id, "" when one has; the part in brackets is pytest's own affair."""
    file, _, name = test_id.partition("::")
    path = project / file
    if not path.is_file():
        return f"{test_id}: there is no {file}"
    names = {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    return "" if name.partition("[")[0] in names else f"{test_id}: no such test in {file}"
