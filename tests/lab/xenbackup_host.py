"""xenbackup as an administrator of the lab's dom0 uses it: its files, its command, its traces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.lab.machine import Completed, Machine
from tests.lab.product import COMMAND

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
