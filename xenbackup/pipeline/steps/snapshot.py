"""Steps on snapshots: all disks of a domain at one instant, and their removal."""

from __future__ import annotations

from xenbackup.errors import (
    CommandFailed,
    DomainChanged,
    NotOurs,
    SnapshotFailed,
    UnexpectedOutput,
    XenbackupError,
)
from xenbackup.model import entries as e
from xenbackup.model.job import DEFAULT_SNAPSHOT_SIZE, Consistency, SnapshotSize
from xenbackup.model.plan import PlannedDisk, PlannedStep, SnapshotKind, VolumeKind
from xenbackup.model.record import SnapshotRecord
from xenbackup.model.volume import LogicalVolume
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.devices import find_suspended, resume_devices
from xenbackup.pipeline.others import is_intruder, note_let_run
from xenbackup.pipeline.steps.clone import make_clone, remove_clone
from xenbackup.pipeline.stillness import check_disks_at_rest, note_disks_at_rest

REMOVAL_ATTEMPTS = 5


def name_snapshot(run_id: str, vdev: str) -> str:
    """`xb-RUN-VDEV`: the name holds the run's id, so no other run can want it."""
    return f"xb-{run_id}-{vdev}"


def snapshot(context: RunContext, step: PlannedStep) -> None:
    """Snapshot every planned disk while the guest stands still, and see that it did.

    A disk of a shut off guest that takes none is read as it lies: the copy sees that it lay still.

    Raises: SnapshotFailed, DomainChanged, AwayTooLong.
    """
    check_disks_as_planned(context)
    check_guest_stands_still(context, when="before its snapshots")
    if context.plan.consistency is Consistency.OFFLINE:
        note_disks_at_rest(context)
    size = step.snapshot_size or DEFAULT_SNAPSHOT_SIZE
    volumes = context.lvm.list_volumes()
    for disk in context.plan.disks:
        context.check_away()
        if disk.snapshot is SnapshotKind.REFLINK:
            make_clone(context, disk)
        elif disk.snapshot is not SnapshotKind.NONE:
            _snapshot_disk(context, disk, size, volumes)
    check_guest_stands_still(context, when="after its snapshots")
    check_disks_at_rest(context, when="before its snapshots were done")


def check_guest_stands_still(context: RunContext, *, when: str) -> None:
    """Disks are of one instant only if the guest was still from the first snapshot to the last.

    A guest that should be away may have been started anew, with a new UUID where its configuration
    has none, or under another name: its disks tell.

    Raises: SnapshotFailed when it runs, DomainChanged when it is not the domain of the start.
    """
    planned = context.plan.domain
    name = planned.name
    if context.plan.consistency is Consistency.OFFLINE or context.record.destroyed:
        targets = {disk.target for disk in planned.disks if disk.target and not disk.cdrom}
        for found in context.toolstack.list_domains():
            moves = any(disk.writable and disk.target in targets for disk in found.disks)
            if found.exists and (found.uuid == planned.uuid or found.name == name or moves):
                if is_intruder(context, found):
                    note_let_run(context)
                raise SnapshotFailed(
                    f"{name} should be away {when}, but domain {found.domid} ({found.name}) is "
                    "there: somebody started it, and its disks move."
                )
        return
    domain = context.find_own_status()
    if not domain.state.paused:
        if domain.state.alive:
            note_let_run(context)
        raise SnapshotFailed(
            f"{name} is not paused {when} ({domain.state.letters}): "
            "its disks would be of different instants."
        )


def check_disks_as_planned(context: RunContext) -> None:
    """The disk set read inside the pause equals that of the plan.

    A destroyed guest has none any more: that was looked at before its destroy.

    Raises: DomainChanged.
    """
    if context.plan.consistency is Consistency.OFFLINE or context.record.destroyed:
        return
    domain = context.find_own_domain()
    planned = {(disk.vdev, disk.target) for disk in context.plan.domain.disks}
    found = {(disk.vdev, disk.target) for disk in domain.disks}
    if planned != found:
        changed = ", ".join(sorted(vdev for vdev, _ in planned ^ found))
        raise DomainChanged(
            f"The disks of {domain.name} changed between plan and snapshot: {changed}.",
            hint="run the job again",
        )


def find_planned_volume(volumes: tuple[LogicalVolume, ...], disk: PlannedDisk) -> LogicalVolume:
    """The logical volume behind a disk: same UUID and size as planned, not being merged.

    One that lies below another device (DRBD) is larger than what the guest sees of it.

    Raises: SnapshotFailed.
    """
    below = disk.kind is VolumeKind.BLOCK_DEVICE
    volume = next(
        (
            lv
            for lv in volumes
            if (lv.uuid == disk.lv_uuid if below else disk.path in (lv.path, lv.dm_path))
        ),
        None,
    )
    label = f"{disk.group}/{disk.lv_name}"
    if volume is None:
        raise SnapshotFailed(f"Volume {label} of {disk.vdev} is gone.")
    if volume.uuid != disk.lv_uuid:
        raise SnapshotFailed(f"Volume {label} was replaced during the run (another LV UUID).")
    resized = volume.size_bytes != disk.size_bytes
    if volume.size_bytes < disk.size_bytes if below else resized:
        raise SnapshotFailed(
            f"Volume {label} was resized during the run: {disk.size_bytes} bytes planned, "
            f"{volume.size_bytes} found."
        )
    if volume.merging:
        raise SnapshotFailed(f"Volume {label} has a snapshot being merged into it.")
    return volume


