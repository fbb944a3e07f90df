"""Nobody writes the disks while the guest stands still or is away: noted, and looked at again.

A guest may be let run, or started, and be ended again between two looks: then nothing shows that it
ran, but its disks have moved on. The kernel counts what is written to each device; over a boot of
the host, which begins the counts anew, snapshots hold what was overwritten, and xl keeps its logs.
What is taken for such a trace and is none would leave a guest down: each has to be beyond doubt.
"""

from __future__ import annotations

from contextlib import suppress

from xenbackup.dom0 import monitor
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.write_mark import is_at_rest, is_written_since
from xenbackup.errors import CommandFailed, CommandTimedOut, RestoreFailed, SnapshotFailed
from xenbackup.model import entries as e
from xenbackup.model.job import Consistency
from xenbackup.model.plan import SnapshotKind, VolumeKind
from xenbackup.model.record import DiskMark, SnapshotRecord
from xenbackup.model.vdev import number_vdev
from xenbackup.model.volume import LogicalVolume
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.others import note_let_run

SERVED_BY_KERNEL = "/local/domain/0/backend/vbd/"
SETTLE_SECONDS = 10.0
SETTLE_POLL_SECONDS = 0.1


def note_disks_at_rest(context: RunContext) -> None:
    """Write down how much was written to each disk until now, where that tells who wrote.

    Whose disks others share has no such disk. And while the guest only stands still, none but a
    device which the kernel itself serves (`vbd`) is at rest with it: QEMU writes late. What the
    guest had asked for just before is waited for, and a disk that does not come to rest is left
    out; one of a guest that is shut off is somebody else's to write, and that must be seen.
    """
    deadline = context.host.monotonic_seconds() + SETTLE_SECONDS
    offline = context.plan.consistency is Consistency.OFFLINE
    served = (
        frozenset(disk.vdev for disk in context.plan.disks) if offline else _list_served(context)
    )
    marks = tuple(
        DiskMark(vdev=disk.vdev, mark=mark)
        for disk in context.plan.disks
        if disk.vdev in served
        and not context.record.sharers
        and (offline or disk.kind is not VolumeKind.IMAGE_FILE)
        and (mark := _read_settled(context, disk.path, deadline))
        and (offline or is_at_rest(mark))
    )
    if marks:
        context.journal.write(e.DisksAtRest(marks=marks, boot_id=context.host.boot_id()))


def _read_settled(context: RunContext, path: str, deadline: float) -> str:
    """The disk's mark once nothing more is on its way to it, or as the deadline passes."""
    while (mark := context.host.read_write_mark(path)) and not is_at_rest(mark):
        if context.host.monotonic_seconds() > deadline:
            break
        context.host.sleep(SETTLE_POLL_SECONDS)
    return mark


def _list_served(context: RunContext) -> frozenset[str]:
    """Disks whose both ends were connected as the run began, the host's end by blkback in dom0."""
    baseline = context.record.start.baseline
    served = {
        end.vdev_number
        for end in (baseline.connections if baseline is not None else ())
        if end.rank == (True, True) and end.backend_path.startswith(SERVED_BY_KERNEL)
    }
    return frozenset(disk.vdev for disk in context.plan.disks if number_vdev(disk.vdev) in served)


def find_written_disks(context: RunContext, *, surely: bool = False) -> tuple[str, ...]:
    """Disks that were written since they were noted to be at rest; () where nobody can tell.

    `surely` before old memory is let onto them: what would tell, and is not to be seen just now, is
    not taken for silent. A group may come late when the host boots, and be there a moment later.

    Raises: RestoreFailed then; CommandTimedOut, UnexpectedOutput.
    """
    record = context.record
    if record.at_rest_boot_id != context.host.boot_id():
        return _list_overwritten(context, surely=surely)
    paths = {disk.vdev: disk.path for disk in context.plan.disks}
    return tuple(
        noted.vdev
        for noted in record.at_rest
        if is_written_since(noted.mark, context.host.read_write_mark(paths[noted.vdev]))
    )


def _list_overwritten(context: RunContext, *, surely: bool) -> tuple[str, ...]:
    """After a reboot: disks of which thick snapshots of this run have had to keep anything.

    An untouched snapshot is 0.00 % full, and lvs rounds nothing else to that.
    """
    rebooted = context.record.start.boot_id != context.host.boot_id()
    left = _list_telling(context) if rebooted else []
    volumes = _list_volumes(context.lvm, {made.group for made in left})
    if surely:
        _refuse_unseen(context, left, volumes)
    filled = {
        volume.name
        for volume in volumes
        if volume.thick_snapshot
        and volume.is_snapshot_of_run(context.run_id)
        and (volume.invalid or volume.snapshot_percent)
    }
    return tuple(made.vdev for made in left if made.name in filled)


