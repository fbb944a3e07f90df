"""What a host's kernel tells of its storage: nodes by path, devices by number, who uses them.

Read once: every file of /proc and /sys is opened at most once by one `HostStorage`, so that all who
ask in one inventory get the same answers.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path, PurePosixPath

from xenbackup.dom0.host import Host
from xenbackup.dom0.mount_table import Mount, find_mount, parse_mounts
from xenbackup.errors import CopyFailed
from xenbackup.inventory.host_texts import read_host_text
from xenbackup.model.volume import LogicalVolume

SECTOR_BYTES = 512
# kpartx: `part1-mpath-3600…`, or `part1-devnode_7:0_…` of what has no name of its own.
_MAPPED_PART = re.compile(r"part[0-9]+-")


class NodeKind(StrEnum):
    """What a path leads to."""

    BLOCK = "block"
    FILE = "file"
    OTHER = "other"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class Node:
    """What stat says of a path, links followed: `number` of a block device, `device` and `inode`
    of a file. `problem` is the reason why there is nothing.
    """

    kind: NodeKind
    number: int = 0
    device: int = 0
    inode: int = 0
    size_bytes: int = 0
    allocated_bytes: int = 0
    problem: str = ""

    @property
    def tokens(self) -> frozenset[str]:
        """Its identities: `block:MAJOR:MINOR`, or `file:DEVICE:INODE`."""
        if self.kind is NodeKind.BLOCK:
            return frozenset((name_number(self.number),))
        if self.kind is NodeKind.FILE:
            return frozenset((f"file:{self.device}:{self.inode}",))
        return frozenset()


def look_at_path(path: Path) -> Node:
    """Stat of a path of this machine as a Node; whatever fails makes an absent one."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        return Node(kind=NodeKind.ABSENT, problem=reason)
    if stat.S_ISBLK(found.st_mode):
        return Node(kind=NodeKind.BLOCK, number=found.st_rdev)
    return Node(
        kind=NodeKind.FILE if stat.S_ISREG(found.st_mode) else NodeKind.OTHER,
        device=found.st_dev,
        inode=found.st_ino,
        size_bytes=found.st_size,
        allocated_bytes=found.st_blocks * SECTOR_BYTES,
    )


