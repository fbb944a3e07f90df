"""The manual's table of block devices, one test for each row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.kernel_trees import DEVICE_BYTES, Tree
from xenbackup.dom0.guest_configuration import parse_disk_specification
from xenbackup.model.backing import BackingKind
from xenbackup.model.domain import Disk
from xenbackup.model.plan import SnapshotKind
from xenbackup.planning.sharing import find_shared

IQN = "iqn.2001-04.com.example:x"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_phy_devices_resolve_to_volume_thin_volume_partition_disk_and_cdrom(tree: Tree) -> None:
    tree.add_volume("mainserver", 0, group="system")
    tree.add_volume("thin", 1, attributes="Vwi-aotz--", pool="pool", data_percent=25.0)
    tree.add_device("sdb", 8, 16)
    tree.add_device("sdb1", 8, 17, at="/sys/devices/sdb/sdb1", partition="1\n")
    tree.add_device("cdrom", 11, 0, size="1000\n")

    thick = tree.resolve("phy:/dev/system/mainserver,xvda,w")
    thin = tree.resolve("phy:xenvols/thin,xvda,w")
    disk = tree.resolve("phy:/dev/sdb,xvda,w")
    part = tree.resolve("phy:/dev/sdb1,xvda,w")
    cdrom = tree.resolve("phy:/dev/cdrom,xvdb,r")

    assert (BackingKind.LOGICAL_VOLUME, "system") == (thick.kind, thick.group)
    assert (SnapshotKind.THICK, "mainserver-uuid") == (thick.snapshot, thick.lv_uuid)
    assert (BackingKind.THIN_VOLUME, SnapshotKind.THIN) == (thin.kind, thin.snapshot)
    assert thin.size_bytes // 4 == thin.allocated_bytes
    assert (BackingKind.WHOLE_DISK, BackingKind.PARTITION) == (disk.kind, part.kind)
    assert (DEVICE_BYTES, SnapshotKind.NONE) == (part.size_bytes, part.snapshot)
    assert (BackingKind.CDROM, False) == (cdrom.kind, cdrom.writable)


@pytest.mark.parametrize(
    ("filesystem", "answer", "expected", "note"),
    [
        ("btrfs", None, True, ""),
        ("xfs", True, True, ""),
        ("xfs", False, False, "made without reflink"),
        ("xfs", None, False, "could not be read"),
        ("ext4", None, False, ""),
    ],
)
def test_an_image_file_reflinks_where_the_filesystem_can(
    tree: Tree, filesystem: str, answer: bool | None, expected: bool, note: str
) -> None:
    tree.put("/var/lib/xen/images/disk1", "x" * 5000)
    rows = (
        "1 0 8:1 / / rw - ext3 /dev/sda1 rw",
        f"2 1 8:2 / /var/lib/xen rw shared:7 - {filesystem} /dev/sda2 rw",
    )
    tree.put("/proc/self/mountinfo", "\n".join(rows))
    tree.reflinks["/var/lib/xen"] = answer

    found = tree.resolve("file:/var/lib/xen/images/disk1,hda,w")

    assert (BackingKind.IMAGE_FILE, "/var/lib/xen") == (found.kind, found.mount_point)
    assert (filesystem, expected) == (found.filesystem, found.can_reflink)
    assert (5000, SnapshotKind.NONE) == (found.size_bytes, found.snapshot)
    assert note in " ".join(found.notes)
    assert bool(note) == bool(found.notes)


def test_an_iso_and_a_read_only_cdrom_are_told_from_disks(tree: Tree) -> None:
    tree.put("/isos/cdrom.iso", "iso")
    tree.put("/isos/data.img", "data")

    kinds = [
        tree.resolve(text).kind
        for text in (
            "file:/isos/cdrom.iso,hdc,r",
            "file:/isos/cdrom.iso,hdc:cdrom,r",
            "file:/isos/cdrom.iso,hda,w",
            "file:/isos/data.img,hda,r",
            ",hdc:cdrom,r",
            "/isos/missing.iso,,hdc,cdrom",
        )
    ]

    assert [
        BackingKind.CDROM,
        BackingKind.CDROM,
        BackingKind.IMAGE_FILE,
        BackingKind.IMAGE_FILE,
        BackingKind.EMPTY,
        BackingKind.CDROM,
    ] == kinds


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("tap:aio:/srv/server2.img,xvda,w", "raw"),
        ("tap:vmdk:/srv/server2.img,xvda,w", "vmdk"),
        ("tap:qcow:/srv/server2.img,xvda,w", "qcow"),
        ("tap:qcow2:/srv/server2.img,xvda,w", "qcow2"),
    ],
)
def test_tap_images_are_noted_as_unknown_to_tools_and_copied_whole(
    tree: Tree, text: str, form: str
) -> None:
    tree.put("/srv/server2.img", "disk")

    found = tree.resolve(text, running=True)

    assert (BackingKind.IMAGE_FILE, form, "") == (found.kind, found.format, found.problem)
    assert "tools of xm's time did not know" in found.notes[0]
    assert (form != "raw") == any("copied whole while the guest is saved" in n for n in found.notes)


def test_an_iscsi_disk_is_found_by_its_name_and_the_initiator_said(tree: Tree) -> None:
    tree.add_device("sdc", 8, 32, at="/sys/devices/host3/session1/target3:0:0/block/sdc")
    link = f"/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-{IQN}-lun-0"
    tree.put(link)
    tree.put(f"{link}-part1")
    tree.numbers |= {link: (8, 32), f"{link}-part1": (8, 33)}
    tree.put("/sys/class/iscsi_session/session1/targetname", f"{IQN}\n")

    by_name = tree.resolve(f"iscsi: {IQN},xvda,w")
    by_path = tree.resolve(f"phy:{link},xvda,w")
    by_node = tree.resolve("phy:/dev/sdc,xvda,w")

    assert link == by_name.path
    assert [BackingKind.ISCSI] * 3 == [found.kind for found in (by_name, by_path, by_node)]
    for found in (by_name, by_path, by_node):
        assert f"iSCSI: dom0's own initiator is logged in to {IQN}" in found.notes
        assert any("no snapshot of it can be taken here" in note for note in found.notes)
        assert (SnapshotKind.NONE, "", True) == (found.snapshot, found.problem, found.on_network)
    assert by_name.tokens & by_path.tokens & by_node.tokens == {"block:8:32"}


@pytest.mark.parametrize(
    ("daemon", "words"), [("iscsid\n", "(iscsid) runs, but"), ("sshd\n", "does not run, and")]
)
def test_an_iscsi_disk_that_nobody_logged_in_to_has_its_reason(
    tree: Tree, daemon: str, words: str
) -> None:
    tree.put("/proc/812/comm", daemon)

    found = tree.resolve(f"iscsi:{IQN},xvda,w")

    assert (BackingKind.ISCSI, "") == (found.kind, found.path)
    assert "nobody is logged in" in found.problem
    assert words in found.notes[0]


@pytest.mark.parametrize("text", ["drbd:web,xvda,w", "phy:/dev/drbd1,xvda,w"])
@pytest.mark.parametrize("source", ["sysfs", "files"])
def test_drbd_on_lvm_names_the_backing_volume(tree: Tree, text: str, source: str) -> None:
    tree.add_volume("web_root", 3)
    tree.add_device("drbd1", 147, 1)
    resource = "resource web { device /dev/drbd1; on dom0 { disk /dev/xenvols/web_root; } }"
    if source == "sysfs":
        slave = tree.place("/sys/devices/drbd1/slaves/dm-3")
        slave.parent.mkdir()
        slave.symlink_to(tree.place("/sys/devices/dm-3"))
        resource = "resource web { device minor 1; }"
        tree.numbers["/dev/drbd/by-res/web"] = (147, 1)
    tree.put("/proc/sys/kernel/hostname", "dom0\n")
    tree.put("/etc/drbd.d/web.res", resource)

    found = tree.resolve(text)

    assert (BackingKind.DRBD, "web_root-uuid", "xenvols") == (
        found.kind,
        found.lv_uuid,
        found.group,
    )
    assert SnapshotKind.THICK == found.snapshot
    assert {"lv:web_root-uuid", "block:147:1"} <= found.tokens


def add_mapped_part(tree: Tree, whole: str, number: int) -> None:
    """A partition as multipathd's udev rules have kpartx map it."""
    tree.add_device(f"dm-{number}", 253, number, dm__uuid="part1-mpath-3600")
    for folder, link in ((whole, f"holders/dm-{number}"), (f"dm-{number}", f"slaves/{whole}")):
        path = tree.place(f"/sys/devices/{folder}/{link}")
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(tree.place(f"/sys/block/{path.name}"))