def _snapshot_disk(
    context: RunContext,
    disk: PlannedDisk,
    size: SnapshotSize,
    volumes: tuple[LogicalVolume, ...],
) -> None:
    origin = find_planned_volume(volumes, disk)
    name = name_snapshot(context.run_id, disk.vdev)
    context.journal.write(
        e.Snapshotting(vdev=disk.vdev, group=disk.group, name=name, origin_uuid=origin.uuid)
    )
    if disk.snapshot is SnapshotKind.THIN:
        made = context.lvm.create_thin_snapshot(origin, name=name, run_id=context.run_id)
    else:
        made = context.lvm.create_thick_snapshot(
            origin, name=name, size=size, run_id=context.run_id
        )
    if not is_real_snapshot(made, origin, context.run_id):
        raise SnapshotFailed(
            f"{disk.group}/{name} is no usable snapshot of {disk.lv_name} ({disk.vdev}): "
            f"attributes {made.attributes}, origin {made.origin or 'none'}.",
            hint="a killed lvcreate leaves such volumes; it is removed again",
        )
    context.journal.write(
        e.Snapshotted(
            vdev=disk.vdev,
            group=disk.group,
            name=name,
            lv_uuid=made.uuid,
            size_bytes=made.size_bytes,
        )
    )


def find_snapshot(
    volumes: tuple[LogicalVolume, ...], group: str, name: str
) -> LogicalVolume | None:
    """The volume of that name; whether it is a snapshot of ours is another question."""
    return next((lv for lv in volumes if lv.group == group and lv.name == name), None)


def is_full(snapshot: LogicalVolume) -> bool:
    """Overflowed: what was read through it since it was seen valid is worthless."""
    return snapshot.invalid or snapshot.attributes[4:5] in ("I", "S")


def is_real_snapshot(made: LogicalVolume, origin: LogicalVolume, run_id: str) -> bool:
    """By attributes, origin, tags and validity together: a killed lvcreate leaves plain volumes."""
    return (
        made.is_snapshot_of_run(run_id)
        and (made.thick_snapshot or made.thin)
        and made.origin == origin.name
        and made.origin_uuid in ("", origin.uuid)
        and made.active
        and not made.invalid
        and not made.suspended
    )


def remove_snapshot(context: RunContext, step: PlannedStep) -> None:
    """Remove the run's snapshots. What cannot go now is journalled as owed, with a warning."""
    remove_all_snapshots(context)


def remove_all_snapshots(context: RunContext) -> bool:
    """Remove every snapshot of the run's journal; True when none is left. Idempotent."""
    left = False
    for made in context.record.snapshots:
        if not made.removed:
            left |= not _remove_one(context, made)
    return not left


def _remove_one(context: RunContext, made: SnapshotRecord) -> bool:
    """Remove one snapshot, with back-off while something holds it open; look, do not believe."""
    reason = ""
    for attempt in range(REMOVAL_ATTEMPTS):
        if attempt:
            context.host.sleep(2.0**attempt)
        try:
            if not made.group:
                remove_clone(context, made)
            else:
                found = _find_made(context, made)
                if found is not None:
                    _remove_found(context, made, found)
        except (NotOurs, CommandFailed, SnapshotFailed, UnexpectedOutput) as error:
            reason = error.message
            _free_devices(context)
            continue
        context.journal.write(e.SnapshotRemoved(group=made.group, name=made.name))
        return True
    message = reason or f"Snapshot {made.label} could not be removed."
    context.journal.write(e.DebtIncurred(message=message))
    context.warn(f"{message} It is owed: `xenbackup recover` tries again.")
    return False


def _find_made(context: RunContext, made: SnapshotRecord) -> LogicalVolume | None:
    """The snapshot, whatever it or its group is called by now; None when it is gone for sure.

    A group may come late when the host boots, or be away with its disk: what is not listed then is
    not gone. Where its group is there, or its origin, so would it be.

    Raises: SnapshotFailed where nobody can tell.
    """
    volumes = context.lvm.list_volumes()
    found = find_snapshot(volumes, made.group, made.name) or next(
        # One that was cut off as it was made has no UUID here; its name is no other run's.
        (
            volume
            for volume in volumes
            if (volume.uuid == made.lv_uuid if made.lv_uuid else volume.name == made.name)
        ),
        None,
    )
    if found is not None or any(volume.uuid == made.origin_uuid for volume in volumes):
        return found
    if made.group not in {group.name for group in context.lvm.list_groups()}:
        raise SnapshotFailed(
            f"Whether {made.label} still exists cannot be seen: the volume group {made.group} is "
            "not there."
        )
    return None


def _free_devices(context: RunContext) -> None:
    """An lvremove that failed may have died while it held the guest's disk suspended: that first.

    Nothing here may keep the snapshot from being owed.
    """
    try:
        if find_suspended(context):
            resume_devices(context)
    except XenbackupError as error:
        context.warn(f"Whether a device is suspended could not be seen to: {error.message}")


def _remove_found(context: RunContext, made: SnapshotRecord, found: LogicalVolume) -> None:
    """Both ways of removal look afterwards that the volume is gone, and raise when it is not."""
    context.journal.write(e.RemovingSnapshot(group=made.group, name=made.name, lv_uuid=found.uuid))
    if found.origin:
        context.lvm.remove_snapshot(found, context.run_id)
    else:
        context.lvm.remove_half_made_snapshot(found, context.run_id, origin_uuid=made.origin_uuid)
