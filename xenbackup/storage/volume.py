"""Destination `volume`: each disk copied into a logical volume that was prepared for it.

The volumes hold the disks, nothing else; manifest, domain configuration and memory image of each
point lie in a folder of the state, on a shelf like that of the destination `images`: one for each
volume group, known by its uuid (`volume_records.py`). A volume holds one point: before its first
byte is written over, the point that it held is taken off the shelf, durably, so that a half-written
volume is never called good. Which volume serves which disk, and what refuses one, is told in
`slots.py`.

Only grains that differ are written, and only as many bytes as the disk has: the rest of a larger
volume keeps what it held.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar

from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.errors import (
    CopyCancelled,
    CopyFailed,
    DestinationFailed,
    DestinationMissing,
    PointDamaged,
)
from xenbackup.model.job import DestinationKind, DestinationSpec
from xenbackup.model.point import Manifest, StoredDisk
from xenbackup.model.volume import LogicalVolume
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.copying import Cancelled, CopyProgress, write_differences
from xenbackup.storage.destination import CopiedDisk
from xenbackup.storage.kept_points import KeptPoints
from xenbackup.storage.shelf import Shelf
from xenbackup.storage.slots import SlotRequest, choose_slot, explain_use, is_slot
from xenbackup.storage.staging import StagedImages, TranslatedTarget, check_vdev
from xenbackup.storage.volume_records import VolumeRecords
from xenbackup.system.block_device import BlockDevice
from xenbackup.system.durable import FileLock
from xenbackup.system.folder import Folder

_LOCK_PREFIX = ".slot-"


class VolumeDestination(KeptPoints):
    """Recovery points in prepared volumes of the group `spec.path`; their records in `folder`.

    A point that is discarded or deleted is forgotten; its volumes keep their bytes until the next.
    """

    kind = DestinationKind.VOLUME
    disks_inside: ClassVar[bool] = False

    def __init__(self, host: Host, lvm: Lvm, spec: DestinationSpec, folder: Path) -> None:
        super().__init__(spec.name)
        self.group = spec.path
        self.folder = folder
        self._host = host
        self._lvm = lvm
        self._uuid = ""
        self._records = VolumeRecords(folder, spec.name, lambda: lvm.list_volumes(spec.path))

    def is_ready(self) -> bool:
        """The group that is there has its folder of records. Raises: as `initialise`."""
        return self._records.is_ready(self._find_group())

    def initialise(self) -> str:
        """Make the folder of its records; returns the group's uuid. Volumes are marked by hand.

        Raises: DestinationMissing when there is no such group; DestinationFailed, StateFailed.
        """
        uuid = self._find_group()
        self._records.make(uuid)
        return uuid

    def open(self) -> None:
        """Look for the group, and for the records of the points in it.

        Raises: DestinationMissing, also when it is another group of that name than was made ready;
        DestinationFailed, StateFailed.
        """
        uuid = self._find_group()
        self.close()
        self._root = Folder.open(self._records.find(uuid, self.group), DestinationFailed)
        self._uuid = uuid

    def check_presence(self) -> None:
        """The group that was opened is the one that is there. Raises: DestinationMissing."""
        if self._root is not None and self._find_group() != self._uuid:
            raise DestinationMissing(
                f"Destination {self.name}: the volume group {self.group!r} changed while it was in "
                "use: it is on another disk now.",
                hint="attach the disk again and repeat the run",
            )

    def _find_group(self) -> str:
        groups = self._lvm.list_groups()
        found = [group.uuid for group in groups if group.name == self.group]
        if not found:
            known = ", ".join(sorted(group.name for group in groups)) or "none"
            raise DestinationMissing(
                f"Destination {self.name}: there is no volume group {self.group!r}.",
                hint=f"groups of this host: {known}; see `path` of the destination in config.toml",
            )
        if len(found) > 1:
            raise DestinationFailed(
                f"Destination {self.name}: there are {len(found)} volume groups {self.group!r} "
                f"(uuid {', '.join(sorted(found))}).",
                hint="take out the disks of all but one, or `vgrename UUID NAME`",
            )
        return found[0]

    # What runs left on disks that are away: their records are here

    def has_point(self, point_id: str) -> bool:
        """As everywhere; a point on a disk that is away counts."""
        return super().has_point(point_id) or any(
            shelf.has(point_id) for shelf in self._records.open_others(self._uuid)
        )

    def has_trace(self, point_id: str) -> bool:
        """As everywhere; a point on a disk that is away counts."""
        return super().has_trace(point_id) or any(
            shelf.has_trace(point_id) for shelf in self._records.open_others(self._uuid)
        )

    def discard_partial(self, point_id: str) -> bool:
        """As everywhere; what a run left of a point on a disk that is away goes too."""
        found = super().discard_partial(point_id)
        for shelf in self._records.open_others(self._uuid):
            found = shelf.discard(point_id) or found
        return found

    # Volumes

    def list_slots(self) -> tuple[LogicalVolume, ...]:
        """All volumes of the group that are marked as destinations. Raises: CommandFailed."""
        return tuple(volume for volume in self._lvm.list_volumes(self.group) if is_slot(volume))

    def find_slot(self, request: SlotRequest) -> LogicalVolume:
        """The volume that a disk would be copied into now.

        Raises: DestinationMissing, NotOurs, DestinationFailed with the reason and what to do.
        """
        self.check_presence()
        slot = choose_slot(self._lvm.list_volumes(self.group), self.group, request)
        if use := explain_use(self._host, slot):
            raise DestinationFailed(
                f"{slot.group}/{slot.name} is {use}: nothing is written to it.",
                hint="unmount it, or shut down the guest that uses it",
            )
        return slot

    # Making points

    def check_writable(self) -> None:
        """Volumes are looked at one by one, as each is chosen."""

    def stage_point(self, domain_name: str, identity: str, point_id: str) -> StagedVolumes:
        """Begin a point; volumes are chosen and written as its disks are added.

        Raises: DestinationFailed, DestinationMissing.
        """
        return StagedVolumes(self, self._shelf, domain_name, identity, point_id)

    def lock_slot(self, slot: LogicalVolume) -> FileLock:
        """The lock of a volume, not yet taken: it has one writer."""
        purpose = f"write {slot.group}/{slot.name}"
        return FileLock(self.folder / f"{_LOCK_PREFIX}{slot.name}.lock", purpose)

    def open_slot(self, slot: LogicalVolume) -> BlockDevice:
        """A volume, for writing. Raises: DestinationFailed."""
        try:
            return self._host.open_volume(slot.path, writable=True)
        except CopyFailed as error:
            raise DestinationFailed(error.message, hint=error.hint) from error

    def check_slot(self, before: LogicalVolume) -> None:
        """After the last write: the volume is still the one that was chosen.

        Raises: DestinationFailed.
        """
        found = [volume for volume in self._lvm.list_volumes(self.group) if is_slot(volume)]
        kept = (before.uuid, before.name, before.size_bytes)
        if kept not in [(volume.uuid, volume.name, volume.size_bytes) for volume in found]:
            raise DestinationFailed(
                f"{before.group}/{before.name} was replaced, renamed or resized while it was "
                "written to."
            )

    def retire_points(self, slot: LogicalVolume) -> None:
        """Take the points whose disk lies in the volume off the shelf: it will be written over.

        Raises: DestinationFailed when one of them is pinned; then nothing has changed.
        """
        held = [
            summary
            for summary in self.scan().points
            if any(disk.file == slot.name for disk in self.read_manifest(summary.point).disks)
        ]
        for summary in held:
            if summary.pinned:
                raise DestinationFailed(
                    f"{slot.group}/{slot.name} holds point {summary.point}, which is pinned.",
                    hint=f"`xenbackup unpin {summary.point}`, or prepare another volume",
                )
        for summary in held:
            self._shelf.mark_overwritten(summary.point)

    def forget_overwritten(self, files: Collection[str]) -> None:
        """Remove what is left of points that were written over. Raises: DestinationFailed."""
        self._shelf.forget_overwritten(files)

    # Reading points

    def _open_stored(self, folder: Folder, disk: StoredDisk) -> BlockDevice:
        """Raises: PointDamaged when its volume is gone or has shrunk; CopyFailed."""
        for volume in self._lvm.list_volumes(self.group):
            if volume.name == disk.file and is_slot(volume):
                if volume.size_bytes < disk.size_bytes:
                    raise PointDamaged(
                        f"{self.group}/{disk.file} has {volume.size_bytes} bytes, {disk.vdev} in "
                        f"it has {disk.size_bytes}."
                    )
                return ClippedDevice(self._host.open_volume(volume.path), disk.size_bytes)
        raise PointDamaged(
            f"{self.group}/{disk.file}, which holds {disk.vdev}, is gone or not marked any more."
        )


class StagedVolumes(StagedImages):
    """A point whose disks go into prepared volumes; the volumes stay locked until its end."""

    def __init__(
        self, destination: VolumeDestination, shelf: Shelf, domain: str, identity: str, point: str
    ) -> None:
        super().__init__(
            shelf,
            domain=domain,
            identity=identity,
            point=point,
            check_destination=lambda: None,
        )
        self._destination = destination
        self._domain = domain
        self._held = ExitStack()

    def add_disk(
        self,
        vdev: str,
        source: BlockDevice,
        *,
        size_bytes: int,
        source_name: str,
        on_progress: CopyProgress | None = None,
        cancelled: Cancelled | None = None,
        limit: BandwidthLimit | None = None,
    ) -> CopiedDisk:
        """Copy a disk into its volume, writing what differs.

        Raises: CopyFailed when the source cannot be read; CopyCancelled; Locked;
        DestinationMissing, NotOurs, DestinationFailed when its volume cannot serve or be written.
        """
        request = SlotRequest(
            domain=self._domain,
            vdev=check_vdev(vdev),
            size_bytes=size_bytes,
            sources=(source.path, source_name),
        )
        slot = self._destination.find_slot(request)
        self._held.enter_context(self._destination.lock_slot(slot))
        target = TranslatedTarget(self._destination.open_slot(slot))
        try:
            if cancelled is not None and (reason := cancelled()):
                raise CopyCancelled(f"The copy of {source.path} was not begun: {reason}.")
            self._destination.retire_points(slot)
            result = write_differences(
                source,
                target,
                size_bytes=size_bytes,
                stale_chunks=slot.stale_chunks,
                on_progress=on_progress,
                cancelled=cancelled,
                limit=limit,
            )
        finally:
            target.close()
        self._destination.check_slot(slot)
        return self._keep_disk(vdev, slot.name, size_bytes, source_name, result)

    def publish(self, manifest: Manifest) -> None:
        """As of images; what was left of the points that these volumes held goes then."""
        super().publish(manifest)
        # The point is there: remains that cannot be removed are listed as damaged, no more.
        with suppress(DestinationFailed):
            self._destination.forget_overwritten({disk.file for disk in manifest.disks})

    def close(self) -> None:
        """Let go of folders and locks; what is unpublished stays for `discard_partial`."""
        self._held.close()
        super().close()


class ClippedDevice:
    """The beginning of a device, for reading: a volume may be larger than the disk in it."""

    def __init__(self, device: BlockDevice, size_bytes: int) -> None:
        self._device = device
        self._size_bytes = size_bytes

    @property
    def path(self) -> str:
        return self._device.path

    @property
    def size_bytes(self) -> int:
        return min(self._size_bytes, self._device.size_bytes)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        found = self._device.read_into(offset, buffer)
        return max(0, min(found, self._size_bytes - offset))

    def write_at(self, offset: int, content: memoryview) -> None:
        """Never. Raises: CopyFailed."""
        raise CopyFailed(f"Cannot write {self.path} at byte {offset}: it is a stored disk.")

    def flush(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        self._device.close()
