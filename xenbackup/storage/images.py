"""Destination `images`: raw, sparse images in a folder, which `dd` alone can restore.

    DIR/.xenbackup-destination          the marker that `xenbackup destination init` leaves
    DIR/DOMAIN/POINT/xvda.img           one raw image a disk, zeros as holes
    DIR/DOMAIN/POINT/memory.save        the memory image, where one was taken
    DIR/DOMAIN/POINT/domain.json        the domain's configuration, as the toolstack gave it
    DIR/DOMAIN/POINT/domain.cfg         the domain's own configuration file, where it has one
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

from xenbackup.errors import DestinationFailed, DestinationMissing, PointDamaged
from xenbackup.model.job import DESTINATION_MARKER_FILE, DestinationKind
from xenbackup.model.point import StoredDisk
from xenbackup.storage.kept_points import KeptPoints
from xenbackup.storage.staging import StagedImages
from xenbackup.storage.verification import open_stored_file
from xenbackup.system.block_device import BlockFile
from xenbackup.system.durable import make_private_folder
from xenbackup.system.folder import Folder

MARKER_FILE = DESTINATION_MARKER_FILE
MARKER_SCHEMA = 1
_MARKER_LIMIT_BYTES = 4096


class ImagesDestination(KeptPoints):
    """Recovery points as folders of images below `folder`; `name` is the configuration's."""

    kind = DestinationKind.IMAGES

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(name)
        self.folder = folder
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

    def check_writable(self) -> None:
        """Points can be read from a disk that is mounted read-only, and none be made.

        Raises: DestinationFailed.
        """
        if self._shelf.root.read_only:
            raise DestinationFailed(
                f"Destination {self.name}: {self.folder} is mounted read-only.",
                hint="look at `dmesg` for the reason, then remount it",
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

    def delete_point(self, point_id: str) -> bool:
        """As everywhere, and only while the disk is there. Raises: DestinationMissing too."""
        self.check_presence()
        return super().delete_point(point_id)

    def finish_removals(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """As everywhere, and only while the disk is there. Raises: DestinationMissing too."""
        self.check_presence()
        return super().finish_removals()

    def _open_stored(self, folder: Folder, disk: StoredDisk) -> BlockFile:
        try:
            return open_stored_file(folder, disk.file)
        except DestinationFailed as error:
            raise PointDamaged(error.message, hint=error.hint) from error
