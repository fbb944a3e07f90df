"""Real processes of the product: started, watched, killed at the place of a strike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.crash.stories import Strike
from tests.crash.tracing import TIMER, Call, compose_strace, find_strace, read_calls

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


def run_process(
    directory: Path, words: tuple[str, ...], strike: Strike | None, notes: Path
) -> Ending:
    """`python -m xenbackup --simulated DIR WORDS…`, killed where `strike` says so.

    What it started and what lives on is counted; it dies too where the strike is at everything.
    """
    command = [sys.executable, "-m", "xenbackup", "--simulated", str(directory), *words]
    log = notes / "strace"
    log.unlink(missing_ok=True)
    traced = strike is not None and strike.name != TIMER
    if strike is not None and traced:
        command = compose_strace(log, (strike.name, strike.nth)) + command
    output, errors, code, seconds = _await(command, notes, strike)
    ending = Ending(words=words, exit_code=code, output=output, errors=errors, seconds=seconds)
    if strike is None or not ending.killed:
        return ending
    alive = find_processes(directory)
    place = _find_place(read_calls(log, directory), strike) if traced else "a moment"
    if strike.everything:
        time.sleep(strike.lingering_seconds)
        end_processes(directory)
    if strike.torn and place.startswith("journal after"):
        place = place.replace("after", "torn")
        _tear(directory)
    return Ending(
        words=words,
        exit_code=code,
        output=output,
        errors=errors,
        place=place,
        survivors=0 if strike.everything else len(alive),
        seconds=seconds,
    )


def rehearse_process(directory: Path, words: tuple[str, ...], notes: Path) -> tuple[Call, ...]:
    """The calls of this process when nothing strikes; moments of it where nothing can be traced.

    Raises: AssertionError when it does not end well by itself.
    """
    command = [sys.executable, "-m", "xenbackup", "--simulated", str(directory), *words]
    log = notes / "strace"
    if find_strace()[0]:
        command = compose_strace(log, None) + command
    output, errors, code, seconds = _await(command, notes, None)
    if code:
        raise AssertionError(f"{words} undisturbed ended with {code}: {output} {errors}")
    if find_strace()[0]:
        return tuple(read_calls(log, directory))
    return tuple(
        Call(thread=0, name=TIMER, nth=moment, place="a moment", event="")
        for moment in range(round(seconds * 300), round(seconds * 1000), 5)
    )


def find_processes(directory: Path) -> list[int]:
    """Every process whose command line names this host, but not this process itself."""
    needle = str(directory).encode() + b"\0"
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if needle in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


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


def _await(command: list[str], notes: Path, strike: Strike | None) -> tuple[str, str, int, float]:
    """Output, errors, exit code and seconds. Files, not pipes: survivors may hold them open."""
    limit = PROCESS_LIMIT_SECONDS
    if strike is not None and strike.name == TIMER:
        limit = strike.nth / 1000
    began = time.monotonic()
    with (notes / "output").open("wb") as output, (notes / "errors").open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=notes,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            if limit == PROCESS_LIMIT_SECONDS:
                code = -signal.SIGALRM
    texts = [(notes / name).read_text("utf-8", "replace") for name in ("output", "errors")]
    return texts[0], texts[1], code, time.monotonic() - began


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
