"""What an inventory means: presets that disks allow are those that a plan would take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.worlds import GOOD, make_backing, make_group, make_guest, make_module, make_volume
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.devices import DriverInventory, GuestDrivers, NetworkBoard
from xenbackup.model.domain import Disk, GuestKind
from xenbackup.model.inventory import Inventory
from xenbackup.model.pipeline import PRESETS
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.volume import LogicalVolume
from xenbackup.planning.inventory_view import (
    find_guests_needing,
    judge_disk,
    reckon_group_rooms,
)
from xenbackup.planning.plan import plan_backup

IMAGE = "/srv/web.img"
PLAIN = make_backing(
    target=IMAGE, path=IMAGE, kind=BackingKind.PARTITION, group="", lv_uuid="",
    snapshot=SnapshotKind.NONE,
)  # fmt: skip

CASES: dict[str, tuple[DiskBacking, LogicalVolume]] = {
    "thick": (make_backing(), make_volume()),
    "thin": (make_backing(snapshot=SnapshotKind.THIN), make_volume(attributes="Vwi-aotz--")),
    "merging": (make_backing(snapshot=SnapshotKind.NONE), make_volume(attributes="Owi-aos---")),
    "snapshot": (make_backing(snapshot=SnapshotKind.NONE), make_volume(attributes="swi-aos---")),
    "locked": (make_backing(snapshot=SnapshotKind.NONE), make_volume(attributes="-wI-ao----")),
    "incomplete": (make_backing(snapshot=SnapshotKind.NONE), make_volume(attributes="-wi-ao--p-")),
    "half a mirror": (
        make_backing(snapshot=SnapshotKind.NONE),
        make_volume(attributes="rwi-aor-p-"),
    ),
    "partition": (PLAIN, make_volume("other")),
    "iscsi": (replace(PLAIN, kind=BackingKind.ISCSI), make_volume("other")),
    "image": (replace(PLAIN, kind=BackingKind.IMAGE_FILE), make_volume("other")),
    "reflink": (
        replace(
            PLAIN,
            kind=BackingKind.IMAGE_FILE,
            can_reflink=True,
            snapshot=SnapshotKind.REFLINK,
        ),
        make_volume("other"),
    ),
    "qcow2": (
        replace(
            PLAIN,
            kind=BackingKind.IMAGE_FILE,
            can_reflink=True,
            snapshot=SnapshotKind.REFLINK,
            format="qcow2",
        ),
        make_volume("other"),
    ),
    "qcow2 without reflinks": (
        replace(PLAIN, kind=BackingKind.IMAGE_FILE, format="qcow2"),
        make_volume("other"),
    ),
    "drbd": (
        make_backing(target="/dev/drbd0", path="/dev/drbd0", kind=BackingKind.DRBD),
        make_volume(),
    ),
    "absent": (
        replace(PLAIN, kind=BackingKind.ABSENT, problem="No such file"),
        make_volume("other"),
    ),
    "unknown": (replace(PLAIN, kind=BackingKind.UNKNOWN, problem="odd"), make_volume("other")),
    "elsewhere": (replace(PLAIN, kind=BackingKind.ELSEWHERE), make_volume("other")),
}


def make_inventory(backing: DiskBacking, volume: LogicalVolume, preset: str) -> Inventory:
    """One guest with one disk; shut off for the preset that wants it so."""
    disk = Disk(
        vdev="xvda",
        target=backing.target,
        format=backing.format,
        backend="storage" if backing.kind is BackingKind.ELSEWHERE else "",
    )
    guest = make_guest("web", -1 if preset == "offline" else 6, disks=(disk,))
    world = GOOD.with_host(domains=(guest,), backings=(backing,), volumes=(volume,))
    return world.inventory


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("backing", "volume"), CASES.values(), ids=CASES)
def test_presets_of_a_disk_are_those_that_a_plan_takes(
    backing: DiskBacking, volume: LogicalVolume, preset: str
) -> None:
    inventory = make_inventory(backing, volume, preset)
    world = GOOD.with_preset(preset)
    plan = plan_backup(world.job, inventory, world.setting.configuration)
    assert bool(plan.domains) == (preset in judge_disk(backing, inventory).presets)


@pytest.mark.parametrize("preset", PRESETS)
def test_in_a_group_that_is_not_whole_presets_are_those_that_a_plan_takes(preset: str) -> None:
    backing = make_backing()
    group = replace(make_group(), attributes="wz-pn-")
    inventory = replace(make_inventory(backing, make_volume(), preset), groups=(group,))
    world = GOOD.with_preset(preset)
    plan = plan_backup(world.job, inventory, world.setting.configuration)
    verdict = judge_disk(backing, inventory)
    assert bool(plan.domains) == (preset in verdict.presets)
    assert "no snapshot: its volume group lacks physical volumes" == verdict.reason


@pytest.mark.parametrize("kind", [BackingKind.CDROM, BackingKind.EMPTY])
def test_drives_are_left_out_and_refuse_nobody(kind: BackingKind) -> None:
    verdict = judge_disk(replace(PLAIN, kind=kind, problem="no disc"), GOOD.inventory)
    assert verdict.left_out
    assert verdict.reason


@pytest.mark.parametrize(("backing", "volume"), CASES.values(), ids=CASES)
def test_every_verdict_has_its_reason(backing: DiskBacking, volume: LogicalVolume) -> None:
    assert judge_disk(backing, make_inventory(backing, volume, "cold")).reason


def test_room_counts_each_thick_volume_once_and_no_thin_one() -> None:
    volumes = (make_volume(), make_volume("thin_root"), make_volume("spare_root"))
    backings = (
        make_backing(),
        # A second guest with the same volume.
        make_backing("twin", lv_uuid="uuid-of-web_root"),
        make_backing("thin", snapshot=SnapshotKind.THIN),
    )
    inventory = GOOD.with_host(volumes=volumes, backings=backings).inventory
    (room,) = reckon_group_rooms(inventory)
    # 10% of 10 GiB, and 40 MiB for the table of all its chunks, in extents of 4 MiB.
    assert (1, 1068 << 20, True) == (room.volumes, room.snapshot_bytes, room.fits)
    full = replace(inventory, groups=(make_group(free_bytes=1068 << 20),))
    assert reckon_group_rooms(full)[0].fits
    full = replace(inventory, groups=(make_group(free_bytes=(1068 << 20) - 1),))
    assert not reckon_group_rooms(full)[0].fits


@pytest.mark.parametrize(
    ("module", "kind", "snapshot", "expected"),
    [
        ("xen-blkback", BackingKind.LOGICAL_VOLUME, SnapshotKind.THICK, True),
        ("xen-blkback", BackingKind.IMAGE_FILE, SnapshotKind.NONE, False),
        ("dm_snapshot", BackingKind.LOGICAL_VOLUME, SnapshotKind.THICK, True),
        ("dm_snapshot", BackingKind.THIN_VOLUME, SnapshotKind.THIN, False),
        ("dm_thin_pool", BackingKind.THIN_VOLUME, SnapshotKind.THIN, True),
        ("dm_mod", BackingKind.THIN_VOLUME, SnapshotKind.THIN, True),
        ("drbd", BackingKind.DRBD, SnapshotKind.NONE, True),
        ("drbd", BackingKind.ISCSI, SnapshotKind.NONE, False),
        ("iscsi_tcp", BackingKind.ISCSI, SnapshotKind.NONE, True),
        ("loop", BackingKind.IMAGE_FILE, SnapshotKind.NONE, False),
        ("xen-evtchn", BackingKind.IMAGE_FILE, SnapshotKind.NONE, True),
        ("xen-pciback", BackingKind.IMAGE_FILE, SnapshotKind.NONE, False),
    ],
)
def test_module_is_needed_by_guests_with_such_disks(
    module: str, kind: BackingKind, snapshot: SnapshotKind, expected: bool
) -> None:
    inventory = GOOD.with_host(backings=(make_backing(kind=kind, snapshot=snapshot),)).inventory
    found = find_guests_needing(make_module(module, "missing"), inventory)
    assert (("web",) if expected else ()) == found


def test_module_is_needed_by_guests_with_such_devices() -> None:
    drivers = DriverInventory(
        guests=(GuestDrivers(domain="web", kind="hvm", boards=(NetworkBoard(),)),)
    )
    world = GOOD.with_guest(pci_devices=("0000:03:01.0",), kind=GuestKind.HVM)
    inventory = world.with_host(drivers=drivers).inventory
    for module in ("xen-netback", "tun", "xen-pciback"):
        assert ("web",) == find_guests_needing(make_module(module, "missing"), inventory)
