"""Many stories over several processes, in order, in a folder that is gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path

from tests.crash.figures import Verdict
from tests.crash.playing import Player
from tests.simulation.batches import find_fast
from xenbackup.system.log import configure_logging

_players: list[Player] = []


@contextmanager
def open_folder() -> Iterator[Path]:
    """Hosts, rehearsals and logs, in memory where there is some."""
    with tempfile.TemporaryDirectory(prefix="xenbackup-crash-", dir=find_fast()) as folder:
        yield Path(folder)


def play_batches(
    batches: Iterable[list[str]], jobs: int, folder: Path
) -> Iterator[tuple[list[str], list[Verdict]]]:
    """Verdicts batch by batch and in order; batches are drawn as they are needed."""
    if jobs <= 1:
        with closing(Player(folder / "one", folder)) as player:
            for keys in batches:
                yield keys, [player.play(key) for key in keys]
        return
    context = get_context("forkserver")
    pool = ProcessPoolExecutor(jobs, context, _open_player, (str(folder),))
    try:
        running: list[tuple[list[str], Future[list[Verdict]]]] = []
        for keys in batches:
            running.append((keys, pool.submit(_play, keys)))
            if len(running) > jobs:
                done, future = running.pop(0)
                yield done, future.result()
        for keys, future in running:
            yield keys, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _open_player(folder: str) -> None:
    configure_logging()
    _players.append(Player(Path(folder) / str(os.getpid()), Path(folder)))


def _play(keys: list[str]) -> list[Verdict]:
    """Only the failed ones keep their story."""
    verdicts = [_players[-1].play(key) for key in keys]
    for verdict in verdicts:
        if not verdict.wrongs:
            verdict.story = []
    return verdicts
