"""Restores on the simulated host: disks come back, memory meets only its own disks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import WEB_UUID, find_wrongs
from tests.unit.restore_house import RestoreWatcher, Site, damage
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import (
    CopyFailed,
    DestinationMissing,
    Locked,
    PointDamaged,
    RestoreFailed,
    RestoreRefused,
)
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec
from xenbackup.model.restore import DiskPlacement, GuestOutcome, TargetAct
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.operations.restore import list_incomplete_restores, restore_point
from xenbackup.storage.volume import VolumeDestination

ROOT = "/dev/xenvols/web_root"
DATA = "/dev/xenvols/web_data"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def test_a_lost_guest_comes_back_with_its_memory_and_goes_on(site: Site) -> None:
    point = site.back_up()
    site.lose("web_data")

    result = site.restore(point, memory=True, start=True)

    assert result.guest is GuestOutcome.RUNNING
    assert [disk.act for disk in result.disks] == [TargetAct.OVERWRITE, TargetAct.CREATE_VOLUME]
    assert find_wrongs(site.house) == []
    assert list_incomplete_restores(site.house) == ()


def test_memory_without_start_leaves_the_guest_paused(site: Site) -> None:
    point = site.back_up()
    site.lose()

    result = site.restore(point, memory=True)

    assert result.guest is GuestOutcome.PAUSED
    assert "p" in site.state_of("web")
    before = site.count()
    site.host.sleep(3.0)
    assert site.count() == before
    site.act("xl", "unpause", "web")
    assert find_wrongs(site.house) == []


def test_the_guests_memory_stands_where_it_stood_in_the_point(site: Site) -> None:
    before = site.count()
    point = site.back_up()
    after = site.count()
    site.host.sleep(60.0)
    site.lose("web_root", "web_data")

    site.restore(point, memory=True)

    assert before <= site.count() <= after


def test_disks_alone_come_back_and_the_guest_stays_off(site: Site) -> None:
    point = site.back_up("crash")
    site.lose("web_root", "web_data")

    result = site.restore(point)

    assert (result.guest, result.domid) == (GuestOutcome.NOT_STARTED, None)
    assert site.read(ROOT)[: 8 * MIB] == site.stored(point, "xvda.img").read_bytes()
    assert site.read(DATA)[: 4 * MIB] == site.stored(point, "xvdb.img").read_bytes()
    assert site.state_of("web") == ""


def test_a_guest_boots_from_restored_disks_by_the_configuration_written_for_it(
    site: Site,
) -> None:
    point = site.back_up("crash")
    site.lose("web_root")

    result = site.restore(point, start=True)

    assert result.guest is GuestOutcome.RUNNING
    assert f'uuid = "{WEB_UUID}"' in site.host.place(result.configuration_path).read_text()
    assert find_wrongs(site.house) == []


def test_only_what_differs_is_written(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    site.restore(point)

    again = site.restore(point)
    whole = site.restore(point, whole=True)

    assert again.bytes_written == 0
    assert [disk.same_bytes for disk in again.disks] == [8 * MIB, 4 * MIB]
    assert whole.bytes_written == 12 * MIB


def test_a_new_volume_that_held_other_bytes_is_whole_afterwards(site: Site) -> None:
    point = site.back_up("crash")
    site.lose("web_root")
    site.act("lvcreate", "-y", "-L", "8m", "-n", "old", "xenvols")
    site.write("/dev/xenvols/old", 5 * MIB, b"x" * 4096)

    site.restore(
        point, disks=(DiskPlacement(vdev="xvda", path="/dev/xenvols/old"),), overwrite=True
    )

    assert site.read("/dev/xenvols/old") == site.stored(point, "xvda.img").read_bytes()


def test_under_a_new_name_in_another_group_the_original_may_run_on(site: Site) -> None:
    point = site.back_up()

    result = site.restore(point, domain="web2", volume_group="other", start=True)

    found = {domain.name: domain for domain in site.house.toolstack.list_domains()}
    assert [disk.target for disk in found["web2"].disks] == [
        "/dev/other/web_root",
        "/dev/other/web_data",
    ]
    assert found["web2"].uuid == result.uuid != WEB_UUID
    assert find_wrongs(site.house) == []
    assert all(not volume.tags for volume in site.house.lvm.list_volumes("other"))


def test_memory_comes_back_under_a_new_name_in_another_group(site: Site) -> None:
    point = site.back_up()
    site.lose()

    result = site.restore(point, domain="web2", volume_group="other", memory=True, start=True)

    assert result.guest is GuestOutcome.RUNNING
    site.host.sleep(3.0)
    assert site.count("web2") > 0
    assert site.corruptions() == {}
    spool = site.host.place(site.house.configuration.spool_path)
    assert list(spool.iterdir()) == []


def test_image_files_are_sparse_and_private(site: Site) -> None:
    point = site.back_up("crash")
    site.host.place("/srv/xen").mkdir()

    site.restore(point, domain="web2", image_folder="/srv/xen")

    made = site.host.place("/srv/xen/web2-xvda.img")
    assert made.read_bytes() == site.stored(point, "xvda.img").read_bytes()
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.stat().st_blocks * 512 < 8 * MIB


def test_a_guest_starts_from_image_files_in_place_of_volumes(site: Site) -> None:
    point = site.back_up()
    site.lose()
    site.host.place("/srv/xen").mkdir()

    site.restore(point, image_folder="/srv/xen", memory=True, start=True)

    assert find_wrongs(site.house) == []


def test_a_thin_volume_is_restored_in_place(site: Site) -> None:
    point = site.back_up(domain="thinny")
    site.lose(domain="thinny")

    site.restore(point, memory=True, start=True)

    assert find_wrongs(site.house, "thinny") == []


def test_a_point_in_prepared_volumes_is_restored_like_any_other(site: Site) -> None:
    folder = site.host.place("/var/lib/xenbackup/volumes/local")
    spec = DestinationSpec(name="local", kind=DestinationKind.VOLUME, path="other")
    for vdev, size_bytes in (("xvda", 8 * MIB), ("xvdb", 5 * MIB)):
        site.house.lvm.create_volume("other", f"web--{vdev}", size_bytes, tags=(TAG_DESTINATION,))
    site.house = replace(
        site.house,
        configuration=Configuration(destinations=(spec,)),
        open_destination=lambda name: VolumeDestination(site.host, site.house.lvm, spec, folder),
    )
    point = site.back_up()
    site.lose("web_data")

    with pytest.raises(RestoreRefused, match="is a backup destination"):
        placed = DiskPlacement(vdev="xvda", path="/dev/other/web--xvda")
        site.plan(point, disks=(placed,), overwrite=True)
    site.restore(point, memory=True, start=True)

    site.host.sleep(3.0)
    assert site.corruptions() == {}
    assert site.count() > 0


def test_the_rest_of_a_larger_volume_is_left_as_it_is(site: Site) -> None:
    point = site.back_up("crash")
    site.lose("web_root")
    site.act("lvcreate", "-y", "-L", "10m", "-n", "web_root", "xenvols")
    site.write(ROOT, 9 * MIB, b"mine" * 1024)

    result = site.restore(point)

    assert site.read(ROOT)[9 * MIB : 9 * MIB + 4096] == b"mine" * 1024
    assert any("larger than xvda" in warning for warning in result.warnings)


# What is refused, with nothing touched


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


def test_damage_met_while_writing_a_new_volume_leaves_it_marked(site: Site) -> None:
    point = site.back_up("crash")
    damage(site.stored(point, "xvdb.img"), MIB)

    with pytest.raises(PointDamaged, match="xvdb") as caught:
        site.restore(point, domain="web2", volume_group="other")

    assert "marked incomplete: restore another point" in caught.value.hint
    (mark,) = list_incomplete_restores(site.house)
    assert [target.path for target in mark.targets] == [
        "/dev/other/web_root",
        "/dev/other/web_data",
    ]


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


@pytest.mark.parametrize("kind", [FaultKind.FAIL, FaultKind.LIE_OK, FaultKind.KILL_MIDDLE])
def test_a_rebuild_that_fails_once_is_tried_again(site: Site, kind: FaultKind) -> None:
    point = site.back_up()
    site.lose()
    site.host.set_fault(Fault(tool="xl", verb="restore", kind=kind, times=1, stderr="no luck\n"))

    site.restore(point, memory=True, start=True)

    assert find_wrongs(site.house) == []


def test_a_rebuild_that_always_fails_keeps_whole_disks_and_the_mark(site: Site) -> None:
    point = site.back_up()
    site.lose("web_root")
    site.host.set_fault(Fault(tool="xl", verb="restore", kind=FaultKind.FAIL, stderr="no luck\n"))

    with pytest.raises(RestoreFailed, match=r"could not be rebuilt.*no luck") as caught:
        site.restore(point, memory=True, start=True)

    assert "the same restore again completes them" in caught.value.hint
    assert site.read(ROOT) == site.stored(point, "xvda.img").read_bytes()
    assert len(list_incomplete_restores(site.house)) == 1
    site.host.clear_faults()
    site.restore(point, memory=True, start=True)
    assert find_wrongs(site.house) == []
    assert list_incomplete_restores(site.house) == ()


def test_a_guest_that_does_not_boot_is_told_with_its_file(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point, start=True)
    fault = Fault(tool="xl", verb="create", kind=FaultKind.FAIL, nth=2, stderr="no luck\n")
    site.host.set_fault(fault)

    with pytest.raises(RestoreFailed, match=r"did not start.*no luck") as caught:
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert plan.configuration_path in caught.value.hint


def test_pinning_is_given_back(site: Site) -> None:
    site.act("xl", "vcpu-pin", "web", "0", "1")
    point = site.back_up()
    site.lose()

    site.restore(point, memory=True, start=True)

    (web,) = (d for d in site.house.toolstack.list_domains() if d.name == "web")
    assert [pin.hard for pin in site.house.toolstack.read_tuning(web).pinning] == ["1"]


def test_a_write_error_leaves_the_mark_and_names_the_device(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    site.host.set_fault(Fault(tool="write", verb="web_data", kind=FaultKind.EIO, offset=65536))

    with pytest.raises(CopyFailed, match=DATA):
        site.restore(point)

    assert len(list_incomplete_restores(site.house)) == 1


def test_a_point_whose_configuration_is_damaged_still_gives_its_disks(site: Site) -> None:
    point = site.back_up("crash")
    site.lose("web_root")
    site.stored(point, "domain.json").write_text(json.dumps({"config": None}))

    with pytest.raises(PointDamaged):
        site.plan(point, start=True)
    result = site.restore(point)

    assert any("no xl.cfg is written" in warning for warning in result.warnings)
    assert site.read(ROOT) == site.stored(point, "xvda.img").read_bytes()


def test_a_missing_destination_is_told_before_anything(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point)
    folder = site.host.place("/srv/backup")
    folder.rename(folder.with_name("away"))

    with pytest.raises(DestinationMissing, match="local"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")
