"""Reflink copies: a second file that shares its blocks with the first until one of them is written.

Btrfs and XFS can, with the ioctl FICLONE (ioctl_ficlonerange(2)): the kernel writes the dirty pages
of the source out first, so that the copy is of one instant. Every btrfs can; an XFS says in its
geometry whether it was made so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from xenbackup.errors import SnapshotFailed
from xenbackup.system.durable import PRIVATE_FILE, sync_folder, translate_errors

FICLONE = 0x40049409
"""_IOW(0x94, 9, int), the same on x86, ARM and RISC-V."""
# ioctl_xfs_fsgeometry(2): struct xfs_fsop_geom_v4 is 112 bytes, its flags stand at byte 92, and
# every kernel since 2.6 knows this number. XFS_FSOP_GEOM_FLAGS_REFLINK came with reflinks (4.9).
_GEOMETRY_REQUEST = 0x8070587C
_GEOMETRY_BYTES = 112
_FLAGS_OFFSET = 92
_REFLINK_FLAG = 1 << 20
# ioctl_iflags(2): _IOR('f', 1, long) and _IOW('f', 2, long), though the kernel moves an int.
_READ_FLAGS = 0x80006601 | struct.calcsize("l") << 16
_WRITE_FLAGS = 0x40006602 | struct.calcsize("l") << 16
_FLAGS_BYTES = 8
_NO_COPY_ON_WRITE = 0x00800000
"""FS_NOCOW_FL: `chattr +C`, on the file or inherited from its folder."""
_WITHOUT_FLAGS = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)
_CANNOT = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV)


def clone_file(source: Path, target: Path) -> None:
    """Make `target` (which must not exist, mode 0600) a reflink copy of `source`, durably.

    Both lie on one filesystem. Nothing is left behind when it cannot be done.

    Raises: SnapshotFailed.
    """
    with translate_errors(SnapshotFailed, f"take a reflink copy of {source}"):
        origin = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            copy = os.open(target, flags, PRIVATE_FILE)
            try:
                _match_copy_on_write(origin, copy)
                _clone(origin, copy, source)
                os.fsync(copy)
            except BaseException:
                target.unlink()
                raise
            finally:
                os.close(copy)
        finally:
            os.close(origin)
        sync_folder(target.parent)


def _match_copy_on_write(origin: int, copy: int) -> None:
    """Make the copy, while it is empty, of the source's sort: btrfs shares no blocks across sorts.

    One of a file with `chattr +C` fails with EINVAL else, and so does one of a plain file in a
    folder that has it.
    """
    try:
        flags = _read_flags(copy)
        if (flags ^ _read_flags(origin)) & _NO_COPY_ON_WRITE:
            changed = struct.pack("=I", flags ^ _NO_COPY_ON_WRITE).ljust(_FLAGS_BYTES, b"\0")
            fcntl.ioctl(copy, _WRITE_FLAGS, changed)
    except OSError as error:
        # A file system without such flags has one sort of files.
        if error.errno not in _WITHOUT_FLAGS:
            raise


def _read_flags(descriptor: int) -> int:
    (flags,) = struct.unpack_from("=I", fcntl.ioctl(descriptor, _READ_FLAGS, bytes(_FLAGS_BYTES)))
    return int(flags)


def _clone(origin: int, copy: int, source: Path) -> None:
    try:
        fcntl.ioctl(copy, FICLONE, origin)
    except OSError as error:
        if error.errno in _CANNOT:
            raise SnapshotFailed(
                f"The filesystem of {source} takes no reflink copy: {error.strerror}.",
                hint='use preset = "cold" for this guest',
            ) from error
        raise


def read_xfs_reflink(folder: Path) -> bool | None:
    """True when files in the folder can be reflinked, False when not; None when it is not known.

    The kernel tells the geometry to anybody who may open the folder; nothing is written.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        geometry = fcntl.ioctl(descriptor, _GEOMETRY_REQUEST, bytes(_GEOMETRY_BYTES))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return has_reflink_flag(geometry)


def has_reflink_flag(geometry: bytes) -> bool | None:
    """What the bytes of `struct xfs_fsop_geom_v4` say; None when they are too few."""
    if len(geometry) < _GEOMETRY_BYTES:
        return None
    (flags,) = struct.unpack_from("=I", geometry, _FLAGS_OFFSET)
    return bool(flags & _REFLINK_FLAG)
