"""The xl process that watches a domain, held still around a suspend so that it survives.

Before Xen 4.20 that monitor takes a suspend for the end of its domain and exits; the guest's own
next reboot, poweroff or crash then finds nobody to act on it. Stopped by SIGSTOP it does not see
the suspend, and goes on watching when it is woken.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from pathlib import PurePath

from xenbackup.dom0.host import Host
from xenbackup.model.command import Process

LOG_FOLDER = "/var/log/xen"


def find_monitors(host: Host, domain_name: str) -> tuple[Process, ...]:
    """Monitors of the domain: xl processes whose output goes to its log.

    xl renames that log when the next one is opened, so an older monitor writes to
    `xl-NAME.log.1`, or to a file deleted meanwhile.
    """
    return tuple(
        process for process in host.list_processes() if is_monitor_of(process, domain_name)
    )


def is_monitor_of(process: Process, domain_name: str) -> bool:
    """Whether an xl daemon's log, and so the daemon, belongs to the domain of this name."""
    if not process.argv or PurePath(process.argv[0]).name != "xl":
        return False
    log = re.escape(f"{LOG_FOLDER}/xl-{domain_name}.log")
    return re.fullmatch(log + r"(\.[0-9]{1,3})?( \(deleted\))?", process.log_path) is not None


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
