"""The xl process that watches a domain, held still around a suspend so that it survives.

Before Xen 4.20 that monitor takes a suspend for the end of its domain and exits; the guest's own
next reboot, poweroff or crash then finds nobody to act on it. Stopped by SIGSTOP it does not see
the suspend, and goes on watching when it is woken.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from pathlib import PurePath

from xenbackup.dom0.host import Host
from xenbackup.model.command import Process

LOG_FOLDER = "/var/log/xen"
NO_LOG = "none"
_BEGINS = ": "
_BEGINNING_BYTES = 512
_ARRIVED = "(--incoming)?"
"""A guest that was migrated to this host is watched under the name it had on its way."""

_ROTATED = r"(\.[0-9]{1,3}|-[0-9]{8}(-[0-9]{1,10})?)?( \(deleted\))?"
"""By xl itself, which counts, or by logrotate, which may write the date."""

_ANY_LOG = re.compile(rf"{re.escape(LOG_FOLDER)}/xl-.+\.log{_ROTATED}", re.DOTALL)
_WATCHING_VERBS = frozenset(("create", "restore", "migrate-receive"))


def find_monitors(host: Host, domain_name: str) -> tuple[Process, ...]:
    """Monitors of the domain: xl processes whose output goes to its log.

    xl renames that log when the next one is opened, so an older monitor writes to
    `xl-NAME.log.1`, or to a file deleted meanwhile. It keeps its log when its guest is renamed.
    """
    return tuple(
        process for process in host.list_processes() if is_monitor_of(process, domain_name)
    )


def is_watched_by_others(host: Host, domain_name: str, run_id: str) -> bool:
    """Does a monitor watch a domain of this name that this run or restore did not start?"""
    return any(
        process.run_mark != run_id and not process.stopped
        for process in find_monitors(host, domain_name)
    )


def read_log_mark(host: Host, domain_name: str) -> str:
    """Which file the guest's log is now, and how it begins: `inode 7: Waiting for domain …`.

    xl opens a new one for each domain of that name that it has created, and says at once which one
    it waits for; the older ones it renames (`libxl_create_logfile` keeps ten) and opens no more.
    `NO_LOG` where there is none, as for a guest of xm.
    """
    path = host.place(f"{LOG_FOLDER}/xl-{domain_name}.log")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            beginning = file.readline(_BEGINNING_BYTES).decode("utf-8", "replace").strip()
            number = os.fstat(descriptor).st_ino
    except OSError:
        return NO_LOG
    return f"inode {number}{_BEGINS}{beginning}"


def is_same_log(noted: str, found: str) -> bool:
    """Has no log been begun between two marks? An empty one is of logrotate, which renamed or
    emptied the one before; and a copy is the same log: where logs lie in memory, they are put back
    at each boot, in other files.
    """
    noted_file, _, noted_beginning = noted.partition(_BEGINS)
    found_file, _, found_beginning = found.partition(_BEGINS)
    same_file = noted_file == found_file
    return same_file or found.endswith(_BEGINS) or noted_beginning == found_beginning


def is_monitor_of(process: Process, domain_name: str) -> bool:
    """Whether an xl daemon's log, and so the daemon, belongs to the domain of this name."""
    log = f"{re.escape(f'{LOG_FOLDER}/xl-{domain_name}')}{_ARRIVED}\\.log{_ROTATED}"
    return _is_xl(process) and re.fullmatch(log, process.log_path) is not None


def is_any_monitor(process: Process) -> bool:
    """Whether it is the monitor of some domain, whatever that is called by now."""
    verb = next((word for word in process.argv[1:] if not word.startswith("-")), "")
    return (
        _is_xl(process)
        and verb in _WATCHING_VERBS
        and _ANY_LOG.fullmatch(process.log_path) is not None
    )


def find_nameless_monitors(host: Host, names: Iterable[str]) -> tuple[Process, ...]:
    """Monitors that belong to none of these domains by name: theirs were renamed, or are gone."""
    listed = frozenset(names)
    return tuple(
        process
        for process in host.list_processes()
        if is_any_monitor(process) and not any(is_monitor_of(process, name) for name in listed)
    )


def _is_xl(process: Process) -> bool:
    return bool(process.argv) and PurePath(process.argv[0]).name == "xl"


def freeze_monitors(host: Host, processes: Iterable[Process]) -> tuple[Process, ...]:
    """Stop them; returns those that were there to be stopped."""
    return _signal_all(host, processes, signal.SIGSTOP)


def wake_monitors(host: Host, processes: Iterable[Process]) -> tuple[Process, ...]:
    """Let them go on, stopped or not; returns those that are still alive."""
    return _signal_all(host, processes, signal.SIGCONT)


def _signal_all(
    host: Host, processes: Iterable[Process], number: signal.Signals
) -> tuple[Process, ...]:
    return tuple(process for process in processes if host.signal_process(process, number))
