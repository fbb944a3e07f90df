"""Small blocks, no threads and short polls while seeds are played, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Self

from xenbackup.pipeline import abandoning
from xenbackup.pipeline import guest as guest_acts
from xenbackup.storage import copying

BLOCK_BYTES = 256 << 10
"""The product's blocks are larger than these disks: a copy is to have several."""
POLL_SECONDS = 10.0
"""The product's own half second would cost hundreds of looks wherever it waits for minutes."""


class InlineExecutor:
    """Does the work of a copy's threads at once: a story is the same each time it is told."""

    def __init__(self, workers: int, thread_name_prefix: str = "") -> None:
        self.workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to wait for."""

    def submit(self, work: Callable[..., object], *arguments: object) -> Future[object]:
        done: Future[object] = Future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - it comes out of `result`, as a thread's does
            done.set_exception(error)
        return done


class InlineAct:
    """Does an act that may be left behind at once, and never leaves it: its moments count."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self.name = name
        self._result = act()

    def wait(self, seconds: float) -> bool:
        return True

    def take(self) -> object:
        return self._result


@contextmanager
def quickened() -> Iterator[None]:
    """The product as it is, but for its threads, its blocks and its patience."""
    polls, executor = guest_acts.POLL_SECONDS, vars(copying)["ThreadPoolExecutor"]
    act = vars(abandoning)["_Act"]
    copies = (copying.copy_blocks, copying.hash_blocks, copying.write_differences)
    walks = [walk.__kwdefaults__ or {} for walk in copies]
    blocks = [defaults["block_size_bytes"] for defaults in walks]
    guest_acts.POLL_SECONDS = POLL_SECONDS
    vars(copying)["ThreadPoolExecutor"] = InlineExecutor
    vars(abandoning)["_Act"] = InlineAct
    for defaults in walks:
        defaults["block_size_bytes"] = BLOCK_BYTES
    try:
        yield
    finally:
        guest_acts.POLL_SECONDS = polls
        vars(copying)["ThreadPoolExecutor"] = executor
        vars(abandoning)["_Act"] = act
        for defaults, size in zip(walks, blocks, strict=True):
            defaults["block_size_bytes"] = size
