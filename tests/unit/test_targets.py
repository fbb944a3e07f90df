"""What a path stands for: two spellings of one device, or of a part of it, never pass for two."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.unit.restore_house import Site
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.inventory.reading import read_inventory
from xenbackup.inventory.targets import TargetReader
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore_sight import PathSight

Look = Callable[[str], PathSight]


class DevicePath(type(Path())):  # type: ignore[misc]
    """A path that may be a block device: by its end, with (major, minor)."""

    numbers: ClassVar[dict[str, tuple[int, int]]] = {}

    def stat(self, **options: Any) -> os.stat_result:
        for end, (major, minor) in self.numbers.items():
            if str(self).endswith(end):
                fields = (stat.S_IFBLK | 0o600, 0, 0, 1, 0, 0, 0, 0, 0, 0)
                return os.stat_result(fields, {"st_rdev": os.makedev(major, minor)})
        return super().stat(**options)  # type: ignore[no-any-return]


class DeviceHost(SimulatedHost):
    """A simulated host whose /dev has nodes."""

    def place(self, path: str) -> Path:
        return DevicePath(super().place(path))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


@pytest.fixture
def look(site: Site) -> Look:
    """Looks anew at every call, as each command does."""

    def look(path: str) -> PathSight:
        host = DeviceHost(site.host.directory)
        inventory = read_inventory(host, site.house.toolstack, site.house.lvm)
        places = (("destination local", "/srv/backup"),)
        return TargetReader(host, inventory, places).look(path)

    return look


def put(site: Site, path: str, content: str = "") -> Path:
    place = site.host.place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    return place


def test_two_names_of_a_volume_share_its_uuid(look: Look) -> None:
    plain, mapped = look("/dev/xenvols/web_root"), look("/dev/mapper/xenvols-web_root")

    assert plain.kind is VolumeKind.LOGICAL_VOLUME
    assert plain.volume == mapped.volume
    assert plain.overlaps(mapped)
    assert not plain.overlaps(look("/dev/xenvols/web_data"))
    assert plain.held == "open in dom0"


def test_a_volume_is_recognised_by_its_device_number(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        DevicePath, "numbers", {"/dev/dm-3": (253, 3), "/dev/xenvols/web_root": (253, 3)}
    )

    sight = look("/dev/dm-3")

    assert sight.volume is not None
    assert sight.volume.name == "web_root"
    assert sight.overlaps(look("/dev/xenvols/web_root"))


def test_a_partition_overlaps_its_disk_and_not_its_neighbour(
    site: Site, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {"/dev/sdb": (8, 16), "/dev/sdb1": (8, 17), "/dev/sdb2": (8, 18)}
    monkeypatch.setattr(DevicePath, "numbers", numbers)
    put(site, "/sys/devices/sdb/dev", "8:16\n")
    for name, (major, minor) in numbers.items():
        inside = "" if name == "/dev/sdb" else f"/{name.removeprefix('/dev/')}"
        put(site, f"/sys/devices/sdb{inside}/dev", f"{major}:{minor}\n")
        if inside:
            put(site, f"/sys/devices/sdb{inside}/partition", "1\n")
        link = site.host.place(f"/sys/dev/block/{major}:{minor}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(site.host.place(f"/sys/devices/sdb{inside}"))

    whole, first, second = look("/dev/sdb"), look("/dev/sdb1"), look("/dev/sdb2")

    assert whole.overlaps(first)
    assert first.overlaps(whole)
    assert not first.overlaps(second)


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/proc/self/mountinfo", "29 1 8:16 / /data rw - ext4 /dev/sdb rw\n", "mounted in dom0 at"),
        ("/proc/swaps", "Filename Type\n/dev/sdb partition 1 0 -2\n", "swap space of dom0"),
        ("/sys/dev/block/8:16/holders/dm-7", "", "part of dm-7"),
        ("/sys/dev/block/8:16/sdb1/holders/dm-8", "", "part of dm-8"),
    ],
)
def test_a_device_that_dom0_uses_is_held(
    site: Site,
    look: Look,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    content: str,
    expected: str,
) -> None:
    monkeypatch.setattr(DevicePath, "numbers", {"/dev/sdb": (8, 16)})
    put(site, path, content)

    assert expected in look("/dev/sdb").held


def test_a_device_that_cannot_be_opened_is_no_target(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DevicePath, "numbers", {"/dev/sdx": (8, 99)})

    sight = look("/dev/sdx")

    assert (sight.exists, sight.kind) == (True, None)
    assert "cannot be opened" in sight.problem


def test_a_file_is_the_same_through_links(site: Site, look: Look) -> None:
    first = put(site, "/srv/xen/a.img", "disk")
    os.link(first, site.host.place("/srv/xen/b.img"))
    site.host.place("/srv/xen/c.img").symlink_to(first)

    a, b, c = (look(f"/srv/xen/{name}.img") for name in "abc")

    assert (a.kind, a.size_bytes, a.inode) == (VolumeKind.IMAGE_FILE, 4, first.stat().st_ino)
    assert a.overlaps(b)
    assert a.overlaps(c)


def test_a_file_behind_a_loop_device_or_used_as_swap_is_held(site: Site, look: Look) -> None:
    put(site, "/srv/xen/a.img")
    put(site, "/srv/xen/b.img")
    put(site, "/sys/block/loop3/loop/backing_file", "/srv/xen/a.img\n")
    put(site, "/proc/swaps", "Filename Type\n/srv/xen/b.img file 1 0 -2\n")

    assert look("/srv/xen/a.img").held == "behind /dev/loop3"
    assert look("/srv/xen/b.img").held == "swap space of dom0"


def test_what_is_neither_device_nor_file_is_no_target(site: Site, look: Look) -> None:
    site.host.place("/srv/folder").mkdir()

    sight = look("/srv/folder")

    assert (sight.exists, sight.kind) == (True, None)
    assert "neither a block device nor a regular file" in sight.problem


def test_our_own_places_are_recognised_through_links(site: Site, look: Look) -> None:
    site.host.place("/srv/other").symlink_to(site.host.place("/srv/backup"))
    put(site, "/srv/backup/web.img")

    assert look("/srv/backup/web.img").inside == "destination local"
    assert look("/srv/other/new.img").inside == "destination local"
    assert look("/srv/other/../backup/new.img").inside == "destination local"
    assert look("/srv/new.img").inside == ""


def test_an_absent_file_tells_of_its_folder(look: Look) -> None:
    there, not_there = look("/srv/new.img"), look("/srv/nowhere/new.img")

    assert (there.exists, there.folder_exists, not_there.folder_exists) == (False, True, False)
    assert there.folder_free_bytes > 0


def test_uses_cover_running_and_shut_off_guests(site: Site) -> None:
    site.act("xl", "destroy", "web")
    inventory = read_inventory(site.host, site.house.toolstack, site.house.lvm)

    uses = TargetReader(site.host, inventory, ()).list_uses()

    found = {(use.domain.name, use.vdev): use.domain.exists for use in uses}
    assert found == {("web", "xvda"): False, ("web", "xvdb"): False, ("thinny", "xvda"): True}
