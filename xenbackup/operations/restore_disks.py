"""Disks of a restore: images proved, targets made and opened, blocks written and synced."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from xenbackup.dom0 import device_mapper
from xenbackup.errors import (
    CopyCancelled,
    CopyFailed,
    Interrupted,
    PointDamaged,
    RestoreFailed,
    SnapshotFailed,
    StateFailed,
)
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import StoredDisk
from xenbackup.model.restore import RestoredDisk, RestoreTarget, TargetAct
from xenbackup.operations.restore_context import RestoreContext
from xenbackup.storage.copying import CopyResult, copy_blocks, hash_blocks, write_differences
from xenbackup.system import durable
from xenbackup.system.block_device import BlockDevice

NODE_ATTEMPTS = 10
NODE_WAIT_SECONDS = 0.5


def prove_disks(context: RestoreContext) -> None:
    """Read the images that will replace somebody's bytes, before one of those is overwritten.

    Reading twice is the price. The images of new targets are compared while they are written.

    Raises: PointDamaged naming disk and offset; Interrupted.
    """
    for target in context.plan.targets:
        if target.live:
            what = f"verify {target.disk.vdev}"
            context.watcher.act_began(what)
            _prove_disk(context, target.disk, what)


def _prove_disk(context: RestoreContext, disk: StoredDisk, what: str) -> None:
    source = _open_image(context, disk)
    try:
        found = hash_blocks(
            source,
            size_bytes=disk.size_bytes,
            block_size_bytes=disk.block_size_bytes,
            on_progress=context.report(what),
            cancelled=context.cancelled,
            limit=context.limit,
        )
    except CopyCancelled as error:
        context.check_cancelled()
        raise Interrupted(error.message) from error
    except CopyFailed as error:
        raise PointDamaged(
            f"{disk.vdev} of point {context.plan.manifest.point} cannot be read: {error.message} "
            "Nothing was overwritten.",
            hint="restore from another point",
        ) from error
    finally:
        source.close()
    context.bytes_read += found.bytes_read
    for index, (expected, actual) in enumerate(
        zip(disk.block_digests, found.block_digests, strict=True)
    ):
        if expected != actual:
            raise PointDamaged(
                f"{disk.vdev} of point {context.plan.manifest.point} is damaged at byte "
                f"{index * disk.block_size_bytes}: nothing was overwritten.",
                hint="`xenbackup verify` names all of the damage; restore from another point",
            )


def _open_image(context: RestoreContext, disk: StoredDisk) -> BlockDevice:
    """The stored disk, of the size that its manifest says. Raises: PointDamaged."""
    point = context.plan.manifest.point
    source = context.store.open_disk(point, disk.vdev)
    if source.size_bytes != disk.size_bytes:
        found = source.size_bytes
        source.close()
        raise PointDamaged(
            f"{disk.vdev} of point {point} has {found} bytes, its manifest says {disk.size_bytes}.",
            hint="restore from another point",
        )
    return source


def spare_untouched(context: RestoreContext) -> None:
    """Nothing was written yet: the disks that are somebody's hold what they held, and what was not
    made here may be made by another. What an earlier attempt of this restore began stays marked.
    """
    plan = context.plan
    spared = [
        target.disk.vdev
        for target in plan.targets
        if target.act is not TargetAct.CONTINUE
        and target.disk.vdev not in context.making
        and not (target.live and plan.completes)
    ]
    with suppress(StateFailed):  # the mark stays as it is then, and the first error is told
        context.keeper.release(spared)


class DiskRestorer:
    """The targets of one restore, all open before the first is written."""

    def __init__(self, context: RestoreContext) -> None:
        self._context = context
        self._devices: dict[str, BlockDevice] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every target; a second call does nothing."""
        for device in self._devices.values():
            device.close()
        self._devices.clear()

    def open_targets(self) -> None:
        """Make what is missing, then open all for writing.

        The kernel's own refusal (mounted, part of another device) comes here, before any write.

        Raises: SnapshotFailed from LVM; CopyFailed; RestoreFailed.
        """
        for target in self._context.plan.targets:
            if target.act is TargetAct.CREATE_VOLUME:
                self._create_volume(target)
            elif target.kind is VolumeKind.IMAGE_FILE and target.act is not TargetAct.OVERWRITE:
                self._create_file(target)
        for target in self._context.plan.targets:
            device = self._open(target)
            self._devices[target.disk.vdev] = device
            if device.size_bytes < target.disk.size_bytes:
                raise RestoreFailed(
                    f"{target.path} has {device.size_bytes} bytes, {target.disk.vdev} needs "
                    f"{target.disk.size_bytes}: it changed since the restore was planned."
                )

    def _create_volume(self, target: RestoreTarget) -> None:
        """A thin one in the pool that it was in, where the plan says so."""
        lvm, name, size_bytes = self._context.house.lvm, target.lv_name, target.capacity_bytes
        self._context.making.add(target.disk.vdev)
        try:
            if target.pool:
                made = lvm.create_thin_volume(target.group, target.pool, name, size_bytes)
            else:
                made = lvm.create_volume(target.group, name, size_bytes)
        except SnapshotFailed as error:
            if "already exists" in error.message:
                self._context.making.discard(target.disk.vdev)
            raise
        self._context.keeper.note_target(
            target.disk.vdev, lambda marked: replace(marked, lv_uuid=made.uuid)
        )

    def _create_file(self, target: RestoreTarget) -> None:
        """A new sparse file of mode 0600; one that was cut off in its making is brought to size."""
        path = self._context.house.host.place(target.path)
        size_bytes = target.disk.size_bytes
        fresh = os.O_EXCL | os.O_CREAT if target.act is TargetAct.CREATE_FILE else 0
        if fresh and not os.path.lexists(path):
            self._context.making.add(target.disk.vdev)
        with durable.translate_errors(RestoreFailed, f"create {path}"):
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | fresh
            descriptor = os.open(path, flags, durable.PRIVATE_FILE)
            try:
                found = os.fstat(descriptor)
                if found.st_size < size_bytes:
                    os.ftruncate(descriptor, size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        durable.sync_folder(path.parent)
        self._context.keeper.note_target(
            target.disk.vdev, lambda marked: replace(marked, inode=found.st_ino)
        )

    def _open(self, target: RestoreTarget) -> BlockDevice:
        """A new volume's node may be late: udev makes it, or the wait is over."""
        host = self._context.house.host
        if target.act is TargetAct.CREATE_VOLUME:
            device_mapper.settle_devices(host)
            for _ in range(NODE_ATTEMPTS):
                try:
                    return host.open_volume(target.path, writable=True)
                except CopyFailed:
                    host.sleep(NODE_WAIT_SECONDS)
        return host.open_volume(target.path, writable=True)

    def write_disks(self, refuse_written: Callable[[], None]) -> tuple[RestoredDisk, ...]:
        """Write and sync one disk after the other, each block held to its digest; then let go.
        `refuse_written` is asked behind each whether anybody else wrote it.

        Raises: PointDamaged, CopyFailed, CopyCancelled; what `refuse_written` raises.
        """
        done = []
        for target in self._context.plan.targets:
            done.append(self._write_disk(target))
            refuse_written()
        self.close()
        return tuple(done)

    def _write_disk(self, target: RestoreTarget) -> RestoredDisk:
        context, disk = self._context, target.disk
        context.check_cancelled()
        what = f"restore {disk.vdev}"
        context.watcher.act_began(what)
        source = _open_image(context, disk)
        context.writes_begun = True
        try:
            result = self._copy(source, target, what)
        except PointDamaged as error:
            point = context.plan.manifest.point
            raise PointDamaged(
                f"{disk.vdev} of point {point}: {error.message}", hint=error.hint
            ) from error
        finally:
            source.close()
        context.bytes_read += result.bytes_read
        context.bytes_written += result.bytes_written
        return RestoredDisk(
            vdev=disk.vdev,
            path=target.path,
            act=target.act,
            size_bytes=disk.size_bytes,
            bytes_written=result.bytes_written,
            same_bytes=result.same_bytes,
        )

    def _copy(self, source: BlockDevice, target: RestoreTarget, what: str) -> CopyResult:
        context, disk = self._context, target.disk
        device = self._devices[disk.vdev]
        # Only a file just made reads as zeros throughout; a new volume holds what was there before.
        sparse = target.act is TargetAct.CREATE_FILE
        if sparse or context.plan.whole:
            return copy_blocks(
                source,
                device,
                size_bytes=disk.size_bytes,
                sparse=sparse,
                block_size_bytes=disk.block_size_bytes,
                expected_digests=disk.block_digests,
                on_progress=context.report(what),
                cancelled=context.cancelled,
                limit=context.limit,
            )
        return write_differences(
            source,
            device,
            size_bytes=disk.size_bytes,
            stale_chunks=target.stale_chunks,
            block_size_bytes=disk.block_size_bytes,
            expected_digests=disk.block_digests,
            on_progress=context.report(what),
            cancelled=context.cancelled,
            limit=context.limit,
        )
