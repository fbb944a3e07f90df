"""Backup and restore of real guests on the lab's Xen: the promise, seen by the guests' oracle."""

from __future__ import annotations

import pytest

from tests.lab import guests
from tests.lab import xenbackup_host as product
from tests.lab.machine import Machine


@pytest.fixture(scope="module")
def dom0(shared_host: Machine) -> Machine:
    """The module's machine with xenbackup configured on it."""
    product.prepare(shared_host)
    return shared_host


def ensure_running(machine: Machine, name: str) -> None:
    """A guest that an earlier test left down is booted; its oracle judges it from here."""
    if guests.read_report(machine, name).domid is None:
        guests.create(machine, name)


def assert_nothing_left(machine: Machine) -> None:
    assert [] == product.list_our_volumes(machine)
    assert [] == product.list_spool(machine)


def assert_well(machine: Machine, name: str) -> None:
    """It counts on, has found nothing wrong, and one monitor watches it."""
    assert () == guests.wait_for_ticks(machine, name).complaints
    assert 1 == len(guests.monitor_pids(machine, name))


@pytest.mark.parametrize(
    "preset",
    ["checkpoint", "snapshot", "cold"],
)
def test_guest_goes_on_after_a_backup_and_reboots_itself_later(dom0: Machine, preset: str) -> None:
    ensure_running(dom0, "web")
    dom0.run("xl", "vcpu-pin", "web", "0", "1").check()
    run = product.back_up(dom0, preset, "web")
    assert "memory" == run["consistency"]
    assert run["away_seconds"] > 0
    journal = f"/var/lib/xenbackup/journals/{run['run']}.jsonl"
    noted = dom0.run("grep", "disks-at-rest", journal).check().stdout
    assert 2 == noted.count('"mark":"sectors '), "both disks were watched while it stood still"
    assert_well(dom0, "web")
    assert_nothing_left(dom0)
    pinning = dom0.run("xl", "vcpu-list", "web").check().stdout.splitlines()[-1]
    assert "1 / all" in pinning
    assert () == guests.reboot_from_inside(dom0, "web").complaints


def test_crash_backup_pauses_for_the_snapshots_alone(dom0: Machine) -> None:
    ensure_running(dom0, "web")
    assert "crash" == product.back_up(dom0, "crash", "web")["consistency"]
    assert_well(dom0, "web")
    assert_nothing_left(dom0)


def test_guest_on_thin_volumes_is_backed_up_from_thin_snapshots(dom0: Machine) -> None:
    ensure_running(dom0, "thinny")
    assert "memory" == product.back_up(dom0, "checkpoint", "thinny")["consistency"]
    assert_well(dom0, "thinny")
    assert_nothing_left(dom0)


def test_pvh_guest_is_checkpointed(dom0: Machine) -> None:
    ensure_running(dom0, "pvh01")
    assert "memory" == product.back_up(dom0, "checkpoint", "pvh01")["consistency"]
    assert_well(dom0, "pvh01")
    assert_nothing_left(dom0)


def ensure_point(machine: Machine, name: str) -> str:
    """The newest point of a guest with its memory; made by a checkpoint when there is none."""
    points = product.ask(machine, "points", name)["points"]
    with_memory = [point for point in points if point["consistency"] == "memory"]
    if with_memory:
        return str(with_memory[-1]["point"])
    ensure_running(machine, name)
    return str(product.back_up(machine, "checkpoint", name)["point"])


def destroy_with_disks(machine: Machine, name: str) -> None:
    """The disaster: the guest destroyed, both its disks overwritten."""
    targets = guests.read_report(machine, name).targets
    machine.run("xl", "destroy", name).check()
    for target in targets.values():
        machine.run(
            "dd", "if=/dev/urandom", f"of={target}", "bs=1M", "count=8", "conv=fsync"
        ).check()


def test_restored_memory_goes_on_from_the_counters_of_its_disks(dom0: Machine) -> None:
    point = ensure_point(dom0, "web")
    ensure_running(dom0, "web")
    destroy_with_disks(dom0, "web")
    done = product.call(dom0, "restore", point, "--memory", "--start", "--json")
    assert 0 == done.exit_code, done.stdout + done.stderr
    assert_well(dom0, "web")
    assert () == guests.check_bulk(dom0, "web").complaints
    assert_nothing_left(dom0)
    assert () == guests.reboot_from_inside(dom0, "web").complaints


def test_an_image_restores_with_dd_alone(dom0: Machine) -> None:
    point = ensure_point(dom0, "web")
    ensure_running(dom0, "web")
    destroy_with_disks(dom0, "web")
    for vdev, target in (("xvda", "/dev/xenvols/web_root"), ("xvdb", "/dev/xenvols/web_data")):
        image = f"/srv/backup/web/{point}/{vdev}.img"
        dom0.run("dd", f"if={image}", f"of={target}", "bs=4M", "conv=fsync").check()
    assert () == guests.create(dom0, "web").complaints


def test_every_point_verifies(dom0: Machine) -> None:
    assert 0 == product.call(dom0, "verify").exit_code
