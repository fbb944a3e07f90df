"""Records of points in prepared volumes, kept apart by the volume group that the points lie in.

    volumes/spare/                                  the destination's folder in the state
      MfIxBk-b4gw-DfKa-96ZJ-tzCL-5N3L-nfeH60/       the shelf of one group, by its uuid
        web/20261122T023000Z-k3f9qa/
      .taken-over-UUID/                             what an earlier version left, on its way there
      .slot-web--xvda.lock

Disks that take turns may all have a group of one name, with volumes of the same names in it: the
uuid alone tells whose points are whose. The first group that comes gets its folder by itself; for
every other one it is asked for (`destination init`), since it may be there by mistake.

Earlier versions laid the domains' folders into the destination's folder itself. Those are taken
over once, all together, by the group that has the volumes they name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from xenbackup.dom0.lvm_parsers import is_volume_uuid
from xenbackup.errors import DestinationFailed, DestinationMissing, PointDamaged, PointNotFound
from xenbackup.model.point import StoredDisk
from xenbackup.model.volume import LogicalVolume
from xenbackup.storage.owners import HARMLESS_ENTRIES
from xenbackup.storage.shelf import NEW_PREFIX, Shelf
from xenbackup.system.durable import FileLock, make_private_folder, sync_folder, translate_errors
from xenbackup.system.folder import Folder

_MOVING_PREFIX = ".taken-over-"
_LOCK_FILE = ".groups.lock"


class VolumeRecords:
    """The folders of all groups that points of the destination `name` lie in, below `folder`.

    `list_volumes` gives the volumes of the group that is there.
    """

    def __init__(
        self, folder: Path, name: str, list_volumes: Callable[[], Sequence[LogicalVolume]]
    ) -> None:
        self.folder = folder
        self.name = name
        self._list_volumes = list_volumes

    def find(self, uuid: str, group: str) -> Path:
        """The folder of a group that is ready, and of the first one in any case.

        Raises: DestinationMissing when it is another group than those that were made ready, with
        what to do; DestinationFailed, StateFailed.
        """
        return self._find(uuid) or self._make(uuid, lambda: self._refuse_stranger(uuid, group))

    def make(self, uuid: str) -> Path:
        """The folder of a group, made ready now if it was not. Raises: DestinationFailed,
        StateFailed.
        """
        return self._find(uuid) or self._make(uuid, lambda: None)

    def is_ready(self, uuid: str) -> bool:
        """The group has its folder, or will get what an earlier version left.

        Raises: DestinationFailed.
        """
        return self._find(uuid) is not None or self._may_take_over(uuid)

    def open_others(self, uuid: str) -> Iterator[Shelf]:
        """The shelves of all groups but this one, each open until the next. Raises:
        DestinationFailed.
        """
        for found in self._list_folders():
            if is_volume_uuid(found.name) and found.name != uuid:
                with Folder.open(found, DestinationFailed) as root:
                    yield Shelf(root, self.name, disks_inside=False)

    def _find(self, uuid: str) -> Path | None:
        return next((found for found in self._list_folders() if found.name == uuid), None)

    def _make(self, uuid: str, check_stranger: Callable[[], None]) -> Path:
        """Under a lock, for others may just be doing the same."""
        make_private_folder(self.folder)
        lock = FileLock(self.folder / _LOCK_FILE, f"sort the records of destination {self.name}")
        lock.acquire(wait=True)
        try:
            if found := self._find(uuid):
                return found
            if self._may_take_over(uuid):
                return self._take_over(uuid)
            check_stranger()
            return make_private_folder(self.folder / uuid)
        finally:
            lock.release()

    def _refuse_stranger(self, uuid: str, group: str) -> None:
        """Raises: DestinationMissing when points of other groups are known."""
        known = sorted(
            found.name.removeprefix(_MOVING_PREFIX)
            for found in self._list_folders()
            if is_volume_uuid(found.name.removeprefix(_MOVING_PREFIX))
        )
        hint = f"attach its disk; if both take turns: `xenbackup destination init {self.name}`"
        if known:
            raise DestinationMissing(
                f"Destination {self.name}: the volume group {group!r} that is there (uuid {uuid}) "
                f"is another one than was made ready (uuid {', '.join(known)}).",
                hint=hint,
            )
        if self._list_earlier():
            raise DestinationMissing(
                f"Destination {self.name}: the volume group {group!r} that is there (uuid {uuid}) "
                "has none of the volumes that its recovery points lie in.",
                hint=hint,
            )

    # What an earlier version left

    def _may_take_over(self, uuid: str) -> bool:
        """It lies there, nobody has begun to take it over but this group, and it is of this one."""
        names = [found.name for found in self._list_folders()]
        begun = [name for name in names if name.startswith(_MOVING_PREFIX)]
        if begun:
            return _MOVING_PREFIX + uuid in begun
        return bool(self._list_earlier()) and self._has_its_volumes()

    def _has_its_volumes(self) -> bool:
        """One at least of the disks has its volume in the group, or no disk is known at all."""
        sizes = {volume.name: volume.size_bytes for volume in self._list_volumes()}
        disks: list[StoredDisk] = []
        with Folder.open(self.folder, DestinationFailed) as root:
            shelf = Shelf(root, self.name, disks_inside=False)
            for summary in shelf.scan().points:
                with (
                    suppress(PointNotFound, PointDamaged),
                    shelf.open(summary.point) as (_, manifest),
                ):
                    disks += manifest.disks
        return not disks or any(sizes.get(disk.file, -1) >= disk.size_bytes for disk in disks)

    def _take_over(self, uuid: str) -> Path:
        """Killed at any moment, the next call goes on; the group's folder is there when all is in
        it. Raises: DestinationFailed, StateFailed.
        """
        own, moving = self.folder / uuid, self.folder / (_MOVING_PREFIX + uuid)
        make_private_folder(moving)
        act = f"take the records in {self.folder} over for the group {uuid}"
        with translate_errors(DestinationFailed, act):
            for found in self._list_earlier():
                found.rename(moving / found.name)
            sync_folder(moving)
            sync_folder(self.folder)
            moving.rename(own)
        sync_folder(self.folder)
        return own

    def _list_earlier(self) -> list[Path]:
        """Domains' folders that lie directly in the destination's, and beginnings of such."""
        return [
            found
            for found in self._list_folders()
            if not is_volume_uuid(found.name)
            and found.name not in HARMLESS_ENTRIES
            and (not found.name.startswith(".") or found.name.startswith(NEW_PREFIX))
        ]

    def _list_folders(self) -> list[Path]:
        with translate_errors(DestinationFailed, f"list the folder {self.folder}"):
            if not self.folder.exists():
                return []
            return sorted(found for found in self.folder.iterdir() if found.is_dir())
