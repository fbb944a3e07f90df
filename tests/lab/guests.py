"""The guests as the tests see them: what their oracle says, and how they are told things."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.console import ConsoleReport, log_path, parse_console
from tests.lab.machine import Machine
from tests.lab.wire import LabError, WireRefused

WAIT_SECONDS = 600
"""How long a guest may take for what it does in seconds on a quiet machine."""


@dataclass(frozen=True, kw_only=True)
class GuestReport(ConsoleReport):
    """One guest: what its console tells since the log began, and its domain and disks now."""

    name: str
    domid: int | None
    """None when the guest does not exist"""
    state: str | None
    """the six letters of `xl list`"""
    targets: dict[str, str]
    """vdev → what backs it in dom0"""
    counts: dict[str, int | None]
    """vdev → the count on that disk; None when unreadable"""


def read_reports(machine: Machine, *names: str) -> dict[str, GuestReport]:
    """Ask the oracle about guests, in one call."""
    answer = json.loads(machine.run("/usr/local/bin/lab-oracle", *names).check().stdout)
    return {
        name: GuestReport(
            name=name,
            domid=found["domid"],
            state=found["state"],
            last_tick=found["last_tick"],
            boots=found["boots"],
            bulk_ok=found["bulk_ok"],
            corrupt=tuple(found["corrupt"]),
            errors=tuple(found["errors"]),
            last_line=found["last_line"],
            targets={vdev: disk["target"] for vdev, disk in found["disks"].items()},
            counts={vdev: disk["count"] for vdev, disk in found["disks"].items()},
        )
        for name, found in answer.items()
    }


def read_report(machine: Machine, name: str) -> GuestReport:
    """Ask the oracle about one guest."""
    return read_reports(machine, name)[name]


def read_console(machine: Machine, name: str) -> ConsoleReport:
    """What the guest's console tells: cheap, since it starts no process in dom0."""
    try:
        text = machine.get(log_path(name)).decode(errors="replace")
    except WireRefused:
        text = ""  # no log yet: it was never created
    return parse_console(text)


def wait_until(
    machine: Machine,
    name: str,
    condition: Callable[[ConsoleReport], bool],
    what: str,
    *,
    timeout_seconds: float = WAIT_SECONDS,
) -> GuestReport:
    """Read the guest's console until the condition holds; then its whole report.

    Raises:
        LabError: it did not in time; the message holds the last report.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition(read_console(machine, name)):
        if time.monotonic() > deadline:
            report = read_report(machine, name)
            raise LabError(f"{name}: not {what} within {timeout_seconds:.0f} s: {report}")
        time.sleep(0.5)
    return read_report(machine, name)


def wait_for_ticks(machine: Machine, name: str, *, more: int = 3) -> GuestReport:
    """Wait until the guest has counted on by `more` from where its console stands now."""
    goal = read_console(machine, name).last_tick + more
    return wait_until(machine, name, lambda report: report.last_tick >= goal, f"at tick {goal}")


def wait_for_boots(machine: Machine, name: str, boots: int) -> GuestReport:
    """Wait until the guest's console has seen that many boots, and the last one ticks."""
    return wait_until(
        machine,
        name,
        lambda report: report.boots >= boots and report.last_line.startswith("tick "),
        f"booted {boots} times and ticking",
    )


def tell(machine: Machine, name: str, word: str) -> None:
    """Type `reboot`, `poweroff`, `crash` or `bulk` into a guest's console."""
    machine.run("/usr/local/bin/lab-tell", name, word).check()


def reboot_from_inside(machine: Machine, name: str) -> GuestReport:
    """Have the guest reboot itself, and wait until it counts again: its monitor must be alive."""
    before = read_console(machine, name)
    tell(machine, name, "reboot")
    return wait_for_boots(machine, name, before.boots + 1)


def check_bulk(machine: Machine, name: str) -> GuestReport:
    """Have the running guest hash its disks' unchanging content, and wait for the answer."""
    before = read_report(machine, name)
    answers = before.bulk_ok + len(before.corrupt) + len(before.targets)
    tell(machine, name, "bulk")
    return wait_until(
        machine,
        name,
        lambda report: report.bulk_ok + len(report.corrupt) >= answers,
        "done with hashing its disks",
    )


def create(machine: Machine, name: str) -> GuestReport:
    """`xl create` a guest from its file in /etc/xen, and wait until it counts."""
    machine.run("xl", "create", f"/etc/xen/{name}.cfg").check()
    return wait_for_ticks(machine, name, more=2)


def monitor_pids(machine: Machine, name: str) -> list[int]:
    """The xl processes that watch this guest, found by the log file they hold open.

    xl renames that file when a later xl opens one of the same name.
    """
    script = (
        "for pid in $(pgrep -x xl); do"
        ' case "$(readlink /proc/$pid/fd/2)" in "$1" | "$1".* | "$1 "*) echo $pid ;; esac; done'
    )
    argv = ("/bin/bash", "-c", script, "bash", f"/var/log/xen/xl-{name}.log")
    return [int(word) for word in machine.run(*argv).check().stdout.split()]
