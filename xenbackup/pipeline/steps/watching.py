"""The watch over the run's snapshots while they are read: extend, or give up before it is too late.

It looks from inside the copy, in the copy's own thread: one `lvs` a look for all snapshots and
pools of the run, every five seconds at most, sooner where one fills fast. What a look means is
decided by `planning/forecast.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from xenbackup.errors import CopyFailed, SnapshotFailed, SnapshotOverflowed, XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.plan import PlannedDisk
from xenbackup.model.record import SnapshotRecord
from xenbackup.model.volume import LogicalVolume
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps.snapshot import is_full
from xenbackup.planning.forecast import (
    POOL_FULL_PERCENT,
    FillSample,
    Forecast,
    compute_useful_bytes,
    forecast_fill,
    plan_growth,
)
from xenbackup.planning.validation.scene import show_mib

LOOK_SECONDS = 5.0
SHORTEST_LOOK_SECONDS = 1.0
LOOK_BYTES = 1 << 30
LOOKS_UNTIL_FULL = 4
SAMPLES_LIMIT = 64

_MORE_ROOM = 'give the snapshot more room: steps with {step = "snapshot", size = "20%"}'


@dataclass(kw_only=True)
class _Watched:
    """A thick snapshot that is still to be read to its end."""

    disk: PlannedDisk
    made: SnapshotRecord
    samples: deque[FillSample] = field(default_factory=lambda: deque(maxlen=SAMPLES_LIMIT))
    refused: str = ""
    """Why it could not be extended when that was tried."""


class SnapshotWatch:
    """`explain_stop` is what a copy asks before each block; it stops for a person's wish, for a
    guest that is away for too long, and for snapshots that will not last.

    `failure` is the reason of the last kind; the copy that it stopped raises it.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._watched: list[_Watched] = []
        self._pools: dict[tuple[str, str], deque[FillSample]] = {}
        self._left = {disk.vdev: disk.size_bytes for disk in context.plan.disks}
        self._done_bytes = 0
        self._reading = ""
        self._reading_bytes = 0
        self._began_at = context.host.monotonic_seconds()
        self._looked_at = self._began_at
        self._looked_bytes = 0
        self._interval_seconds = SHORTEST_LOOK_SECONDS
        self._volumes: tuple[LogicalVolume, ...] = ()
        self._blind = False
        self.failure: XenbackupError | None = None

    def begin_disk(self, disk: PlannedDisk, volumes: tuple[LogicalVolume, ...]) -> None:
        """A disk's reading begins; `volumes` were listed just now, and count as a look."""
        self._reading, self._reading_bytes = disk.vdev, 0
        if not self._watched and not self._pools:
            self._find_snapshots(volumes)
        self._note(volumes)

    def finish_disk(self, disk: PlannedDisk) -> None:
        """Its last read is done and was checked: its snapshot may fill up now."""
        self._done_bytes += disk.size_bytes
        self._reading, self._reading_bytes = "", 0
        self._left.pop(disk.vdev, None)
        self._watched = [known for known in self._watched if known.disk.vdev != disk.vdev]

    def report(self, done: int, total: int) -> None:
        """Progress of the disk that is being read, in bytes."""
        self._reading_bytes = done
        self._context.watcher.amount_done(self._context.run_id, self._reading, done, total)

    def explain_stop(self) -> str:
        """Why the copy must stop, "" while it may go on; looks at the snapshots when it is time."""
        reason = self._context.explain_stop() or self._context.explain_overdue_absence()
        if reason:
            return reason
        if self.failure is None and self._is_time():
            self._look()
        return self.failure.message.removesuffix(".") if self.failure else ""

    def raise_failure(self, cause: CopyFailed | None = None) -> None:
        """Raises: what a look found (SnapshotOverflowed, SnapshotFailed, CommandFailed), if any."""
        if self.failure is not None:
            raise self.failure from cause

    def _find_snapshots(self, volumes: tuple[LogicalVolume, ...]) -> None:
        disks = {disk.vdev: disk for disk in self._context.plan.disks}
        by_uuid = {volume.uuid: volume for volume in volumes}
        for made in self._context.record.snapshots:
            found = by_uuid.get(made.lv_uuid)
            if found is None or made.removed or made.vdev not in disks:
                continue
            if found.thick_snapshot:
                self._watched.append(_Watched(disk=disks[made.vdev], made=made))
            else:
                self._pools.setdefault((found.group, found.pool), deque(maxlen=SAMPLES_LIMIT))

    def _is_time(self) -> bool:
        if not self._watched and not self._pools:
            return False
        elapsed = self._context.host.monotonic_seconds() - self._looked_at
        if elapsed >= self._interval_seconds:
            return True
        moved = self._done_bytes + self._reading_bytes - self._looked_bytes
        return elapsed >= SHORTEST_LOOK_SECONDS and moved >= LOOK_BYTES

    def _look(self) -> None:
        """A look that fails costs only itself: the check after the last read decides."""
        try:
            volumes = self._context.lvm.list_volumes()
        except XenbackupError as error:
            self._looked_at = self._context.host.monotonic_seconds()
            if not self._blind:
                self._context.warn(f"The snapshots are not watched while they are read: {error}")
            self._blind = True
            return
        self._note(volumes)

    def _note(self, volumes: tuple[LogicalVolume, ...]) -> None:
        """One look: measure, forecast, and do what follows; a `failure` ends the copy."""
        self._looked_at = self._context.host.monotonic_seconds()
        self._looked_bytes = self._done_bytes + self._reading_bytes
        self._interval_seconds = LOOK_SECONDS
        self._volumes = volumes
        by_uuid = {volume.uuid: volume for volume in volumes}
        for volume in volumes:
            if (volume.group, volume.name) in self._pools and self.failure is None:
                self.failure = _judge_pool(volume)
                self._pace_pool(volume)
        for watched in self._watched:
            found = by_uuid.get(watched.made.lv_uuid)
            # A snapshot that is gone is told by the check of its disk.
            if found is not None and self.failure is None:
                self._judge(watched, found)

    def _judge(self, watched: _Watched, found: LogicalVolume) -> None:
        if is_full(found):
            self.failure = report_overflow(self._context, watched.disk, watched.made, found)
            return
        used = round(found.size_bytes * (found.snapshot_percent or 0.0) / 100)
        sample = FillSample(
            at_seconds=self._looked_at, used_bytes=used, size_bytes=found.size_bytes
        )
        watched.samples.append(sample)
        forecast = self._forecast(watched)
        if not forecast.lasts or len(watched.samples) == 1:
            self._interval_seconds = SHORTEST_LOOK_SECONDS
        self._pace(forecast)
        if not forecast.wants_growth or found.size_bytes >= self._find_useful_bytes(watched):
            return
        try:
            grown = self._extend(watched, found, forecast)
        except SnapshotFailed as error:
            watched.refused = error.message.removesuffix(".")
            grown = False
        except XenbackupError as error:
            # An lvextend that passed its deadline may have left a device suspended: the undo looks.
            self.failure = error
            return
        if not grown and forecast.hopeless:
            self.failure = self._give_up(watched, found, forecast)

    def _pace_pool(self, pool: LogicalVolume) -> None:
        """The next look comes well before the pool could be as full as it may become."""
        samples = self._pools[pool.group, pool.name]
        samples.append(
            FillSample(
                at_seconds=self._looked_at,
                used_bytes=round(pool.size_bytes * (pool.data_percent or 0.0) / 100),
                size_bytes=round(pool.size_bytes * POOL_FULL_PERCENT / 100),
            )
        )
        if len(samples) == 1:
            self._interval_seconds = SHORTEST_LOOK_SECONDS
        self._pace(forecast_fill(samples, left_bytes=0, copy_bytes_per_second=0.0))

    def _pace(self, forecast: Forecast) -> None:
        soon = forecast.full_in_seconds / LOOKS_UNTIL_FULL
        self._interval_seconds = max(min(self._interval_seconds, soon), SHORTEST_LOOK_SECONDS)

    def _forecast(self, watched: _Watched) -> Forecast:
        elapsed = self._looked_at - self._began_at
        moved = self._done_bytes + self._reading_bytes
        return forecast_fill(
            watched.samples,
            left_bytes=self._count_left(watched.disk),
            copy_bytes_per_second=moved / elapsed if elapsed > 0 else 0.0,
        )

    def _count_left(self, disk: PlannedDisk) -> int:
        """Bytes until the last read of a disk: those of the disks before it are read first."""
        order = list(self._left)
        until = order[: order.index(disk.vdev) + 1]
        return sum(self._left[vdev] for vdev in until) - self._reading_bytes

    def _find_useful_bytes(self, watched: _Watched) -> int:
        """Of the origin's own size, which is more than the disk's where DRBD keeps its records."""
        return compute_useful_bytes(self._find_origin_bytes(watched), 1)

    def _find_origin_bytes(self, watched: _Watched) -> int:
        return next(
            (v.size_bytes for v in self._volumes if v.uuid == watched.made.origin_uuid),
            watched.disk.size_bytes,
        )

    def _extend(self, watched: _Watched, found: LogicalVolume, forecast: Forecast) -> bool:
        """Extend a snapshot while its group has room. False when it has none.

        Raises: SnapshotFailed when LVM refuses; CommandFailed, NotOurs.
        """
        context = self._context
        group = next((g for g in context.lvm.list_groups() if g.name == found.group), None)
        if group is None:
            watched.refused = f"group {found.group} is not listed any more"
            return False
        add_bytes = plan_growth(
            forecast,
            watched.samples[-1],
            origin_bytes=self._find_origin_bytes(watched),
            group=group,
        )
        if not add_bytes:
            watched.refused = f"group {group.name} has no room for more but its reserve"
            return False
        context.journal.write(
            e.ExtendingSnapshot(
                group=found.group,
                name=found.name,
                lv_uuid=found.uuid,
                add_bytes=add_bytes,
                reason=forecast.describe(),
            )
        )
        grown = context.lvm.extend_snapshot(found, add_bytes, context.run_id)
        context.journal.write(
            e.SnapshotExtended(group=found.group, name=found.name, size_bytes=grown.size_bytes)
        )
        watched.refused = ""
        return True

    def _give_up(
        self, watched: _Watched, found: LogicalVolume, forecast: Forecast
    ) -> SnapshotFailed:
        disk, context = watched.disk, self._context
        context.journal.write(
            e.SnapshotTooSmall(
                group=found.group, name=found.name, vdev=disk.vdev, size_bytes=found.size_bytes
            )
        )
        return SnapshotOverflowed(
            f"Snapshot {watched.made.label} of {disk.vdev} will not last: {forecast.describe()}. "
            f"It cannot be extended: {watched.refused}.",
            hint=f"{_MORE_ROOM}, or free room in {found.group}",
        )


