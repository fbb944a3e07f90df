"""Mutation testing of what decides over guests: runner, undo, rescue table, journal.

python -m tests.mutation                every configuration, going on where the last one stopped
python -m tests.mutation rescue         that one alone
python -m tests.mutation --again        survivors are judged again: the tests have grown since
python -m tests.mutation --report       no mutant is run: figures and survivors so far

cosmic-ray writes each mutant into the file it mutates, so it works on a copy of the tree, in
`$XDG_CACHE_HOME/xenbackup-mutants`; its sessions lie there too. A survivor must be listed in
`docs/mutants.md` with the reason why it is harmless, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.commits import (
    UNKNOWN,
    add_commit,
    describe_commits,
    find_commit,
    read_commits,
    write_commits,
)
from tests.mutation.listing import read_listing
from tests.mutation.session import (
    Configuration,
    count_mutants,
    forget_survivors,
    list_survivors,
    read_configuration,
    skip_annotations,
)

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
COPIED = ("xenbackup", "tests", "pyproject.toml")


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a mutant survived that nobody has looked at, or some were not run."""
    options = _parse(words)
    cache = find_cache()
    listed = read_listing(ROOT / "docs" / "mutants.md")
    wrong = 0
    titles = ("mutants", "killed", "survived", "listed", "not made", "not run")
    print(" " * 10, *(f"{title:>8}" for title in titles))
    unexplained, commits = [], list[str]()
    for name in options.names or sorted(path.stem for path in FOLDER.glob("*.toml")):
        configuration = read_configuration(FOLDER / f"{name}.toml")
        session = open_session(configuration, cache)
        if options.again:
            forget_survivors(session)
        if not options.report:
            run_mutants(configuration, session, cache / "tree" / name)
        commits += list_commits(session)
        figures, survivors = count_mutants(session), list_survivors(session)
        new = [survivor for survivor in survivors if survivor.key not in listed]
        unexplained += new
        listed_here = figures.survived - len(new)
        judged = (figures.mutants, figures.killed, figures.survived, listed_here)
        row = (*judged, figures.incompetent, figures.not_run)
        print(f"{name:10}", *(f"{number:>8}" for number in row), flush=True)
        wrong += len(new) + figures.not_run
    for survivor in unexplained:
        print(f"SURVIVED {survivor.module}:{survivor.line}")
        print(f"  - {survivor.before}\n  + {survivor.after}")
    print(describe_commits(commits))
    return 1 if wrong else 0


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("names", nargs="*", help="configurations of tests/mutation, without .toml")
    parser.add_argument("--again", action="store_true", help="judge survivors again")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args(words)


def find_cache() -> Path:
    """Beside the lab's cache: where it may be removed at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xenbackup-mutants"


def open_session(configuration: Configuration, cache: Path) -> Path:
    """The session for the modules as they are now; one of an older text of them is removed.

    The copy of the tree is made anew each time: a mutant that was being judged when the last
    session was interrupted stands in it still.
    """
    tree = cache / "tree" / configuration.name
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tree / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy2(source, tree / name)
    content = b"\0".join((tree / module).read_bytes() for module in configuration.modules)
    digest = hashlib.sha256(content).hexdigest()[:12]
    session = cache / f"{configuration.name}-{digest}.sqlite"
    for old in cache.glob(f"{configuration.name}-*.sqlite"):
        if old != session:
            old.unlink()
            name_commits(old).unlink(missing_ok=True)
    if not session.exists():
        begun = session.with_suffix(".begun")
        begun.unlink(missing_ok=True)
        call_cosmic_ray(tree, "init", str(configuration.path), str(begun))
        skip_annotations(begun, tree)
        begun.rename(session)
    return session


def run_mutants(configuration: Configuration, session: Path, tree: Path) -> None:
    """Judge what has not been judged."""
    if count_mutants(session).not_run == 0:
        return
    # Tests that fail without any mutant would kill them all. This run also leaves the compiled
    # tests behind, which the judges read and, under cosmic-ray, do not write.
    call(tree, configuration.test_command)
    note_commit(session)
    call_cosmic_ray(tree, "exec", str(configuration.path), str(session))


def list_commits(session: Path) -> list[str]:
    """Over which commits the mutants of a session were judged."""
    figures = count_mutants(session)
    judged = figures.mutants - figures.not_run
    return read_commits(name_commits(session)) or ([UNKNOWN] if judged else [])


def note_commit(session: Path) -> None:
    """This commit judges mutants too; what earlier ones judged unnoted stays unknown."""
    write_commits(name_commits(session), add_commit(list_commits(session), find_commit()))


def name_commits(session: Path) -> Path:
    return session.with_suffix(".commits")


def call_cosmic_ray(tree: Path, *words: str) -> None:
    call(tree, ("cosmic-ray", *words))


def call(tree: Path, argv: tuple[str, ...]) -> None:
    """In the copy, with this interpreter's folder first: the test command says just `python`."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    called = subprocess.run(
        argv,
        check=False,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if called.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{called.stdout.decode('utf-8', 'replace')}")


if __name__ == "__main__":
    sys.exit(main())