def test_partitions_that_are_mapped_on_multipath_are_no_use_of_it(tree: Tree) -> None:
    tree.add_device("dm-7", 253, 7, dm__uuid="mpath-3600")
    add_mapped_part(tree, "dm-7", 8)
    assert "" == tree.resolve("phy:/dev/dm-7,xvda,w").held

    tree.put("/sys/devices/dm-8/holders/dm-9")
    assert "part of dm-9" == tree.resolve("phy:/dev/dm-7,xvda,w").held

    tree.put("/proc/self/mountinfo", "29 1 253:8 / /mnt rw - ext4 /dev/dm-8 rw")
    assert "mounted in dom0 at /mnt" == tree.resolve("phy:/dev/dm-7,xvda,w").held


def test_a_mapped_partition_and_its_whole_disk_are_shared_storage(tree: Tree) -> None:
    tree.add_device("dm-7", 253, 7, dm__uuid="mpath-3600")
    add_mapped_part(tree, "dm-7", 8)
    whole, part = (tree.resolve(f"phy:/dev/{name},xvda,w") for name in ("dm-7", "dm-8"))

    assert ((whole, part),) == find_shared((whole, part))
    assert (BackingKind.MAPPED_DEVICE, ()) == (part.kind, find_shared((part,)))


def test_empty_fields_spaces_and_keys_mean_the_same_disk() -> None:
    expected = Disk(vdev="xvda", target="/dev/vg/web", writable=False)

    for text in (
        "phy:/dev/vg/web,xvda,r",
        "/dev/vg/web,,xvda,r",
        "/dev/vg/web, raw, xvda, ro",
        "vdev=xvda, access=r, target=/dev/vg/web",
        "phy: /dev/vg/web,xvda,r",
    ):
        assert expected == parse_disk_specification(text)