class HostStorage:
    """One host's storage as its kernel shows it, with the logical volumes that LVM listed.

    `look` tells what a path of the host is; by default, what the file system says.
    """

    def __init__(
        self,
        host: Host,
        volumes: Iterable[LogicalVolume],
        look: Callable[[str], Node] | None = None,
    ) -> None:
        self._host = host
        self._listed = tuple(volumes)
        self._look = look or (lambda path: look_at_path(host.place(path)))
        self._nodes: dict[str, Node] = {}
        self._folders: dict[int, Path] = {}
        self._texts: dict[str, str | None] = {}

    @property
    def host(self) -> Host:
        return self._host

    def look(self, path: str) -> Node:
        """What an absolute path of the host leads to."""
        if path not in self._nodes:
            self._nodes[path] = self._look(path)
        return self._nodes[path]

    def find_volume(self, path: str) -> LogicalVolume | None:
        """The logical volume that a path means: by either name of LVM's, or by device number."""
        for volume in self._listed:
            if path and path in (volume.path, volume.dm_path):
                return volume
        node = self.look(path)
        return self.find_volume_by_number(node.number) if node.kind is NodeKind.BLOCK else None

    def find_volume_by_number(self, number: int) -> LogicalVolume | None:
        return self._volumes.get(number)

    def measure(self, path: str) -> tuple[int, str]:
        """Bytes that can be read there, and the problem when they cannot."""
        try:
            device = self._host.open_volume(path)
        except CopyFailed as error:
            return 0, f"cannot be opened: {error.message}"
        try:
            return device.size_bytes, ""
        except CopyFailed as error:
            return 0, f"cannot be measured: {error.message}"
        finally:
            device.close()

    # Block devices, by number

    def find_folder(self, number: int) -> Path:
        """What the kernel tells of a block device, in sysfs; the folder may not be there."""
        if number not in self._folders:
            path = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
            self._folders[number] = self._host.place(path).resolve()
        return self._folders[number]

    def read_sysfs(self, number: int, name: str) -> str:
        """One attribute of a block device, without its line end; "" where it has none."""
        return self.read_real(self.find_folder(number) / name)

    def list_below(self, number: int) -> tuple[int, ...]:
        """The devices that one is made of, as sysfs names them (`slaves`)."""
        found = sorted(self.find_folder(number).glob("slaves/*/dev"))
        numbers = (parse_number(self.read_real(path)) for path in found)
        return tuple(number for number in numbers if number is not None)

    def name_parent(self, number: int) -> frozenset[str]:
        """The token of the disk that a partition lies on; nothing for a whole disk."""
        folder = self.find_folder(number)
        if self._is_mapped_part(folder):
            return frozenset(name_number(below) for below in self.list_below(number))
        if not (folder / "partition").exists():
            return frozenset()
        return frozenset(self._name_device(folder.parent / "dev"))

    def name_relatives(self, number: int) -> frozenset[str]:
        """The disk that the device is a partition of, and its own partitions."""
        return self.name_parent(number) | frozenset(self._name_parts(number))

    def explain_holder(self, number: int) -> str:
        """How dom0 itself uses a block device or a part of it; "" when it does not."""
        for token in (name_number(number), *self._name_parts(number)):
            if token in self._uses:
                return self._uses[token]
        holders = sorted(set(self._name_holders(self.find_folder(number))))
        return f"part of {', '.join(holders)}" if holders else ""

    def _name_holders(self, folder: Path) -> Iterator[str]:
        """Devices that stand on one or on its parts, which alone are no use of it."""
        for holder in (*folder.glob("holders/*"), *folder.glob("*/holders/*")):
            if self._is_mapped_part(holder):
                yield from self._name_holders(holder)
            else:
                yield holder.name

    # Files

    @cached_property
    def mounts(self) -> tuple[Mount, ...]:
        return parse_mounts(self.read_text("/proc/self/mountinfo"))

    def find_mount(self, path: str) -> Mount | None:
        """The file system that a file of the host lies in, links followed."""
        try:
            root = self._host.place("/").resolve()
            inside = self._host.place(path).resolve().relative_to(root)
        except (OSError, ValueError, RuntimeError):
            return None
        return find_mount(self.mounts, f"/{inside.as_posix()}")

    def explain_file_use(self, node: Node) -> str:
        """How dom0 itself uses a file: as swap, or behind a loop device."""
        number = (node.device, node.inode)
        if number in self._swap_files:
            return "swap space of dom0"
        loop = self.find_loop(node)
        return f"behind {loop}" if loop else ""

    def find_loop(self, node: Node) -> str:
        """The loop device that a file is behind (`/dev/loop3`); "" without one."""
        return self._loops.get((node.device, node.inode), "")

    def find_text(self, path: str) -> str | None:
        """A text file of the host; None where there is none."""
        if path not in self._texts:
            self._texts[path] = read_host_text(self._host, path)
        return self._texts[path]

    def read_text(self, path: str) -> str:
        """A text file of the host; "" where there is none."""
        return self.find_text(path) or ""

    def read_real(self, path: Path) -> str:
        """A file where it really lies, without its line end; "" where it cannot be read."""
        key = str(path)
        if key not in self._texts:
            self._texts[key] = None
            with suppress(OSError):
                self._texts[key] = path.read_text("utf-8", "surrogateescape").rstrip("\n")
        return self._texts[key] or ""

    @cached_property
    def _volumes(self) -> dict[int, LogicalVolume]:
        numbered = {}
        for volume in self._listed:
            if volume.path and (node := self.look(volume.path)).kind is NodeKind.BLOCK:
                numbered[node.number] = volume
        return numbered

    @cached_property
    def _uses(self) -> dict[str, str]:
        """Tokens of devices that dom0 has mounted or swaps on, and how."""
        uses = {}
        for mount in self.mounts:
            held = f"mounted in dom0 at {mount.point}"
            uses[f"block:{mount.number}"] = held
            # btrfs lies on numbers of its own; its device is the source.
            if mount.source.startswith("/dev/"):
                for token in self.look(mount.source).tokens:
                    uses[token] = held
        for path in self._swaps:
            if (node := self.look(path)).kind is NodeKind.BLOCK:
                uses[name_number(node.number)] = "swap space of dom0"
        return uses

    @cached_property
    def _swaps(self) -> tuple[str, ...]:
        rows = (line.split() for line in self.read_text("/proc/swaps").splitlines())
        return tuple(row[0] for row in rows if row and row[0].startswith("/"))

    @cached_property
    def _swap_files(self) -> frozenset[tuple[int, int]]:
        nodes = (self.look(path) for path in self._swaps)
        return frozenset((node.device, node.inode) for node in nodes if node.kind is NodeKind.FILE)

    @cached_property
    def _loops(self) -> dict[tuple[int, int], str]:
        loops = {}
        for backing in sorted(self._host.place("/sys/block").glob("loop*/loop/backing_file")):
            node = self.look(self.read_real(backing))
            if node.kind is NodeKind.FILE:
                loops[node.device, node.inode] = f"/dev/{backing.parent.parent.name}"
        return loops

    def _name_parts(self, number: int) -> Iterator[str]:
        folder = self.find_folder(number)
        for part in folder.glob("*/partition"):
            yield from self._name_device(part.parent / "dev")
        for holder in folder.glob("holders/*"):
            if self._is_mapped_part(holder):
                yield from self._name_device(holder / "dev")

    def _is_mapped_part(self, folder: Path) -> bool:
        """A partition that kpartx mapped, as udev has it done on every multipath device."""
        return _MAPPED_PART.match(self.read_real(folder / "dm/uuid")) is not None

    def _name_device(self, path: Path) -> Iterator[str]:
        if text := self.read_real(path):
            yield f"block:{text}"


def name_number(number: int) -> str:
    return f"block:{os.major(number)}:{os.minor(number)}"


def name_volume(volume: LogicalVolume) -> frozenset[str]:
    return frozenset((f"lv:{volume.uuid}",))


def name_path(path: str) -> frozenset[str]:
    return frozenset((f"path:{PurePosixPath(path)}",))


def parse_number(text: str) -> int | None:
    """A device number from sysfs' `MAJOR:MINOR`; None for anything else."""
    major, sign, minor = text.strip().partition(":")
    digits = f"{major}{minor}"
    if not sign or not major or not minor or not (digits.isascii() and digits.isdigit()):
        return None
    return os.makedev(int(major), int(minor)) if max(len(major), len(minor)) < 10 else None
