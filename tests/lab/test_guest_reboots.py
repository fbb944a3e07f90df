"""Guests that reboot themselves in the middle of their backup, and after it."""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab.machine import Machine

pytestmark = pytest.mark.lab_long

# The step that first touches the guest, by preset.
FIRST_TOUCH = {
    "snapshot": "save",
    "checkpoint": "save-paused",
    "cold": "save",
    "crash": "pause",
}


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    product.prepare(shared_host)
    return shared_host


@pytest.mark.parametrize("preset", ["snapshot", "checkpoint", "crash"])
def test_reboot_while_its_disks_are_copied_is_its_own_affair(dom0: Machine, preset: str) -> None:
    """Of its two disks one is read before its reboot, and one after: both from the snapshots."""
    product.ensure_running(dom0, "web")
    product.begin_run(dom0, preset, "web", stop_at="disk-copied:xvda")
    before = guests.read_report(dom0, "web")
    rebooted = guests.reboot_from_inside(dom0, "web")
    assert before.domid != rebooted.domid
    product.let_go_on(dom0)
    run = product.wait_for_end(dom0)
    assert "ok" == run["outcome"], run
    assert rebooted.domid == product.assert_well_for_good(dom0, "web").domid
    assert run["point"] in product.list_points(dom0, "web")


@pytest.mark.parametrize("preset", FIRST_TOUCH)
def test_reboot_just_before_it_is_touched_ends_the_run(dom0: Machine, preset: str) -> None:
    """It is another domain now than the one of the plan: hands off."""
    product.ensure_running(dom0, "web")
    points = product.list_points(dom0, "web")
    product.begin_run(dom0, preset, "web", stop_at=f"step-began:{FIRST_TOUCH[preset]}")
    rebooted = guests.reboot_from_inside(dom0, "web")
    product.let_go_on(dom0)
    run = product.wait_for_end(dom0)
    assert "failed" == run["outcome"]
    assert "reboot" in run["error"]
    report = product.assert_well_for_good(dom0, "web")
    assert (rebooted.domid, rebooted.boots) == (report.domid, report.boots)
    assert points == product.list_points(dom0, "web")


def test_reboot_between_the_last_look_and_the_save_is_acted_on_by_its_monitor(
    dom0: Machine,
) -> None:
    """Its monitor is held still by then: it stays shut down until the undo wakes it."""
    product.ensure_running(dom0, "web")
    before = guests.read_report(dom0, "web")
    product.begin_run(dom0, "checkpoint", "web", stop_at="saving")
    guests.tell(dom0, "web", "reboot")
    dom0.shell("until xl list web | grep -qF -- ' ---sr- '; do sleep 0.2; done").check()
    product.let_go_on(dom0)
    assert "failed" == product.wait_for_end(dom0)["outcome"]
    report = guests.wait_for_boots(dom0, "web", before.boots + 1)
    assert before.domid != report.domid
    product.assert_well_for_good(dom0, "web")
