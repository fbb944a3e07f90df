"""Durable files: what is written here is on the disk when the call returns, or an error says why.

A file is replaced by a temporary one beside it, synced, renamed over it, and the folder synced
after; a lock is an flock, so that it dies with its holder and there is nothing to clean up.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from xenbackup.errors import Locked, StateFailed, XenbackupError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h
_WITHOUT_SYNC = (errno.EINVAL, errno.EOPNOTSUPP)
_LIBRARY = ctypes.CDLL(None, use_errno=True)

_HINTS = {
    errno.ENOSPC: "free some space there, or remove what is no longer needed",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EROFS: "it is mounted read-only: look at `dmesg` for the reason, then remount it",
    errno.EACCES: "run this as root, or give this user access to it",
    errno.EPERM: "run this as root, or give this user access to it",
    errno.EIO: "look at `dmesg` and the disk's own health report before trusting it again",
    errno.ELOOP: "a plain file or folder belongs there: find out who put the link",
    errno.ESTALE: "the network file system has gone away: mount it again",
}


def explain_reason(error: OSError) -> str:
    """The system's own words for an error: `No space left on device`."""
    if error.errno == errno.ELOOP:
        return "it is a symbolic link"
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def translate_errors(kind: type[XenbackupError], act: str) -> Iterator[None]:
    """Turn an OSError into `kind`, saying that we cannot `act` and what would help.

    Raises: `kind`, from the OSError.
    """
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        raise kind(f"Cannot {act}: {explain_reason(error)}.", hint=hint) from error


def write_whole(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of `content`, however many calls that takes.

    Raises: OSError, also (ENOSPC) when the system takes nothing and names no reason.
    """
    view = memoryview(content)
    while view:
        written = os.write(descriptor, view)
        if written <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]


def append_durably(descriptor: int, content: bytes) -> None:
    """Append `content` to a file opened with O_APPEND, and sync it.

    Raises: StateFailed; the sync is not tried again, for a second one may lie.
    """
    with translate_errors(StateFailed, f"append to {_describe_descriptor(descriptor)}"):
        write_whole(descriptor, content)
        os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises: StateFailed."""
    with translate_errors(StateFailed, f"sync the folder {path}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_names(descriptor)
        finally:
            os.close(descriptor)


def sync_names(descriptor: int) -> None:
    """Make the names in an open folder durable, where its file system has a call for that.

    CIFS before Linux 4.17 and some of FUSE (gocryptfs) have none and refuse it: there a name is as
    durable as they make it. What a disk refuses comes as another error. Raises: OSError.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _WITHOUT_SYNC:
            raise


def reserve_room(descriptor: int, offset: int, size_bytes: int) -> None:
    """Set room on the disk aside for what a file will grow by; its size stays what it is.

    A file system that cannot do that is left as it is. Raises: StateFailed when there is no room.
    """
    call = getattr(_LIBRARY, "fallocate64", None) or getattr(_LIBRARY, "fallocate", None)
    if call is None:
        return
    with translate_errors(StateFailed, f"set room aside for {_describe_descriptor(descriptor)}"):
        places = (ctypes.c_int64(offset), ctypes.c_int64(size_bytes))
        if call(descriptor, _KEEP_SIZE, *places) != 0:
            number = ctypes.get_errno()
            if number in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(number, os.strerror(number))


def give_room_back(descriptor: int) -> None:
    """Let go of what is set aside behind the file's end; best effort."""
    with suppress(OSError):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size)


def replace_file(path: Path, content: bytes, mode: int = PRIVATE_FILE) -> None:
    """Put `content` at `path` so that a power cut leaves the old content or the new, never less.

    Raises: StateFailed naming the path; the old file is then still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    with translate_errors(StateFailed, f"write {path}"):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, mode)
        try:
            try:
                os.fchmod(descriptor, mode)
                write_whole(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    sync_folder(path.parent)


def make_private_folder(path: Path) -> Path:
    """Make a folder of mode 0700 with the parents it lacks (0755), durably; an old one is narrowed.

    Returns the path. Raises: StateFailed when a part of it is no folder, or is another user's.
    """
    missing = [path, *path.parents]
    missing = [folder for folder in missing if not folder.exists() and not folder.is_symlink()]
    for folder in reversed(missing):
        act = f"make the folder {folder}"
        with translate_errors(StateFailed, act), suppress(FileExistsError):
            folder.mkdir(mode=PRIVATE_FOLDER if folder == path else 0o755)
        sync_folder(folder.parent)
    with translate_errors(StateFailed, f"use the folder {path}"):
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(PRIVATE_FOLDER)
    if found.st_uid != os.geteuid():
        raise StateFailed(
            f"The folder {path} belongs to user {found.st_uid}, not to us ({os.geteuid()}).",
            hint="memory images and journals must be nobody else's to read: change its owner",
        )
    return path


class FileLock:
    """A lock that one process holds at a time, and that the system drops when the holder dies.

    The file stays when the lock is released: removing it would let two holders lock two files of
    one name. `purpose` is written into it beside the pid, for whoever finds it taken.
    """

    def __init__(self, path: Path, purpose: str) -> None:
        self.path = path
        self.purpose = purpose
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """This object holds the lock now."""
        return self._descriptor is not None

    def acquire(self, *, wait: bool = False) -> None:
        """Take the lock, and `wait` for it only where it is held for moments.

        Raises: Locked naming the holder; StateFailed.
        """
        if self.held:
            return
        with translate_errors(StateFailed, f"open the lock {self.path}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, PRIVATE_FILE)
        try:
            self._lock(descriptor, wait=wait)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _lock(self, descriptor: int, *, wait: bool) -> None:
        with translate_errors(StateFailed, f"lock {self.path}"):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise self._describe_holder(descriptor) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {self.purpose}\n".encode(), 0)

    def _describe_holder(self, descriptor: int) -> Locked:
        pid, _, purpose = os.pread(descriptor, 200, 0).decode("utf-8", "replace").partition(" ")
        holder = f"process {pid}" if pid.strip().isdigit() else "another process"
        doing = f" ({purpose.strip()})" if purpose.strip() else ""
        return Locked(
            f"Cannot {self.purpose}: {holder}{doing} holds the lock {self.path}.",
            hint="wait until it is done; a lock left by a dead process frees itself",
        )

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _describe_descriptor(descriptor: int) -> str:
    """The path behind a descriptor, for messages."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
    except OSError:
        return f"descriptor {descriptor}"
