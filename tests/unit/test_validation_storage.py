"""Validation: disks, groups, pools, modules, destinations, the spool."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import MIB
from tests.unit.worlds import (
    GIB,
    GOOD,
    OFF,
    Case,
    World,
    make_backing,
    make_group,
    make_guest,
    make_modules,
    make_pool,
    make_volume,
)
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.domain import Disk, GuestKind
from xenbackup.model.inventory import PlaceSight
from xenbackup.model.job import DestinationKind
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.problem import Severity
from xenbackup.model.volume import TAG_DESTINATION, TAG_OURS
from xenbackup.planning.obstacles import find_disk_obstacle
from xenbackup.planning.validation import validate
from xenbackup.planning.validation.places import find_server

# A 10 GiB disk at 10%, and the table of all its chunks: 40 MiB, a header, one extent more.
SNAPSHOT_BYTES = 1 * GIB + 44 * MIB
# 1% of the group's 200 GiB.
RESERVE_BYTES = 2 * GIB
THIN = make_volume(attributes="Vwi-aotz--", pool="pool")
IMAGE_BYTES = 1024 * MIB + 1024 * MIB // 100 + 2 * MIB
VOLUMES = GOOD.with_destination(DestinationKind.VOLUME, "backup")
SLOT = make_volume("web--xvda", group="backup", tags=frozenset((TAG_DESTINATION,)))

TAGGED = replace(SLOT, tags=frozenset((TAG_DESTINATION, "xb.for=web/xvda")))


def with_disk(target: str, kind: BackingKind, problem: str = "", **fields: object) -> World:
    """The guest's disk is no logical volume."""
    disk = replace(Disk(vdev="xvda", target=target), **fields)  # type: ignore[arg-type]
    backing = make_backing(
        target=target,
        kind=kind,
        lv_uuid="",
        group="",
        snapshot=SnapshotKind.NONE,
        problem=problem,
    )
    world = GOOD.with_guest(disks=(disk,)).with_host(backings=(backing,))
    return world.with_volumes()


def with_group(free_bytes: int, attributes: str = "") -> World:
    group = replace(make_group(free_bytes), attributes=attributes)
    return GOOD.with_host(groups=(group,))


def with_pool(data: float | None, metadata: float | None) -> World:
    return GOOD.with_volumes(THIN, make_pool(data, metadata))


def with_two_guests(parallel_runs: int) -> World:
    """Two guests with one disk and 1024 MiB each."""
    return GOOD.with_host(
        domains=(make_guest(), make_guest("db", domid=7)),
        volumes=(make_volume(), make_volume("db_root")),
        monitored=frozenset(("web", "db")),
    ).with_setting(parallel_runs=parallel_runs)


def with_second_user(writable: bool) -> World:
    """Another guest's disk is the same volume."""
    other = make_backing("db", tokens=frozenset(("lv:uuid-of-web_root",)), writable=writable)
    return GOOD.with_host(backings=(*GOOD.inventory.backings, other))


def with_off_guest(*, user_domid: int = 7, user_writable: bool = True) -> World:
    """The guest is shut off, and another one has its disk."""
    world = with_second_user(user_writable).with_preset("offline")
    off = make_guest(domid=-1, state=OFF)
    return world.with_host(domains=(off, make_guest("db", domid=user_domid)))


def with_image(image_format: str, *, writable: bool = True) -> World:
    """The guest's disk is an image file on a file system that takes reflink copies."""
    disk = Disk(vdev="xvda", target="/srv/web.img", format=image_format, writable=writable)
    backing = make_backing(
        target=disk.target,
        kind=BackingKind.IMAGE_FILE,
        lv_uuid="",
        group="",
        snapshot=SnapshotKind.NONE,
        format=image_format,
        writable=writable,
        can_reflink=True,
    )
    world = GOOD.with_guest(disks=(disk,)).with_host(backings=(backing,))
    return world.with_volumes()


