"""Whether the tests have teeth: each safety act is taken out in turn, and some test must notice.

    python -m tests.teeth [--only PATTERN]

Works in a copy of the tree, so that the tree itself is never without an act. First the copy as it
is must pass every test of the list; then it must fail those of each act without that act. Exit 1
when an act can go without a test noticing, or when the list no longer fits the code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from shutil import copytree, ignore_patterns

from tests.teeth.acts import TEETH
from tests.teeth.tooth import PROJECT, Tooth

TIMEOUT_SECONDS = 300
PARTS = ("xenbackup", "tests", "docs", "jobs", "systemd")
TESTS_FAILED = 1
"""pytest's exit code for failures: any other one means that the tests did not really run."""


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.teeth", description=__doc__)
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="acts by their names, as in lock-* (all)"
    )
    only = parser.parse_args(words).only
    teeth = [tooth for tooth in TEETH if fnmatchcase(tooth.name, only)]
    if not teeth:
        near = get_close_matches(only, [tooth.name for tooth in TEETH])
        sys.stderr.write(f"No act is called {only}; near it: {', '.join(near) or 'none'}.\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="xenbackup-teeth-") as folder:
        copy = _Copy(Path(folder) / "tree")
        sound = copy.run_tests(sorted({test for tooth in teeth for test in tooth.tests}))
        if sound.returncode != 0:
            sys.stdout.write(f"{sound.stdout[-4000:]}\nThe tests fail with every act in place.\n")
            return 1
        caught = 0
        for tooth in teeth:
            began = time.monotonic()
            verdict = _try_without(copy, tooth)
            caught += verdict == "caught"
            seconds = time.monotonic() - began
            sys.stdout.write(f"{tooth.name:36} {verdict:9} {seconds:5.1f}s  {tooth.act}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{caught} of {len(teeth)} caught\n")
    return 0 if caught == len(teeth) else 1


class _Copy:
    """A tree to spoil. Edited files get times of their own: bytecode is told apart by those."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        for part in PARTS:
            if (PROJECT / part).is_dir():
                ignored = ignore_patterns("__pycache__", "lab")
                copytree(PROJECT / part, root / part, symlinks=True, ignore=ignored)
        for path in PROJECT.iterdir():
            if path.is_file() and not path.name.startswith("."):
                (root / path.name).write_bytes(path.read_bytes())
        self._ticks = int(time.time())
        found = self._run([sys.executable, "-c", "import xenbackup; print(xenbackup.__file__)"])
        if str(root) not in found.stdout:
            raise SystemExit(f"The copy is not what is tested, but {found.stdout.strip()}.")

    def write(self, file: str, content: str) -> None:
        path = self.root / "xenbackup" / file
        path.write_text(content, encoding="utf-8")
        self._ticks += 10
        os.utime(path, (self._ticks, self._ticks))

    def read(self, file: str) -> str:
        return (self.root / "xenbackup" / file).read_text(encoding="utf-8")

    def run_tests(self, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
        options = ("-q", "-x", "-p", "no:cacheprovider", "--no-header")
        return self._run([sys.executable, "-m", "pytest", *options, *tests])

    def _run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )


def _try_without(copy: _Copy, tooth: Tooth) -> str:
    misfit = tooth.find_misfit(copy.root)
    if misfit:
        sys.stdout.write(f"{tooth.name}: {misfit}\n")
        return "MISFIT"
    whole = copy.read(tooth.file)
    copy.write(tooth.file, whole.replace(tooth.text, tooth.instead))
    try:
        done = copy.run_tests(tooth.tests)
    except subprocess.TimeoutExpired:
        return "TOO LONG"
    finally:
        copy.write(tooth.file, whole)
    if done.returncode == 0:
        return "SURVIVED"
    if done.returncode != TESTS_FAILED:
        sys.stdout.write(done.stdout[-2000:])
        return "BROKEN"
    return "caught"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
