"""A folder held open, in which names are plain and symbolic links are never followed.

Everything goes through the folder's descriptor, so nobody who can write beside us can lead a path
elsewhere between a check and an act, and a folder whose disk is unmounted under us stays the one
that was opened.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from xenbackup.errors import XenbackupError
from xenbackup.system.durable import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    sync_names,
    translate_errors,
    write_whole,
)

NAME_LIMIT_BYTES = 255


class EntryKind(StrEnum):
    """What a name in a folder stands for."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "symbolic link"
    OTHER = "special file"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A name in a folder; `allocated_bytes` is what it takes on the disk, holes left out."""

    name: str
    kind: EntryKind
    size_bytes: int
    allocated_bytes: int
    device: int


def is_plain_name(name: str) -> bool:
    """One path component that cannot lead out of its folder."""
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
        and len(os.fsencode(name)) <= NAME_LIMIT_BYTES
    )


class Folder:
    """An open folder; `path` is for messages, and for tools that need one.

    Every method raises the error class given to `open`, naming the path.
    """

    def __init__(self, descriptor: int, path: Path, errors: type[XenbackupError]) -> None:
        self._descriptor = descriptor
        self.path = path
        self._errors = errors

    @classmethod
    def open(cls, path: Path, errors: type[XenbackupError]) -> Self:
        """Open the outermost folder, which an administrator may have put behind a link."""
        with translate_errors(errors, f"open the folder {path}"):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            return cls(os.open(path, flags), path, errors)

    @property
    def closed(self) -> bool:
        return self._descriptor < 0

    @property
    def device(self) -> int:
        """Number of the file system it lies on (st_dev)."""
        return os.fstat(self._descriptor).st_dev

    @property
    def read_only(self) -> bool:
        """Its file system is mounted so: by somebody, or by the kernel after an error."""
        with translate_errors(self._errors, f"look at the file system of {self.path}"):
            return bool(os.fstatvfs(self._descriptor).f_flag & os.ST_RDONLY)

    def is_still_at(self, path: Path) -> bool:
        """The path still leads to this very folder: nothing was mounted over it or taken away."""
        try:
            found = path.stat()
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)

    def open_folder(self, name: str) -> Self:
        """A folder inside, never through a link."""
        path = self._place(name)
        with translate_errors(self._errors, f"open the folder {path}"):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return type(self)(os.open(name, flags, dir_fd=self._descriptor), path, self._errors)

    def holds(self, name: str, folder: Folder) -> bool:
        """The name still stands for this very open folder: nobody renamed or replaced it."""
        with translate_errors(self._errors, f"look at {self._place(name)}"):
            try:
                found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            except FileNotFoundError:
                return False
        own = os.fstat(folder._descriptor)
        return (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)

    def lock(self, *, shared: bool) -> bool:
        """Take an flock on the folder itself until it is closed; False when others are in the way.

        Shared ones get along with each other.
        """
        with translate_errors(self._errors, f"lock the folder {self.path}"):
            try:
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def make_folder(self, name: str) -> None:
        """Make a folder of mode 0700; its name is durable after `sync`."""
        with translate_errors(self._errors, f"make the folder {self._place(name)}"):
            os.mkdir(name, PRIVATE_FOLDER, dir_fd=self._descriptor)

    def create_file(self, name: str) -> int:
        """A new file of mode 0600, open for reading and writing; the caller closes it."""
        with translate_errors(self._errors, f"create {self._place(name)}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, PRIVATE_FILE, dir_fd=self._descriptor)

    def open_file(self, name: str) -> int:
        """An existing regular file, open for reading; the caller closes it."""
        path = self._place(name)
        with translate_errors(self._errors, f"open {path}"):
            # O_NONBLOCK: a fifo of that name must not hold us up before we see that it is one.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._errors(f"Cannot open {path}: it is not a regular file.")
        return descriptor

    def drop_cached(self, name: str) -> None:
        """Let the next read of a file come from the disk, past the page cache."""
        descriptor = self.open_file(name)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    def read_file(self, name: str, *, limit_bytes: int) -> bytes:
        """A small file whole; one that is larger than the limit is refused."""
        path = self._place(name)
        descriptor = self.open_file(name)
        try:
            with (
                translate_errors(self._errors, f"read {path}"),
                os.fdopen(descriptor, "rb", closefd=False) as stream,
            ):
                content = stream.read(limit_bytes + 1)
        finally:
            os.close(descriptor)
        if len(content) > limit_bytes:
            raise self._errors(f"Cannot read {path}: it is larger than {limit_bytes} bytes.")
        return content

    def write_file(self, name: str, content: bytes) -> None:
        """A new file with this content, synced; its name is durable after `sync`."""
        descriptor = self.create_file(name)
        try:
            with translate_errors(self._errors, f"write {self._place(name)}"):
                write_whole(descriptor, content)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace_file(self, name: str, content: bytes) -> None:
        """Put content under a name: old or new after a power cut, never less."""
        temporary = f".{name}.{os.getpid()}-{secrets.token_hex(4)}.new"
        try:
            self.write_file(temporary, content)
            self.rename(temporary, name)
        except BaseException:
            with suppress(self._errors):
                self.remove_file(temporary)
            raise
        self.sync()

    def find(self, name: str) -> Entry | None:
        """What the name stands for, itself and not what it may point to; None when missing."""
        with translate_errors(self._errors, f"look at {self._place(name)}"):
            try:
                found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            except FileNotFoundError:
                return None
        return _describe_entry(name, found)

    def list_names(self) -> tuple[str, ...]:
        """The names of everything inside, sorted: also of what cannot be looked at."""
        with translate_errors(self._errors, f"list the folder {self.path}"):
            return tuple(sorted(os.listdir(self._descriptor)))  # noqa: PTH208 - no path

    def list_entries(self) -> tuple[Entry, ...]:
        """Everything inside, sorted by name."""
        found = (self.find(name) for name in self.list_names())
        return tuple(entry for entry in found if entry is not None)

    def rename(self, old: str, new: str) -> None:
        """Give an entry another name in this folder; durable after `sync`."""
        self._place(old)
        with translate_errors(self._errors, f"rename {self.path / old} to {self._place(new)}"):
            os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove_file(self, name: str) -> None:
        """Remove a file; one that is missing is no error."""
        with (
            translate_errors(self._errors, f"remove {self._place(name)}"),
            suppress(FileNotFoundError),
        ):
            os.unlink(name, dir_fd=self._descriptor)

    def remove_tree(self, name: str) -> None:
        """Remove a folder and all in it, following no link; a missing one is no error."""
        with (
            translate_errors(self._errors, f"remove {self._place(name)}"),
            suppress(FileNotFoundError),
        ):
            shutil.rmtree(name, dir_fd=self._descriptor)

    def remove_empty(self, name: str) -> None:
        """Remove a folder if it is empty and there; else do nothing."""
        self._place(name)
        with suppress(OSError):
            os.rmdir(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        """Make the names inside durable."""
        with translate_errors(self._errors, f"sync the folder {self.path}"):
            sync_names(self._descriptor)

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self, name: str) -> Path:
        if not is_plain_name(name):
            raise self._errors(f"Refused in {self.path}: {name!r} is not a plain file name.")
        return self.path / name


def _describe_entry(name: str, found: os.stat_result) -> Entry:
    kinds = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.FOLDER}
    kinds[stat.S_IFLNK] = EntryKind.LINK
    return Entry(
        name=name,
        kind=kinds.get(stat.S_IFMT(found.st_mode), EntryKind.OTHER),
        size_bytes=found.st_size,
        allocated_bytes=found.st_blocks * 512,
        device=found.st_dev,
    )
