"""Real processes of the product: started, watched, killed at the place of a strike."""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.crash.nursery import Nursery
from tests.crash.stories import Strike
from tests.crash.tracing import TIMER, Call, find_strace, read_calls, trace_process

PROCESS_LIMIT_SECONDS = 240.0
SURVIVORS_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process ended: `exit_code` below zero is a signal; `place` is where it was killed."""

    words: tuple[str, ...]
    exit_code: int
    output: str
    errors: str
    place: str = ""
    survivors: int = 0
    seconds: float = 0.0

    @property
    def killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


class Processes:
    """Processes of the product on one host after another; `notes` is for what they say."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self._nursery = Nursery()

    def close(self) -> None:
        self._nursery.close()

    def run(self, directory: Path, words: tuple[str, ...], strike: Strike | None) -> Ending:
        """`xenbackup --simulated DIR WORDS…`, killed where `strike` says so.

        What it started and what lives on is counted; it dies too where the strike is at everything.
        """
        traced = strike is not None and strike.name != TIMER
        ending = self._await(directory, words, strike, traced=traced)
        if strike is None or not ending.killed:
            return ending
        alive = find_processes(directory)
        place = _find_place(read_calls(self._log, directory), strike) if traced else "a moment"
        if strike.everything:
            time.sleep(strike.lingering_seconds)
            end_processes(directory)
        if strike.torn and place.startswith("journal after"):
            place = place.replace("after", "torn")
            _tear(directory)
        return replace(ending, place=place, survivors=0 if strike.everything else len(alive))

    def rehearse(self, directory: Path, words: tuple[str, ...]) -> tuple[Call, ...]:
        """The calls of this process when nothing strikes; moments of it where none can be traced.

        Raises: AssertionError when it does not end well by itself.
        """
        traced = bool(find_strace()[0])
        ending = self._await(directory, words, None, traced=traced)
        if ending.exit_code:
            said = f"{ending.output} {ending.errors}"
            raise AssertionError(f"{words} undisturbed ended with {ending.exit_code}: {said}")
        if traced:
            return tuple(read_calls(self._log, directory))
        return tuple(
            Call(thread=0, name=TIMER, nth=moment, place="a moment", event="")
            for moment in range(1, max(2, round(ending.seconds * 1000)))
        )

    @property
    def _log(self) -> Path:
        return self.notes / "strace"

    def _await(
        self, directory: Path, words: tuple[str, ...], strike: Strike | None, *, traced: bool
    ) -> Ending:
        """Output and errors are files, not pipes: survivors may hold them open."""
        limit = PROCESS_LIMIT_SECONDS
        if strike is not None and strike.name == TIMER:
            limit = strike.nth / 1000
        paths = (self.notes / "output", self.notes / "errors")
        pid = self._nursery.fork(directory, words, *paths)
        at = (strike.name, strike.nth) if strike is not None else None
        with trace_process(pid, self._log, at) if traced else nullcontext():
            began = time.monotonic()
            self._nursery.release()
            code = self._nursery.wait(limit)
            if code is None:
                os.killpg(pid, signal.SIGKILL)
                code = self._nursery.wait(PROCESS_LIMIT_SECONDS)
                if limit == PROCESS_LIMIT_SECONDS:
                    code = -signal.SIGALRM
            seconds = time.monotonic() - began
        if code is None:
            raise AssertionError(f"{words} cannot be killed")
        output, errors = (path.read_text("utf-8", "replace") for path in paths)
        return Ending(words=words, exit_code=code, output=output, errors=errors, seconds=seconds)


def find_processes(directory: Path) -> list[int]:
    """Every process whose command line names this host, or whose working directory it is.

    What has been forked and has not begun its own program yet has the one, and not the other.
    """
    needle = str(directory).encode() + b"\0"
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            named = needle in (folder / "cmdline").read_bytes()
            if named or (folder / "cwd").readlink() == directory:
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def end_processes(directory: Path) -> None:
    """SIGKILL for all of them, until none is left."""
    while found := find_processes(directory):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def await_processes(directory: Path) -> bool:
    """Wait until none is left; False when that takes too long."""
    deadline = time.monotonic() + SURVIVORS_LIMIT_SECONDS
    while find_processes(directory):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _find_place(calls: list[Call], strike: Strike) -> str:
    """Of the thread that came to that number; several would be killed by the first of them."""
    hits = [call for call in calls if (call.name, call.nth) == (strike.name, strike.nth)]
    return hits[0].describe() if hits else f"{strike.name} somewhere"


def _tear(directory: Path) -> None:
    """The newest journal's last line loses its second half, as a power cut leaves it."""
    folder = directory / "var/lib/xenbackup/journals"
    path = max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    content = path.read_bytes()
    begin = content.rstrip(b"\n").rfind(b"\n") + 1
    os.truncate(path, begin + (len(content) - begin) // 2)
