"""The service under real systemd: it fires by itself, serves whom it may, and dies without harm.

One host for all; the purge of the package comes last.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab import xenbackup_service as service
from tests.lab.machine import Machine
from tests.lab.product import COMMAND, SERVICES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "install.md"


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    service.prepare(shared_host)
    return shared_host


def test_units_are_accepted_enabled_and_as_tight_as_the_page_says(dom0: Machine) -> None:
    units = [*SERVICES, "xenbackup-run@nightly.service", "xenbackup-verify.service"]
    said = dom0.run("systemd-analyze", "verify", "--man=no", *units)
    assert (0, "") == (said.exit_code, said.stderr)
    states = dom0.run("systemctl", "is-enabled", *SERVICES).check().stdout.split()
    assert ["enabled"] * len(SERVICES) == states
    found = service.show(dom0, service.SERVICE, "ActiveState", "StatusText", "NRestarts")
    assert ("active", "0") == (found["ActiveState"], found["NRestarts"]), service.tell_story(dom0)
    scored = dom0.run("systemd-analyze", "security", "--no-pager", service.SERVICE).check().stdout
    score = re.search(r"exposure level for xenbackup.service: ([0-9.]+)", scored)
    promised = re.search(r"`systemd-analyze security` gives it ([0-9.]+)", PAGE.read_text())
    assert score
    assert promised
    assert promised[1] == score[1]


def test_due_time_in_a_clock_set_forward_is_run_and_the_guest_outlives_the_service(
    dom0: Machine,
) -> None:
    """Nobody asks: the clock passes the job's due time, as after a suspend or a late NTP step."""
    before = guests.read_report(dom0, "web")
    dom0.shell("touch /root/mark; sleep 1.1; date --utc --set 'tomorrow 02:31'").check()
    service.wait_for(
        dom0,
        'grep -qs \'"event":"run-ended"\' '
        f"$(find {service.JOURNALS} -newer /root/mark -type f) /dev/null",
        "run by itself",
    )
    (run,) = product.ask(dom0, "runs", "--number", "1")["runs"]
    assert ("nightly", "web", "ok") == (run["job"], run["domain"], run["outcome"])
    report = service.assert_healthy(dom0, "web")
    assert before.domid != report.domid, "preset snapshot restores the guest"

    (monitor,) = guests.monitor_pids(dom0, "web")
    group = service.read_control_group(dom0, monitor)
    assert "xenbackup-restore-" in group
    assert service.SERVICE not in group
    acts = (
        ("systemctl", "restart", service.SERVICE),
        ("systemctl", "kill", "--kill-whom=all", "--signal=KILL", service.SERVICE),
        ("systemctl", "stop", service.SERVICE),
    )
    for act in acts:
        dom0.run(*act).check()
        assert [monitor] == guests.monitor_pids(dom0, "web"), f"after {' '.join(act)}"
    dom0.run("systemctl", "start", service.SERVICE).check()
    assert report.domid == guests.wait_for_ticks(dom0, "web").domid
    assert () == guests.reboot_from_inside(dom0, "web").complaints


def test_operators_run_jobs_readers_look_and_strangers_are_refused(dom0: Machine) -> None:
    run = ("run", "quick", "--json")
    done = service.call_as(dom0, service.OPERATOR, COMMAND, *run)
    assert 0 == done.exit_code, f"{done.stdout}{done.stderr}{service.tell_story(dom0)}"
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert ("result", "ok") == (result["event"], result["outcome"])
    listed = json.loads(
        service.call_as(dom0, service.READER, COMMAND, "runs", "--json").check().stdout
    )
    assert result["runs"][0]["run"] in [found["run"] for found in listed["runs"]]

    journals = dom0.run("ls", service.JOURNALS).check().stdout
    for user in (service.READER, service.STRANGER):
        refused = service.call_as(dom0, user, COMMAND, *run)
        assert 1 == refused.exit_code, f"{user}: {refused.stdout}{refused.stderr}"
        assert "Traceback" not in refused.stderr
    assert 1 == service.call_as(dom0, service.STRANGER, COMMAND, "runs").exit_code
    assert journals == dom0.run("ls", service.JOURNALS).check().stdout


@pytest.mark.lab_long
def test_operators_start_jobs_by_their_unit_and_strangers_do_not(dom0: Machine) -> None:
    unit = "xenbackup-run@quick.service"
    start = ("systemctl", "--no-ask-password", "start", unit)
    journals = dom0.run("ls", service.JOURNALS).check().stdout.split()
    refused = service.call_as(dom0, service.STRANGER, *start)
    assert 0 != refused.exit_code
    assert journals == dom0.run("ls", service.JOURNALS).check().stdout.split()
    done = service.call_as(dom0, service.OPERATOR, *start)
    assert 0 == done.exit_code, f"{done.stderr}{service.tell_story(dom0)}"
    assert len(journals) + 1 == len(dom0.run("ls", service.JOURNALS).check().stdout.split())
    assert "ok" == service.read_outcome(dom0)
    stop = ("systemctl", "--no-ask-password", "stop", service.SERVICE)
    assert 0 != service.call_as(dom0, service.OPERATOR, *stop).exit_code
    service.assert_healthy(dom0, "thinny")


def test_hung_daemon_is_killed_and_its_paused_guest_back_within_the_deadline(
    dom0: Machine,
) -> None:
    act = "kill -STOP $pid; date +%s; xl list web"
    struck = service.strike(dom0, "crash", "snapshotting", act)
    hung_at, listed = struck.told.split("\n", 1)
    assert re.search(r"^web .* --p--- ", listed, flags=re.M), listed
    service.wait_for_another_daemon(dom0, struck.pid)
    back_at = int(dom0.run("date", "+%s").check().stdout)
    assert back_at - int(hung_at) < service.SHORT_AWAY_SECONDS
    service.assert_healthy(dom0, "web")
    assert 0 == product.call(dom0, "verify").exit_code
    found = service.show(dom0, service.SERVICE, "NRestarts")
    assert int(found["NRestarts"]) >= 1
    log = dom0.shell(f"journalctl --no-pager -o cat -u {service.SERVICE}").check().stdout
    assert "Watchdog timeout" in log


def test_purge_leaves_guests_and_points_and_nothing_else(dom0: Machine) -> None:
    before = guests.read_report(dom0, "web")
    points = dom0.shell("find /srv/backup | sort").check().stdout
    assert "/srv/backup/.xenbackup-destination" in points.split()
    done = dom0.run("dpkg", "--purge", "xenbackup").check()
    assert "spool" not in done.stderr
    gone = ("/etc/xenbackup", "/var/lib/xenbackup", "/run/xenbackup", "/usr/lib/xenbackup", COMMAND)
    for place in gone:
        left = dom0.run("find", place)
        assert "No such file" in left.stderr, f"{left.stdout}\n{done.stdout}{done.stderr}"
    # Only what holds the monitor of a guest that a backup brought back may stay, with its guest.
    units = dom0.shell("systemctl list-unit-files 'xenbackup*' --no-legend").stdout.splitlines()
    (monitor,) = guests.monitor_pids(dom0, "web")
    home = service.read_control_group(dom0, monitor)
    assert [] == [unit for unit in units if unit.split()[0] not in home]
    assert points == dom0.shell("find /srv/backup | sort").check().stdout
    report = guests.wait_for_ticks(dom0, "web")
    assert (before.domid, ()) == (report.domid, report.complaints)
