"""Step `copy`: from snapshots (or the standing origin) into a recovery point, published last."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from xenbackup.dom0.guest_configuration import find_configurations
from xenbackup.dom0.host import Host
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.errors import CopyCancelled, CopyFailed, SnapshotFailed
from xenbackup.model import entries as e
from xenbackup.model.domain import Domain
from xenbackup.model.job import Consistency
from xenbackup.model.plan import PlannedDisk, PlannedStep, VolumeKind
from xenbackup.model.point import HostFacts, Manifest, StoredBacking, StoredDisk, StoredMemory
from xenbackup.model.record import SnapshotRecord
from xenbackup.model.volume import LogicalVolume
from xenbackup.pipeline.abandoning import copy_abandonable
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.devices import open_snapshot
from xenbackup.pipeline.steps.clone import check_clone
from xenbackup.pipeline.steps.snapshot import (
    check_guest_stands_still,
    find_planned_volume,
    find_snapshot,
    is_full,
)
from xenbackup.pipeline.steps.watching import SnapshotWatch, report_overflow
from xenbackup.pipeline.stillness import check_disks_at_rest, note_disks_at_rest
from xenbackup.storage.destination import StagedPoint
from xenbackup.storage.volume import ClippedDevice
from xenbackup.system.block_device import BlockDevice
from xenbackup.system.politeness import stand_back


def copy(context: RunContext, step: PlannedStep) -> None:
    """Copy every disk, the memory image and the configurations; check; publish the point.

    A snapshot's validity is read after the last read of its disk: what was read through an
    overflowed snapshot is worthless, however well it copied. One that fills up later harms nothing.
    Meanwhile all of them are watched (`watching.py`). While the guest is away (`cold`), a
    destination that never returns is left behind once the guest must come back.

    Raises: CopyFailed, SnapshotOverflowed, SnapshotFailed, DestinationFailed, DestinationMissing.
    """
    if context.away_since_seconds is None:
        _copy(context)
    else:
        copy_abandonable(context, _copy)


def _copy(context: RunContext) -> None:
    start = context.record.start
    context.destination.open()
    context.journal.write(e.Staging(destination=context.destination.name, point=start.run))
    identity = start.plan.domain.configured_uuid or start.plan.domain.name
    staged = context.destination.stage_point(start.plan.domain.name, identity, start.run)
    # Folders that a failed copy held open would keep its disk from being unmounted.
    with closing(staged):
        _fill(context, staged, identity)
    context.journal.write(e.Published(point=start.run))


def _fill(context: RunContext, staged: StagedPoint, identity: str) -> None:
    start = context.record.start
    watch = SnapshotWatch(context)
    if context.plan.consistency is Consistency.OFFLINE and not context.record.at_rest:
        note_disks_at_rest(context)
    # A guest that stands still for the copy waits for nobody's good manners.
    polite = context.politeness if context.away_since_seconds is None else None
    with stand_back(polite):
        disks = tuple(_copy_disk(context, staged, disk, watch) for disk in start.plan.disks)
        memory = _copy_memory(context, staged, watch)
    staged.write_domain(compose_domain_document(context))
    if own_file := read_own_configuration(context.host, start.plan.domain):
        staged.write_configuration(own_file)
    volumes = context.lvm.list_volumes()
    for disk in start.plan.disks:
        _check_source(context, disk, volumes, read=True)
    if any(_find_made(context, disk) is None for disk in start.plan.disks):
        check_guest_stands_still(context, when="after its disks were read")
        check_disks_at_rest(context, when="before its disks were read")
    staged.publish(compose_manifest(context, disks, memory, identity))


def _copy_disk(
    context: RunContext, staged: StagedPoint, disk: PlannedDisk, watch: SnapshotWatch
) -> StoredDisk:
    volumes = context.lvm.list_volumes()
    path = _check_source(context, disk, volumes)
    watch.begin_disk(disk, volumes)
    watch.raise_failure()
    device = _open_source(context, disk, path, watch)
    try:
        size_bytes = device.size_bytes if disk.grows else disk.size_bytes
        if device.size_bytes != size_bytes:
            raise CopyFailed(
                f"{path} has {device.size_bytes} bytes, {disk.size_bytes} were planned for "
                f"{disk.vdev}."
            )
        copied = staged.add_disk(
            disk.vdev,
            device,
            size_bytes=size_bytes,
            source_name=disk.path,
            on_progress=watch.report,
            cancelled=watch.explain_stop,
            limit=context.limit,
        )
    except CopyFailed as error:
        watch.raise_failure(error)
        _check_source(context, disk, context.lvm.list_volumes(), cause=error)
        raise
    finally:
        device.close()
    _check_source(context, disk, context.lvm.list_volumes())
    watch.finish_disk(disk)
    context.journal.write(
        e.DiskCopied(
            vdev=disk.vdev,
            bytes_read=copied.bytes_read,
            bytes_written=copied.bytes_written,
            digest=copied.stored.digest,
        )
    )
    return replace(copied.stored, backing=_describe_backing(disk, volumes))


def _open_source(
    context: RunContext, disk: PlannedDisk, path: str, watch: SnapshotWatch
) -> BlockDevice:
    """What is read for a disk; of a volume below DRBD only what DRBD shows of it."""
    made = _find_made(context, disk)
    if made is None or not made.group:
        device = context.host.open_volume(path)
    else:
        device = _open_snapshot(context, path, watch)
    if disk.kind is VolumeKind.BLOCK_DEVICE and disk.lv_uuid:
        return ClippedDevice(device, disk.size_bytes)
    return device


def _open_snapshot(context: RunContext, path: str, watch: SnapshotWatch) -> BlockDevice:
    try:
        return open_snapshot(context, path, watch.explain_stop)
    except CopyCancelled as error:
        watch.raise_failure(error)
        raise


def _describe_backing(disk: PlannedDisk, volumes: tuple[LogicalVolume, ...]) -> StoredBacking:
    if disk.kind is not VolumeKind.LOGICAL_VOLUME:
        return StoredBacking(kind=disk.kind)
    volume = find_planned_volume(volumes, disk)
    return StoredBacking(
        kind=disk.kind,
        group=volume.group,
        lv_name=volume.name,
        pool=volume.pool if volume.thin else "",
    )


def _copy_memory(
    context: RunContext, staged: StagedPoint, watch: SnapshotWatch
) -> StoredMemory | None:
    if context.plan.consistency is not Consistency.MEMORY or not context.destination.holds_memory:
        return None
    try:
        stored = staged.add_memory(
            context.memory_image,
            on_progress=_report(context, "memory image"),
            cancelled=watch.explain_stop,
            limit=context.limit,
        )
    except CopyFailed as error:
        watch.raise_failure(error)
        raise
    _check_image(context, stored)
    context.journal.write(e.MemoryCopied(bytes_read=stored.size_bytes, digest=stored.digest))
    return stored


def _check_image(context: RunContext, stored: StoredMemory) -> None:
    """Refuse a copy of an image that was changed since it was verified: its digest would be right.

    Raises: CopyFailed, SaveFailed.
    """
    found = inspect_memory_image(context.memory_image)
    verified_bytes = context.record.image_size_bytes
    reason = found.reason
    if found.complete and stored.size_bytes != verified_bytes:
        reason = f"it had {verified_bytes} bytes when it was verified, and {stored.size_bytes} now"
    if reason:
        raise CopyFailed(
            f"The memory image {context.memory_image} changed after it was verified: {reason}.",
            hint="look for what else writes in the spool, and at the health of its disk",
        )


def _check_source(
    context: RunContext,
    disk: PlannedDisk,
    volumes: tuple[LogicalVolume, ...],
    *,
    cause: CopyFailed | None = None,
    read: bool = False,
) -> str:
    """The path to read a disk from, seen to be what it must be just now.

    Of a disk that was `read` and checked the snapshot may be full by now.

    Raises: SnapshotOverflowed when its snapshot is full, SnapshotFailed when it is not ours any
    more or the origin was replaced or resized.
    """
    made = _find_made(context, disk)
    if made is None:
        if disk.kind is VolumeKind.LOGICAL_VOLUME:
            find_planned_volume(volumes, disk)
        return disk.path
    if not made.group:
        return check_clone(context, disk, made)
    found = find_snapshot(volumes, made.group, made.name)
    if found is None or found.uuid != made.lv_uuid:
        raise SnapshotFailed(f"Snapshot {made.label} of {disk.vdev} is gone.") from cause
    if is_full(found) and not read:
        raise report_overflow(context, disk, made, found) from cause
    find_planned_volume(volumes, disk)
    return found.path


def _find_made(context: RunContext, disk: PlannedDisk) -> SnapshotRecord | None:
    return next(
        (made for made in context.record.snapshots if made.vdev == disk.vdev and made.lv_uuid), None
    )


def _report(context: RunContext, what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        context.watcher.amount_done(context.run_id, what, done, total)

    return report


def read_own_configuration(host: Host, domain: Domain) -> str:
    """Text of the file below /etc/xen that describes this very domain; "" where there is none.

    It is all that is known of a domain that is shut off, or runs under xm. Of several files the one
    with the domain's disks counts, else the last, as in the inventory.
    """
    found = [
        file
        for file in find_configurations(host)
        if file.configuration is not None
        and (file.configuration.name, file.configuration.uuid)
        == (domain.name, domain.configured_uuid)
    ]
    same = [
        file for file in found if file.configuration and file.configuration.disks == domain.disks
    ]
    return (same or found)[-1].text if found else ""


def compose_domain_document(context: RunContext) -> str:
    """`domain.json`: the domain's configuration as xl gave it, and what a restore re-applies."""
    start = context.record.start
    domain = start.plan.domain
    document = {
        "schema": 1,
        "name": domain.name,
        "uuid": domain.uuid,
        "configured_uuid": domain.configured_uuid,
        "kind": domain.kind,
        "config": json.loads(domain.configuration_json or "null"),
        "xm_config": domain.configuration_sexp or None,
        "tuning": {
            "scheduler": start.tuning.scheduler,
            "weight": start.tuning.weight,
            "cap": start.tuning.cap,
            "vcpus": start.tuning.vcpus,
            "pinning": [
                {"vcpu": pin.vcpu, "hard": pin.hard, "soft": pin.soft}
                for pin in start.tuning.pinning
            ],
        },
    }
    return json.dumps(document, indent=2) + "\n"


def compose_manifest(
    context: RunContext,
    disks: tuple[StoredDisk, ...],
    memory: StoredMemory | None,
    identity: str,
) -> Manifest:
    """The manifest of the run's point, from the plan and what was copied."""
    start = context.record.start
    plan = start.plan
    facts = context.toolstack.read_facts()
    return Manifest(
        point=start.run,
        job=start.job,
        round=start.round,
        domain=plan.domain.name,
        uuid=plan.domain.uuid,
        identity=identity,
        kind=plan.domain.kind,
        consistency=plan.consistency,
        preset=plan.preset,
        created_at=context.host.now(),
        disks=disks,
        excluded_disks=tuple(disk.vdev for disk in plan.excluded_disks),
        memory=memory,
        tuning=start.tuning,
        host=HostFacts(
            hostname=facts.hostname,
            xen_version=facts.xen_version,
            cpu_model=context.host.cpu_model(),
            cpu_features=tuple(facts.hardware_capabilities.split(":")),
            product_version=start.product_version,
        ),
        away_seconds=round(context.away_seconds, 3),
        memory_mib=plan.domain.memory_mib,
        vcpus=plan.domain.vcpus,
    )