def report_overflow(
    context: RunContext, disk: PlannedDisk, made: SnapshotRecord, found: LogicalVolume
) -> SnapshotOverflowed:
    """Write down that a snapshot is full, and return the error that says so."""
    if disk.vdev not in context.record.too_small:
        context.journal.write(
            e.SnapshotTooSmall(
                group=found.group, name=found.name, vdev=disk.vdev, size_bytes=found.size_bytes
            )
        )
    return SnapshotOverflowed(
        f"Snapshot {made.label} of {disk.vdev} filled up ({show_mib(found.size_bytes)}) before "
        "its last read: the copy is worthless and was discarded.",
        hint=_MORE_ROOM,
    )


def _judge_pool(pool: LogicalVolume) -> SnapshotFailed | None:
    for what, percent in (("data", pool.data_percent), ("metadata", pool.metadata_percent)):
        if percent is not None and percent >= POOL_FULL_PERCENT:
            option = "-L +SIZE" if what == "data" else "--poolmetadatasize +SIZE"
            label = f"{pool.group}/{pool.name}"
            return SnapshotFailed(
                f"Thin pool {label} has used {percent:.0f}% of its {what} while a snapshot of ours "
                "lives in it: a full pool would stop every guest in it, so the backup is given up.",
                hint=f"`lvextend {option} {label}`, or remove what is not needed from it",
            )
    return None
