"""Snapshots of image files: reflink copies beside them, made, checked and removed.

They go through the journal entries of LVM snapshots, with no group and the path as the name;
where those have an LV UUID these have device and inode.
"""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath

from xenbackup.errors import NotOurs, SnapshotFailed
from xenbackup.model import entries as e
from xenbackup.model.plan import PlannedDisk
from xenbackup.model.record import SnapshotRecord
from xenbackup.pipeline.context import RunContext
from xenbackup.system.durable import sync_folder, translate_errors


def place_clone(run_id: str, disk: PlannedDisk) -> str:
    """Beside the image, since a reflink copy never leaves its filesystem; hidden from `ls`."""
    return str(PurePosixPath(disk.path).parent / _name_clone(run_id, disk.vdev))


def _name_clone(run_id: str, vdev: str) -> str:
    return f".xb-{run_id}-{vdev}"


def make_clone(context: RunContext, disk: PlannedDisk) -> None:
    """Take a reflink copy of an image file, inside the guest's standstill.

    Raises: SnapshotFailed.
    """
    path = place_clone(context.run_id, disk)
    context.journal.write(e.Snapshotting(vdev=disk.vdev, group="", name=path, origin_uuid=""))
    context.host.clone_file(disk.path, path)
    made = _look(context, path)
    if made is None or (made.st_size != disk.size_bytes and not disk.grows):
        found = "none" if made is None else f"{made.st_size} bytes"
        raise SnapshotFailed(
            f"The reflink copy of {disk.path} ({disk.vdev}) is not what it must be: "
            f"{disk.size_bytes} bytes planned, {found} found."
        )
    context.journal.write(
        e.Snapshotted(
            vdev=disk.vdev,
            group="",
            name=path,
            lv_uuid=_identify(made),
            size_bytes=made.st_size,
        )
    )


def check_clone(context: RunContext, disk: PlannedDisk, made: SnapshotRecord) -> str:
    """The path to read the disk from. Raises: SnapshotFailed when it is not the copy we made."""
    found = _look(context, made.name)
    if found is None or _identify(found) != made.lv_uuid:
        raise SnapshotFailed(f"The reflink copy {made.name} of {disk.vdev} is gone.")
    return made.name


def remove_clone(context: RunContext, made: SnapshotRecord) -> None:
    """Remove the copy, if it is there and ours: by its name, its kind, and its inode where known.

    Raises: NotOurs; SnapshotFailed, also where its file system is not mounted.
    """
    found = _look(context, made.name)
    if found is None:
        _check_mounted(context, made)
        return
    ours = (
        PurePosixPath(made.name).name == _name_clone(context.run_id, made.vdev)
        and stat.S_ISREG(found.st_mode)
        and made.lv_uuid in ("", _identify(found))
    )
    if not ours:
        raise NotOurs(f"{made.name} is not the reflink copy that this run made: left alone.")
    context.journal.write(e.RemovingSnapshot(group="", name=made.name, lv_uuid=made.lv_uuid))
    path = context.host.place(made.name)
    with translate_errors(SnapshotFailed, f"remove {path}"):
        path.unlink()
        sync_folder(path.parent)


def _check_mounted(context: RunContext, made: SnapshotRecord) -> None:
    """A copy that is not there is gone only where the image that it is of would be seen, or where
    the file system is still the one that it was made in.

    Raises: SnapshotFailed.
    """
    sources = (disk.path for disk in context.plan.disks if disk.vdev == made.vdev)
    if any(_look(context, source) is not None for source in sources):
        return
    try:
        device = context.host.place(made.name).parent.stat().st_dev
    except OSError:
        device = None
    if device is None or not made.lv_uuid.startswith(f"file:{device}:"):
        raise SnapshotFailed(
            f"Whether {made.name} still exists cannot be seen: its file system is not mounted."
        )


def _look(context: RunContext, path: str) -> os.stat_result | None:
    try:
        return context.host.place(path).lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotFailed(f"{path} cannot be looked at: {error.strerror}.") from error


def _identify(found: os.stat_result) -> str:
    return f"file:{found.st_dev}:{found.st_ino}"
