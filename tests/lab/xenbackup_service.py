"""The service as systemd and its users see it in dom0: started, struck, asked, looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab.machine import Completed, Machine
from tests.lab.product import SERVICES

SERVICE = "xenbackup.service"
RECOVER = "xenbackup-recover.service"
JOURNALS = "/var/lib/xenbackup/journals"
MARK = "/root/mark"
"""Touched before a run begins: its journal is newer."""
MAX_AWAY_SECONDS = 600
SHORT_AWAY_SECONDS = 150
"""Of job `crash`: the watchdog is a tenth of it while the guest is paused."""
WAIT_SECONDS = 900
"""How long is waited inside dom0 for what takes seconds on a quiet machine."""

OPERATOR, READER, STRANGER = "opal", "rita", "stan"
_GROUPS = {OPERATOR: "xenbackup-operators", READER: "xenbackup", STRANGER: "nogroup"}

_JOBS = {
    # name: preset, guest, further lines
    "nightly": ("snapshot", "web", 'schedule = "30 2 * * *"\ntimezone = "UTC"\n'),
    "checkpoint": ("checkpoint", "web", ""),
    "crash": ("crash", "web", ""),
    "cold": ("cold", "web", ""),
    "quick": ("crash", "thinny", ""),
    "full": ("snapshot", "hvm01", ""),
}


def prepare(machine: Machine, *, slow: bool = False) -> None:
    """Configuration, jobs, users, a marked destination; the service enabled and started.

    `slow` bounds the rate of copying, so that a copy can be struck in its middle.
    """
    configuration = product.CONFIGURATION
    if slow:
        configuration = f'bandwidth_limit = "2MiB/s"\n{configuration}'
    machine.run("mkdir", "-p", "/etc/xenbackup/jobs").check()
    machine.put_bytes(configuration.encode(), "/etc/xenbackup/config.toml")
    for name, (preset, guest, further) in _JOBS.items():
        text = (
            f'domains = ["{guest}"]\npreset = "{preset}"\ndestination = "local"\nretries = 0\n'
            f'max_away = "{SHORT_AWAY_SECONDS if preset == "crash" else MAX_AWAY_SECONDS}s"\n'
            f"{further}"
        )
        machine.put_bytes(text.encode(), f"/etc/xenbackup/jobs/{name}.toml")
    for user, group in _GROUPS.items():
        machine.run("useradd", "--groups", group, user).check()
    product.call(machine, "destination", "init", "local").check()
    machine.run("systemctl", "enable", "--now", "--quiet", *SERVICES).check()


def show(machine: Machine, unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit, as systemd tells them."""
    done = machine.run("systemctl", "show", unit, f"--property={','.join(properties)}").check()
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def read_main_pid(machine: Machine) -> int:
    """The daemon's process; 0 when there is none."""
    return int(show(machine, SERVICE, "MainPID")["MainPID"])


def call_as(machine: Machine, user: str, *argv: str) -> Completed:
    """Run a command in dom0 as one of the users."""
    return machine.run("runuser", "-u", user, "--", *argv, timeout_seconds=WAIT_SECONDS)


def wait_for(machine: Machine, condition: str, what: str) -> None:
    """Wait inside dom0 until a shell condition holds: one call, however long it takes."""
    script = (
        f"until {condition}; do [ $SECONDS -gt {WAIT_SECONDS} ] && exit 1; sleep 0.5; done; exit 0"
    )
    done = machine.shell(script, timeout_seconds=WAIT_SECONDS + 300)
    assert 0 == done.exit_code, f"not {what} in {WAIT_SECONDS} s\n{tell_story(machine)}"


def wait_for_another_daemon(machine: Machine, old_pid: int) -> None:
    """Until systemd has started the daemon anew; it is active when it has recovered all runs."""
    wait_for(
        machine,
        f'[ "$(systemctl show {SERVICE} -p MainPID --value)" != {old_pid} ] && '
        f"systemctl is-active --quiet {SERVICE}",
        "started anew",
    )


def tell_story(machine: Machine) -> str:
    """What the service's log and the newest journal of a run say: for a failed assertion."""
    script = (
        f"systemctl status --no-pager {SERVICE} | head -n 20; "
        "journalctl --no-pager --lines=60 --output=cat -u xenbackup.service "
        "-u xenbackup-recover.service -u 'xenbackup-run@*'; "
        f"tail -n 40 $(ls -t {JOURNALS}/* | head -n 1)"
    )
    return machine.shell(script).stdout


@dataclass(frozen=True, kw_only=True)
class Strike:
    """What was seen just after an act in the middle of a run."""

    pid: int
    """the daemon's process when the run began"""
    told: str
    """what the act printed"""


def strike(machine: Machine, job: str, event: str, act: str, *, begin: str = "") -> Strike:
    """Start a job by its unit, and act (a shell line) once its run's journal has that event.

    `event` may be of one step: `step-began:sync`. `begin` (shell too, the clock may be set in it)
    starts the job in another way.
    All in one script inside dom0, so that the act comes within a moment. `$pid` is the daemon's.
    """
    script = f"""
        touch {MARK}; sleep 1.1
        pid=$(systemctl show {SERVICE} -p MainPID --value); echo "$pid"
        {begin or f"systemctl start --no-block xenbackup-run@{job}"}
        SECONDS=0
        until {spell_search(event)}
        do [ $SECONDS -gt {WAIT_SECONDS} ] && exit 1; sleep 0.05; done
        {act}
    """
    done = machine.shell(script, timeout_seconds=WAIT_SECONDS + 300)
    assert 0 == done.exit_code, f"{done.stdout}{done.stderr}\n{tell_story(machine)}"
    first, _, rest = done.stdout.partition("\n")
    return Strike(pid=int(first), told=rest)


def spell_search(event: str) -> str:
    """A command of the shell: whether a journal begun since the mark has that event."""
    name, colon, step = event.partition(":")
    words = f'"event":"{name}"' + (f'.*"step":"{step}"' if colon else "")
    return f"grep -qs '{words}' $(find {JOURNALS} -newer {MARK} -type f) /dev/null"


def read_step_struck(machine: Machine) -> str:
    """The step in which the newest run was cut off, before recovery took over; "" for none."""
    step = ""
    lines = machine.shell(f"cat $(ls -t {JOURNALS}/* | head -n 1)").check().stdout.splitlines()
    for entry in (json.loads(line)["entry"] for line in lines):
        if entry["event"] == "recovery-began":
            return step
        if entry["event"] in ("step-began", "step-done"):
            step = entry["step"] if entry["event"] == "step-began" else ""
    return ""


def read_outcome(machine: Machine) -> str:
    """The outcome of the newest run that has ended, from its journal."""
    script = f'grep -h \'"event":"run-ended"\' {JOURNALS}/* | tail -n 1'
    found = machine.shell(script).stdout
    return found.partition('"outcome":"')[2].partition('"')[0]


def read_control_group(machine: Machine, pid: int) -> str:
    """The control group that a process lives in."""
    return machine.run("cat", f"/proc/{pid}/cgroup").check().stdout.strip()


def assert_healthy(machine: Machine, name: str) -> guests.GuestReport:
    """The guest counts on without a complaint, and nothing of a run is left on the host."""
    report = guests.wait_for_ticks(machine, name)
    assert () == report.complaints, tell_story(machine)
    assert report.domid is not None, tell_story(machine)
    assert [] == product.list_our_volumes(machine), tell_story(machine)
    assert [] == product.list_spool(machine), tell_story(machine)
    found = machine.shell("find /srv/backup -name '.partial*'").check().stdout
    assert "" == found.strip(), tell_story(machine)
    return report
