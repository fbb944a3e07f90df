"""System calls seen and struck from outside: strace counts them and sends SIGKILL at one of them.

Where strace is missing, or may not trace, a timer kills instead; `explain_tracer`
says which it is and why.
"""

from __future__ import annotations

import ctypes
import functools
import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TRACED = (
    "write,pwrite64,fsync,fdatasync,openat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,"
    "ftruncate,flock,sendto,pidfd_open,wait4,kill,execve"
)
TIMER = "timer"
"""The name of a call that is none: a moment, `nth` in milliseconds, where nothing can be traced."""
_PR_SET_PTRACER = 0x59616D61
TRACER_ENDS_WITHIN_SECONDS = 60.0
_CALL = re.compile(r"(\d+)\s+(\w+)\((.*)")
_EVENT = re.compile(r'\\"event\\":\\"([a-z-]+)\\"')
_TOOL = re.compile(r'"xenbackup\.dom0\.simulated", "[^"]*", (.*?)\]')
_PLACES = (
    ("/var/lib/xenbackup/journals", "journal"),
    ("/var/lib/xenbackup/spool", "spool"),
    ("/var/lib/xenbackup/locks", "lock"),
    ("/var/lib/xenbackup/catalog", "catalog"),
    ("/var/lib/xenbackup/", "state"),
    ("/srv/backup", "destination"),
    ("/host/state", "the host's state"),
    ("/host/lock", "the host's state"),
    ("/host/volumes", "a volume"),
    ("/etc/", "configuration"),
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A system call of one thread: the `nth` (from 1) of its name there.

    `place` is what it works on, "" for what is no part of the host; `event` is that of the
    journal's line which was written last; `tool` is the command that was just started.
    """

    thread: int
    name: str
    nth: int
    place: str
    event: str
    tool: tuple[str, ...] = ()

    def describe(self) -> str:
        if self.place == "journal" and self.name in ("write", "fsync"):
            return f"journal {'before' if self.name == 'write' else 'after'} {self.event}"
        if self.tool and self.name == "pidfd_open":
            return f"while {' '.join(self.tool)} runs"
        return f"{self.name} {self.place}".strip()


@functools.cache
def find_strace() -> tuple[str, str]:
    """Its path, or "" and the reason why it cannot be used here."""
    path = shutil.which("strace")
    if path is None:
        return "", "strace is not installed"
    try:
        watched = subprocess.Popen(
            ["cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=allow_tracing,  # noqa: PLW1509 - it takes no lock
        )
    except OSError as error:
        return "", f"nothing can be started: {error}"
    try:
        with _attach(path, watched.pid, Path("/dev/null"), ("write", 1)):
            said, _ = watched.communicate(b"alive", timeout=30)
    except (OSError, subprocess.TimeoutExpired, AssertionError) as error:
        return "", str(error)
    finally:
        watched.kill()
        watched.wait()
    if said or watched.returncode != -9:
        return "", f"strace cannot kill here: {watched.returncode} {said!r}"
    return path, ""


def allow_tracing() -> None:
    """Let any process of this user trace this one; kernels that do not ask for it refuse, idly."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)


def explain_tracer() -> str:
    """How processes are killed on this machine, in one line."""
    path, reason = find_strace()
    return "killed by strace, at counted system calls" if path else f"killed by a timer: {reason}"


@contextmanager
def trace_process(pid: int, log: Path, strike: tuple[str, int] | None) -> Iterator[None]:
    """Watch a process that stands still, and kill it at this call where one is given.

    Its children are let go as they start a program: they live on, and are not counted.
    """
    with _attach(find_strace()[0], pid, log, strike):
        yield


@contextmanager
def _attach(path: str, pid: int, log: Path, strike: tuple[str, int] | None) -> Iterator[None]:
    inject = ["-e", f"inject={strike[0]}:signal=SIGKILL:when={strike[1]}"] if strike else []
    options = ["-f", "-b", "execve", "-qqq", "-y", "-s", "300", "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(
        [path, *options, "-e", f"trace={TRACED}", *inject],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        while f"TracerPid:\t{tracer.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
            if tracer.poll() is not None:
                said = tracer.stderr.read() if tracer.stderr else b""
                raise AssertionError(f"strace does not watch: {said.decode('utf-8', 'replace')}")
            time.sleep(0.002)
        yield
    finally:
        # It ends by itself once what it watches has; what it watches is dead, or is of no use.
        with suppress(subprocess.TimeoutExpired):
            tracer.communicate(timeout=TRACER_ENDS_WITHIN_SECONDS)
        tracer.kill()
        tracer.wait()


def read_calls(log: Path, directory: Path) -> list[Call]:
    """The calls in strace's log, in their order."""
    calls: list[Call] = []
    counted: Counter[tuple[int, str]] = Counter()
    event, tool = "", ()
    for line in log.read_text("utf-8", "replace").splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        thread, name, rest = int(found[1]), found[2], found[3]
        if name == "execve":
            started = _TOOL.search(rest)
            tool = tuple(json.loads(f"[{started[1]}]")) if started else tool
            continue
        counted[thread, name] += 1
        place = name_place(rest, directory)
        written = _EVENT.search(rest) if place == "journal" and name == "write" else None
        event = written[1] if written else event
        calls.append(
            Call(
                thread=thread,
                name=name,
                nth=counted[thread, name],
                place=place,
                event=event if place == "journal" else "",
                tool=_name_tool(tool) if name == "pidfd_open" else (),
            )
        )
    return calls


def name_place(arguments: str, directory: Path) -> str:
    """What of the host a call works on; "" for the rest of this machine."""
    at = arguments.find(str(directory))
    if at < 0:
        return ""
    path = arguments[at + len(str(directory)) :]
    return next((name for start, name in _PLACES if path.startswith(start)), "another file")


def _name_tool(words: tuple[str, ...]) -> tuple[str, ...]:
    return words[:2] if words[:1] in (("xl",), ("xm",)) else words[:1]
