"""What an inventory means for backups: presets by disk, room in groups, guests by module. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.devices import KernelModule
from xenbackup.model.domain import Domain, GuestKind
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import DEFAULT_SNAPSHOT_SIZE, StepName
from xenbackup.model.pipeline import PRESETS
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.planning.choice import OFFLINE
from xenbackup.planning.disk_plan import (
    find_volume_fault,
    is_read_as_it_lies,
    predict_snapshot_bytes,
)
from xenbackup.planning.obstacles import has_unflushed_tables

WITHOUT_SNAPSHOT = tuple(
    name
    for name, steps in PRESETS.items()
    if all(spec.step is not StepName.SNAPSHOT for spec in steps)
)
"""Presets that read the disk itself."""
WITHOUT_LIFE = tuple(
    name
    for name, steps in PRESETS.items()
    if all(spec.step is not StepName.SAVE_PAUSED for spec in steps)
)
"""Presets that take no memory of a guest that lives on."""
_EXPLAIN_TABLES = "a {} image: QEMU writes its tables only when the guest lets go of it"

_WELCOME = {
    SnapshotKind.THICK: "a snapshot takes 10% of the disk from its volume group while it is copied",
    SnapshotKind.THIN: "a snapshot takes nothing beforehand; what the guest writes fills the pool",
    SnapshotKind.REFLINK: "the file is cloned in a moment; what the guest writes takes room beside",
}
_LEFT_OUT = {
    BackingKind.CDROM: "left out of every backup: a CD-ROM holds nothing of the guest's",
    BackingKind.EMPTY: "left out of every backup: the drive is empty",
}

_FAULTS = {
    "disk-merging": "a snapshot is being merged into it: wait for the end of that",
    "disk-incomplete": "it lies on physical volumes that are missing: bring them back",
    "disk-inactive": "it is not active: `lvchange --activate y` makes it readable",
    "disk-is-snapshot": "no snapshot: it is itself a snapshot, and LVM takes none of it",
    "disk-locked": "no snapshot: LVM is moving it (pvmove); wait for the end of that",
    "group-ambiguous": "no snapshot: another volume group has the name of its own",
    "group-incomplete": "no snapshot: its volume group lacks physical volumes",
}


@dataclass(frozen=True, kw_only=True)
class DiskVerdict:
    """The presets that a disk allows, and the reason for those, or against the others.

    A disk that is `left_out` keeps no guest from a backup; one that allows no preset does.
    """

    presets: tuple[str, ...]
    reason: str
    left_out: bool = False


@dataclass(frozen=True, kw_only=True)
class GroupRoom:
    """A volume group, and what thick snapshots of all its guests' volumes would take, in bytes."""

    group: VolumeGroup
    volumes: int
    snapshot_bytes: int
    pools: tuple[LogicalVolume, ...] = ()

    @property
    def fits(self) -> bool:
        """All of them at once, which no job asks for unless it runs guests side by side."""
        return self.snapshot_bytes <= self.group.free_bytes


def find_snapshot(backing: DiskBacking) -> SnapshotKind:
    """The snapshot that a backup would take of a disk."""
    if backing.snapshot is SnapshotKind.NONE and backing.can_reflink and backing.regular_file:
        return SnapshotKind.REFLINK
    return backing.snapshot


def judge_disk(backing: DiskBacking, inventory: Inventory) -> DiskVerdict:
    """Which presets a disk allows, as a plan would decide it."""
    if backing.kind in _LEFT_OUT:
        return DiskVerdict(presets=(), reason=_LEFT_OUT[backing.kind], left_out=True)
    why = _explain_unreadable(backing, inventory)
    if why:
        return DiskVerdict(presets=(), reason=why)
    snapshot = find_snapshot(backing)
    why = _explain_fault(backing, inventory, snapshots=True)
    if why or snapshot is SnapshotKind.NONE:
        lies = () if why or not is_read_as_it_lies(backing) else (OFFLINE,)
        presets = (*WITHOUT_SNAPSHOT, *lies)
        return DiskVerdict(presets=presets, reason=why or _explain_no_snapshot(backing))
    guest = inventory.find_domain(backing.domain)
    if guest is not None and has_unflushed_tables(
        guest, writable=backing.writable, image_format=backing.format
    ):
        return DiskVerdict(presets=WITHOUT_LIFE, reason=_EXPLAIN_TABLES.format(backing.format))
    return DiskVerdict(presets=tuple(PRESETS), reason=_WELCOME[snapshot])


def _explain_unreadable(backing: DiskBacking, inventory: Inventory) -> str:
    """Why no preset can read it; "" when one can."""
    if backing.kind is BackingKind.ELSEWHERE:
        return "another domain serves it: back it up from there"
    if backing.kind is BackingKind.ABSENT:
        return "there is nothing to read: the guest is refused until it is back"
    fault = _explain_fault(backing, inventory, snapshots=False)
    if fault:
        return fault
    if backing.problem or backing.kind is BackingKind.UNKNOWN:
        return "dom0 cannot read it: the guest is refused"
    return ""


