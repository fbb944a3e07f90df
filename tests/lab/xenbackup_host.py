"""xenbackup as an administrator of the lab's dom0 uses it: its files, its command, its traces."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tests.lab import guests, recipe
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
INTERPRETER = "/usr/lib/xenbackup/venv/bin/python3"
STOP_AT = "/root/stop_at.py"
JOURNALS = "/var/lib/xenbackup/journals"
SPOOL = "/var/lib/xenbackup/spool"


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
    machine.put(recipe.HERE / "stop_at.py", STOP_AT)
    machine.run("sync").check()  # a power cut would take all of it


def add_job(machine: Machine, name: str, text: str) -> None:
    """A job beside those of the presets."""
    machine.put_bytes(text.encode(), f"/etc/xenbackup/jobs/{name}.toml")


def slow_down(machine: Machine, bytes_per_second: str = "1MiB/s") -> None:
    """Bound the rate of copying, so that a copy lasts long enough to be struck in its middle."""
    text = f'bandwidth_limit = "{bytes_per_second}"\n{CONFIGURATION}'
    machine.put_bytes(text.encode(), "/etc/xenbackup/config.toml")


def speed_up(machine: Machine) -> None:
    """Take that bound away again."""
    machine.put_bytes(CONFIGURATION.encode(), "/etc/xenbackup/config.toml")


def begin_run(machine: Machine, job: str, domain: str, *, stop_at: str = "") -> None:
    """Start `xenbackup run` in the background of dom0, detached from us.

    With `stop_at` it stops itself when its journal has that entry (see stop_at.py), and is waited
    for until it has.
    """
    command = f"{INTERPRETER} -I {STOP_AT} {stop_at}" if stop_at else COMMAND
    machine.shell(
        f"touch /root/run.mark; setsid {command} run {job} --domain {domain} --json "
        ">/root/run.json 2>/root/run.err </dev/null & echo $! >/root/run.pid"
    ).check()
    if stop_at:
        _wait_in_run(machine, "grep -q '^State:.T' /proc/$pid/status", f"stop at {stop_at!r}")


def stop_run(machine: Machine, event: str, condition: str) -> None:
    """SIGSTOP the run's own process once its journal has that event and the condition holds.

    The condition is of the shell, and most often says that a command is at work. It works on.
    """
    struck = f"{_spell_search(event)} && {{ {condition}; }} && kill -STOP $pid"
    _wait_in_run(machine, struck, f"{event} and {condition}")


def _spell_search(event: str) -> str:
    """A command of the shell: whether the journal of the run in the background has that event."""
    return (
        f'grep -qs \'"event":"{event}"\' $(find {JOURNALS} -newer /root/run.mark -type f) /dev/null'
    )


def _wait_in_run(machine: Machine, condition: str, what: str) -> None:
    """Wait inside dom0, where `$pid` is the run; it must not end before."""
    script = (
        f"pid=$(cat /root/run.pid); until {condition}; do "
        f"kill -0 $pid || exit 1; [ $SECONDS -gt {RUN_SECONDS} ] && exit 1; sleep 0.05; done"
    )
    if machine.shell(script, timeout_seconds=RUN_SECONDS + 300).exit_code != 0:
        raise LabError(f"no {what}: {_read_told(machine)}")


def _read_told(machine: Machine) -> str:
    return machine.shell("cat /root/run.json /root/run.err").stdout


def let_go_on(machine: Machine) -> None:
    """SIGCONT the run that was stopped."""
    machine.shell("kill -CONT $(cat /root/run.pid)").check()


def wait_for_end(machine: Machine) -> Mapping[str, Any]:
    """Wait until the run in the background has ended; the run's part of its result."""
    wait_until_gone(machine)
    return _read_run(_read_told(machine))


def wait_until_gone(machine: Machine) -> None:
    """Wait until the process of the run in the background is gone, whatever ends it."""
    script = "while kill -0 $(cat /root/run.pid); do sleep 0.2; done; rm /root/run.pid"
    machine.shell(script, timeout_seconds=RUN_SECONDS).check()


def _read_run(told: str) -> Mapping[str, Any]:
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    results = [line for line in lines if line.get("event") == "result"]
    assert results, told
    (run,) = results[-1]["runs"]
    assert isinstance(run, dict)
    return run


def wait_for_entry(machine: Machine, event: str, *, timeout_seconds: float = 600.0) -> None:
    """Until the journal of the run in the background has an entry of this kind.

    Raises:
        LabError: it did not in time, or the run has ended without one.
    """
    deadline = time.monotonic() + timeout_seconds
    while machine.shell(_spell_search(event)).exit_code != 0:
        ended = machine.shell("kill -0 $(cat /root/run.pid)").exit_code != 0
        if ended or time.monotonic() > deadline:
            raise LabError(f"no {event!r} in the journal: {_read_told(machine)}")


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
    return machine.run("ls", "-A", SPOOL).check().stdout.split()


def list_points(machine: Machine, name: str) -> list[str]:
    """Points of a guest that are listed, oldest first."""
    return [str(found["point"]) for found in ask(machine, "points", name)["points"]]


def tell_story(machine: Machine) -> str:
    """What the newest run's journal and the recovery at boot say: for a failed assertion."""
    script = (
        f"tail -n 40 $(ls -t {JOURNALS}/* | head -n 1); xl list; lvs -a; "
        "journalctl --no-pager --lines=40 --output=cat -u xenbackup-recover.service"
    )
    return machine.shell(script).stdout


def ensure_running(machine: Machine, name: str) -> None:
    """What an earlier test that failed has left is no affair of the next one.

    Its run is ended and recovered, a guest that is down is booted; its oracle judges from here.
    """
    if machine.shell("kill -KILL $(cat /root/run.pid)").exit_code == 0:
        call(machine, "recover")
    if guests.read_report(machine, name).domid is None:
        guests.create(machine, name)


def assert_well(machine: Machine, name: str) -> guests.GuestReport:
    """The guest counts on, has found nothing wrong and is watched; nothing of a run is left.

    Every point that is listed verifies.
    """
    report = guests.wait_for_ticks(machine, name)
    assert () == report.complaints, tell_story(machine)
    assert 1 == len(guests.monitor_pids(machine, name)), tell_story(machine)
    suspended = machine.shell("grep -lsx 1 /sys/block/dm-*/dm/suspended").stdout
    assert "" == suspended, tell_story(machine)
    assert [] == list_our_volumes(machine), tell_story(machine)
    assert [] == list_spool(machine), tell_story(machine)
    found = machine.shell("find /srv/backup -name '.partial*'").check().stdout
    assert "" == found.strip(), tell_story(machine)
    verified = call(machine, "verify")
    assert 0 == verified.exit_code, verified.stdout + verified.stderr
    return report


def assert_well_for_good(machine: Machine, name: str) -> guests.GuestReport:
    """It is well, its disks hold what they held, and then its own reboot brings it back.

    Returns how it was before that reboot.
    """
    report = assert_well(machine, name)
    assert () == guests.check_bulk(machine, name).complaints
    assert () == guests.reboot_from_inside(machine, name).complaints
    return report