def test_a_volume_under_evms_is_a_plain_device_and_named_obsolete(tree: Tree) -> None:
    tree.add_device("evms/root", 253, 9)

    found = tree.resolve("phy:/dev/evms/root,xvda,w")

    assert (BackingKind.MAPPED_DEVICE, SnapshotKind.NONE) == (found.kind, found.snapshot)
    assert (DEVICE_BYTES, "") == (found.size_bytes, found.problem)
    assert "under EVMS, which is obsolete" in found.notes[0]


def test_files_are_portable_and_devices_stay(tree: Tree) -> None:
    tree.add_volume("web_root", 3)
    with tree.put("/srv/sparse.img").open("wb") as file:
        os.ftruncate(file.fileno(), 1 << 20)

    device = tree.resolve("phy:/dev/xenvols/web_root,xvda,w")
    file_ = tree.resolve("file:/srv/sparse.img,xvda,w")

    assert (False, True) == (device.portable, file_.portable)
    assert device.size_bytes == device.allocated_bytes
    assert (1 << 20, 0) == (file_.size_bytes, file_.allocated_bytes)
    assert ("web", "web") == (device.domain, file_.domain)


def test_what_restore_must_create_is_seen_as_absent(tree: Tree) -> None:
    found = tree.resolve("phy:/dev/xenvols/gone,xvda,w")

    assert (BackingKind.ABSENT, "No such file or directory") == (found.kind, found.problem)
