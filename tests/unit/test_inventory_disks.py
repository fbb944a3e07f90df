"""What is behind a disk: odd devices, absent files, holders, identities; and what asking costs."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import builders
from tests.unit.kernel_trees import DEVICE_BYTES, Tree, shut_off
from tests.unit.restore_house import Site
from xenbackup.inventory.reading import read_inventory
from xenbackup.inventory.targets import TargetReader
from xenbackup.model.backing import BackingKind
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.devices import PciInventory
from xenbackup.model.domain import Disk
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.resources import Resources
from xenbackup.planning.sharing import find_shared


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def qcow2(backing_offset: int = 0) -> bytes:
    return struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing_offset, 0, 16, 1 << 30).ljust(512, b"\0")


# Devices


def test_a_volume_is_found_under_every_name_of_it(tree: Tree) -> None:
    volume = tree.add_volume("web_root", 3)

    found = [
        tree.resolve(f"phy:{path},xvda,w") for path in (volume.path, volume.dm_path, "/dev/dm-3")
    ]

    assert {BackingKind.LOGICAL_VOLUME} == {backing.kind for backing in found}
    assert {"web_root-uuid"} == {backing.lv_uuid for backing in found}
    assert [] == tree.opened


@pytest.mark.parametrize(
    ("attributes", "snapshot", "note"),
    [
        ("-wi-a-----", SnapshotKind.THICK, ""),
        ("owi-aos---", SnapshotKind.THICK, ""),
        ("swi-a-s---", SnapshotKind.NONE, "itself a snapshot"),
        ("Owi-aos---", SnapshotKind.NONE, "being merged"),
        ("Vwi-aotz--", SnapshotKind.THIN, ""),
        ("-wi-------", SnapshotKind.THICK, "not active"),
        ("-wI-ao----", SnapshotKind.NONE, "LVM is moving it"),
        ("-wi-ao--p-", SnapshotKind.NONE, "are missing"),
        # A thin volume with a thick snapshot, or that a thin volume elsewhere was made from.
        ("owi-aotz--", SnapshotKind.THIN, ""),
        ("Owi-aotz--", SnapshotKind.NONE, "being merged"),
    ],
)
def test_the_snapshot_is_what_lvm_takes_of_that_volume(
    tree: Tree, attributes: str, snapshot: SnapshotKind, note: str
) -> None:
    tree.add_volume("web_root", 3, attributes=attributes)

    found = tree.resolve("phy:/dev/xenvols/web_root,xvda,w")

    assert snapshot == found.snapshot
    assert note in " ".join(found.notes)
    assert bool(note) == bool(found.notes)


def test_a_thin_volume_without_a_percentage_takes_an_unknown_amount(tree: Tree) -> None:
    tree.add_volume("web_root", 3, attributes="Vwi---tz--", pool="pool")
    assert None is tree.resolve("phy:/dev/xenvols/web_root,xvda,w").allocated_bytes


@pytest.mark.parametrize(
    ("name", "major", "uuid", "kind", "note"),
    [
        ("dm-7", 253, "mpath-3600", BackingKind.MAPPED_DEVICE, "multipath"),
        ("dm-7", 253, "CRYPT-LUKS2-1", BackingKind.MAPPED_DEVICE, "dm-crypt"),
        ("dm-7", 253, "LVM-abc", BackingKind.MAPPED_DEVICE, "lvs does not list"),
        ("dm-7", 253, "", BackingKind.MAPPED_DEVICE, ""),
        ("md0", 9, "", BackingKind.WHOLE_DISK, "software RAID"),
        ("nvme0n1", 259, "", BackingKind.WHOLE_DISK, ""),
        ("nbd0", 43, "", BackingKind.NBD, "on the network"),
        ("drbd0", 147, "", BackingKind.DRBD, "no known logical volume"),
    ],
)
def test_a_device_is_what_its_kernel_calls_it(
    tree: Tree, name: str, major: int, uuid: str, kind: BackingKind, note: str
) -> None:
    tree.add_device(name, major, 7, dm__uuid=uuid)

    found = tree.resolve(f"phy:/dev/{name},xvda,w")

    assert (kind, DEVICE_BYTES) == (found.kind, found.size_bytes)
    assert note in " ".join(found.notes)


def test_multipath_over_iscsi_is_a_network_disk(tree: Tree) -> None:
    tree.add_device("dm-7", 253, 7, dm__uuid="mpath-3600")
    for number, name in ((32, "sdc"), (48, "sdd")):
        tree.add_device(name, 8, number, at=f"/sys/devices/host3/session{number}/block/{name}")
        tree.put(f"/sys/class/iscsi_session/session{number}/targetname", "iqn.2001-05.com.e:x\n")
        slave = tree.place(f"/sys/devices/dm-7/slaves/{name}")
        slave.parent.mkdir(exist_ok=True)
        slave.symlink_to(tree.place(f"/sys/block/{name}"))

    found = tree.resolve("phy:/dev/dm-7,xvda,w")

    assert BackingKind.ISCSI == found.kind
    assert any("logged in to iqn.2001-05.com.e:x" in note for note in found.notes)


def test_several_units_of_one_iscsi_target_are_not_guessed_between(tree: Tree) -> None:
    for lun in (0, 1):
        link = f"/dev/disk/by-path/ip-1:3260-iscsi-iqn.2001-05.com.e:x-lun-{lun}"
        tree.put(link)
        tree.numbers[link] = (8, 32 + lun)

    found = tree.resolve("iscsi:iqn.2001-05.com.e:x,xvda,w")

    assert "it has 2 units (LUNs) here" in found.problem


@pytest.mark.parametrize(
    ("text", "kind", "token"),
    [
        ("nbd:storage:10809,xvda,w", BackingKind.NBD, "nbd:storage:10809"),
        ("drbd:web,xvda,w", BackingKind.DRBD, "drbd:web"),
        ("iscsi:iqn.2001-05.com.e:x,xvda,w", BackingKind.ISCSI, "iscsi:iqn.2001-05.com.e:x"),
        (
            "script=/etc/xen/scripts/block-iscsi,vdev=xvda,"
            "target=iqn=iqn.2001-05.com.e:x,portal=10.0.0.1:3260",
            BackingKind.ISCSI,
            "iscsi:iqn.2001-05.com.e:x",
        ),
        (
            "script=block-mine,vdev=xvda,target=thing",
            BackingKind.UNKNOWN,
            "target:block-mine:thing",
        ),
        ("vdev=xvda,target=rbd:pool/image", BackingKind.UNKNOWN, "target::rbd:pool/image"),
    ],
)
def test_what_only_a_script_understands_keeps_its_name(
    tree: Tree, text: str, kind: BackingKind, token: str
) -> None:
    found = tree.resolve(text)

    assert (kind, "", frozenset({token})) == (found.kind, found.path, found.tokens)
    assert found.problem


def test_xms_name_of_a_script_disk_is_the_same_storage(tree: Tree) -> None:
    (found,) = tree.read(Disk(vdev="xvda", target="drbd:web", script="block-drbd"))
    assert tree.resolve("drbd:web,xvda,w").tokens == found.tokens


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("", ("", SnapshotKind.NONE)),
        ("disk /dev/xenvols/data; meta-disk /dev/x;", ("data-uuid", SnapshotKind.THICK)),
        ("disk /dev/sdb1;", ("", SnapshotKind.NONE)),
    ],
)
def test_of_two_disks_below_a_drbd_device_its_file_names_the_one(
    tree: Tree, resource: str, expected: tuple[str, SnapshotKind]
) -> None:
    tree.add_device("drbd1", 147, 1)
    tree.put("/proc/sys/kernel/hostname", "dom0\n")
    tree.put("/etc/drbd.conf", f"resource web {{ device /dev/drbd1; on dom0 {{ {resource} }} }}")
    for minor, name in ((3, "data"), (4, "notes")):
        tree.add_volume(name, minor)
        slave = tree.place(f"/sys/devices/drbd1/slaves/dm-{minor}")
        slave.parent.mkdir(exist_ok=True)
        slave.symlink_to(tree.place(f"/sys/devices/dm-{minor}"))

    found = tree.resolve("phy:/dev/drbd1,xvda,w")

    assert expected == (found.lv_uuid, found.snapshot)


def test_a_loop_device_is_the_same_storage_as_its_file(tree: Tree) -> None:
    image = tree.put("/srv/a.img", "disk")
    tree.add_device("loop3", 7, 3, loop__backing_file="/srv/a.img\n")

    by_loop = tree.resolve("phy:/dev/loop3,xvda,w")
    by_file = tree.resolve("file:/srv/a.img,xvda,w")

    assert BackingKind.LOOP == by_loop.kind
    status = image.stat()
    assert {f"file:{status.st_dev}:{status.st_ino}"} == by_loop.tokens & by_file.tokens


def test_a_device_that_cannot_be_opened_has_its_reason(tree: Tree) -> None:
    tree.add_device("sdb", 8, 16)
    tree.unreadable.add("/dev/sdb")

    found = tree.resolve("phy:/dev/sdb,xvda,w")

    assert "cannot be opened: Cannot open /dev/sdb: Input/output error." == found.problem
    assert (BackingKind.WHOLE_DISK, 0, None) == (
        found.kind,
        found.size_bytes,
        found.allocated_bytes,
    )


def test_without_sysfs_a_device_is_of_unknown_kind_and_readable(tree: Tree) -> None:
    tree.numbers["/dev/sdb"] = (8, 16)

    found = tree.resolve("phy:/dev/sdb,xvda,w")

    assert (BackingKind.UNKNOWN, DEVICE_BYTES, "") == (found.kind, found.size_bytes, found.problem)


def test_a_folder_is_no_disk(tree: Tree) -> None:
    tree.put("/srv/folder/file")
    found = tree.resolve("file:/srv/folder,xvda,w")
    assert "neither a block device nor a regular file" in found.problem


@pytest.mark.parametrize("drive", ["phy:/dev/sr0,hdc:cdrom,r", "phy:/dev/sr0,xvdb,r"])
def test_a_drive_is_opened_only_where_it_is_no_cdrom_by_name(tree: Tree, drive: str) -> None:
    tree.add_device("sr0", 11, 0, size="2097151\n")
    tree.unreadable.add("/dev/sr0")

    found = tree.resolve(drive)

    marked = ":cdrom" in drive
    assert BackingKind.CDROM == found.kind
    assert (not marked) == bool(found.problem)
    assert (2097151 * 512 if marked else 0) == found.size_bytes


# Who holds it


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (
            "/proc/self/mountinfo",
            "29 1 8:17 / /mnt/my\\040disk rw - ext4 /dev/sdb1 rw",
            "mounted in dom0 at /mnt/my disk",
        ),
        (
            "/proc/self/mountinfo",
            "29 1 0:45 / /mnt rw - btrfs /dev/sdb1 rw",
            "mounted in dom0 at /mnt",
        ),
        ("/proc/swaps", "Filename Type\n/dev/sdb1 partition 1 0 -2\n", "swap space of dom0"),
        ("/sys/devices/sdb/sdb1/holders/dm-7", "", "part of dm-7"),
    ],
)
def test_dom0s_own_use_is_seen_on_a_disk_and_its_partition(
    tree: Tree, path: str, content: str, expected: str
) -> None:
    tree.add_device("sdb", 8, 16)
    tree.add_device("sdb1", 8, 17, at="/sys/devices/sdb/sdb1", partition="1")
    tree.put(path, content)

    assert expected == tree.resolve("phy:/dev/sdb1,xvda,w").held
    assert expected == tree.resolve("phy:/dev/sdb,xvda,w").held


def test_a_volume_that_a_guest_has_open_is_not_held_by_dom0(tree: Tree) -> None:
    tree.add_volume("web_root", 3, open=True)
    assert "" == tree.resolve("phy:/dev/xenvols/web_root,xvda,w").held


def test_a_running_guests_own_loop_device_is_its_back_end(tree: Tree) -> None:
    tree.put("/srv/a.img", "disk")
    tree.add_device("loop3", 7, 3, loop__backing_file="/srv/a.img\n")

    running = tree.resolve("file:/srv/a.img,xvda,w", running=True)
    stopped = tree.resolve("file:/srv/a.img,xvda,w")
    tree.put("/proc/self/mountinfo", "29 1 7:3 / /mnt rw - ext4 /dev/loop3 rw")
    mounted = tree.resolve("file:/srv/a.img,xvda,w", running=True)

    assert ("", ("served through /dev/loop3",)) == (running.held, running.notes)
    assert "behind /dev/loop3" == stopped.held
    assert "behind /dev/loop3, which is mounted in dom0 at /mnt" == mounted.held


# Image files


def test_a_formatted_image_tells_its_disk_and_what_it_stands_on(tree: Tree) -> None:
    tree.put("/srv/a.qcow2", qcow2())
    tree.put("/srv/b.qcow2", qcow2(backing_offset=512))

    alone = tree.resolve("/srv/a.qcow2,qcow2,xvda,w")
    child = tree.resolve("/srv/b.qcow2,vhd,xvda,w")

    assert (512, 1, False, True) == (
        alone.size_bytes, len(alone.notes), alone.stands_on_another, child.stands_on_another,
    )  # fmt: skip
    assert "the guest sees a disk of 1073741824 bytes" in alone.notes[0]
    assert "its own header says qcow2" in child.notes[0]
    assert "a copy of it alone is no disk" in child.notes[1]


def test_the_innermost_and_latest_mount_is_the_files_own(tree: Tree) -> None:
    tree.put("/srv/xen/a.img")
    rows = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
        "2 1 8:2 / /srv rw - xfs /dev/sda2 rw",
        "3 1 8:3 / /srv rw - btrfs /dev/sda3 rw",
        "4 1 8:4 / /srv/xe rw - vfat /dev/sda4 rw",
    )
    tree.put("/proc/self/mountinfo", "\n".join(rows))

    found = tree.resolve("file:/srv/xen/a.img,xvda,w")

    assert ("btrfs", "/srv", True) == (found.filesystem, found.mount_point, found.can_reflink)


def test_a_file_system_is_asked_once_for_all_its_files(tree: Tree) -> None:
    tree.put("/proc/self/mountinfo", "1 0 8:1 / / rw - xfs /dev/sda1 rw")
    tree.reflinks["/"] = True
    disks = []
    for number in range(5):
        tree.put(f"/srv/{number}.img")
        disks.append(Disk(vdev=f"xvd{'abcde'[number]}", target=f"/srv/{number}.img"))

    found = tree.read(*disks)

    assert [True] * 5 == [backing.can_reflink for backing in found]
    assert 1 == len(tree.asked)


def test_tap_is_told_from_the_file_only_while_it_means_this_disk(tree: Tree) -> None:
    tree.put("/srv/a.img")
    text = 'name = "web"\ndisk = [ "tap:aio:/srv/a.img,xvda,w" ]'

    (same,) = tree.read(Disk(vdev="xvda", target="/srv/a.img"), text=text)
    (other,) = tree.read(Disk(vdev="xvdb", target="/srv/a.img"), text=text)

    assert (1, 0) == (len(same.notes), len(other.notes))


def test_tap_is_told_from_xends_own_expression(tree: Tree) -> None:
    tree.put("/srv/a.img")
    sexp = "(domain (name web) (device (tap (uname tap:aio:/srv/a.img) (dev xvda:disk) (mode w))))"
    domain = replace(builders.make_domain(), configuration_sexp=sexp)

    (found,) = tree.read(Disk(vdev="xvda", target="/srv/a.img"), domain=domain)

    assert "served through tap" in found.notes[0]


# Shared storage


def test_two_names_of_one_storage_are_shared_and_neighbours_are_not(tree: Tree) -> None:
    tree.add_volume("web_root", 3)
    tree.add_device("sdb", 8, 16)
    for minor in (17, 18):
        name = f"sdb{minor - 16}"
        tree.add_device(name, 8, minor, at=f"/sys/devices/sdb/{name}", partition="1")
    tree.put("/srv/a.img")
    os.link(tree.place("/srv/a.img"), tree.place("/srv/b.img"))
    texts = {
        "volume": "phy:/dev/xenvols/web_root,xvda,w",
        "mapped": "phy:/dev/mapper/xenvols-web_root,xvda,w",
        "first": "phy:/dev/sdb1,xvda,w",
        "second": "phy:/dev/sdb2,xvda,w",
        "file": "file:/srv/a.img,xvda,w",
        "link": "file:/srv/b.img,xvda,w",
        "iso": "file:/srv/a.img,hdc:cdrom,r",
    }
    found = [replace(tree.resolve(text), domain=name) for name, text in texts.items()]
    whole = replace(tree.resolve("phy:/dev/sdb,xvda,w"), domain="whole")

    def names(*backings: object) -> list[list[str]]:
        return [[disk.domain for disk in group] for group in find_shared(backings)]  # type: ignore[arg-type]

    assert [["volume", "mapped"], ["file", "link"]] == names(*found)
    assert [["whole", "first", "second"], ["volume", "mapped"], ["file", "link"]] == names(
        whole, *found
    )


# The whole inventory


def test_an_inventory_runs_no_command_for_a_disk_and_reads_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "host")
    ran: list[str] = []
    run = type(site.host).run

    def count(self: object, command: Command) -> CommandResult:
        ran.append(" ".join(command.argv))
        return run(site.host, command)

    monkeypatch.setattr(type(site.host), "run", count)
    opened: list[str] = []
    real_open = os.open

    def note(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append(str(path))
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", note)

    read_inventory(site.host, site.house.toolstack, site.house.lvm)

    assert len(ran) <= 6
    read = [path for path in opened if "/proc/" in path or "/lib/modules/" in path]
    assert any(path.endswith("/proc/modules") for path in read)
    assert sorted(set(read)) == sorted(read)


def test_an_inventory_has_backings_drivers_and_broken_files(tmp_path: Path) -> None:
    site = Site(tmp_path / "host")
    site.host.place("/etc/xen/bad.cfg").write_text("name = open('x')\n")

    found = read_inventory(
        site.host,
        site.house.toolstack,
        site.house.lvm,
        read_pci=lambda *_: PciInventory(problem="asked"),
        read_resources=lambda *_: Resources(cpus=7),
    )

    (broken,) = found.broken_configurations
    assert ("/etc/xen/bad.cfg", True) == (broken.path, "code is not run" in broken.problem)
    kinds = {(backing.domain, backing.vdev): backing.kind for backing in found.backings}
    assert BackingKind.LOGICAL_VOLUME == kinds["web", "xvda"]
    assert BackingKind.THIN_VOLUME == kinds["thinny", "xvda"]
    drivers = found.drivers.find("web")
    assert drivers is not None
    assert ("pv", "xvd", "none") == (drivers.kind, drivers.disk_style, drivers.video)
    assert {"loaded"} == {m.state for m in found.drivers.modules if m.name == "xen-blkback"}
    assert ("asked", 7) == (found.pci.problem, found.resources.cpus)


def test_a_backing_shares_its_identity_with_a_restores_look(tmp_path: Path) -> None:
    site = Site(tmp_path / "host")
    inventory = read_inventory(site.host, site.house.toolstack, site.house.lvm)
    sight = TargetReader(site.host, inventory, ()).look("/dev/mapper/xenvols-web_root")
    backing = inventory.find_backing("web", "xvda")
    assert backing is not None
    assert backing.tokens & sight.tokens


TARGETS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["/dev/sdb", "/srv/a.img", "iqn.2001-05.com.e:x", "drbd:web", "/", "\0", "/\0"]
    ),
)


@given(
    target=TARGETS,
    form=st.sampled_from(["raw", "qcow2", "vhd", "empty", "odd"]),
    script=st.sampled_from(["", "block-iscsi", "block-drbd", "block-nbd", "/x/block-enbd", "x"]),
    backend=st.sampled_from(["", "0", "storage"]),
    cdrom=st.booleans(),
    running=st.booleans(),
)
@settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_disk_has_a_backing(
    tree: Tree, target: str, form: str, script: str, backend: str, cdrom: bool, running: bool
) -> None:
    tree.numbers["/dev/sdb"] = (8, 16)
    tree.put("/srv/a.img", qcow2())
    disk = Disk(
        vdev="xvda", target=target, format=form, script=script, backend=backend, cdrom=cdrom
    )
    domain = builders.make_domain() if running else shut_off()

    (found,) = tree.read(disk, domain=domain)

    assert (target, "xvda") == (found.target, found.vdev)
    assert (found.kind is BackingKind.EMPTY) == (target == "")
    assert (found.kind is BackingKind.ELSEWHERE) == (backend == "storage" and target != "")
    assert found.size_bytes >= 0
    assert target == "" or found.tokens
