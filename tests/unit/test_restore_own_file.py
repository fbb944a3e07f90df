"""Guests of which no toolstack has a record: their own configuration file boots them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import WEB_UUID, find_wrongs
from tests.unit.restore_house import Site, damage
from xenbackup.dom0.guest_configuration import parse_configuration
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.errors import PointDamaged, RestoreRefused
from xenbackup.model.restore import DiskPlacement, GuestOutcome
from xenbackup.operations.points import FoundPoint
from xenbackup.operations.restore import list_incomplete_restores

ROOT = "/dev/xenvols/web_root"
WEB_FILE = "/etc/xen/web.cfg"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def back_up_shut_off(site: Site, domain: str = "web") -> FoundPoint:
    site.act("xl", "destroy", domain)
    return site.back_up("offline", domain)


def write_own_file(site: Site, *lines: str, without: str = "") -> str:
    """The guest's file with further lines, and less those that begin with `without`."""
    path = site.host.place(WEB_FILE)
    kept = [
        line for line in path.read_text().splitlines() if not (without and line.startswith(without))
    ]
    path.write_text("\n".join([*kept, *lines]) + "\n")
    return path.read_text()


def test_point_of_a_shut_off_guest_keeps_its_own_file_privately(site: Site) -> None:
    text = site.host.place(WEB_FILE).read_text()

    point = back_up_shut_off(site)

    kept = site.stored(point, "domain.cfg")
    assert (text, 0o600) == (kept.read_text(), kept.stat().st_mode & 0o777)
    store = site.house.open_destination("local")
    assert text == store.read_configuration(point.point)
    assert store.verify_point(point.point).good


def test_point_of_a_running_guest_keeps_it_too_and_boots_from_its_record(site: Site) -> None:
    text = write_own_file(site, "# the record of xl has no comments")
    point = site.back_up("crash")
    site.lose()

    result = site.restore(point, start=True)

    assert text == site.stored(point, "domain.cfg").read_text()
    written = site.host.place(result.configuration_path).read_text()
    assert "no comments" not in written


def test_shut_off_guest_boots_from_its_own_file(site: Site) -> None:
    text = write_own_file(site, "# written by hand")
    point = back_up_shut_off(site)
    site.act("lvremove", "-y", "xenvols/web_root")

    result = site.restore(point, start=True)

    assert result.guest is GuestOutcome.RUNNING
    assert text == site.host.place(result.configuration_path).read_text()
    assert [] == find_wrongs(site.house)
    assert () == list_incomplete_restores(site.house)


def test_guest_without_a_uuid_of_its_own_gets_one_to_be_found_by(site: Site) -> None:
    write_own_file(site, without="uuid")
    point = back_up_shut_off(site)
    assert "" == point.manifest.uuid

    result = site.restore(point, start=True)

    assert result.guest is GuestOutcome.RUNNING
    assert result.uuid
    written = site.host.place(result.configuration_path).read_text()
    assert result.uuid == parse_configuration(written, "f").uuid
    assert [] == find_wrongs(site.house)


def test_new_name_gets_disks_addresses_and_an_identity_of_its_own(site: Site) -> None:
    site.act("lvcreate", "-y", "-L", "4m", "-n", "swap", "xenvols")
    write_own_file(
        site,
        'disk += [ "phy:/dev/xenvols/swap,xvdc,w" ]',
        "vif = [ 'mac=00:16:3e:aa:bb:cc,bridge=xenbr0,vifname=vif-web' ]",
    )
    point = back_up_shut_off(site)
    point = replace(
        point,
        manifest=replace(
            point.manifest,
            disks=tuple(disk for disk in point.manifest.disks if disk.vdev != "xvdc"),
        ),
    )

    plan = site.plan(point, domain="web2", volume_group="other", start=True)

    found = parse_configuration(plan.configuration_text, "f")
    assert ("web2", plan.uuid) == (found.name, found.uuid)
    assert WEB_UUID != plan.uuid
    assert ["/dev/other/web_root", "/dev/other/web_data"] == [d.target for d in found.disks]
    (interface,) = found.network_interfaces
    assert ("xenbr0", True) == (interface.bridge, interface.mac != "00:16:3e:aa:bb:cc")
    assert "vif-web" not in plan.configuration_text
    assert any("no interface vif-web" in warning for warning in plan.warnings)
    assert any("has no xvdc" in warning for warning in plan.warnings)
    assert any("network address" in warning for warning in plan.warnings)


def test_interface_keeps_its_name_in_place(site: Site) -> None:
    write_own_file(site, "vif = [ 'bridge=xenbr0,vifname=vif-web' ]")
    plan = site.plan(back_up_shut_off(site), volume_group="other", start=True)
    assert "vifname=vif-web" in plan.configuration_text


def test_disks_elsewhere_that_the_guests_own_file_does_not_name_are_told_of(site: Site) -> None:
    """The next start of the guest, or of the host, would bring the old ones back."""
    write_own_file(site)
    point = back_up_shut_off(site)
    told = "web's own configuration file still names its old xvda (/dev/xenvols/web_root): change"
    placed = (DiskPlacement(vdev="xvda", path="/dev/other/web_root"),)
    assert any(told in warning for warning in site.plan(point, disks=placed).warnings)
    assert not any("still names" in warning for warning in site.plan(point).warnings)
    copy = site.plan(point, domain="web2", volume_group="other")
    assert not any("still names" in warning for warning in copy.warnings)