def _explain_fault(backing: DiskBacking, inventory: Inventory, *, snapshots: bool) -> str:
    """What a plan has against the logical volume behind it; "" for nothing."""
    volume = inventory.find_volume_by_uuid(backing.lv_uuid)
    fault = volume and find_volume_fault(backing.vdev, volume, inventory, snapshots=snapshots)
    return _FAULTS[fault.code] if fault else ""


def _explain_no_snapshot(backing: DiskBacking) -> str:
    if backing.on_network:
        return "no snapshot: it lies on the network; its storage could take one"
    if backing.regular_file:
        return "no snapshot: its file system has no reflinks (Btrfs has, XFS mostly)"
    return "no snapshot: it is no logical volume"


# Volume groups


def reckon_group_rooms(inventory: Inventory) -> tuple[GroupRoom, ...]:
    """Each volume group with its thin pools and with what snapshots of its guests would take."""
    used = {
        backing.lv_uuid
        for backing in inventory.backings
        if backing.lv_uuid and find_snapshot(backing) is SnapshotKind.THICK
    }
    rooms = []
    for group in inventory.groups:
        volumes = [lv for lv in inventory.volumes if lv.group == group.name]
        thick = [lv for lv in volumes if lv.uuid in used]
        rooms.append(
            GroupRoom(
                group=group,
                volumes=len(thick),
                snapshot_bytes=sum(_predict_snapshot(lv, group) for lv in thick),
                # First letter `t` of lv_attr, lvs(8).
                pools=tuple(lv for lv in volumes if lv.attributes[0:1] == "t"),
            )
        )
    return tuple(rooms)


def predict_snapshots(domain: Domain, group: VolumeGroup, inventory: Inventory) -> int:
    """Bytes of a group that thick snapshots of one guest's disks take."""
    volumes = (
        inventory.find_volume_by_uuid(backing.lv_uuid)
        for backing in inventory.backings
        if (backing.domain, backing.group) == (domain.name, group.name)
        and find_snapshot(backing) is SnapshotKind.THICK
    )
    return sum(_predict_snapshot(volume, group) for volume in volumes if volume is not None)


def _predict_snapshot(volume: LogicalVolume, group: VolumeGroup) -> int:
    extent_bytes = max(group.extent_size_bytes, 1)
    return predict_snapshot_bytes(volume.size_bytes, DEFAULT_SNAPSHOT_SIZE, extent_bytes)


# Modules

_BLOCK_KINDS = frozenset(
    (
        *(BackingKind.LOGICAL_VOLUME, BackingKind.THIN_VOLUME, BackingKind.PARTITION),
        *(BackingKind.WHOLE_DISK, BackingKind.MAPPED_DEVICE, BackingKind.LOOP),
        *(BackingKind.DRBD, BackingKind.ISCSI, BackingKind.NBD),
    )
)
_KINDS_NEEDING = {
    "xen-blkback": _BLOCK_KINDS,
    "dm-mod": frozenset((BackingKind.LOGICAL_VOLUME, BackingKind.THIN_VOLUME)),
    "drbd": frozenset((BackingKind.DRBD,)),
    "iscsi-tcp": frozenset((BackingKind.ISCSI,)),
}
_SNAPSHOTS_NEEDING = {
    "dm-snapshot": SnapshotKind.THICK,
    "dm-thin-pool": SnapshotKind.THIN,
}
_OF_ALL = frozenset(("xen-gntdev", "xen-evtchn"))


def find_guests_needing(module: KernelModule, inventory: Inventory) -> tuple[str, ...]:
    """Guests that cannot start, or be snapshotted, where this module of dom0 is missing.

    The modules for image files (`loop`, `blktap`) stop nobody: QEMU serves such files without them.
    """
    name = module.name.replace("_", "-")
    return tuple(
        domain.name for domain in inventory.domains if _needs_module(name, domain, inventory)
    )


def _needs_module(name: str, domain: Domain, inventory: Inventory) -> bool:
    backings = [backing for backing in inventory.backings if backing.domain == domain.name]
    drivers = inventory.drivers.find(domain.name)
    boards = drivers.boards if drivers is not None else ()
    if name in _KINDS_NEEDING:
        return any(backing.kind in _KINDS_NEEDING[name] for backing in backings)
    if name in _SNAPSHOTS_NEEDING:
        return any(find_snapshot(backing) is _SNAPSHOTS_NEEDING[name] for backing in backings)
    match name:
        case "xen-netback":
            return bool(boards)
        case "tun":
            return bool(boards) and domain.kind is GuestKind.HVM
        case "xen-pciback":
            return bool(domain.pci_devices)
    return name in _OF_ALL
