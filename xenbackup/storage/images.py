"""Destination `images`: raw, sparse images in a folder, which `dd` alone can restore.

    DIR/.xenbackup-destination          the marker that `xenbackup destination init` leaves
    DIR/DOMAIN/POINT/xvda.img           one raw image a disk, zeros as holes
    DIR/DOMAIN/POINT/memory.save        the memory image, where one was taken
    DIR/DOMAIN/POINT/domain.json        the domain's configuration
    DIR/DOMAIN/POINT/manifest.json      sizes and digests; the point exists when this does

The marker lies on the destination's own disk: when that is not mounted, the empty mount point has
none, and nothing is written to the disk below. A device number is no such proof (it changes from
boot to boot), but within a run it must not change, and is compared again before a point is
published.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from xenbackup.errors import (
    DestinationFailed,
    DestinationMissing,
    PointDamaged,
    PointNotFound,
)
from xenbackup.model.job import DestinationKind
from xenbackup.model.point import Manifest, PointSummary, StoredDisk
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.copying import Cancelled, CopyProgress
from xenbackup.storage.manifest import MANIFEST_FILE
from xenbackup.storage.points import PointListing, VerifyFinding, VerifyReport
from xenbackup.storage.shelf import Shelf
from xenbackup.storage.staging import StagedImages
from xenbackup.storage.verification import (
    PointVerifier,
    open_stored_file,
    read_checked_domain,
)
from xenbackup.system.block_device import BlockFile
from xenbackup.system.durable import make_private_folder
from xenbackup.system.folder import EntryKind, Folder

MARKER_FILE = ".xenbackup-destination"
MARKER_SCHEMA = 1
_MARKER_LIMIT_BYTES = 4096


class ImagesDestination:
    """Recovery points as folders of images below `folder`; `name` is the configuration's.

    Methods open the destination themselves where it is not yet; `open` once more looks again.
    """

    kind = DestinationKind.IMAGES

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.holds_memory = True
        self._root: Folder | None = None
        self._id = ""

    def initialise(self) -> str:
        """Mark the folder as a destination, made if it is missing; returns the marker's id.

        A folder that is marked already keeps its marker.

        Raises: DestinationFailed, StateFailed.
        """
        if not self.folder.exists():
            make_private_folder(self.folder)
        with Folder.open(self.folder, DestinationFailed) as root:
            if root.find(MARKER_FILE) is None:
                content = {
                    "schema": MARKER_SCHEMA,
                    "kind": str(self.kind),
                    "id": str(uuid.uuid4()),
                }
                root.replace_file(MARKER_FILE, (json.dumps(content) + "\n").encode())
            return self._read_marker(root)

    def open(self) -> None:
        """Look for the marker, and remember which disk it lies on.

        Raises: DestinationMissing, with what to do about it; DestinationFailed.
        """
        self.close()
        try:
            root = Folder.open(self.folder, DestinationFailed)
        except DestinationFailed as error:
            raise DestinationMissing(
                f"Destination {self.name}: {error.message}", hint=self._hint
            ) from error
        try:
            self._id = self._read_marker(root)
        except BaseException:
            root.close()
            raise
        self._root = root

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
    def marker_id(self) -> str:
        """Id in the marker, "" before `open`: tells disks apart that take turns at one place."""
        return self._id

    def check_presence(self) -> None:
        """The opened folder is still the one at its path, with the same marker.

        Raises: DestinationMissing.
        """
        root = self._shelf.root
        if not root.is_still_at(self.folder) or self._read_marker(root) != self._id:
            raise DestinationMissing(
                f"Destination {self.name} at {self.folder} changed while it was in use: its disk "
                "was unmounted, or another one was mounted over it.",
                hint="mount the disk again and repeat the run",
            )

    @property
    def _hint(self) -> str:
        return f"mount its disk; for a new destination: `xenbackup destination init {self.name}`"

    def _read_marker(self, root: Folder) -> str:
        found = root.find(MARKER_FILE)
        if found is None:
            raise DestinationMissing(
                f"Destination {self.name}: there is no marker in {self.folder}; its disk may not "
                "be mounted.",
                hint=self._hint,
            )
        content = root.read_file(MARKER_FILE, limit_bytes=_MARKER_LIMIT_BYTES)
        try:
            marker = json.loads(content)
        except (ValueError, RecursionError):
            marker = None
        if not isinstance(marker, dict) or not isinstance(marker.get("id"), str):
            marker = {}
        if marker.get("schema") != MARKER_SCHEMA or marker.get("kind") != str(self.kind):
            raise DestinationMissing(
                f"Destination {self.name}: {self.folder / MARKER_FILE} is no marker of a "
                f"destination of kind `{self.kind}`.",
                hint="see that the right disk is mounted there; remove the file if it is foreign",
            )
        return str(marker["id"])

    @property
    def _shelf(self) -> Shelf:
        if self._root is None:
            self.open()
        if self._root is None:
            raise DestinationMissing(f"Destination {self.name} could not be opened.")
        return Shelf(self._root, self.name)

    # Making points

    def stage_point(self, domain_name: str, identity: str, point_id: str) -> StagedImages:
        """Begin a point; it stays invisible until published.

        Raises: DestinationFailed; DestinationMissing.
        """
        self.check_presence()
        return StagedImages(
            self._shelf,
            domain=domain_name,
            identity=identity,
            point=point_id,
            check_destination=self.check_presence,
        )

    def has_point(self, point_id: str) -> bool:
        """The point is published here, durably, with a manifest that can be read."""
        return self._shelf.has(point_id)

    def discard_partial(self, point_id: str) -> bool:
        """Remove what a point left that was not finished, or not wholly deleted."""
        return self._shelf.discard(point_id)

    # Reading points

    def scan(self) -> PointListing:
        """Points, damaged points and leftovers. Raises: DestinationMissing, DestinationFailed."""
        return self._shelf.scan()

    def list_points(self) -> tuple[PointSummary, ...]:
        """The good points, by time. Raises: as `scan`."""
        return self.scan().points

    def read_manifest(self, point_id: str) -> Manifest:
        """Raises: PointNotFound, PointDamaged."""
        with self._shelf.open(point_id) as (_, manifest):
            return manifest

    def read_domain(self, point_id: str) -> str:
        """Text of `domain.json`, compared with its digest.

        Raises: PointNotFound, PointDamaged.
        """
        return read_domain_document(self._shelf, point_id)

    def open_disk(self, point_id: str, vdev: str) -> BlockFile:
        """A disk's image, for reading; the caller closes it.

        Raises: PointNotFound when the point or the disk is not there; PointDamaged.
        """
        with self._shelf.open(point_id) as (folder, manifest):
            return self._open_image(folder, find_stored_disk(manifest, vdev))

    def _open_image(self, folder: Folder, disk: StoredDisk) -> BlockFile:
        try:
            return open_stored_file(folder, disk.file)
        except DestinationFailed as error:
            raise PointDamaged(error.message, hint=error.hint) from error

    def memory_path(self, point_id: str) -> Path:
        """Where the memory image lies, for tools that want a path.

        Raises: PointNotFound when the point has none; PointDamaged when it is not there.
        """
        return find_memory_image(self._shelf, point_id)

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
        """Read every file of a point again and compare it with the manifest.

        Raises: PointNotFound; CopyCancelled; DestinationFailed when the folder cannot be read.
        """
        with self._shelf.open_unread(point_id) as (_, folder):
            try:
                manifest = self._shelf.load_manifest(folder, point_id)
            except PointDamaged as error:
                return report_manifest(point_id, error)
            return PointVerifier(
                folder,
                manifest,
                lambda disk: self._open_image(folder, disk),
                disks_in_folder=True,
                on_progress=on_progress,
                cancelled=cancelled,
                limit=limit,
            ).verify()

    # Keeping and removing points

    def pin(self, point_id: str) -> None:
        """Raises: PointNotFound."""
        self._shelf.pin(point_id)

    def unpin(self, point_id: str) -> None:
        """Raises: PointNotFound."""
        self._shelf.unpin(point_id)

    def delete_point(self, point_id: str) -> bool:
        """Remove a point, good or damaged; False when there is none.

        Raises: DestinationFailed; what is then left is out of sight, for `discard_partial`.
        """
        self.check_presence()
        return self._shelf.delete(point_id)


def find_stored_disk(manifest: Manifest, vdev: str) -> StoredDisk:
    """Raises: PointNotFound, naming the disks that there are."""
    for disk in manifest.disks:
        if disk.vdev == vdev:
            return disk
    known = ", ".join(disk.vdev for disk in manifest.disks) or "none"
    raise PointNotFound(f"Point {manifest.point} has no disk {vdev!r}; it has: {known}.")


def find_memory_image(shelf: Shelf, point: str) -> Path:
    """Path of the memory image in a point. Raises: PointNotFound, PointDamaged."""
    with shelf.open(point) as (folder, manifest):
        if manifest.memory is None:
            raise PointNotFound(
                f"Point {point} holds no memory image: its consistency is {manifest.consistency}.",
                hint="restore its disks and boot the domain from them",
            )
        entry = folder.find(manifest.memory.file)
        if entry is None or entry.kind is not EntryKind.FILE:
            raise PointDamaged(f"The memory image of point {point} is not there.")
        return folder.path / manifest.memory.file


def read_domain_document(shelf: Shelf, point: str) -> str:
    """`domain.json` of a point, held to its digest. Raises: PointNotFound, PointDamaged."""
    with shelf.open(point) as (folder, manifest):
        return read_checked_domain(folder, manifest).decode("utf-8", "surrogateescape")


def report_manifest(point: str, error: PointDamaged) -> VerifyReport:
    """The report on a point whose manifest alone is already no good."""
    finding = VerifyFinding(file=MANIFEST_FILE, message=error.message)
    return VerifyReport(point=point, bytes_checked=0, findings=(finding,))
