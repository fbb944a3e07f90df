"""Figures say over which commits they were gathered, however often their session was broken off."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from tests import commits
from tests.crash import __main__ as crash
from tests.crash.figures import Verdict as CrashVerdict
from tests.mutation import __main__ as mutation
from tests.simulation import __main__ as simulation
from tests.simulation.figures import Verdict


def lay_git(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `git` that says what is wanted, and nothing else on the path."""
    tool = folder / "bin/git"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tool.parent))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("echo {root}; echo a1b2c3d", "a1b2c3d"),
        ("echo {root}/..; echo a1b2c3d", "unknown"),
        ("echo {root}", "unknown"),
        ("echo fatal: not a git repository >&2; exit 128", "unknown"),
    ],
    ids=["a checkout", "inside another checkout", "no commit yet", "no checkout"],
)
def test_commit_is_that_of_this_very_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, expected: str
) -> None:
    root = tmp_path.resolve()
    lay_git(root, said.format(root=root), monkeypatch)
    assert expected == commits.find_commit(root)


def test_commit_is_unknown_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "unknown" == commits.find_commit(tmp_path)


def test_commits_are_told_in_the_order_of_their_use() -> None:
    assert "commits: unknown" == commits.describe_commits([])
    assert "commits: a1b2c3d" == commits.describe_commits(["a1b2c3d"])
    both = commits.add_commit(["a1b2c3d"], "d4e5f6a")
    assert "commits: a1b2c3d..d4e5f6a (2)" == commits.describe_commits(both)
    assert both == commits.add_commit(both, "a1b2c3d")


@pytest.fixture
def at_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.chdir(tmp_path)
    for module in (simulation, crash, mutation):
        monkeypatch.setattr(module, "find_commit", lambda: "d4e5f6a")
    return monkeypatch


def play_some_seeds(first: int, count: int, jobs: int) -> Iterator[tuple[int, list[Verdict]]]:
    """Of which the second fails, so that the state stays."""
    for seed in range(first, first + count):
        wrongs = ["bad"] if seed == 1 else []
        yield seed + 1, [Verdict(seed=seed, title="", wrongs=wrongs, story=[], struck=[])]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({}, "commits: d4e5f6a"),
        ({"commits": ["a1b2c3d"]}, "commits: a1b2c3d..d4e5f6a (2)"),
        ({"commits": None}, "commits: unknown..d4e5f6a (2)"),
    ],
    ids=["fresh", "continued", "continued from an earlier form"],
)
def test_simulation_keeps_and_tells_its_commits(
    at_commit: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kept: dict[str, list[str] | None],
    expected: str,
) -> None:
    at_commit.setattr(simulation, "play_batches", play_some_seeds)
    if kept:
        state = {"next": 1, "done": 1, "failed": [], **kept}
        state = {name: value for name, value in state.items() if value is not None}
        simulation.STATE_FILE.write_text(json.dumps(state))
    assert 1 == simulation.main(["--seeds", "3", "--continue"])
    assert expected in capsys.readouterr().out
    state = json.loads(simulation.STATE_FILE.read_text())
    assert (3, 3, [1]) == (state["next"], state["done"], state["failed"])
    assert expected == commits.describe_commits(state["commits"])
    at_commit.setattr(simulation, "find_commit", lambda: "0000000")
    simulation.main(["--seeds", "3", "--continue"])
    assert expected in capsys.readouterr().out, "no seed was played over this commit"


def test_crash_suite_keeps_and_tells_its_commits(
    at_commit: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(*_: object) -> Iterator[tuple[list[str], list[CrashVerdict]]]:
        for key in ("1", "2"):
            yield [key], [CrashVerdict(key=key, title="", places=["p"], wrongs=["bad"])]

    at_commit.setattr(crash, "explain_tracer", lambda: "")
    at_commit.setattr(crash, "open_folder", lambda: nullcontext(tmp_path))
    at_commit.setattr(crash, "play_batches", play)
    assert 1 == crash.main(["--kills", "1", "--continue"])
    assert "commits: d4e5f6a" in capsys.readouterr().out
    state = json.loads(crash.STATE_FILE.read_text())
    assert (1, ["d4e5f6a"]) == (state["done"], state["commits"])
    at_commit.setattr(crash, "find_commit", lambda: "0000000")
    assert 1 == crash.main(["--kills", "2", "--continue"])
    assert "commits: d4e5f6a..0000000 (2)" in capsys.readouterr().out
    del state["commits"]
    crash.STATE_FILE.write_text(json.dumps(state))
    assert 1 == crash.main(["--kills", "2", "--continue"])
    assert "commits: unknown..0000000 (2)" in capsys.readouterr().out


def lay_session(path: Path, outcomes: list[str | None]) -> None:
    """Mutants as cosmic-ray keeps them, judged so far as there is an outcome."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table work_items (job_id)")
        database.execute("create table work_results (job_id, worker_outcome, test_outcome)")
        for job, outcome in enumerate(outcomes):
            database.execute("insert into work_items values (?)", (job,))
            if outcome:
                database.execute("insert into work_results values (?, '', ?)", (job, outcome))


def test_mutants_keep_their_commits_beside_their_session(
    at_commit: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh, earlier = tmp_path / "a-1.sqlite", tmp_path / "b-1.sqlite"
    lay_session(fresh, [None, None])
    lay_session(earlier, ["KILLED", None])
    assert [] == mutation.list_commits(fresh)
    assert ["unknown"] == mutation.list_commits(earlier)
    for session in (fresh, earlier):
        mutation.note_commit(session)
    assert ["d4e5f6a"] == mutation.list_commits(fresh)
    assert ["unknown", "d4e5f6a"] == mutation.list_commits(earlier)
