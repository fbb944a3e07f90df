"""What every destination does alike with the points on its shelf: find, read, verify, pin, remove.

A destination says where its shelf stands (`open`) and what a stored disk lies in (`_open_stored`);
all else about a point is in its folder, and is the same everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from xenbackup.errors import DestinationMissing, PointDamaged, PointNotFound
from xenbackup.model.point import Manifest, PointSummary, StoredDisk
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.copying import Cancelled, CopyProgress
from xenbackup.storage.manifest import MANIFEST_FILE
from xenbackup.storage.points import PointListing, VerifyFinding, VerifyReport
from xenbackup.storage.shelf import Shelf
from xenbackup.storage.verification import (
    PointVerifier,
    drop_cached_texts,
    explain_unopened,
    read_checked_configuration,
    read_checked_domain,
)
from xenbackup.system.block_device import BlockDevice
from xenbackup.system.folder import EntryKind, Folder


class KeptPoints(ABC):
    """The points below one folder, `name` being the destination's.

    Methods open the destination themselves where it is not yet; `open` once more looks again.
    `disks_inside` is False where the disks of points lie elsewhere than in their folders.
    """

    disks_inside: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.holds_memory = True
        self._root: Folder | None = None

    @abstractmethod
    def open(self) -> None:
        """Look for the destination and set `_root`. Raises: DestinationMissing,
        DestinationFailed.
        """

    @abstractmethod
    def _open_stored(self, folder: Folder, disk: StoredDisk) -> BlockDevice:
        """What holds a disk of the point in `folder`, for reading. Raises: PointDamaged."""

    def close(self) -> None:
        """Let go of the folder, so that its disk can be unmounted."""
        if self._root is not None:
            self._root.close()
        self._root = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _shelf(self) -> Shelf:
        if self._root is None:
            self.open()
        if self._root is None:
            raise DestinationMissing(f"Destination {self.name} could not be opened.")
        return Shelf(self._root, self.name, disks_inside=self.disks_inside)

    # Listing

    def has_point(self, point_id: str) -> bool:
        """The point is published here, durably, with a manifest that can be read."""
        return self._shelf.has(point_id)

    def scan(self) -> PointListing:
        """Points, damaged points and leftovers. Raises: DestinationMissing, DestinationFailed."""
        return self._shelf.scan()

    def list_points(self) -> tuple[PointSummary, ...]:
        """The points with a usable manifest, by time. Raises: as `scan`."""
        return self.scan().points

    def summarise_point(self, point_id: str) -> PointSummary:
        """One point as lists show it. Raises: PointNotFound, PointDamaged, DestinationFailed."""
        with self._shelf.open(point_id) as (folder, manifest):
            return self._shelf.summarise(manifest, folder)

    # Reading points

    def read_manifest(self, point_id: str) -> Manifest:
        """Raises: PointNotFound, PointDamaged."""
        with self._shelf.open(point_id) as (_, manifest):
            return manifest

    def read_domain(self, point_id: str) -> str:
        """Text of `domain.json`, held to its digest. Raises: PointNotFound, PointDamaged."""
        with self._shelf.open(point_id) as (folder, manifest):
            return read_checked_domain(folder, manifest).decode("utf-8", "surrogateescape")

    def read_configuration(self, point_id: str) -> str:
        """Text of `domain.cfg`, held to its digest; "" where the point has none.

        Raises: PointNotFound, PointDamaged.
        """
        with self._shelf.open(point_id) as (folder, manifest):
            return read_checked_configuration(folder, manifest).decode("utf-8", "surrogateescape")

    def open_disk(self, point_id: str, vdev: str) -> BlockDevice:
        """A stored disk, as large as it was, for reading; the caller closes it.

        Raises: PointNotFound when the point or the disk is not there; PointDamaged; CopyFailed.
        """
        with self._shelf.open(point_id) as (folder, manifest):
            return self._open_stored(folder, find_stored_disk(manifest, vdev))

    def memory_path(self, point_id: str) -> Path:
        """Where the memory image lies, for tools that want a path.

        Raises: PointNotFound when the point has none; PointDamaged when it is not there.
        """
        with self._shelf.open(point_id) as (folder, manifest):
            if manifest.memory is None:
                raise PointNotFound(
                    f"Point {point_id} holds no memory image: its consistency is "
                    f"{manifest.consistency}.",
                    hint="restore its disks and boot the domain from them",
                )
            entry = folder.find(manifest.memory.file)
            if entry is None or entry.kind is not EntryKind.FILE:
                raise PointDamaged(f"The memory image of point {point_id} is not there.")
            return folder.path / manifest.memory.file

    def point_folder(self, point_id: str) -> Path:
        """Where the point lies, for a person. Raises: PointNotFound."""
        with self._shelf.open_unread(point_id) as (_, folder):
            return folder.path

    def verify_point(
        self,
        point_id: str,
        on_progress: CopyProgress | None = None,
        *,
        cancelled: Cancelled | None = None,
        limit: BandwidthLimit | None = None,
    ) -> VerifyReport:
        """Read every disk and file of a point again and compare it with the manifest.

        Raises: PointNotFound; CopyCancelled; DestinationFailed when the folder cannot be read.
        """
        with self.hold_point(point_id), self._shelf.open_unread(point_id) as (_, folder):
            drop_cached_texts(folder)
            try:
                manifest = self._shelf.load_manifest(folder, point_id)
            except PointDamaged as error:
                finding = explain_unopened(MANIFEST_FILE, error)
                return VerifyReport(point=point_id, bytes_checked=0, findings=(finding,))
            return PointVerifier(
                folder,
                manifest,
                lambda disk: self._open_stored(folder, disk),
                disks_in_folder=self.disks_inside,
                on_progress=on_progress,
                cancelled=cancelled,
                limit=limit,
            ).verify()

    # Keeping and removing points

    def hold_point(self, point_id: str) -> AbstractContextManager[None]:
        """While this lasts nobody removes the point. Raises (on entering): PointNotFound."""
        return self._shelf.hold(point_id)

    def has_trace(self, point_id: str) -> bool:
        """Anything of the point is here, its unfinished making or removal included."""
        return self._shelf.has_trace(point_id)

    def pin(self, point_id: str) -> bool:
        """Keep the point, and what it lies in from being written over; durable on return.

        False when it was pinned already. Raises: PointNotFound, DestinationFailed.
        """
        return self._shelf.pin(point_id)

    def unpin(self, point_id: str) -> bool:
        """False when it was not pinned. Raises: PointNotFound, DestinationFailed."""
        return self._shelf.unpin(point_id)

    def mark_damaged(
        self, point_id: str, found_at: datetime, findings: Sequence[VerifyFinding]
    ) -> None:
        """Say durably, beside its manifest, that a verification found the point damaged.

        Raises: PointNotFound, DestinationFailed.
        """
        self._shelf.mark_damaged(point_id, found_at, findings)

    def clear_damage(self, point_id: str) -> bool:
        """Take that back; False when nothing was said. Raises: PointNotFound, DestinationFailed."""
        return self._shelf.clear_damage(point_id)

    def discard_partial(self, point_id: str) -> bool:
        """Remove what a point left that was not finished, or not wholly deleted."""
        return self._shelf.discard(point_id)

    def delete_point(self, point_id: str) -> bool:
        """Remove a point, good or damaged; False when there is none.

        Raises: Locked when it is being read; NotOurs when its folder holds anything else;
        DestinationFailed, also when it is pinned.
        """
        return self._shelf.delete(point_id)

    def finish_removals(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Finish what interrupted removals left: points whose removal ended, and what stays and
        why. Raises: DestinationMissing, DestinationFailed.
        """
        return self._shelf.finish_removals()


def find_stored_disk(manifest: Manifest, vdev: str) -> StoredDisk:
    """Raises: PointNotFound, naming the disks that there are."""
    for disk in manifest.disks:
        if disk.vdev == vdev:
            return disk
    known = ", ".join(disk.vdev for disk in manifest.disks) or "none"
    raise PointNotFound(f"Point {manifest.point} has no disk {vdev!r}; it has: {known}.")