QCOW2 = with_image("qcow2")
ABSENT = with_disk("/srv/web.img", BackingKind.ABSENT, problem="No such file or directory")
CASES = (
    # Disks
    Case(code="disk-absent", bad=ABSENT, domain="web"),
    Case(
        code="disk-unreadable",
        bad=with_disk("/dev/sdz", BackingKind.UNKNOWN, problem="Input/output error"),
        good=ABSENT,
        domain="web",
    ),
    Case(
        code="disk-served-elsewhere",
        bad=with_disk("/dev/vg/web", BackingKind.ELSEWHERE, backend="storage"),
        good=with_disk("/dev/vg/web", BackingKind.WHOLE_DISK, backend="0"),
        domain="web",
    ),
    Case(
        code="disk-no-snapshot",
        bad=with_disk("/dev/sdb", BackingKind.WHOLE_DISK),
        good=with_disk("/dev/sdb", BackingKind.WHOLE_DISK).with_preset("cold"),
        domain="web",
    ),
    Case(
        code="network-disk-no-snapshot",
        bad=with_disk("/dev/sdb", BackingKind.ISCSI),
        good=with_disk("/dev/sdb", BackingKind.ISCSI).with_preset("cold"),
        domain="web",
    ),
    Case(
        code="image-file-no-snapshot",
        bad=with_disk("/srv/web.img", BackingKind.IMAGE_FILE),
        good=with_disk("/srv/web.img", BackingKind.IMAGE_FILE).with_preset("cold"),
        domain="web",
    ),
    Case(code="image-not-flushed", bad=QCOW2, good=QCOW2.with_preset("snapshot"), domain="web"),
    Case(code="image-not-flushed", bad=QCOW2, good=QCOW2.with_preset("crash"), domain="web"),
    Case(
        code="image-not-flushed",
        bad=QCOW2.with_guest(kind=GuestKind.PVH),
        good=QCOW2.with_guest(kind=GuestKind.HVM),
        domain="web",
    ),
    Case(code="image-not-flushed", bad=with_image("qed"), good=with_image("raw"), domain="web"),
    Case(
        code="image-not-flushed",
        bad=with_image("qcow2"),
        good=with_image("qcow2", writable=False),
        domain="web",
    ),
    Case(
        code="disk-written-by-other",
        bad=with_off_guest(),
        good=with_off_guest(user_domid=-1),
        domain="web",
    ),
    Case(
        code="disk-written-by-other",
        bad=with_off_guest(),
        good=with_off_guest(user_writable=False),
        domain="web",
    ),
    Case(
        code="disk-written-by-other",
        bad=with_off_guest(),
        good=with_second_user(writable=True),
        domain="web",
    ),
    Case(
        code="disk-held-in-dom0",
        bad=GOOD.with_backing(held="mounted in dom0 at /mnt"),
        domain="web",
    ),
    Case(
        code="disk-shared",
        bad=with_second_user(writable=True),
        good=with_second_user(writable=False),
    ),
    # Snapshots
    Case(
        code="group-without-room",
        bad=with_group(SNAPSHOT_BYTES - 1),
        good=with_group(SNAPSHOT_BYTES),
        domain="web",
    ),
    Case(
        code="group-tight",
        bad=with_group(SNAPSHOT_BYTES + RESERVE_BYTES - 1),
        good=with_group(SNAPSHOT_BYTES + RESERVE_BYTES),
    ),
    Case(code="thin-pool-full", bad=with_pool(90.0, 5.0), good=with_pool(89.9, 5.0), domain="web"),
    Case(
        code="thin-pool-filling", bad=with_pool(5.0, 80.0), good=with_pool(5.0, 79.9), domain="web"
    ),
    Case(
        code="module-missing",
        bad=GOOD.with_host(drivers=make_modules(dm_snapshot="missing")),
        good=GOOD.with_host(drivers=make_modules(dm_thin_pool="missing")),
        domain="web",
    ),
    Case(
        code="backend-module-missing",
        bad=GOOD.with_host(drivers=make_modules(xen_blkback="missing")),
        good=GOOD.with_host(drivers=make_modules(xen_blkback="unknown")),
    ),
    # Destinations
    Case(
        code="destination-unknown",
        bad=GOOD.with_job(destination="offsite"),
    ),
    Case(code="destination-missing", bad=GOOD.with_place("local", present=False, marked=False)),
    Case(
        code="destination-not-mounted",
        bad=GOOD.with_place("local", marked=False, mount_point="/"),
        good=GOOD.with_place("local", mount_point="/"),
    ),
    Case(
        code="destination-not-marked",
        bad=GOOD.with_place("local", marked=False),
        good=GOOD.with_place("local", marked=False, mount_point="/"),
    ),
    Case(
        code="destination-unusable",
        bad=GOOD.with_place("local", problem="cannot be looked at: Permission denied"),
    ),
    Case(
        code="destination-too-small",
        bad=GOOD.with_place("local", free_bytes=10 * GIB + IMAGE_BYTES - 1),
        good=GOOD.with_place("local", free_bytes=10 * GIB + IMAGE_BYTES),
    ),
    Case(
        code="slot-missing",
        bad=VOLUMES.with_volumes(make_volume()),
        good=VOLUMES.with_volumes(make_volume(), SLOT),
        domain="web",
    ),
    Case(
        code="slot-ambiguous",
        bad=VOLUMES.with_volumes(
            make_volume(), replace(TAGGED, name="x"), replace(TAGGED, name="y")
        ),
        good=VOLUMES.with_volumes(make_volume(), replace(TAGGED, name="x"), SLOT),
        domain="web",
    ),
    Case(
        code="slot-not-marked",
        bad=VOLUMES.with_volumes(make_volume(), replace(SLOT, tags=frozenset())),
        good=VOLUMES.with_volumes(make_volume(), replace(TAGGED, name="x")),
        domain="web",
    ),
    Case(
        code="slot-too-small",
        bad=VOLUMES.with_volumes(make_volume(), replace(SLOT, size_bytes=10 * GIB - 1)),
        good=VOLUMES.with_volumes(make_volume(), SLOT),
        domain="web",
    ),
    # The spool
    Case(code="spool-unusable", bad=GOOD.with_place("", problem="is no folder")),
    Case(
        code="spool-too-small",
        bad=GOOD.with_place("", free_bytes=IMAGE_BYTES + 64 * MIB - 1),
        good=GOOD.with_place("", free_bytes=IMAGE_BYTES + 64 * MIB),
        domain="web",
    ),
    Case(
        code="spool-tight",
        bad=with_two_guests(2).with_place("", free_bytes=2 * GIB),
        good=with_two_guests(1).with_place("", free_bytes=2 * GIB),
    ),
    Case(
        code="place-on-guest",
        bad=GOOD.with_place("local", tokens=frozenset(("lv:uuid-of-web_root",))),
        good=GOOD.with_place("local", tokens=frozenset(("lv:uuid-of-db_root",))),
        domain="web",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_problem_of_storage_is_found_and_only_there(case: Case) -> None:
    assert case.code in case.bad.codes()
    assert case.code not in case.good.codes()
    assert case.domain == case.bad.find(case.code).domain


def test_guest_that_writes_the_disk_of_one_that_is_off_is_named() -> None:
    told = with_off_guest().find("disk-written-by-other").message
    assert "its disk xvda is written by db, which runs (domain 7)" in told


def test_storage_that_others_share_is_no_problem_of_the_job() -> None:
    world = with_second_user(writable=True).with_job(domains=("other",))
    of_job = validate(world.job, world.inventory, world.setting)
    assert "disk-shared" not in {problem.code for problem in of_job}
    assert "web:xvda, db:xvda" == world.find("disk-shared").subject


@pytest.mark.parametrize(
    ("backing", "expected"),
    [
        (make_backing(kind=BackingKind.ABSENT, problem="No."), "disk-absent"),
        (make_backing(kind=BackingKind.UNKNOWN, problem="Not logged in."), "disk-unreadable"),
        (make_backing(kind=BackingKind.PARTITION, lv_uuid=""), "disk-no-snapshot"),
        (make_backing(kind=BackingKind.IMAGE_FILE, lv_uuid=""), "image-file-no-snapshot"),
        (make_backing(kind=BackingKind.IMAGE_FILE, lv_uuid="", can_reflink=True), ""),
        (make_backing(kind=BackingKind.ISCSI, lv_uuid=""), "network-disk-no-snapshot"),
        (make_backing(kind=BackingKind.DRBD, lv_uuid="uuid-of-below"), ""),
    ],
)
def test_backing_alone_tells_what_a_disk_can_do(backing: DiskBacking, expected: str) -> None:
    below = make_volume("below")
    world = GOOD.with_host(backings=(backing,), volumes=(below,))
    (domain,) = world.inventory.domains
    found = find_disk_obstacle(domain, domain.disks[0], world.inventory, snapshots=True)
    assert expected == "".join(obstacle.code for obstacle in found)


def test_host_on_which_all_is_well_has_no_problem() -> None:
    assert () == GOOD.problems()


def test_image_file_is_told_to_go_cold() -> None:
    problem = with_disk("/srv/web.img", BackingKind.IMAGE_FILE).find("image-file-no-snapshot")
    assert 'use preset = "cold" for this guest' == problem.hint


def test_snapshots_of_guests_that_run_at_once_are_summed() -> None:
    room = (make_group(SNAPSHOT_BYTES + RESERVE_BYTES),)
    assert "group-tight" not in with_two_guests(1).with_host(groups=room).codes()
    problem = with_two_guests(2).with_host(groups=room).find("group-tight")
    assert "2 guests at once take 2136 MiB" in problem.message


def test_guest_that_fits_is_not_blamed_for_one_that_does_not() -> None:
    world = with_two_guests(1).with_host(
        groups=(make_group(SNAPSHOT_BYTES + RESERVE_BYTES),),
        volumes=(make_volume(size_bytes=90 * GIB), make_volume("db_root")),
    )
    full = [problem.domain for problem in world.problems() if problem.code == "group-without-room"]
    assert ["web"] == full
    assert "group-tight" not in world.codes()


def test_group_that_is_full_refuses_and_one_that_is_tight_does_not() -> None:
    assert Severity.ERROR is with_group(0).find("group-without-room").severity
    assert Severity.WARNING is with_group(SNAPSHOT_BYTES).find("group-tight").severity


def test_pool_of_others_is_the_hosts_problem_alone() -> None:
    world = GOOD.with_volumes(make_volume(), make_pool(99.0))
    assert [""] == [problem.domain for problem in world.problems()]


def test_pool_whose_use_is_not_known_is_no_problem() -> None:
    assert set() == with_pool(None, None).codes()


@pytest.mark.parametrize("name", ["dm-thin-pool", "dm_thin_pool"])
def test_modules_are_found_in_both_spellings(name: str) -> None:
    drivers = make_modules(**{name: "missing"})
    if name != "dm_thin_pool":
        others = tuple(module for module in drivers.modules if module.name != "dm_thin_pool")
        drivers = replace(drivers, modules=others)
    world = with_pool(5.0, 5.0).with_host(drivers=drivers)
    assert "module-missing" in world.codes()


def test_allocated_bytes_count_where_they_are_known() -> None:
    world = GOOD.with_place("local", free_bytes=3 * GIB)
    assert "destination-too-small" in world.codes()
    assert "destination-too-small" not in world.with_backing(allocated_bytes=GIB).codes()


def test_destination_that_is_not_there_is_not_called_too_small_as_well() -> None:
    world = GOOD.with_place("local", present=False, free_bytes=0)
    assert {"destination-missing"} == world.codes()


def test_place_that_was_not_looked_at_is_no_problem() -> None:
    assert set() == GOOD.with_host(places=()).codes()


def test_missing_group_is_named_with_those_there_are() -> None:
    problem = VOLUMES.with_place("local", present=False).find("destination-missing")
    assert problem.message == "Destination local: there is no volume group backup."
    assert "xenvols" in problem.hint


def test_volume_of_a_run_is_no_slot() -> None:
    taken = replace(SLOT, tags=frozenset((TAG_DESTINATION, TAG_OURS)))
    assert "slot-not-marked" in VOLUMES.with_volumes(make_volume(), taken).codes()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("web:/export", True),
        ("WEB.example.org:/export", True),
        ("//web/share", True),
        ("webmail:/export", False),
        ("/dev/mapper/web", False),
    ],
)
def test_destination_mounted_from_the_guest_itself_is_refused(source: str, expected: bool) -> None:
    world = GOOD.with_place("local", mount_source=source)
    assert expected == ("place-on-guest" in world.codes())


