"""The service struck at every step, stopped, restarted and upgraded in the middle of runs."""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab import xenbackup_service as service
from tests.lab.machine import Machine
from tests.lab.product import REMOTE_PACKAGE

pytestmark = pytest.mark.lab_long


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    service.prepare(shared_host, slow=True)
    return shared_host


@pytest.mark.parametrize(
    ("job", "event"),
    [
        ("nightly", "saving"),
        ("nightly", "image-verified"),
        ("nightly", "destroyed"),
        ("nightly", "snapshotting"),
        ("nightly", "restoring"),
        ("nightly", "resuming"),
        ("nightly", "staging"),
        ("checkpoint", "saving"),
        ("checkpoint", "snapshotting"),
        ("checkpoint", "staging"),
        ("crash", "pausing"),
        ("crash", "snapshotting"),
        ("crash", "removing-snapshot"),
        ("cold", "staging"),
    ],
)
def test_daemon_killed_in_a_step(dom0: Machine, job: str, event: str) -> None:
    """systemd starts it again, and it heals before anything else. The guest can still reboot."""
    struck = service.strike(dom0, job, event, "kill -KILL $pid")
    service.wait_for_another_daemon(dom0, struck.pid)
    service.assert_healthy(dom0, "web")
    assert () == guests.reboot_from_inside(dom0, "web").complaints


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


def test_upgrade_in_a_run(dom0: Machine) -> None:
    """The old daemon is stopped and brings its guest back; the new one goes on afterwards."""
    act = f"dpkg --install {REMOTE_PACKAGE}"
    struck = service.strike(dom0, "nightly", "destroyed", act)
    assert struck.pid != service.read_main_pid(dom0)
    assert "active" == service.show(dom0, service.SERVICE, "ActiveState")["ActiveState"]
    assert "cancelled" == service.read_outcome(dom0)
    service.assert_healthy(dom0, "web")


def test_what_the_administrator_has_switched_off_stays_off_after_an_upgrade(dom0: Machine) -> None:
    dom0.run("systemctl", "disable", "--now", "--quiet", service.SERVICE).check()
    dom0.run("dpkg", "--install", REMOTE_PACKAGE).check()
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
