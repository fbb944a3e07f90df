"""xenbackup as an administrator of the lab's dom0 uses it: its files, its command, its traces."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tests.lab.machine import Completed, Machine
from tests.lab.product import COMMAND
from tests.lab.wire import LabError

CONFIGURATION = """\
[destination.local]
kind = "images"
path = "/srv/backup"
"""
PRESETS = ("snapshot", "checkpoint", "cold", "crash")
RUN_SECONDS = 1800


def prepare(machine: Machine) -> None:
    """Configuration, a job for each preset, and a marked destination: once for each machine."""
    if machine.run("test", "-e", "/etc/xenbackup/config.toml").exit_code == 0:
        return
    machine.run("mkdir", "-p", "/etc/xenbackup/jobs", "/srv").check()
    machine.put_bytes(CONFIGURATION.encode(), "/etc/xenbackup/config.toml")
    for preset in PRESETS:
        text = (
            f'description = "the lab\'s {preset}"\ndomains = ["*"]\npreset = "{preset}"\n'
            'destination = "local"\nmax_away = "1h"\n'
        )
        machine.put_bytes(text.encode(), f"/etc/xenbackup/jobs/{preset}.toml")
    call(machine, "destination", "init", "local").check()


def slow_down(machine: Machine, bytes_per_second: str = "1MiB/s") -> None:
    """Bound the rate of copying, so that a copy lasts long enough to be struck in its middle."""
    text = f'bandwidth_limit = "{bytes_per_second}"\n{CONFIGURATION}'
    machine.put_bytes(text.encode(), "/etc/xenbackup/config.toml")


def begin_run(machine: Machine, job: str, domain: str) -> None:
    """Start `xenbackup run` in the background of dom0, detached from us."""
    machine.shell(
        f"setsid {COMMAND} run {job} --domain {domain} --json >/root/run.json 2>/root/run.err "
        "</dev/null & echo $! >/root/run.pid"
    ).check()


def wait_for_entry(machine: Machine, event: str, *, timeout_seconds: float = 600.0) -> None:
    """Until the newest journal has an entry of this kind.

    Raises:
        LabError: it did not in time, or the run has ended without one.
    """
    deadline = time.monotonic() + timeout_seconds
    script = f'grep -l \'"event":"{event}"\' /var/lib/xenbackup/journals/*'
    while machine.shell(script).exit_code != 0:
        ended = machine.shell("kill -0 $(cat /root/run.pid)").exit_code != 0
        if ended or time.monotonic() > deadline:
            told = machine.shell("cat /root/run.json /root/run.err").stdout
            raise LabError(f"no {event!r} in the journal: {told}")


def kill_run(machine: Machine) -> None:
    """SIGKILL the run's own process, and nothing that it started."""
    machine.shell("kill -KILL $(cat /root/run.pid)").check()


def recover(machine: Machine) -> dict[str, Any]:
    """`xenbackup recover`, seen to have healed everything."""
    return ask(machine, "recover")


def call(machine: Machine, *arguments: str) -> Completed:
    """Run `xenbackup ARGUMENTS…` in dom0."""
    return machine.run(COMMAND, *arguments, timeout_seconds=RUN_SECONDS)


def ask(machine: Machine, *arguments: str) -> dict[str, Any]:
    """The object that a verb prints with --json; it must have succeeded."""
    found: dict[str, Any] = json.loads(call(machine, *arguments, "--json").check().stdout)
    return found


def back_up(machine: Machine, job: str, domain: str) -> Mapping[str, Any]:
    """Run a job for one domain; the run's part of the result, seen to be good."""
    done = call(machine, "run", job, "--domain", domain, "--json")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert 0 == done.exit_code, f"{result}\n{done.stderr}"
    assert "result" == result["event"]
    assert "ok" == result["outcome"], result
    (run,) = result["runs"]
    assert isinstance(run, dict)
    return run


def list_our_volumes(machine: Machine) -> list[str]:
    """Logical volumes that carry our tag: after any run there must be none."""
    found = machine.run("lvs", "--noheadings", "-o", "lv_name", "-S", "lv_tags={xenbackup}")
    return found.check().stdout.split()


def list_spool(machine: Machine) -> list[str]:
    """Files left in the spool: after any run there must be none."""
    return machine.run("ls", "-A", "/var/lib/xenbackup/spool").check().stdout.split()
