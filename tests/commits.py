"""Over which commits figures were gathered: kept with them from one session to the next."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNKNOWN = "unknown"


def find_commit(root: Path = ROOT) -> str:
    """The commit that is checked out, short; "unknown" where `root` is no checkout of git's.

    A copy of the tree that lies inside another checkout is none.
    """
    argv = ("git", "-C", str(root), "rev-parse", "--show-toplevel", "--short", "HEAD")
    try:
        found = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return UNKNOWN
    lines = found.stdout.splitlines()
    if found.returncode or len(lines) != 2 or Path(lines[0]) != root.resolve():
        return UNKNOWN
    return lines[1]


def add_commit(commits: Iterable[str], commit: str) -> list[str]:
    """In the order in which they were first used."""
    return list(dict.fromkeys((*commits, commit)))


def describe_commits(commits: Iterable[str]) -> str:
    """`commits: a1b2c3d`, or the first and the last of several and how many they were."""
    known = list(dict.fromkeys(commits)) or [UNKNOWN]
    if len(known) == 1:
        return f"commits: {known[0]}"
    return f"commits: {known[0]}..{known[-1]} ({len(known)})"


def read_commits(path: Path) -> list[str]:
    """Those kept in a file of their own; [] when there is none."""
    return list(json.loads(path.read_text("utf-8"))) if path.exists() else []


def write_commits(path: Path, commits: Iterable[str]) -> None:
    path.write_text(json.dumps(list(commits)), "utf-8")
