"""LVM and xl killed at their worst moments, and what becomes of the guest that they worked on."""

from __future__ import annotations

import pytest

from tests.lab import guests, traps
from tests.lab import xenbackup_host as product
from tests.lab.machine import Machine

LONG = pytest.mark.lab_long

LVCREATE = "/usr/sbin/lvcreate"
LVREMOVE = "/usr/sbin/lvremove"
XL = "/usr/sbin/xl"
BLOCK_SCRIPT = "/etc/xen/scripts/block"


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    product.prepare(shared_host)
    return shared_host


@pytest.mark.parametrize(
    ("preset", "guest"),
    [
        ("crash", "web"),
        # The guest is not even there: it must be rebuilt onto disks that move.
        pytest.param("snapshot", "web", marks=LONG),
        # Thin.
        pytest.param("crash", "thinny", marks=LONG),
    ],
)
def test_lvcreate_killed_with_the_disk_suspended(dom0: Machine, preset: str, guest: str) -> None:
    product.ensure_running(dom0, guest)
    before = guests.read_report(dom0, guest)
    points = product.list_points(dom0, guest)
    origin = f"xenvols-{guest}_root"
    traps.set_trap(dom0, LVCREATE, "--snapshot", traps.kill_with_suspended(origin))
    product.begin_run(dom0, preset, guest)
    assert "failed" == product.wait_for_end(dom0)["outcome"]
    assert f"{origin} suspended: 1" in traps.read_notes(dom0)
    assert before.boots == product.assert_well_for_good(dom0, guest).boots
    assert points == product.list_points(dom0, guest)


@LONG
@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
def test_lvcreate_and_our_process_killed_with_the_disk_suspended(
    dom0: Machine, preset: str
) -> None:
    """Nobody undoes it: the disk stands still until `xenbackup recover` comes."""
    product.ensure_running(dom0, "web")
    before = guests.read_report(dom0, "web")
    strike = traps.with_caller(traps.kill_with_suspended("xenvols-web_root"))
    traps.set_trap(dom0, LVCREATE, "--snapshot", strike)
    product.begin_run(dom0, preset, "web")
    product.wait_until_gone(dom0)
    assert "web_root suspended: 1" in traps.read_notes(dom0)
    product.recover(dom0)
    assert before.boots == product.assert_well_for_good(dom0, "web").boots


@LONG
def test_lvremove_killed_with_the_disk_of_the_running_guest_suspended(dom0: Machine) -> None:
    """The disk is freed, the removal tried again: the backup is good."""
    product.ensure_running(dom0, "web")
    before = guests.read_report(dom0, "web")
    traps.set_trap(dom0, LVREMOVE, "--select", traps.kill_with_suspended("xenvols-web_root"))
    product.begin_run(dom0, "crash", "web")
    assert "ok" == product.wait_for_end(dom0)["outcome"]
    assert "web_root suspended: 1" in traps.read_notes(dom0)
    report = product.assert_well_for_good(dom0, "web")
    assert (before.domid, before.boots) == (report.domid, report.boots)


@LONG
@pytest.mark.parametrize("preset", ["checkpoint", "snapshot"])
@pytest.mark.parametrize(
    "strike",
    [
        pytest.param(traps.KILL_SAVE_EARLY, id="early"),
        pytest.param(traps.KILL_SAVE_LATE, id="late"),
    ],
)
def test_save_killed(dom0: Machine, preset: str, strike: str) -> None:
    """The guest was left suspended, and goes on as the domain that it was."""
    product.ensure_running(dom0, "web")
    before = guests.read_report(dom0, "web")
    points = product.list_points(dom0, "web")
    traps.set_trap(dom0, XL, "save", strike)
    product.begin_run(dom0, preset, "web")
    assert "failed" == product.wait_for_end(dom0)["outcome"]
    assert " ---ss- " in traps.read_notes(dom0)
    report = product.assert_well_for_good(dom0, "web")
    assert (before.domid, before.boots) == (report.domid, report.boots)
    assert points == product.list_points(dom0, "web")


@LONG
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with-our-process"])
def test_destroy_killed_among_the_devices(dom0: Machine, alone: bool) -> None:
    """The saved domain has lost its devices and lives: it is destroyed for good, and restored."""
    product.ensure_running(dom0, "web")
    before = guests.read_report(dom0, "web")
    strike = traps.KILL_DESTROY if alone else traps.with_caller(traps.KILL_DESTROY)
    traps.set_trap(dom0, BLOCK_SCRIPT, "remove", strike)
    product.begin_run(dom0, "snapshot", "web")
    if alone:
        assert "ok" == product.wait_for_end(dom0)["outcome"]
    else:
        product.wait_until_gone(dom0)
        product.recover(dom0)
    traps.read_notes(dom0)
    report = product.assert_well_for_good(dom0, "web")
    assert before.boots == report.boots
    assert before.domid != report.domid
