"""Texts and headers about storage: mounts, DRBD's files, formats of images, XFS geometry."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.kernel_trees import Tree
from xenbackup.dom0.drbd_configuration import DrbdVolume, parse_drbd_volumes
from xenbackup.dom0.image_formats import ImageHeader, parse_image_header
from xenbackup.dom0.mount_table import Mount, find_mount, parse_mounts
from xenbackup.inventory.host_storage import parse_number
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.planning.sharing import find_shared
from xenbackup.system.reflink import has_reflink_flag, read_xfs_reflink

WEB = DrbdVolume(resource="web", device="/dev/drbd1", disk="/dev/vg/web")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "29 1 8:16 / /data rw,relatime shared:5 - ext4 /dev/sdb rw",
            Mount(number="8:16", point="/data", filesystem="ext4", source="/dev/sdb"),
        ),
        (
            "29 1 8:16 / /a\\040b\\134c rw - fuse.x /dev/my\\040disk rw",
            Mount(number="8:16", point="/a b\\c", filesystem="fuse.x", source="/dev/my disk"),
        ),
        ("29 1 8:16 / /data rw", Mount(number="8:16", point="/data")),
        ("29 1 8:16 /", None),
        ("29 1 x:16 / /data rw - ext4 /dev/sdb rw", None),
    ],
)
def test_a_row_of_mountinfo_gives_what_it_has(line: str, expected: Mount | None) -> None:
    assert ((expected,) if expected else ()) == parse_mounts(line)


def test_a_path_outside_every_mount_has_none() -> None:
    assert None is find_mount((Mount(number="8:1", point="/srv"),), "/srvx/a.img")


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["8:1", "/", "-", "\\040", "ext4", "\n"])).map(" ".join)
)
@settings(max_examples=1500, deadline=None)
def test_any_table_of_mounts_is_read(text: str) -> None:
    assert all(mount.number and mount.point for mount in parse_mounts(text))


@pytest.mark.parametrize(
    "text",
    [
        "resource web { device /dev/drbd1; disk /dev/vg/web; on dom0 { address 1.2.3.4:7789; } }",
        "resource web { on dom0 { device minor 1; disk /dev/vg/web; } on b { device minor 2; } }",
        'resource "web" { on dom0 { volume 0 { device /dev/drbd_web minor 1; '
        'disk "/dev/vg/web"; meta-disk internal; } } }',
        "resource web {\n  # a comment { ;\n  disk { resync-rate 10M; }\n  protocol C;\n"
        "  device /dev/drbd1;\n  on b { disk /dev/vg/other; }\n"
        "  on dom0 c { disk /dev/vg/web; }\n}\n",
        "resource web { volume 0 { device minor 1; disk /dev/vg/web; } on dom0 { node-id 0; } }",
        "resource web { _this_host { volume 0 { } } on _this_host { device minor 1; "
        "disk /dev/vg/web; } }",
    ],
)
def test_a_resource_names_its_device_and_disk_on_this_host(text: str) -> None:
    assert (WEB,) == parse_drbd_volumes(text, "dom0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "common { disk { } }",
        "resource web { on other { device minor 1; disk /dev/vg/web; } }",
        "resource web { on dom0 { device minor 1; disk none; } }",
        "resource { device minor 1; disk /dev/vg/web; }",
        "resource web { device minor 1; disk /dev/vg/web",
        "} } ; { device minor x; }",
    ],
)
def test_what_says_nothing_of_this_hosts_disks_gives_none(text: str) -> None:
    assert () == parse_drbd_volumes(text, "dom0")


DRBD = st.lists(
    st.sampled_from(
        [
            *("resource", "web", "{", "}", ";", "on", "dom0", "device", "minor", "1", "disk"),
            *("/dev/vg/web", "/dev/drbd1", "volume", "0", '"', "#", "\n"),
        ]
    ),
    max_size=30,
).map(" ".join)


@given(DRBD | st.text(max_size=60))
@settings(max_examples=2000, deadline=None)
def test_any_drbd_text_is_read(text: str) -> None:
    for volume in parse_drbd_volumes(text, "dom0"):
        assert volume.device.startswith("/dev/drbd")
        assert volume.disk.startswith("/")


def test_a_deep_drbd_text_is_answered() -> None:
    assert () == parse_drbd_volumes("resource r { " + "x {" * 100_000, "dom0")
    assert () == parse_drbd_volumes("resource r { " + "on dom0 {" * 100_000, "dom0")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            struct.pack(">4sIQIIQ", b"QFI\xfb", 1, 0, 0, 0, 1 << 30) + bytes(8),
            ImageHeader(format="qcow", disk_bytes=1 << 30),
        ),
        (
            struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 99, 4, 16, 1 << 30) + bytes(8),
            ImageHeader(format="qcow2", disk_bytes=1 << 30, stands_on_another=True),
        ),
        # Its data lies in a file of its own: an incompatible feature of version 3.
        (
            struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 30) + bytes(47) + b"\x04",
            ImageHeader(format="qcow2", disk_bytes=1 << 30, stands_on_another=True),
        ),
        (
            struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 30) + bytes(47) + b"\x01",
            ImageHeader(format="qcow2", disk_bytes=1 << 30),
        ),
        (
            struct.pack(">4sIQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 30) + bytes(47) + b"\x04",
            ImageHeader(format="qcow2", disk_bytes=1 << 30),
        ),
        (
            struct.pack("<4s3I4Q", b"QED\0", 65536, 4, 1, 1, 0, 0, 65536)
            + struct.pack("<Q", 1 << 30),
            ImageHeader(format="qed", disk_bytes=1 << 30, stands_on_another=True),
        ),
        (
            struct.pack("<4s3I4Q", b"QED\0", 65536, 4, 1, 2, 0, 0, 65536)
            + struct.pack("<Q", 1 << 30),
            ImageHeader(format="qed", disk_bytes=1 << 30),
        ),
        (
            b"conectix" + bytes(40) + struct.pack(">Q4xI", 1 << 20, 4),
            ImageHeader(format="vhd", disk_bytes=1 << 20, stands_on_another=True),
        ),
        (
            struct.pack("<4sIIQ", b"KDMV", 1, 3, 2048),
            ImageHeader(format="vmdk", disk_bytes=1 << 20),
        ),
        (b"QFI\xfb", None),
        (b"", None),
        (bytes(512), None),
    ],
)
def test_a_header_says_what_the_image_holds(head: bytes, expected: ImageHeader | None) -> None:
    assert expected == parse_image_header(head)


@given(
    st.binary(max_size=80)
    | st.builds(
        lambda magic, rest: magic + rest,
        st.sampled_from([b"QFI\xfb", b"QED\0", b"conectix", b"KDMV"]),
        st.binary(max_size=80),
    )
)
@settings(max_examples=2000, deadline=None)
def test_any_head_is_read(head: bytes) -> None:
    header = parse_image_header(head)
    assert header is None or header.disk_bytes >= 0


@pytest.mark.parametrize(
    ("flags", "expected"), [(1 << 20, True), ((1 << 20) - 1, False), (0xFFFFFFFF, True), (0, False)]
)
def test_the_reflink_flag_of_xfs_is_read(flags: int, expected: bool) -> None:
    geometry = bytes(92) + struct.pack("=I", flags) + bytes(16)
    assert expected is has_reflink_flag(geometry)


def test_what_is_no_xfs_is_not_known(tmp_path: Path) -> None:
    assert None is read_xfs_reflink(tmp_path)
    assert None is read_xfs_reflink(tmp_path / "missing")
    assert None is has_reflink_flag(bytes(91))


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{1,4}:[0-9]{1,7}", fullmatch=True))
@settings(max_examples=1000, deadline=None)
def test_a_device_number_is_read_or_is_none(text: str) -> None:
    number = parse_number(text)
    assert number is None or number >= 0


def test_each_file_of_the_kernel_is_opened_once(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put("/proc/swaps", "one")
    storage = tree.storage
    first = storage.read_text("/proc/swaps")
    tree.put("/proc/swaps", "two")
    assert ("one", "one") == (first, storage.read_text("/proc/swaps"))


TOKENS = st.sampled_from(["block:8:16", "block:8:17", "lv:a", "within:block:8:16", "within:lv:b"])
DISKS = st.lists(
    st.builds(
        DiskBacking,
        domain=st.sampled_from(["web", "db"]),
        vdev=st.sampled_from(["xvda", "xvdb"]),
        target=st.just("/dev/x"),
        kind=st.sampled_from([BackingKind.WHOLE_DISK, BackingKind.CDROM, BackingKind.EMPTY]),
        tokens=st.frozensets(TOKENS, max_size=3),
    ),
    max_size=6,
)


@given(DISKS)
@settings(max_examples=2000, deadline=None)
def test_groups_of_shared_disks_part_the_disks(disks: list[DiskBacking]) -> None:
    groups = find_shared(disks)
    counted = [disk for disk in disks if disk.kind is BackingKind.WHOLE_DISK]
    assert all(len(group) > 1 for group in groups)
    grouped = [id(disk) for group in groups for disk in group]
    assert len(set(grouped)) == len(grouped)
    for one in counted:
        for other in counted:
            plain = {token for token in one.tokens & other.tokens if "within:" not in token}
            whole = any(f"within:{token}" in other.tokens for token in one.tokens)
            if one is not other and (plain or whole):
                assert any(
                    any(one is disk for disk in group) and any(other is disk for disk in group)
                    for group in groups
                )
