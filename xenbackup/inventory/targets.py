"""What a path stands for: the device or file behind it, whatever it is called, and who holds it.

Two spellings of one device (`/dev/vg/lv`, `/dev/mapper/vg-lv`, `/dev/dm-3`) must never pass for
two: a restore compares identities (LV UUID, device number, inode), never strings alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from xenbackup.dom0.host import Host
from xenbackup.inventory.host_storage import (
    HostStorage,
    Node,
    NodeKind,
    name_path,
    name_volume,
)
from xenbackup.model.inventory import Inventory
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore_sight import DiskUse, PathSight
from xenbackup.model.volume import LogicalVolume


class TargetReader:
    """Looks at paths of one host, with one inventory of it.

    `places` are folders that are ours (destinations, spool, state) by what they are called in
    messages: nothing is restored into one.
    """

    def __init__(self, host: Host, inventory: Inventory, places: Iterable[tuple[str, str]]) -> None:
        self._host = host
        self._inventory = inventory
        self._storage = HostStorage(host, inventory.volumes)
        self._places = tuple((name, host.place(path).resolve()) for name, path in places)

    def look(self, path: str) -> PathSight:
        """What stands behind an absolute path of the host now."""
        real = self._host.place(path)
        node = self._storage.look(path)
        volume = self._storage.find_volume(path)
        if volume is not None:
            return self._describe_volume(path, volume, node)
        match node.kind:
            case NodeKind.ABSENT:
                return self._describe_absent(path, real)
            case NodeKind.BLOCK:
                return self._describe_device(path, node)
            case NodeKind.FILE:
                return self._describe_file(path, real, node)
        return PathSight(
            path=path,
            exists=True,
            tokens=name_path(path),
            problem="is neither a block device nor a regular file",
        )

    def list_uses(self) -> tuple[DiskUse, ...]:
        """All disks of all domains that dom0 serves, running ones and shut off ones."""
        return tuple(
            DiskUse(
                domain=domain,
                vdev=disk.vdev,
                writable=disk.writable and not disk.cdrom,
                sight=self.look(disk.target),
            )
            for domain in self._inventory.domains
            for disk in domain.disks
            if disk.target.startswith("/") and disk.served_by_dom0
        )

    def _describe_volume(self, path: str, volume: LogicalVolume, node: Node) -> PathSight:
        held = ""
        if node.kind is NodeKind.BLOCK:
            held = self._storage.explain_holder(node.number)
        return PathSight(
            path=path,
            exists=True,
            kind=VolumeKind.LOGICAL_VOLUME,
            tokens=name_volume(volume) | name_path(path) | node.tokens,
            size_bytes=volume.size_bytes,
            volume=volume,
            held=held or ("open in dom0" if volume.open else ""),
        )

    def _describe_device(self, path: str, node: Node) -> PathSight:
        size_bytes, problem = self._storage.measure(path)
        return PathSight(
            path=path,
            exists=True,
            kind=None if problem else VolumeKind.BLOCK_DEVICE,
            tokens=name_path(path) | node.tokens,
            relatives=self._storage.name_relatives(node.number),
            size_bytes=size_bytes,
            held=self._storage.explain_holder(node.number),
            problem=problem,
        )

    def _describe_file(self, path: str, real: Path, node: Node) -> PathSight:
        return PathSight(
            path=path,
            exists=True,
            kind=VolumeKind.IMAGE_FILE,
            tokens=name_path(path) | node.tokens,
            size_bytes=node.size_bytes,
            inode=node.inode,
            held=self._storage.explain_file_use(node),
            inside=self._explain_inside(real),
            folder_exists=True,
        )

    def _describe_absent(self, path: str, real: Path) -> PathSight:
        folder = real.parent
        exists = folder.is_dir()
        free_bytes = 0
        if exists:
            with suppress(OSError):
                space = os.statvfs(folder)
                free_bytes = space.f_bavail * space.f_frsize
        return PathSight(
            path=path,
            exists=False,
            tokens=name_path(path) | name_path(str(folder.resolve() / real.name)),
            inside=self._explain_inside(real),
            folder_exists=exists,
            folder_free_bytes=free_bytes,
        )

    def _explain_inside(self, real: Path) -> str:
        whole = real.parent.resolve() / real.name
        for name, folder in self._places:
            if whole.is_relative_to(folder):
                return name
        return ""
