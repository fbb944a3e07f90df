"""Many seeds over several processes, in order, in a folder that is gone afterwards."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.figures import Verdict
from tests.simulation.play import Player
from xenbackup.system.log import configure_logging

BATCH = 50
_players: list[Player] = []


def play_batches(first: int, count: int, jobs: int) -> Iterator[tuple[int, list[Verdict]]]:
    """Verdicts batch by batch and in order, each with the seed that follows it."""
    ranges = [
        range(begin, min(begin + BATCH, first + count))
        for begin in range(first, first + count, BATCH)
    ]
    with tempfile.TemporaryDirectory(prefix="xenbackup-simulation-", dir=find_fast()) as folder:
        if jobs <= 1:
            _open_player(folder)
            for seeds in ranges:
                yield seeds.stop, play_seeds(seeds)
            return
        context = get_context("forkserver")
        with ProcessPoolExecutor(jobs, context, _open_player, (folder,)) as pool:
            running: dict[Future[list[Verdict]], range] = {}
            waiting = list(ranges)
            finished: dict[int, tuple[int, list[Verdict]]] = {}
            due = first
            while waiting or running:
                while waiting and len(running) < jobs + 1:
                    seeds = waiting.pop(0)
                    running[pool.submit(play_seeds, seeds)] = seeds
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    seeds = running.pop(future)
                    finished[seeds.start] = (seeds.stop, future.result())
                while due in finished:
                    batch = finished.pop(due)
                    due = batch[0]
                    yield batch


def _open_player(folder: str) -> None:
    """One player a process; garbage is collected between batches."""
    configure_logging()
    _players.append(Player(Path(folder) / str(os.getpid())))
    gc.disable()
    gc.freeze()


def play_seeds(seeds: range) -> list[Verdict]:
    """The verdicts of some seeds, of which only the failed ones keep their story."""
    verdicts = []
    for seed in seeds:
        verdict = _players[-1].play(seed)
        if not verdict.wrongs:
            verdict.story = []
        verdicts.append(verdict)
    gc.collect()
    return verdicts


def find_fast() -> str | None:
    """A folder in memory, where syncs cost nothing; None for the usual temporary one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
