"""What a restore refuses, with nothing touched: damage, disks in use, hosts that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import find_wrongs
from tests.unit.restore_house import RestoreWatcher, Site, damage
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import (
    DestinationMissing,
    Locked,
    PointDamaged,
    RestoreRefused,
)
from xenbackup.model.restore import DiskPlacement
from xenbackup.operations.points import find_point
from xenbackup.operations.restore import list_incomplete_restores, restore_point
from xenbackup.storage.copying import hash_blocks
from xenbackup.storage.manifest import MANIFEST_FILE, encode_manifest
from xenbackup.system.block_device import open_block_device

ROOT = "/dev/xenvols/web_root"
DATA = "/dev/xenvols/web_data"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def test_a_damaged_image_is_found_before_anything_is_overwritten(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    before = site.read(ROOT), site.read(DATA)
    damage(site.stored(point, "xvdb.img"), MIB + 17)

    with pytest.raises(PointDamaged, match=r"xvdb of point .* is damaged at byte 0"):
        site.restore(point)

    assert (site.read(ROOT), site.read(DATA)) == before
    assert list_incomplete_restores(site.house) == ()


def test_a_truncated_image_is_found_before_anything_is_overwritten(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    before = site.read(ROOT)
    with site.stored(point, "xvdb.img").open("r+b") as file:
        file.truncate(MIB)

    with pytest.raises(PointDamaged, match=f"xvdb .* has {MIB} bytes"):
        site.restore(point)

    assert site.read(ROOT) == before


@pytest.mark.parametrize("offset", [-20, 100_000])
def test_a_damaged_memory_image_is_found_before_anything_is_overwritten(
    site: Site, offset: int
) -> None:
    point = site.back_up()
    site.lose()
    before = site.read(ROOT)
    image = site.stored(point, "memory.save")
    damage(image, offset % image.stat().st_size)

    with pytest.raises(PointDamaged, match="memory image"):
        site.restore(point, memory=True, start=True)

    assert site.read(ROOT) == before
    assert site.state_of("web") == ""


@pytest.mark.parametrize("planned_before", [False, True])
def test_a_memory_image_without_its_end_is_never_restored_though_its_digest_is_right(
    site: Site, planned_before: bool
) -> None:
    """It is what was stored: that was no whole image then, or the plan saw another file."""
    point = site.back_up()
    site.lose()
    before = site.read(ROOT), site.read(DATA)
    image = site.stored(point, "memory.save")
    whole = image.read_bytes()
    image.write_bytes(whole[:-8] + b"\xff" * 8)
    device = open_block_device(image)
    found = hash_blocks(device, size_bytes=device.size_bytes)
    device.close()
    memory = point.manifest.memory
    assert memory is not None
    manifest = replace(point.manifest, memory=replace(memory, digest=found.digest))
    site.stored(point, MANIFEST_FILE).write_bytes(encode_manifest(manifest))
    stored = find_point(site.house, point.point)

    if planned_before:
        broken = image.read_bytes()
        image.write_bytes(whole)
        plan = site.plan(stored, memory=True, start=True)
        image.write_bytes(broken)
        with pytest.raises(PointDamaged, match=r"is not whole: .* Nothing was overwritten"):
            restore_point(site.house, plan, RestoreWatcher(), lambda: "")
    else:
        with pytest.raises(PointDamaged, match=r"The memory image of point .* cannot be used: "):
            site.plan(stored, memory=True, start=True)

    assert (site.read(ROOT), site.read(DATA)) == before
    assert list_incomplete_restores(site.house) == ()


def test_a_running_guest_keeps_its_disks(site: Site) -> None:
    point = site.back_up()
    before = site.count()

    with pytest.raises(RestoreRefused) as caught:
        site.restore(point, memory=True, start=True, overwrite=True)

    assert f"{ROOT} is in use: it is xvda of web" in caught.value.message
    assert site.count() >= before
    assert find_wrongs(site.house) == []


def test_too_small_foreign_and_unknown_targets_are_refused_together(site: Site) -> None:
    point = site.back_up()
    site.act("lvcreate", "-y", "-L", "4m", "-n", "small", "xenvols")
    placed = (
        DiskPlacement(vdev="xvda", path="/dev/xenvols/small"),
        DiskPlacement(vdev="xvdb", path="/dev/xenvols/thinny_root"),
    )

    with pytest.raises(RestoreRefused) as caught:
        site.plan(point, disks=placed, overwrite=True)

    assert "small has 4194304 bytes, the disk needs 8388608" in caught.value.message
    assert "thinny_root is in use: it is xvda of thinny" in caught.value.message


def test_nothing_goes_into_the_destination_itself(site: Site) -> None:
    point = site.back_up("crash")

    with pytest.raises(RestoreRefused, match="lies in destination local"):
        site.plan(point, domain="web2", image_folder="/srv/backup")


def test_a_host_that_changed_since_the_plan_is_not_touched(site: Site) -> None:
    point = site.back_up("crash")
    site.lose("web_data")
    plan = site.plan(point)
    site.act("lvcreate", "-y", "-L", "4m", "-n", "web_data", "xenvols")
    before = site.read(ROOT)

    with pytest.raises(RestoreRefused, match="changed since the restore was planned"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert site.read(ROOT) == before


def test_a_volume_that_took_the_name_of_the_planned_one_is_not_touched(site: Site) -> None:
    """Its path and its size are those of the plan; what it holds is somebody else's."""
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point)
    size_bytes = plan.targets[0].capacity_bytes
    site.act("lvremove", "-y", "xenvols/web_root")
    site.act("lvcreate", "-y", "-L", f"{size_bytes}b", "-n", "web_root", "xenvols")
    site.write(ROOT, 0, b"precious")
    before = site.read(ROOT), site.read(DATA)

    with pytest.raises(RestoreRefused, match="changed since the restore was planned"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert (site.read(ROOT), site.read(DATA)) == before


def test_a_guest_that_was_started_since_the_plan_keeps_its_disks(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point)
    site.act("xl", "create", "/etc/xen/web.cfg")

    with pytest.raises(RestoreRefused, match="in use: it is xvda of web"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert find_wrongs(site.house) == []


def test_a_guest_that_was_started_while_the_point_was_read_keeps_its_disks(site: Site) -> None:
    """Reading a large point lasts hours, and the kernel keeps no writer off a guest's disk."""
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point)

    class Administrator(RestoreWatcher):
        def act_began(self, what: str) -> None:
            if not self.acts:
                site.act("xl", "create", "/etc/xen/web.cfg")
            super().act_began(what)

    with pytest.raises(RestoreRefused, match="in use: it is xvda of web"):
        restore_point(site.house, plan, Administrator(), lambda: "")

    assert find_wrongs(site.house) == []


def test_a_domain_that_another_process_works_on_is_locked(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point)

    with site.house.lock_domain("web", "back up web"), pytest.raises(Locked, match="restore web"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")


def test_a_configuration_that_xl_refuses_stops_the_restore_before_its_disks(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    before = site.read(ROOT)
    plan = site.plan(point, start=True)
    site.host.set_fault(Fault(tool="xl", verb="create", kind=FaultKind.FAIL, stderr="bad file\n"))

    with pytest.raises(RestoreRefused, match=r"does not accept .*bad file"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert site.read(ROOT) == before
    assert list_incomplete_restores(site.house) == ()


def test_memory_is_refused_on_an_older_xen(site: Site) -> None:
    point = site.back_up()
    site.lose()
    with site.host.machine() as machine:
        machine.state.xen_minor = 16
        machine.commit()

    with pytest.raises(RestoreRefused, match=r"older Xen 4\.16"):
        site.plan(point, memory=True)


def test_memory_is_refused_where_it_does_not_fit(site: Site) -> None:
    point = site.back_up()
    site.lose()
    taken = site.house.toolstack.read_facts().free_memory_mib - 90
    with site.host.machine() as machine:
        machine.state.total_memory_mib -= taken
        machine.commit()

    with pytest.raises(RestoreRefused, match="90 MiB of memory are free, web needs 96 MiB"):
        site.plan(point, memory=True, start=True)


def test_a_missing_destination_is_told_before_anything(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point)
    folder = site.host.place("/srv/backup")
    folder.rename(folder.with_name("away"))

    with pytest.raises(DestinationMissing, match="local"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")