def test_new_name_runs_beside_nothing_of_the_original(site: Site) -> None:
    point = back_up_shut_off(site)
    site.act("xl", "create", WEB_FILE)

    result = site.restore(point, domain="web2", volume_group="other", start=True)

    found = {domain.name: domain for domain in site.house.toolstack.list_domains()}
    assert result.uuid == found["web2"].uuid
    assert ["/dev/other/web_root", "/dev/other/web_data"] == [
        disk.target for disk in found["web2"].disks
    ]
    assert [] == find_wrongs(site.house)


def test_disks_in_image_files_are_named_as_such(site: Site) -> None:
    point = back_up_shut_off(site)
    site.host.place("/srv/xen").mkdir()

    result = site.restore(point, image_folder="/srv/xen", start=True)

    assert result.guest is GuestOutcome.RUNNING
    assert [] == find_wrongs(site.house)


def test_file_that_xl_refuses_stops_the_restore_before_its_disks(site: Site) -> None:
    point = back_up_shut_off(site)
    site.write(ROOT, 0, b"x" * 4096)
    site.host.set_fault(Fault(tool="xl", verb="create", kind=FaultKind.FAIL, stderr="bad file\n"))

    with pytest.raises(RestoreRefused, match="does not accept"):
        site.restore(point, start=True)

    assert b"x" * 4096 == site.read(ROOT)[:4096]


def test_missing_kernel_is_named_before_anything_is_touched(site: Site) -> None:
    write_own_file(site, 'kernel = "/boot/gone"', without="kernel")
    point = back_up_shut_off(site)

    with pytest.raises(RestoreRefused, match="kernel /boot/gone of web is not on this host"):
        site.plan(point, start=True)


def test_without_any_file_the_reason_is_told(site: Site) -> None:
    point = back_up_shut_off(site)
    older = replace(point, manifest=replace(point.manifest, configuration_digest=""))
    folder = site.stored(point, "domain.cfg").parent
    manifest = folder / "manifest.json"
    from xenbackup.storage.manifest import encode_manifest

    manifest.write_bytes(encode_manifest(older.manifest))
    (folder / "domain.cfg").unlink()

    with pytest.raises(RestoreRefused, match="holds no configuration of web"):
        site.plan(older, start=True)
    assert GuestOutcome.NOT_STARTED is site.restore(older).guest


def test_damaged_file_is_found_and_the_disks_come_back_without_it(site: Site) -> None:
    point = back_up_shut_off(site)
    damage(site.stored(point, "domain.cfg"), 5)

    with pytest.raises(PointDamaged, match=r"domain\.cfg differs from its digest"):
        site.plan(point, start=True)
    store = site.house.open_destination("local")
    assert ["domain.cfg"] == [found.file for found in store.verify_point(point.point).findings]
    result = site.restore(point)
    assert any("no xl.cfg is written" in warning for warning in result.warnings)


# xm


@pytest.fixture(params=[(3, 0), (3, 4), (4, 1)], ids=str)
def xm_site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(tmp_path / "host", toolstack="xm", xen_version=request.param)


def test_guest_of_xm_boots_from_its_own_file(xm_site: Site) -> None:
    text = xm_site.host.place(WEB_FILE).read_text()
    point = xm_site.back_up("crash")
    xm_site.host.sleep(5.0)
    xm_site.act("xm", "destroy", "web")
    xm_site.act("lvremove", "-f", "xenvols/web_root")

    result = xm_site.restore(point, start=True)

    assert result.guest is GuestOutcome.RUNNING
    assert text == xm_site.host.place(result.configuration_path).read_text()
    assert [] == find_wrongs(xm_site.house)


def test_guest_of_xm_boots_under_a_new_name(xm_site: Site) -> None:
    point = xm_site.back_up("crash")

    result = xm_site.restore(point, domain="web2", volume_group="other", start=True)

    assert result.guest is GuestOutcome.RUNNING
    (web2,) = [d for d in xm_site.house.toolstack.list_domains() if d.name == "web2"]
    assert ["/dev/other/web_root", "/dev/other/web_data"] == [d.target for d in web2.disks]
    assert [] == find_wrongs(xm_site.house)


@pytest.mark.parametrize("options", [{"domain": "web2"}, {}])
def test_memory_of_xm_is_refused_elsewhere_before_anything_is_touched(
    xm_site: Site, options: dict[str, object]
) -> None:
    point = xm_site.back_up("cold")
    xm_site.host.sleep(5.0)
    xm_site.act("xm", "destroy", "web")

    with pytest.raises(RestoreRefused, match=r"before Xen 4\.6: its guest's name and disks"):
        xm_site.plan(point, memory=True, volume_group="other", **options)

    assert {"xenvols"} == {volume.group for volume in xm_site.house.lvm.list_volumes()}
    assert () == list_incomplete_restores(xm_site.house)


def test_memory_of_xm_comes_back_in_place(xm_site: Site) -> None:
    point = xm_site.back_up("cold")
    xm_site.host.sleep(5.0)
    xm_site.act("xm", "destroy", "web")

    result = xm_site.restore(point, memory=True, start=True)

    assert result.guest is GuestOutcome.RUNNING
    assert [] == find_wrongs(xm_site.house)


def test_memory_of_an_older_xl_is_refused_elsewhere_before_anything_is_touched(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path / "host", xen_version=(4, 3))
    point = site.back_up("cold")
    site.lose()

    with pytest.raises(RestoreRefused, match=r"before Xen 4\.6: its guest's name and disks"):
        site.plan(point, memory=True, volume_group="other")

    result = site.restore(point, memory=True, start=True)
    assert result.guest is GuestOutcome.RUNNING
    assert [] == find_wrongs(site.house)
