"""Restores on the simulated host: disks come back, memory meets only its own disks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import WEB_UUID, find_wrongs
from tests.unit.restore_house import Site
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import (
    PointDamaged,
    RestoreRefused,
)
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec
from xenbackup.model.restore import DiskPlacement, GuestOutcome, TargetAct
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.operations.restore import list_incomplete_restores
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


def test_pinning_is_given_back(site: Site) -> None:
    site.act("xl", "vcpu-pin", "web", "0", "1")
    point = site.back_up()
    site.lose()

    site.restore(point, memory=True, start=True)

    (web,) = (d for d in site.house.toolstack.list_domains() if d.name == "web")
    assert [pin.hard for pin in site.house.toolstack.read_tuning(web).pinning] == ["1"]


def test_a_point_whose_configuration_is_damaged_still_gives_its_disks(site: Site) -> None:
    point = site.back_up("crash")
    site.lose("web_root")
    site.stored(point, "domain.json").write_text(json.dumps({"config": None}))

    with pytest.raises(PointDamaged):
        site.plan(point, start=True)
    result = site.restore(point)

    assert any("no xl.cfg is written" in warning for warning in result.warnings)
    assert site.read(ROOT) == site.stored(point, "xvda.img").read_bytes()
