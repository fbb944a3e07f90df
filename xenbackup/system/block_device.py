"""Block devices and image files, read and written past the page cache.

The kernel keeps a block device's pages in a cache that the guest's own writes go around, so what
dom0 reads through it may be old: devices are read and written with O_DIRECT, and where a piece is
not aligned for that, its cached range is dropped before it is read and after.

A file has one cache for everybody, which is never old. It is dropped once before the first read
(what is read comes from the disk) and behind every piece after, which leaves the kernel's reading
ahead at work and the machine's memory alone; measured twice as fast as O_DIRECT at 4 MiB a piece.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path
from typing import Protocol

from xenbackup.errors import CopyFailed
from xenbackup.system.durable import explain_reason

ALIGNMENT_BYTES = 4096
# Advising a freshly written range starts its write-back, advising it again once it is clean drops
# it; so dirty memory stays small and the sync at the end short. Small writes are gathered first.
_WRITE_BACK_BYTES = 8 << 20
_DIRTY_WINDOW_BYTES = 32 << 20


class BlockDevice(Protocol):
    """Something with a size that is read and written at offsets.

    Buffers come page-aligned from the copier; offsets and lengths are multiples of 512 bytes save
    for the tail of an odd-sized image file.
    """

    @property
    def path(self) -> str:
        """What messages call it."""

    @property
    def size_bytes(self) -> int:
        """Size as of now: a device may be resized under us. Raises: CopyFailed."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; returns bytes read, short only at the end of the device.

        Raises: CopyFailed naming offset and device.
        """

    def write_at(self, offset: int, content: memoryview) -> None:
        """Write all of `content` at `offset`. Raises: CopyFailed naming offset and device."""

    def flush(self) -> None:
        """Make every write durable; an error is final and never retried. Raises: CopyFailed."""

    def close(self) -> None:
        """Let go of it; a second call does nothing."""


def allocate_buffer(size_bytes: int) -> memoryview:
    """A zeroed, page-aligned buffer, as O_DIRECT wants it; freed with its last view."""
    return memoryview(mmap.mmap(-1, size_bytes))


def open_block_device(
    path: str | Path, *, writable: bool = False, shared: bool = False
) -> BlockFile:
    """Open a block device or an image file, following symbolic links as `/dev/VG/LV` needs.

    A block device opened for writing is claimed (O_EXCL): the kernel refuses one that is mounted
    or that another device is built on. A guest's back-end makes no such claim: whoever writes looks
    at the guests first. `shared` leaves the claim out.

    Raises: CopyFailed when it does not exist, is neither a device nor a file, or is in use.
    """
    try:
        kind = Path(path).stat().st_mode
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC
        if writable and not shared and stat.S_ISBLK(kind):
            flags |= os.O_EXCL
        if not (stat.S_ISBLK(kind) or stat.S_ISREG(kind)):
            raise CopyFailed(f"Cannot open {path}: it is neither a block device nor a file.")
        return BlockFile(os.open(path, flags), str(path), writable=writable)
    except OSError as error:
        raise _explain_open(str(path), error) from error


class BlockFile:
    """A block device or regular file behind an open descriptor, which it owns and closes.

    For a block device a second descriptor, for O_DIRECT, is opened beside the given one.
    """

    def __init__(self, descriptor: int, path: str, *, writable: bool = False) -> None:
        self._path = path
        self._writable = writable
        self._buffered = descriptor
        self._direct = -1
        self._pushed_to = 0
        self._failure: CopyFailed | None = None
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
            self.close()
            raise CopyFailed(f"Cannot open {path}: it is neither a block device nor a file.")
        self._is_device = stat.S_ISBLK(mode)
        if self._is_device:
            self._open_direct()
        else:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def _open_direct(self) -> None:
        flags = (os.O_RDWR if self._writable else os.O_RDONLY) | os.O_DIRECT | os.O_CLOEXEC
        try:
            self._direct = os.open(f"/proc/self/fd/{self._buffered}", flags)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOENT, errno.EACCES):
                self.close()
                raise _explain_open(self._path, error) from error

    @property
    def path(self) -> str:
        return self._path

    @property
    def direct(self) -> bool:
        """It is read and written with O_DIRECT."""
        return self._direct >= 0

    @property
    def size_bytes(self) -> int:
        try:
            # The end of a block device is its size; fstat would say 0.
            return os.lseek(self._buffered, 0, os.SEEK_END)
        except OSError as error:
            raise CopyFailed(
                f"Cannot tell the size of {self._path}: {explain_reason(error)}."
            ) from error

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = 0
        try:
            while done < len(buffer):
                count = self._read_piece(offset + done, buffer[done:])
                if count == 0:
                    break
                done += count
        except OSError as error:
            raise CopyFailed(
                f"Cannot read {self._path} at byte {offset + done}: {explain_reason(error)}.",
                hint="look at `dmesg`: the disk below it may be failing"
                if error.errno == errno.EIO
                else "",
            ) from error
        return done

    def _read_piece(self, offset: int, buffer: memoryview) -> int:
        if self._direct >= 0 and _is_aligned(offset, len(buffer)):
            try:
                return os.preadv(self._direct, [buffer], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: alignment beyond a page, or a caller's
                    raise
        if self._is_device:
            os.posix_fadvise(self._buffered, offset, len(buffer), os.POSIX_FADV_DONTNEED)
        count = os.preadv(self._buffered, [buffer], offset)
        os.posix_fadvise(self._buffered, offset, len(buffer), os.POSIX_FADV_DONTNEED)
        return count

    def write_at(self, offset: int, content: memoryview) -> None:
        if self._failure is not None:
            raise self._failure
        done = 0
        try:
            if offset + len(content) > self.size_bytes:
                raise OSError(errno.ENOSPC, "it would end past the device")
            while done < len(content):
                count = self._write_piece(offset + done, content[done:])
                if count <= 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                done += count
        except OSError as error:
            self._failure = CopyFailed(
                f"Cannot write {self._path} at byte {offset + done}: {explain_reason(error)}."
            )
            raise self._failure from error

    def _write_piece(self, offset: int, content: memoryview) -> int:
        if self._direct >= 0 and _is_aligned(offset, len(content)):
            try:
                return os.pwrite(self._direct, content, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        count = os.pwrite(self._buffered, content, offset)
        self._push_out(offset + count)
        return count

    def _push_out(self, end: int) -> None:
        """Write back what was written up to `end`, once there is enough; drop what came earlier."""
        begin = min(self._pushed_to, end)
        if end - begin >= _WRITE_BACK_BYTES:
            older = max(0, begin - _DIRTY_WINDOW_BYTES)
            os.posix_fadvise(self._buffered, older, end - older, os.POSIX_FADV_DONTNEED)
            begin = end
        self._pushed_to = begin

    def flush(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            os.fsync(self._buffered)
            os.posix_fadvise(self._buffered, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            # The kernel may have thrown the unwritten pages away: a second fsync would say good.
            self._failure = CopyFailed(
                f"Cannot make the writes to {self._path} durable: {explain_reason(error)}.",
                hint="what was written there is worth nothing; look at `dmesg`",
            )
            raise self._failure from error

    def close(self) -> None:
        for descriptor in (self._direct, self._buffered):
            if descriptor >= 0:
                os.close(descriptor)
        self._direct = self._buffered = -1


def _is_aligned(offset: int, length: int) -> bool:
    return offset % ALIGNMENT_BYTES == 0 and length % ALIGNMENT_BYTES == 0


def _explain_open(path: str, error: OSError) -> CopyFailed:
    hint = ""
    if error.errno == errno.EBUSY:
        hint = "it is mounted in dom0, or another device is built on it"
    return CopyFailed(f"Cannot open {path}: {explain_reason(error)}.", hint=hint)