def _refuse_unseen(
    context: RunContext, left: list[SnapshotRecord], volumes: list[LogicalVolume]
) -> None:
    """Raises: RestoreFailed naming the snapshots that say nothing, or are away with their group."""
    there = {volume.name for volume in volumes}
    uuids = {volume.uuid for volume in volumes}
    silent = {volume.name for volume in volumes if _is_silent(volume)}
    unseen = [
        made
        for made in left
        # One that is not there beside its origin was removed.
        if made.name in silent or (made.name not in there and made.origin_uuid not in uuids)
    ]
    if unseen:
        name = context.plan.domain.name
        raise RestoreFailed(
            f"The memory image of {name} is not restored: whether "
            f"{', '.join(made.vdev for made in unseen)} was written since it was saved cannot be "
            f"seen while {', '.join(made.label for made in unseen)} is not there, or not active.",
            hint=f"bring it back, then `xenbackup recover`; or start {name} afresh yourself",
        )


def _is_silent(volume: LogicalVolume) -> bool:
    """A thick snapshot that is not active tells nothing of how full it is."""
    return volume.thick_snapshot and not volume.invalid and volume.snapshot_percent is None


def _list_telling(context: RunContext) -> list[SnapshotRecord]:
    """Snapshots that tell what is written to the disks of a guest whose memory may yet come back:
    thick ones, made since its save, of disks that only it writes, and through the kernel.
    """
    record = context.record
    if not record.image_verified or record.sharers or record.resuming or record.guest_settled:
        return []
    served = _list_served(context)
    thick = {disk.vdev for disk in context.plan.disks if disk.snapshot is SnapshotKind.THICK}
    return [
        made
        for made in record.snapshots
        if made.vdev in served & thick and not made.before_save and not made.removed
    ]


def keeps_telling(context: RunContext) -> bool:
    """Are there snapshots that tell, now or after a reboot, whether old memory may come back?"""
    return bool(_list_telling(context))


def _list_volumes(lvm: Lvm, groups: set[str]) -> list[LogicalVolume]:
    """Asked for by their groups: another one that is not well must not keep a guest down.

    What was in a group that cannot be listed is looked for in all of them: it may be renamed, or
    share its name. Nobody waits for one that is gone: the owner may have started the guest since.

    Raises: CommandTimedOut where a group does not answer; UnexpectedOutput.
    """
    volumes: list[LogicalVolume] = []
    for group in sorted(groups):
        try:
            volumes += lvm.list_volumes(group)
        except CommandTimedOut:
            raise
        except CommandFailed:
            with suppress(CommandFailed):
                volumes += lvm.list_volumes()
    return volumes


def is_started_since(context: RunContext) -> bool:
    """Did somebody create a domain of the guest's name since its save, or since our restore?

    xl opens a new log for each domain that it has created, and never the one before again. One
    that is gone, or empty, tells nothing: logs may lie in memory, and are rotated by night. While a
    restore of ours is under way a new one is taken for its own; not so in a later boot of the host,
    where nobody can tell, and old memory may meet disks that a person's use has moved on.
    """
    record = context.record
    if record.restore_under_way and record.rebuilding_boot_id == context.host.boot_id():
        return False
    known = record.known_logs
    return bool(known) and all(known) and not has_known_log(context)


def has_known_log(context: RunContext) -> bool:
    """Is the guest's log the one of before its save, or of a domain that we restored? No log is
    nobody's. Any of them: a power cut may take the newest, and bring the one before it back.
    """
    found = monitor.read_log_mark(context.host, context.plan.domain.name)
    return found == monitor.NO_LOG or any(
        monitor.is_same_log(known, found) for known in context.record.known_logs
    )


def check_disks_at_rest(context: RunContext, *, when: str) -> None:
    """Refuse to go on with disks that others wrote: they are of no one moment any more.

    Raises: SnapshotFailed.
    """
    written = find_written_disks(context)
    if written:
        note_let_run(context)
        raise SnapshotFailed(
            f"Somebody wrote to {', '.join(written)} of {context.plan.domain.name} {when}, though "
            "the guest should stand still: it was let run, or the disk was written in dom0.",
            hint="see who did, and run the job again",
        )
    if is_started_since(context):
        note_let_run(context)
        raise SnapshotFailed(
            f"Somebody started {context.plan.domain.name} {when}, though it should be away: its "
            "disks have moved on.",
            hint="see who did, and run the job again",
        )
