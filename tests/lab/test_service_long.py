"""The service struck at every step, stopped, restarted and upgraded in the middle of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab import xenbackup_service as service
from tests.lab.machine import Machine
from tests.lab.product import REMOTE_PACKAGE

pytestmark = pytest.mark.lab_long

NEWER = "/root/xenbackup-newer.deb"
TRIES = 3

# Job, event, and the steps that the daemon may have died in when it was killed at that event.
KILLS = (
    ("nightly", "saving", "save"),
    ("nightly", "image-verified", "save"),
    # The journal's next lines are the end of this step and the begin of the next.
    ("nightly", "destroyed", "save snapshot"),
    ("nightly", "snapshotting", "snapshot"),
    ("nightly", "restoring", "restore"),
    ("nightly", "resuming", "restore"),
    ("nightly", "staging", "copy"),
    ("nightly", "removing-snapshot", "remove-snapshot"),
    ("checkpoint", "saving", "save-paused"),
    ("checkpoint", "snapshotting", "snapshot"),
    ("checkpoint", "resuming", "unpause"),
    ("checkpoint", "staging", "copy"),
    ("checkpoint", "removing-snapshot", "remove-snapshot"),
    ("crash", "step-began:sync", "sync"),
    ("crash", "pausing", "pause"),
    ("crash", "snapshotting", "snapshot"),
    ("crash", "resuming", "unpause"),
    ("crash", "staging", "copy"),
    ("crash", "removing-snapshot", "remove-snapshot"),
    ("cold", "saving", "save"),
    ("cold", "staging", "copy"),
    ("cold", "restoring", "restore"),
)


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    service.prepare(shared_host, slow=True)
    return shared_host


@pytest.mark.parametrize(
    ("job", "event", "steps"),
    [pytest.param(*kill, id=f"{kill[0]}-{kill[1]}") for kill in KILLS],
)
def test_daemon_killed_in_a_step(dom0: Machine, job: str, event: str, steps: str) -> None:
    """systemd starts it again, and it heals before anything else. The guest can still reboot.

    Some steps are over in half a second: a kill that came too late is done again.
    """
    assert any(kill_daemon(dom0, job, event) in steps.split() for _ in range(TRIES))
    service.assert_healthy(dom0, "web")
    assert () == guests.reboot_from_inside(dom0, "web").complaints


def kill_daemon(machine: Machine, job: str, event: str) -> str:
    """Kill it at that event, and wait until the next one has healed; the step that it died in."""
    struck = service.strike(machine, job, event, "kill -KILL $pid")
    service.wait_for_another_daemon(machine, struck.pid)
    return service.read_step_struck(machine)


@pytest.mark.parametrize("event", ["saving", "destroyed", "staging"])
def test_stop_in_a_run_brings_the_guest_back_first(dom0: Machine, event: str) -> None:
    act = f"systemctl stop {service.SERVICE}; xl list"
    struck = service.strike(dom0, "nightly", event, act)
    assert "\nweb " in struck.told, "the stop returned before the guest was back"
    found = service.show(dom0, service.SERVICE, "ActiveState", "Result")
    assert ("inactive", "success") == (found["ActiveState"], found["Result"])
    assert "cancelled" == service.read_outcome(dom0)
    service.assert_healthy(dom0, "web")
    dom0.run("systemctl", "start", service.SERVICE).check()


def test_restart_in_a_run(dom0: Machine) -> None:
    act = f"systemctl restart {service.SERVICE}"
    struck = service.strike(dom0, "nightly", "destroyed", act)
    assert struck.pid != service.read_main_pid(dom0)
    assert "cancelled" == service.read_outcome(dom0)
    service.assert_healthy(dom0, "web")


def test_upgrade_in_a_scheduled_round(dom0: Machine, newer_package: Path) -> None:
    """The old daemon brings its guest back and stops; the new one goes on with the round."""
    dom0.put(newer_package, NEWER)
    old = read_version(dom0)
    struck = service.strike(
        dom0,
        "nightly",
        "destroyed",
        f"dpkg --install {NEWER}; dpkg-query --show --showformat='${{Version}}' xenbackup",
        begin="date --utc --set 'tomorrow 02:31'",
    )
    new = read_version(dom0)
    assert old != new
    assert struck.told.endswith(new), struck.told
    assert struck.pid != service.read_main_pid(dom0)
    log = dom0.shell(f"journalctl --no-pager -o cat -u {service.SERVICE}").check().stdout
    began = [line for line in log.splitlines() if '"daemon-began"' in line]
    assert f'"{new}"' in began[-1]

    service.wait_for(
        dom0,
        f"[ $(find {service.JOURNALS} -newer {service.MARK} -type f "
        "-exec grep -l run-ended {} + | wc -l) = 2 ]",
        "gone on with",
    )
    runs = product.ask(dom0, "runs", "--number", "2")["runs"]
    assert {("nightly", "web")} == {(run["job"], run["domain"]) for run in runs}
    assert ["cancelled", "ok"] == sorted(run["outcome"] for run in runs), service.tell_story(dom0)
    assert 1 == len({run["round"] for run in runs}), "the same round, nobody asked again"
    service.assert_healthy(dom0, "web")
    assert 0 == product.call(dom0, "verify").exit_code
    assert () == guests.reboot_from_inside(dom0, "web").complaints


def read_version(machine: Machine) -> str:
    return product.call(machine, "--version").check().stdout.split()[-1]


def test_what_the_administrator_has_switched_off_stays_off_after_an_upgrade(
    dom0: Machine, newer_package: Path
) -> None:
    dom0.put(newer_package, NEWER)
    dom0.run("dpkg", "--install", REMOTE_PACKAGE).check()
    dom0.run("systemctl", "disable", "--now", "--quiet", service.SERVICE).check()
    dom0.run("dpkg", "--install", NEWER).check()
    found = service.show(dom0, service.SERVICE, "ActiveState", "UnitFileState")
    assert ("inactive", "disabled") == (found["ActiveState"], found["UnitFileState"])
    dom0.run("systemctl", "enable", "--now", "--quiet", service.SERVICE).check()


def test_device_model_of_a_restored_guest_outlives_the_service(dom0: Machine) -> None:
    guests.create(dom0, "hvm01")
    dom0.shell("systemctl start xenbackup-run@full").check()
    assert "ok" == service.read_outcome(dom0)
    report = service.assert_healthy(dom0, "hvm01")
    find = f"pgrep -f 'qemu-system.*-xen-domid {report.domid}'"
    (model,) = dom0.shell(find).check().stdout.split()
    assert "xenbackup-restore-" in service.read_control_group(dom0, int(model))
    dom0.run("systemctl", "restart", service.SERVICE).check()
    dom0.run(
        "systemctl", "kill", "--kill-whom=all", "--signal=KILL", service.SERVICE
    ).check()  # fmt: skip
    assert report.domid == guests.wait_for_ticks(dom0, "hvm01").domid
    assert model in dom0.shell(find).check().stdout.split()
