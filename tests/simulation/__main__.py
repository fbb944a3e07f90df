"""The production runner and recovery on the simulated dom0 under seeded faults.

python -m tests.simulation --seeds 2000 [--from N] [--jobs J]   that many seeds
python -m tests.simulation --seeds 100000 --continue            go on where the last one stopped
python -m tests.simulation --seed N [-v]                        one seed again, with its story
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.commits import UNKNOWN, add_commit, describe_commits, find_commit
from tests.simulation.batches import find_fast, play_batches
from tests.simulation.figures import Figures
from tests.simulation.play import Player
from xenbackup.system.log import configure_logging

STATE_FILE = Path(".simulation-state.json")
FAILURES_SHOWN = 20


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a seed failed."""
    options = _parse(words)
    configure_logging()
    if options.seed is not None:
        return replay(options.seed, verbose=options.verbose)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its folder goes too
    figures = Figures()
    first, left = options.first, options.seeds
    commits: list[str] = []
    if options.go_on and STATE_FILE.exists():
        kept = json.loads(STATE_FILE.read_text("utf-8"))
        first, left = kept["next"], max(options.seeds - kept["done"], 0)
        print(f"going on at seed {first}: {kept['done']} done, {len(kept['failed'])} failed")
        figures.failed += kept["failed"]
        # Earlier forms of the file do not say.
        commits += kept.get("commits", [UNKNOWN])
    began = time.monotonic()
    done_before = options.seeds - left
    if left:
        commits = add_commit(commits, find_commit())
    for batch, verdicts in play_batches(first, left, options.jobs):
        for verdict in verdicts:
            figures.add(verdict)
            if verdict.wrongs and len(figures.failed) <= FAILURES_SHOWN:
                print(verdict.in_one_line(), flush=True)
        if options.go_on:
            state = {
                "next": batch,
                "done": done_before + figures.seeds,
                "failed": figures.failed,
                "commits": commits,
            }
            STATE_FILE.write_text(json.dumps(state), "utf-8")
    print(figures.describe(time.monotonic() - began))
    print(f"  {describe_commits(commits)}")
    if options.go_on and not figures.failed:
        STATE_FILE.unlink(missing_ok=True)
    return 1 if figures.failed else 0


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell its story")
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--continue", dest="go_on", action="store_true", help=f"keep {STATE_FILE} and go on from it"
    )
    return parser.parse_args(words)


def replay(seed: int, *, verbose: bool) -> int:
    """One seed in this process; its story where asked for, or where it fails."""
    with tempfile.TemporaryDirectory(prefix="xenbackup-simulation-", dir=find_fast()) as folder:
        verdict = Player(Path(folder)).play(seed)
    print(f"seed {seed}: {verdict.title}")
    if verbose:
        print("\n".join(f"  {line}" for line in verdict.story))
    for wrong in verdict.wrongs:
        print(f"WRONG: {wrong}")
    print(f"{'FAILED' if verdict.wrongs else 'good'} in {verdict.seconds * 1000:.0f} ms")
    return 1 if verdict.wrongs else 0


if __name__ == "__main__":
    sys.exit(main())
