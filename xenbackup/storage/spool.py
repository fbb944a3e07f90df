"""The spool: memory images of guests while their run lasts, private, on the host's own disk.

A guest's memory holds its passwords and keys: the folder is 0700, every file in it 0600 whatever
mode the tool that wrote it chose. All files of a run begin with its id.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from xenbackup.errors import RoomMissing, StateFailed
from xenbackup.model.names import is_run_id
from xenbackup.model.setting import SPOOL_RESERVE_BYTES
from xenbackup.system.durable import make_private_folder, sync_folder, translate_errors
from xenbackup.system.folder import EntryKind, Folder

IMAGE_SUFFIX = ".save"
_ID_LENGTH = len("20261122T023000Z-k3f9qa")


@dataclass(frozen=True, kw_only=True)
class SpooledFile:
    """A file that a run left in the spool."""

    run: str
    path: Path
    size_bytes: int


class Spool:
    """Files of runs in one private folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Make the folder, and make it private. Raises: StateFailed."""
        make_private_folder(self.folder)

    def image_path(self, run_id: str) -> Path:
        """Where the memory image of a run goes: `RUN.save`. Raises: StateFailed for no run's id."""
        return self.folder / f"{_check_run(run_id)}{IMAGE_SUFFIX}"

    def free_bytes(self) -> int:
        """Room for us on the disk below. Raises: StateFailed."""
        with translate_errors(StateFailed, f"tell the free space of {self.folder}"):
            found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def check_room(self, needed_bytes: int) -> None:
        """Raises: RoomMissing naming free and needed bytes when that much does not fit."""
        free = self.free_bytes()
        if free < needed_bytes + SPOOL_RESERVE_BYTES:
            raise RoomMissing(
                f"The spool {self.folder} has {free >> 20} MiB free; the memory image needs"
                f" {-(-needed_bytes >> 20)} MiB and {SPOOL_RESERVE_BYTES >> 20} MiB stay free.",
                hint="free space there, or set `[spool] path` to a larger disk",
            )

    def secure_image(self, run_id: str) -> int:
        """Make an image that a tool wrote private and durable; returns its size in bytes.

        xl creates the file 0644 and syncs nothing.

        Raises: StateFailed, also when it is no regular file.
        """
        path = self.image_path(run_id)
        with Folder.open(self.folder, StateFailed) as folder:
            descriptor = folder.open_file(path.name)
            try:
                with translate_errors(StateFailed, f"make {path} private and durable"):
                    os.fchmod(descriptor, 0o600)
                    os.fsync(descriptor)
                    size_bytes = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
        sync_folder(self.folder)
        return size_bytes

    def remove(self, run_id: str) -> bool:
        """Remove all files of a run; True when there were any. Raises: StateFailed."""
        _check_run(run_id)
        found = [spooled for spooled in self.list_files() if spooled.run == run_id]
        if found:
            with Folder.open(self.folder, StateFailed) as folder:
                for spooled in found:
                    folder.remove_file(spooled.path.name)
                folder.sync()
        return bool(found)

    def list_files(self) -> tuple[SpooledFile, ...]:
        """Every file that bears a run's id; none when the folder is not there yet.

        Whoever knows which runs live can tell the leftovers among them. Raises: StateFailed.
        """
        if not self.folder.exists():
            return ()
        with Folder.open(self.folder, StateFailed) as folder:
            return tuple(
                SpooledFile(
                    run=entry.name[:_ID_LENGTH],
                    path=self.folder / entry.name,
                    size_bytes=entry.size_bytes,
                )
                for entry in folder.list_entries()
                if entry.kind is not EntryKind.FOLDER
                and is_run_id(entry.name[:_ID_LENGTH])
                and entry.name[_ID_LENGTH:][:1] in ("", ".")
            )


def _check_run(run_id: str) -> str:
    if not is_run_id(run_id):
        raise StateFailed(f"{run_id!r} is no id of a run: nothing in the spool can be called so.")
    return run_id
