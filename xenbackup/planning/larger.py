"""A run whose snapshots were too small: what it is tried again with. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xenbackup.model.job import DEFAULT_SNAPSHOT_SIZE, SnapshotSize, StepName
from xenbackup.model.plan import DomainPlan, PlannedDisk, SnapshotKind
from xenbackup.model.record import RunRecord
from xenbackup.model.volume import VolumeGroup
from xenbackup.planning.disk_plan import predict_snapshot_bytes
from xenbackup.planning.forecast import compute_reserve_bytes
from xenbackup.planning.validation.scene import show_mib

_STEPS_DOWN = 8


def enlarge_snapshots(
    plan: DomainPlan, failed: RunRecord, groups: Sequence[VolumeGroup]
) -> DomainPlan | None:
    """The plan with twice the room that the failed run's snapshots came to in the end.

    Less where the groups, with their reserve, have no room for twice as much; at most the whole
    disk. None when they have no room for anything larger, or nothing of it was too small.
    """
    old = _find_size(plan, failed)
    if old is None:
        return None
    most = _find_most(plan, old)
    for part in range(_STEPS_DOWN, 0, -1):
        size = _grow(old, part, most)
        if size == old:
            continue
        larger = _apply(plan, size, groups)
        if _fits(larger, groups):
            return larger
    return None


def spell_size(plan: DomainPlan) -> str:
    """The size of a plan's snapshots, for a sentence."""
    size = next((s.snapshot_size for s in plan.steps if s.step is StepName.SNAPSHOT), None)
    size = size or DEFAULT_SNAPSHOT_SIZE
    return f"{size.percent}%" if size.percent is not None else show_mib(size.size_bytes or 0)


def _find_size(plan: DomainPlan, failed: RunRecord) -> SnapshotSize | None:
    """What the failed run's snapshots had at last, in the terms of its plan."""
    asked = next((s for s in failed.start.plan.steps if s.step is StepName.SNAPSHOT), None)
    disks = {disk.vdev: disk for disk in plan.disks if disk.snapshot is SnapshotKind.THICK}
    small = [
        made for made in failed.snapshots if made.vdev in failed.too_small and made.vdev in disks
    ]
    if asked is None or not small:
        return None
    size = asked.snapshot_size or DEFAULT_SNAPSHOT_SIZE
    if size.percent is None:
        reached = max(made.size_bytes for made in small)
        return SnapshotSize(size_bytes=max(size.size_bytes or 0, reached))
    shares = [-(-made.size_bytes * 100 // disks[made.vdev].size_bytes) for made in small]
    return SnapshotSize(percent=min(max(size.percent, *shares), 100))


def _find_most(plan: DomainPlan, old: SnapshotSize) -> int:
    if old.percent is not None:
        return 100
    return max(disk.size_bytes for disk in plan.disks if disk.snapshot is SnapshotKind.THICK)


def _grow(old: SnapshotSize, part: int, most: int) -> SnapshotSize:
    """Larger by `part` eighths of itself."""
    if old.percent is not None:
        percent = old.percent + old.percent * part // _STEPS_DOWN
        return SnapshotSize(percent=max(min(percent, most), old.percent))
    size_bytes = old.size_bytes or 0
    return SnapshotSize(
        size_bytes=max(min(size_bytes + size_bytes * part // _STEPS_DOWN, most), size_bytes)
    )


def _apply(plan: DomainPlan, size: SnapshotSize, groups: Sequence[VolumeGroup]) -> DomainPlan:
    extents = {group.name: group.extent_size_bytes for group in groups}

    def enlarge(disk: PlannedDisk) -> PlannedDisk:
        if disk.snapshot is not SnapshotKind.THICK:
            return disk
        extent = max(extents.get(disk.group, 1), 1)
        predicted = predict_snapshot_bytes(disk.size_bytes, size, extent)
        return replace(disk, snapshot_size_bytes=predicted)

    return replace(
        plan,
        steps=tuple(
            replace(step, snapshot_size=size) if step.step is StepName.SNAPSHOT else step
            for step in plan.steps
        ),
        disks=tuple(enlarge(disk) for disk in plan.disks),
    )


def _fits(plan: DomainPlan, groups: Sequence[VolumeGroup]) -> bool:
    needed: dict[str, int] = {}
    for disk in plan.disks:
        if disk.snapshot is SnapshotKind.THICK:
            needed[disk.group] = needed.get(disk.group, 0) + disk.snapshot_size_bytes
    free = {group.name: group.free_bytes - compute_reserve_bytes(group) for group in groups}
    return all(amount <= free.get(name, 0) for name, amount in needed.items())
