"""Every preset, on every kind of disk and destination, inside the packaged units.

What `systemd/hardening.conf` forbids the services keeps no pipeline from its end. While the daemon
is stopped a job runs inside `xenbackup-run@.service` itself, else inside the daemon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.lab import guests, image_guest
from tests.lab import xenbackup_host as product
from tests.lab import xenbackup_service as service
from tests.lab.machine import Machine

pytestmark = pytest.mark.lab_long

VERIFY = "xenbackup-verify.service"
OFF = "pvh01"
"""A guest that is shut off."""
SLOTS = {"web--xvda": "64m", "web--xvdb": "32m"}
CONFIGURATION = f"""\
{product.CONFIGURATION}
[destination.prepared]
kind = "volume"
path = "xenvols"
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job, and what its point must be worth."""

    preset: str
    guest: str = "web"
    destination: str = "local"
    consistency: str = "memory"

    @property
    def job(self) -> str:
        return f"{self.preset}-{self.guest}-{self.destination}"


CHECKPOINT = Case(preset="checkpoint")
CASES = (
    CHECKPOINT,
    Case(preset="snapshot"),
    Case(preset="cold"),
    Case(preset="crash", consistency="crash"),
    Case(preset="auto"),
    Case(preset="offline", guest=OFF, consistency="offline"),
    # Thin volumes.
    Case(preset="checkpoint", guest="thinny"),
    # An image file behind a loop device, which `xl destroy` takes away in the unit.
    Case(preset="snapshot", guest=image_guest.NAME),
    Case(preset="checkpoint", destination="prepared"),
)


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    """A job for each case, both destinations ready, a guest on an image file; no daemon."""
    service.prepare(shared_host)
    shared_host.run("systemctl", "disable", "--now", "--quiet", service.SERVICE).check()
    for name, size in SLOTS.items():
        shared_host.run("lvcreate", "-y", "-L", size, "-n", name, "xenvols").check()
        shared_host.run("lvchange", "--addtag", "xb.destination", f"xenvols/{name}").check()
    shared_host.put_bytes(CONFIGURATION.encode(), "/etc/xenbackup/config.toml")
    product.call(shared_host, "destination", "init", "prepared").check()
    for case in CASES:
        require = 'require = "memory"\n' if case.preset == "auto" else ""
        text = (
            f'domains = ["{case.guest}"]\npreset = "{case.preset}"\n'
            f'destination = "{case.destination}"\nretries = 0\nmax_away = "1h"\n{require}'
        )
        product.add_job(shared_host, case.job, text)
    assert () == image_guest.create_image_guest(shared_host).complaints
    return shared_host


def run_by_unit(machine: Machine, case: Case) -> str:
    """Start the job's unit, which returns when the round has ended; its point."""
    unit = f"xenbackup-run@{case.job}.service"
    done = machine.run("systemctl", "start", unit, timeout_seconds=service.WAIT_SECONDS)
    assert 0 == done.exit_code, f"{done.stderr}\n{service.tell_story(machine)}"
    assert "success" == service.show(machine, unit, "Result")["Result"]
    (run,) = product.ask(machine, "runs", "--number", "1")["runs"]
    found = (run["job"], run["domain"], run["outcome"], run["consistency"])
    assert (case.job, case.guest, "ok", case.consistency) == found, service.tell_story(machine)
    assert "" == run["owes"]
    warnings = machine.shell(f'grep -h \'"event":"warned"\' {service.JOURNALS}/{run["run"]}*')
    assert "" == warnings.stdout, "what is forbidden may cost a warning alone"
    return str(run["point"])


def assert_good(machine: Machine, case: Case, point: str) -> None:
    """The guest is as it was, to its next reboot; nothing is left; the point is whole."""
    if case.guest == OFF:
        assert guests.read_report(machine, OFF).domid is None
        assert [] == product.list_our_volumes(machine)
    else:
        service.assert_healthy(machine, case.guest)
        assert () == guests.check_bulk(machine, case.guest).complaints
        assert () == guests.reboot_from_inside(machine, case.guest).complaints
    assert [image_guest.IMAGE.rpartition("/")[2]] == image_guest.list_files(machine)
    (verified,) = product.ask(machine, "verify", point)["points"]
    assert (point, "good") == (verified["point"], verified["verdict"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.job)
def test_preset_runs_to_its_end_inside_its_unit(dom0: Machine, case: Case) -> None:
    dom0.run("systemctl", "stop", service.SERVICE).check()
    assert_good(dom0, case, run_by_unit(dom0, case))


def test_daemon_runs_the_job_of_a_unit_to_its_end(dom0: Machine) -> None:
    dom0.run("systemctl", "start", service.SERVICE).check()
    point = run_by_unit(dom0, CHECKPOINT)
    log = dom0.shell(f"journalctl --no-pager -o cat -u {service.SERVICE}").check().stdout
    ended = [line for line in log.splitlines() if '"round-ended"' in line]
    assert CHECKPOINT.job in ended[-1], log
    assert_good(dom0, CHECKPOINT, point)


def test_verification_unit_reads_every_point_and_fails_for_a_flipped_bit(dom0: Machine) -> None:
    """Of images and of prepared volumes; whoever watches failed units hears of it."""
    listed = product.ask(dom0, "points")["points"]
    if {"local", "prepared"} != {found["destination"] for found in listed}:
        for case in (CHECKPOINT, CASES[-1]):
            run_by_unit(dom0, case)
        listed = product.ask(dom0, "points")["points"]
    done = dom0.run("systemctl", "start", VERIFY, timeout_seconds=service.WAIT_SECONDS)
    log = dom0.shell(f"journalctl --no-pager -o cat -u {VERIFY}").check().stdout
    assert 0 == done.exit_code, log
    found = service.show(dom0, VERIFY, "Result", "ExecMainStatus")
    assert ("success", "0") == (found["Result"], found["ExecMainStatus"])
    for point in listed:
        assert re.search(rf"{point['point']}\b.*\bgood\b", log), log

    victim = next(point for point in listed if point["destination"] == "local")
    image = f"/srv/backup/{victim['domain']}/{victim['point']}/xvda.img"
    # The first letter of the header that a guest's disk begins with.
    dom0.shell(f"printf X | dd of={image} conv=notrunc,fsync status=none").check()
    done = dom0.run("systemctl", "start", VERIFY, timeout_seconds=service.WAIT_SECONDS)
    assert 0 != done.exit_code
    assert "exit-code" == service.show(dom0, VERIFY, "Result")["Result"]
    log = dom0.shell(f"journalctl --no-pager -o cat -u {VERIFY}").check().stdout
    assert re.search(rf"{victim['point']}\b.*\bdamaged\b", log), log
    assert "failed" == dom0.run("systemctl", "is-failed", VERIFY).stdout.strip()
