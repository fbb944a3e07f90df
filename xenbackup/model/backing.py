"""What really stands behind a disk of a guest, resolved as far as dom0 can see it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xenbackup.model.plan import SnapshotKind


class BackingKind(StrEnum):
    """The kinds of thing that a disk's target turns out to be."""

    LOGICAL_VOLUME = "logical-volume"
    THIN_VOLUME = "thin-volume"
    PARTITION = "partition"
    WHOLE_DISK = "whole-disk"
    MAPPED_DEVICE = "mapped-device"
    LOOP = "loop"
    DRBD = "drbd"
    ISCSI = "iscsi"
    NBD = "nbd"
    IMAGE_FILE = "image-file"
    CDROM = "cdrom"
    EMPTY = "empty"
    ABSENT = "absent"
    ELSEWHERE = "elsewhere"
    """Served by another domain: dom0 cannot look at it."""
    UNKNOWN = "unknown"


NETWORK_KINDS = frozenset((BackingKind.DRBD, BackingKind.ISCSI, BackingKind.NBD))


@dataclass(frozen=True, kw_only=True)
class DiskBacking:
    """One disk of one guest, and what is behind it; sizes in bytes, 0 when unknown.

    `path` is where dom0 reads it: the target, or the device that a script made of it ("" when there
    is none). `size_bytes` is what the guest sees; `allocated_bytes` what it takes (None when that
    is not known). `lv_uuid` names the logical volume that can be snapshotted: the disk itself, or
    the one below DRBD. `tokens` are identities (`lv:UUID`, `block:MAJ:MIN`, `file:DEV:INODE`,
    `path:…`, or a name that only a script knows): two disks that share one are the same storage,
    whatever their paths. `within:TOKEN` names the whole disk of a partition. `held` says how dom0
    itself uses it ("mounted in dom0 at /mnt"). `stands_on_another` says that an image file is no
    disk without another one. `notes` are sentences for a person; `problem` says
    why it could not be resolved further.
    """

    domain: str
    vdev: str
    target: str
    kind: BackingKind
    path: str = ""
    format: str = "raw"
    writable: bool = True
    size_bytes: int = 0
    allocated_bytes: int | None = None
    group: str = ""
    lv_uuid: str = ""
    filesystem: str = ""
    mount_point: str = ""
    can_reflink: bool = False
    snapshot: SnapshotKind = SnapshotKind.NONE
    tokens: frozenset[str] = frozenset()
    held: str = ""
    stands_on_another: bool = False
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def portable(self) -> bool:
        """Easy to move to another host: a file; devices are fast and stay where they are."""
        return self.kind is BackingKind.IMAGE_FILE

    @property
    def on_network(self) -> bool:
        return self.kind in NETWORK_KINDS

    @property
    def regular_file(self) -> bool:
        return self.kind is BackingKind.IMAGE_FILE
