"""Processes as /proc shows them: found by name or mark, and signalled without mistaking the pid."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from xenbackup.model.command import Process

PROC_FOLDER: Final = Path("/proc")
_READ_BYTES = 1 << 20
_GONE_STATES = frozenset("ZXx")
_STOPPED_STATES = frozenset("Tt")
_START_TICKS_FIELD = 22


@dataclass(frozen=True, kw_only=True)
class ProcessStatus:
    """State letter and start time (clock ticks since boot) of a process."""

    state: str
    start_ticks: int


def list_marked_processes(
    mark: str, names: frozenset[str], *, proc_folder: Path = PROC_FOLDER
) -> tuple[Process, ...]:
    """Living processes whose program is one of `names` or whose environment sets `mark`.

    This process is left out. One that ends while it is read, or whose environment belongs to
    another user, counts as not marked.
    """
    return tuple(_read_marked(mark, names, proc_folder))


def read_status(pid: int, *, proc_folder: Path = PROC_FOLDER) -> ProcessStatus | None:
    """State and start time from /proc/PID/stat, proc(5); None when there is no such process."""
    try:
        text = (proc_folder / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The second field is the name in parentheses, and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    if len(fields) <= _START_TICKS_FIELD - 3 or not fields[_START_TICKS_FIELD - 3].isdigit():
        return None
    return ProcessStatus(state=fields[0], start_ticks=int(fields[_START_TICKS_FIELD - 3]))


def signal_exactly(process: Process, number: int, *, proc_folder: Path = PROC_FOLDER) -> bool:
    """Signal the process if pid and start time still match; False when it is gone.

    The descriptor is opened before the start time is compared, so the pid cannot be handed to
    another process in between.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except (OSError, AttributeError):  # a kernel before 5.3
        return _signal_if_same(process, proc_folder, lambda: os.kill(process.pid, number))
    try:
        return _signal_if_same(
            process, proc_folder, lambda: signal.pidfd_send_signal(descriptor, number)
        )
    finally:
        os.close(descriptor)


def _signal_if_same(process: Process, proc_folder: Path, send: Callable[[], None]) -> bool:
    status = read_status(process.pid, proc_folder=proc_folder)
    if status is None or status.start_ticks != process.start_ticks or status.state in _GONE_STATES:
        return False
    try:
        send()
    except ProcessLookupError:
        return False
    return True


def _read_marked(mark: str, names: frozenset[str], proc_folder: Path) -> Iterator[Process]:
    for folder in sorted(proc_folder.glob("[0-9]*"), key=lambda path: path.name):
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        argv = tuple(_read_strings(folder / "cmdline"))
        if not argv:
            continue  # a kernel thread, or gone
        prefix = f"{mark}="
        values = [
            entry.removeprefix(prefix)
            for entry in _read_strings(folder / "environ")
            if entry.startswith(prefix)
        ]
        if not values and PurePath(argv[0]).name not in names:
            continue
        status = read_status(int(folder.name), proc_folder=proc_folder)
        if status is None or status.state in _GONE_STATES:
            continue
        yield Process(
            pid=int(folder.name),
            start_ticks=status.start_ticks,
            argv=argv,
            log_path=_read_link(folder / "fd" / "1"),
            run_mark=values[0] if values else "",
            stopped=status.state in _STOPPED_STATES,
        )


def _read_strings(path: Path) -> list[str]:
    """NUL-separated strings of a file in /proc; [] when it cannot be read."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_READ_BYTES)
    except OSError:
        return []
    return content.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\0") if content else []


def _read_link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