def test_spool_on_a_disk_of_the_guest_is_refused_too() -> None:
    world = GOOD.with_place("", tokens=frozenset(("lv:uuid-of-web_root",)))
    assert "the spool" in world.find("place-on-guest").message


def test_slots_that_a_guest_uses_as_its_disk_are_refused() -> None:
    world = VOLUMES.with_volumes(make_volume(), SLOT).with_place(
        "local", tokens=frozenset((f"lv:{SLOT.uuid}",))
    )
    assert "place-on-guest" not in world.codes()
    spoilt = world.with_backing(tokens=frozenset((f"lv:{SLOT.uuid}",)))
    assert "place-on-guest" in spoilt.codes()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nas:/export", "nas"),
        ("10.0.0.1:/export", "10.0.0.1"),
        ("//nas/share/folder", "nas"),
        ("//", ""),
        ("/dev/disk/by-id/x:/y", ""),
        ("none", ""),
        ("", ""),
    ],
)
def test_server_is_read_from_the_source_of_a_mount(source: str, expected: str) -> None:
    assert expected == find_server(source)


def test_second_destination_is_the_hosts_business_and_not_the_jobs() -> None:
    places = (*GOOD.inventory.places, PlaceSight(name="offsite", kind="images", path="/off"))
    assert set() == GOOD.with_host(places=places).codes()
