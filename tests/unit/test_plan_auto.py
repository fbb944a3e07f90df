"""What `auto` means for guests of every sort, through the whole plan."""

from __future__ import annotations

from tests.unit.worlds import GOOD, OFF, World
from xenbackup.model.job import Consistency
from xenbackup.model.plan import Plan
from xenbackup.planning.plan import plan_backup

AUTO = GOOD.with_preset("auto")


def plan(world: World) -> Plan:
    return plan_backup(world.job, world.inventory, world.setting.configuration)


def test_a_guest_that_can_be_saved_is_checkpointed_where_memory_is_required() -> None:
    (planned,) = plan(AUTO.with_job(require=Consistency.MEMORY)).domains
    assert "checkpoint" == planned.preset
    assert 5 == len(planned.candidates)


def test_nothing_is_shorter_than_crash_where_crash_is_enough() -> None:
    (planned,) = plan(AUTO.with_job(require=Consistency.CRASH)).domains
    assert "crash" == planned.preset


def test_an_old_toolstack_gets_the_classic_method() -> None:
    world = AUTO.with_host(can_save_paused=False).with_job(require=Consistency.MEMORY)
    (planned,) = plan(world).domains
    assert "snapshot" == planned.preset


def test_a_guest_with_a_device_passed_through_is_refused_where_memory_is_required() -> None:
    world = AUTO.with_guest(pci_devices=("0000:03:01.0",)).with_job(require=Consistency.MEMORY)
    (refused,) = plan(world).refused
    assert "PCI device 0000:03:01.0 is passed through to it" in refused.reason


def test_a_guest_with_a_device_passed_through_is_taken_by_crash_and_told_why() -> None:
    (planned,) = plan(AUTO.with_guest(pci_devices=("0000:03:01.0",))).domains
    assert "crash" == planned.preset
    assert "0000:03:01.0" in planned.reason


def test_a_guest_that_is_shut_off_is_taken_offline_and_never_by_anything_else() -> None:
    world = AUTO.with_guest(domid=-1, state=OFF)
    (planned,) = plan(world).domains
    assert ("offline", 0.0) == (planned.preset, planned.estimate and planned.estimate.away_seconds)
    without_snapshot = world.with_volumes().with_backing(lv_uuid="", can_reflink=False)
    assert () == plan(without_snapshot).domains
    (refused,) = plan(without_snapshot).refused
    assert "leave it out with `exclude`, or back it up while it runs" == refused.hint
