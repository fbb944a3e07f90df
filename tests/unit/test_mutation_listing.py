"""The list of surviving mutants: it is read whole, and speaks of lines that are there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.mutation.listing import read_listing
from tests.mutation.session import (
    Figures,
    Survivor,
    count_mutants,
    forget_survivors,
    list_survivors,
    read_configuration,
    skip_annotations,
)

ROOT = Path(__file__).resolve().parent.parent.parent
LISTING = ROOT / "docs" / "mutants.md"
CONFIGURATIONS = sorted((ROOT / "tests" / "mutation").glob("*.toml"))


def test_listed_mutants_are_of_lines_that_the_modules_still_have() -> None:
    listed = read_listing(LISTING)
    assert listed
    for module, before, _ in listed:
        lines = {line.strip() for line in (ROOT / module).read_text("utf-8").splitlines()}
        assert before in lines, f"{module} has no such line any more: {before}"


def test_row_that_nobody_could_match_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "mutants.md"
    page.write_text("## `a.py`\n\n| line | x |\n| 5 | `a \\| b` | `a ^ b` | same |\n")
    assert frozenset({("a.py", "a | b", "a ^ b")}) == read_listing(page)
    page.write_text("## `a.py`\n\n| 5 | `a` | gone | decorator of no use |\n")
    assert frozenset({("a.py", "a", "")}) == read_listing(page)
    page.write_text("## `a.py`\n\n| 5 | `a` | `b` |\n")
    with pytest.raises(ValueError, match="line 3: not a row"):
        read_listing(page)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configuration_names_modules_and_tests_that_are_there(path: Path) -> None:
    configuration = read_configuration(path)
    tests = [word for word in configuration.test_command if word.startswith("tests/")]
    assert configuration.modules
    assert any(name.endswith(".py") for name in tests)
    assert [] == [name for name in (*configuration.modules, *tests) if not (ROOT / name).exists()]


SCHEMA = """
create table work_items (job_id text primary key);
create table mutation_specs (
  module_path text, start_pos_row integer, start_pos_col integer, job_id text);
create table work_results (
  worker_outcome text, output text, test_outcome text, diff text, job_id text primary key);
"""
DIFF = "--- mutation diff ---\n--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-    x = 1\n+    x = 2\n "


def make_session(folder: Path) -> Path:
    path = folder / "session.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        for job, line, column in (("a", 2, 8), ("b", 1, 11), ("c", 2, 4), ("d", 1, 22)):
            database.execute("insert into work_items values (?)", (job,))
            database.execute(
                "insert into mutation_specs values ('m.py', ?, ?, ?)", (line, column, job)
            )
        for job, outcome in (("a", "SURVIVED"), ("c", "KILLED")):
            database.execute(
                "insert into work_results values ('NORMAL', '', ?, ?, ?)", (outcome, DIFF, job)
            )
    return path


def test_session_is_counted_and_its_annotations_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def f(x: a | b) -> c | d:\n    x = 1\n")
    session = make_session(tmp_path)
    assert Figures(mutants=4, killed=1, survived=1, incompetent=0) == count_mutants(session)
    skip_annotations(session, tmp_path)
    figures = count_mutants(session)
    assert (2, 0) == (figures.mutants, figures.not_run)
    assert (Survivor(module="m.py", line=2, before="x = 1", after="x = 2"),) == list_survivors(
        session
    )


def test_survivors_are_judged_again_and_the_killed_are_not(tmp_path: Path) -> None:
    session = make_session(tmp_path)
    assert 1 == forget_survivors(session)
    assert (1, 0, 3) == (
        count_mutants(session).killed,
        count_mutants(session).survived,
        count_mutants(session).not_run,
    )
