"""Real processes of the product killed by SIGKILL, on simulated hosts, then recovered and judged.

python -m tests.crash --kills 300 [--from SEED] [--jobs J]   that many kills, by seeds from SEED on
python -m tests.crash --every-line --kills 20000 --continue  each line of the journal first; goes on
python -m tests.crash --seed KEY [-v]                        one story again
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tests.commits import UNKNOWN, add_commit, describe_commits, find_commit
from tests.crash.batches import open_folder, play_batches
from tests.crash.figures import Figures
from tests.crash.playing import Player
from tests.crash.stories import BLOCK, list_sweep
from tests.crash.tracing import explain_tracer
from xenbackup.system.log import configure_logging

STATE_FILE = Path(".crash-state.json")
SWEPT = ("snapshot", "checkpoint", "cold", "crash")
FAILURES_SHOWN = 20


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a story failed."""
    options = _parse(words)
    configure_logging()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its folder goes too
    print(explain_tracer())
    if options.seed is not None:
        return replay(options.seed, verbose=options.verbose)
    figures = Figures()
    done, commits = 0, list[str]()
    if options.go_on and STATE_FILE.exists():
        kept = json.loads(STATE_FILE.read_text("utf-8"))
        done = kept["done"]
        figures.take_up(kept["figures"])
        # Earlier forms of the file do not say.
        commits += kept.get("commits", [UNKNOWN])
        print(f"going on: {figures.kills} kills done, {len(figures.failed)} stories failed")
    before, began = figures.kills, time.monotonic()
    commits = add_commit(commits, find_commit())
    try:
        with open_folder() as folder:
            play(options, figures, done, folder, commits)
    finally:
        print(figures.describe(time.monotonic() - began, before))
        print(f"  {describe_commits(commits)}")
    if options.go_on and not figures.failed and figures.kills >= options.kills:
        STATE_FILE.unlink(missing_ok=True)
    return 1 if figures.failed else 0


def play(
    options: argparse.Namespace, figures: Figures, done: int, folder: Path, commits: Sequence[str]
) -> None:
    """Until there were so many kills; `done` batches were played before, over these commits."""
    batches = itertools.islice(list_batches(options, folder), done, None)
    for _, verdicts in play_batches(batches, options.jobs, folder):
        done += 1
        for verdict in verdicts:
            figures.add(verdict)
            if verdict.wrongs and len(figures.failed) <= FAILURES_SHOWN:
                print(verdict.in_one_line(), flush=True)
        if options.go_on:
            state = {"done": done, "figures": figures.keep(), "commits": commits}
            STATE_FILE.write_text(json.dumps(state), "utf-8")
        if figures.kills >= options.kills:
            return


def list_batches(options: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """The sweep where it is asked for, and then seeds without end."""
    if options.every_line:
        with closing(Player(folder / "list", folder)) as player:
            swept = [list_sweep(preset, player.rehearse) for preset in SWEPT]
        for keys in swept:
            yield from (keys[at : at + BLOCK] for at in range(0, len(keys), BLOCK))
    for block in itertools.count(options.first // BLOCK):
        yield [str(block * BLOCK + at) for at in range(BLOCK)]


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--seed", metavar="KEY", help="replay this one")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell its story")
    parser.add_argument("--kills", type=int, default=100, help="go on until so many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--every-line", action="store_true", help="first each line of the journal")
    parser.add_argument(
        "--continue", dest="go_on", action="store_true", help=f"keep {STATE_FILE} and go on from it"
    )
    return parser.parse_args(words)


def replay(key: str, *, verbose: bool) -> int:
    """One story in this process; told where asked for, or where it fails."""
    with open_folder() as folder, closing(Player(folder)) as player:
        verdict = player.play(key)
    print(f"{key}: {verdict.title}")
    if verbose or verdict.wrongs:
        print("\n".join(f"  {line}" for line in verdict.story))
    for wrong in verdict.wrongs:
        print(f"WRONG: {wrong}")
    good = "FAILED" if verdict.wrongs else "good"
    print(f"{good} in {verdict.seconds:.1f} s: {len(verdict.places)} kills")
    return 1 if verdict.wrongs else 0


if __name__ == "__main__":
    sys.exit(main())
