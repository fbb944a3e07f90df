"""Which disks of a guest a run reads, and how each is frozen; or why one cannot be. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.domain import Disk, Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import DEFAULT_SNAPSHOT_SIZE, Job, SnapshotSize, StepName, StepSpec
from xenbackup.model.plan import ExcludedDisk, PlannedDisk, SnapshotKind, VolumeKind
from xenbackup.model.volume import LogicalVolume
from xenbackup.planning.forecast import compute_useful_bytes
from xenbackup.planning.presets import excludes_disk
from xenbackup.planning.refusal import Refusal

_OF_ONE_HOST = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "reiserfs", "zfs"))


@dataclass(frozen=True, kw_only=True)
class VolumeFault:
    """Why a logical volume cannot be planned: the code of the problem, and its words."""

    code: str
    reason: str
    hint: str = ""


def plan_disks(
    job: Job,
    domain: Domain,
    inventory: Inventory,
    specs: tuple[StepSpec, ...],
) -> tuple[tuple[PlannedDisk, ...], tuple[ExcludedDisk, ...]]:
    """The disks to read, and those left out with the reason.

    Raises: Refusal for a disk that cannot be read, or not frozen where the steps want that.
    """
    size = next((spec.size for spec in specs if spec.step is StepName.SNAPSHOT and spec.size), None)
    snapshots = any(spec.step is StepName.SNAPSHOT for spec in specs)
    planned: list[PlannedDisk] = []
    excluded: list[ExcludedDisk] = []
    for disk in domain.disks:
        reason = explain_exclusion(job, domain, disk, inventory)
        if reason:
            excluded.append(ExcludedDisk(vdev=disk.vdev, reason=reason))
            continue
        planned.append(plan_disk(domain, disk, inventory, snapshots, size))
    return tuple(planned), tuple(excluded)


def explain_exclusion(job: Job, domain: Domain, disk: Disk, inventory: Inventory) -> str:
    """Why a job leaves a disk out; "" when it takes it."""
    if not disk.target:
        return "the drive is empty"
    backing = inventory.find_backing(domain.name, disk.vdev)
    if disk.cdrom or (backing is not None and backing.kind is BackingKind.CDROM):
        return "a CD-ROM holds nothing of the guest's"
    if excludes_disk(job, domain.name, disk.vdev):
        return "excluded by the job"
    return ""


def plan_disk(
    domain: Domain,
    disk: Disk,
    inventory: Inventory,
    snapshots: bool,
    size: SnapshotSize | None,
) -> PlannedDisk:
    """How one disk is read, from a snapshot or not. Raises: Refusal."""
    if not disk.served_by_dom0:
        raise Refusal(
            f"disk {disk.vdev} is served by domain {disk.backend}: dom0 cannot read it",
            "back it up from that domain",
        )
    volume = inventory.find_volume(disk.target)
    if volume is not None:
        return _plan_logical_volume(disk, volume, inventory, snapshots, size)
    backing = inventory.find_backing(domain.name, disk.vdev)
    if backing is None or backing.problem:
        why = backing.problem if backing is not None else "it was not looked at"
        raise Refusal(f"disk {disk.vdev} ({disk.target}) cannot be read: {why}")
    below = inventory.find_volume_by_uuid(backing.lv_uuid)
    if snapshots and below is not None:
        return _plan_volume_below(disk, backing, below, inventory, size)
    if snapshots and not backing.can_reflink:
        if domain.exists or not is_read_as_it_lies(backing):
            why = _explain_no_snapshot(backing)
            raise Refusal(
                f"disk {disk.vdev} ({disk.target}) has no snapshot: {why}",
                'use preset = "cold" for this guest',
            )
        snapshots = False
    return PlannedDisk(
        vdev=disk.vdev,
        path=backing.path or disk.target,
        kind=VolumeKind.IMAGE_FILE if backing.regular_file else VolumeKind.BLOCK_DEVICE,
        size_bytes=backing.size_bytes,
        snapshot=SnapshotKind.REFLINK if snapshots else SnapshotKind.NONE,
        grows=backing.regular_file and backing.format not in ("raw", "empty"),
    )


def is_read_as_it_lies(backing: DiskBacking) -> bool:
    """While its guest is shut off, is the disk read without a snapshot where it takes none?

    Only where no other host can have the guest run on it, whose writes nobody would notice here: a
    file on a file system that one host mounts at a time.
    """
    return backing.regular_file and backing.filesystem in _OF_ONE_HOST


def _explain_no_snapshot(backing: DiskBacking) -> str:
    if backing.on_network:
        return "it lies on the network; its storage could take one"
    if backing.regular_file:
        return f"its filesystem ({backing.filesystem or 'unknown'}) takes no reflink copy"
    return "it is no logical volume"


def _plan_volume_below(
    disk: Disk,
    backing: DiskBacking,
    below: LogicalVolume,
    inventory: Inventory,
    size: SnapshotSize | None,
) -> PlannedDisk:
    """A device of DRBD is read through a snapshot of the volume below it.

    DRBD's own records lie behind the data there, so the device's size, not the volume's, counts.
    """
    planned = _plan_logical_volume(disk, below, inventory, True, size)
    return replace(
        planned, path=backing.path, kind=VolumeKind.BLOCK_DEVICE, size_bytes=backing.size_bytes
    )


def _plan_logical_volume(
    disk: Disk,
    volume: LogicalVolume,
    inventory: Inventory,
    snapshots: bool,
    size: SnapshotSize | None,
) -> PlannedDisk:
    fault = find_volume_fault(disk.vdev, volume, inventory, snapshots=snapshots)
    if fault is not None:
        raise Refusal(fault.reason, fault.hint)
    kind = SnapshotKind.NONE
    snapshot_bytes = 0
    if snapshots:
        kind = SnapshotKind.THIN if volume.thin else SnapshotKind.THICK
        if kind is SnapshotKind.THICK:
            snapshot_bytes = predict_snapshot_bytes(
                volume.size_bytes,
                size or DEFAULT_SNAPSHOT_SIZE,
                group.extent_size_bytes if (group := inventory.find_group(volume.group)) else 1,
            )
    return PlannedDisk(
        vdev=disk.vdev,
        path=disk.target,
        kind=VolumeKind.LOGICAL_VOLUME,
        size_bytes=volume.size_bytes,
        snapshot=kind,
        group=volume.group,
        lv_name=volume.name,
        lv_uuid=volume.uuid,
        snapshot_size_bytes=snapshot_bytes,
    )


def find_volume_fault(
    vdev: str, volume: LogicalVolume, inventory: Inventory, *, snapshots: bool
) -> VolumeFault | None:
    """What LVM is certain to refuse, and reads that are certain to fail; None when all is well."""
    label = f"{volume.group}/{volume.name} ({vdev})"
    if volume.merging:
        return VolumeFault(
            code="disk-merging", reason=f"{label} has a snapshot being merged into it"
        )
    # Mirrors, RAID and pools above them may still be read whole with a disk missing.
    if volume.partial and (snapshots or volume.attributes[6:7] in ("-", "s")):
        return VolumeFault(
            code="disk-incomplete",
            reason=f"{label} lies on physical volumes that are missing",
            hint="look at it with `pvs` and `vgs`; bring the disk back",
        )
    if volume.inactive and not volume.thin:
        # LVM leaves a thick snapshot as inactive as its origin; a thin one is activated by itself.
        return VolumeFault(
            code="disk-inactive",
            reason=f"{label} is not active: neither it nor a snapshot of it can be read",
            hint=f"`lvchange --activate y {volume.group}/{volume.name}`",
        )
    if not snapshots:
        return None
    if volume.thick_snapshot:
        return VolumeFault(
            code="disk-is-snapshot", reason=f"{label} is itself a snapshot: LVM takes none of it"
        )
    if volume.locked:
        return VolumeFault(
            code="disk-locked",
            reason=f"{label} is locked, as by `pvmove`: LVM takes no snapshot of it",
            hint="wait for the move: `lvs -a -o +move_pv,copy_percent`",
        )
    if sum(group.name == volume.group for group in inventory.groups) > 1:
        return VolumeFault(
            code="group-ambiguous",
            reason=f"{label} is in one of several volume groups of that name: LVM changes none of "
            "them by it",
            hint="`vgs -o +vg_uuid` lists them; hide guests' own groups from dom0 with a "
            "`global_filter` in lvm.conf, or `vgrename UUID NEWNAME`",
        )
    group = inventory.find_group(volume.group)
    if group is not None and group.partial:
        return VolumeFault(
            code="group-incomplete",
            reason=f"group {group.name} of {vdev} lacks physical volumes: LVM makes no "
            "snapshot in it",
            hint=f"bring the disk back, or `vgreduce --removemissing {group.name}`",
        )
    return None


def predict_snapshot_bytes(origin_bytes: int, size: SnapshotSize, extent_bytes: int) -> int:
    """What `lvcreate -s` will take from the group, in bytes; LVM's own reckoning, lvcreate.c.

    A share is rounded up to whole extents, and to it comes the table that the *whole* origin would
    need, a 256th of the origin: 500 GiB at 10% take 52 GiB. A size that is given in bytes is taken
    as it is. What is more than the origin can ever use is reduced to that.
    """
    useful = compute_useful_bytes(origin_bytes, extent_bytes) // extent_bytes
    if size.percent is not None:
        whole = -(-origin_bytes // extent_bytes)
        wanted = -(-whole * size.percent // 100) + useful - whole
    else:
        wanted = -(-(size.size_bytes or 0) // extent_bytes)
    return min(wanted, useful) * extent_bytes
