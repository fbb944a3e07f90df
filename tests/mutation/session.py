"""One configuration of cosmic-ray and its session: what was mutated, killed, survived.

The session is cosmic-ray's own SQLite file. It is read here with plain SQL, for its three tables
have not changed in years and its Python interface carries no types.
"""

from __future__ import annotations

import ast
import shlex
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SKIPPED = "SKIPPED"


@dataclass(frozen=True, kw_only=True)
class Survivor:
    """A mutant that no test noticed: `before` and `after` are the changed lines, stripped."""

    module: str
    line: int
    before: str
    after: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Lines move when a module is edited; what was changed into what does not."""
        return self.module, self.before, self.after


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How many mutants of a session there are, and what became of them.

    `incompetent` are those that cosmic-ray failed to make: there is nothing to judge.
    """

    mutants: int
    killed: int
    survived: int
    incompetent: int

    @property
    def not_run(self) -> int:
        return self.mutants - self.killed - self.survived - self.incompetent


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A `*.toml` of this folder, as far as we must know it ourselves."""

    path: Path
    modules: tuple[str, ...]
    test_command: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def read_configuration(path: Path) -> Configuration:
    """The modules that are mutated and the command that judges them."""
    section = tomllib.loads(path.read_text("utf-8"))["cosmic-ray"]
    modules = section["module-path"]
    return Configuration(
        path=path,
        modules=(modules,) if isinstance(modules, str) else tuple(modules),
        test_command=tuple(shlex.split(section["test-command"])),
    )


def skip_annotations(session: Path, tree: Path) -> None:
    """Leave out mutants of annotations in signatures: they are text and are never evaluated.

    A union such as `RunRecord | None` would make eleven mutants that mean nothing.
    """
    with closing(sqlite3.connect(session)) as database, database:
        rows = database.execute(
            "select job_id, module_path, start_pos_row, start_pos_col from mutation_specs"
        ).fetchall()
        for job, module, line, column in rows:
            spans = list(_find_annotations(ast.parse((tree / module).read_text("utf-8"))))
            if any(begin <= (line, column) < end for begin, end in spans):
                database.execute(
                    "insert or replace into work_results (job_id, worker_outcome) values (?, ?)",
                    (job, SKIPPED),
                )


def _find_annotations(module: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Begin and end (line, column) of each annotation of a parameter, result or local name."""
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            found: ast.expr | None = None
            if isinstance(node, ast.FunctionDef):
                found = node.returns
            elif isinstance(node, ast.arg | ast.AnnAssign):
                found = node.annotation
            if found is not None and found.end_lineno and found.end_col_offset is not None:
                yield (
                    (found.lineno, found.col_offset),
                    (found.end_lineno, found.end_col_offset),
                )


def forget_survivors(session: Path) -> int:
    """Have the survivors judged again: the tests have grown since. Returns how many."""
    with closing(sqlite3.connect(session)) as database, database:
        return database.execute("delete from work_results where test_outcome = 'SURVIVED'").rowcount


def count_mutants(session: Path) -> Figures:
    """Skipped ones are not counted at all."""
    with closing(sqlite3.connect(session)) as database:
        total, skipped = database.execute(
            "select count(*), sum(coalesce(worker_outcome = ?, 0)) from work_items"
            " left join work_results using (job_id)",
            (SKIPPED,),
        ).fetchone()
        outcomes = dict(
            database.execute(
                "select test_outcome, count(*) from work_results"
                " where test_outcome is not null group by test_outcome"
            ).fetchall()
        )
    return Figures(
        mutants=total - (skipped or 0),
        killed=outcomes.get("KILLED", 0),
        survived=outcomes.get("SURVIVED", 0),
        incompetent=outcomes.get("INCOMPETENT", 0),
    )


def list_survivors(session: Path) -> tuple[Survivor, ...]:
    """Sorted by module and line."""
    with closing(sqlite3.connect(session)) as database:
        rows = database.execute(
            "select module_path, start_pos_row, diff from work_results"
            " join mutation_specs using (job_id) where test_outcome = 'SURVIVED'"
            " order by module_path, start_pos_row, start_pos_col"
        ).fetchall()
    return tuple(_read_survivor(module, line, diff or "") for module, line, diff in rows)


def _read_survivor(module: str, line: int, diff: str) -> Survivor:
    changed = [text for text in diff.splitlines() if not text.startswith(("---", "+++", "@@"))]
    return Survivor(
        module=module,
        line=line,
        before=" ".join(text[1:].strip() for text in changed if text.startswith("-")),
        after=" ".join(text[1:].strip() for text in changed if text.startswith("+")),
    )
