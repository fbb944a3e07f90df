"""A power cut at any chosen system call, and what the disk may hold after it.

While a `PowerSupply` is plugged in, every call that changes files is counted; at the chosen one,
and at all that follow, `PowerCut` is raised instead. What was written and not synced by then is
lost: such files come back empty, as after a real power cut at its worst. A rename that was not
synced may come back undone, or not, and a new name in a folder that was not synced be gone, or not:
tests try both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CHANGING = ("mkdir", "rename", "unlink", "rmdir", "fsync", "write", "pwrite", "ftruncate")


class PowerCut(BaseException):
    """Not an Exception: nothing may catch it and go on, as nothing goes on without power."""


class PowerSupply:
    """Counts changing calls, and fails from number `cut_at` on (0: never)."""

    def __init__(self, cut_at: int = 0) -> None:
        self.cut_at = cut_at
        self.calls: list[str] = []
        self.dirty_files: set[int] = set()
        self.dirty_folders: set[int] = set()
        self._renames: list[tuple[int, Path, Path]] = []
        self._names: set[tuple[int, int]] = set()
        self._real: dict[str, Callable[..., Any]] = {
            name: getattr(os, name) for name in (*_CHANGING, "open")
        }

    @property
    def was_cut(self) -> bool:
        return 0 < self.cut_at <= len(self.calls)

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if self.was_cut:
            raise PowerCut(f"call {len(self.calls)}, {name}")

    def _note_folder(self, name: Any, folder: int | None) -> None:
        if folder is not None:
            self.dirty_folders.add(os.fstat(folder).st_ino)
        elif isinstance(name, (str, os.PathLike)):
            self.dirty_folders.add(Path(name).parent.stat().st_ino)

    def _note_rename(self, old: Any, new: Any, folder: int | None) -> None:
        """Renames stay within one folder here; note it by inode, and both names in full."""
        parent = Path(old).parent
        if folder is not None:
            parent = Path(f"/proc/self/fd/{folder}").readlink()
        names = parent / Path(old).name, parent / Path(new).name
        self._renames.append((parent.stat().st_ino, *names))

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            self._count("create")
            self._note_folder(path, dir_fd)
        descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT and dir_fd is not None:
            self._names.add((os.fstat(dir_fd).st_ino, os.fstat(descriptor).st_ino))
        return descriptor

    def change(self, name: str, *arguments: Any, **options: Any) -> Any:
        self._count(name)
        if name in ("write", "pwrite", "ftruncate"):
            self.dirty_files.add(os.fstat(arguments[0]).st_ino)
        elif name == "fsync":
            found = os.fstat(arguments[0])
            done = self.dirty_folders if stat.S_ISDIR(found.st_mode) else self.dirty_files
            done.discard(found.st_ino)
            self._renames = [entry for entry in self._renames if entry[0] != found.st_ino]
            self._names = {entry for entry in self._names if entry[0] != found.st_ino}
        elif name == "rename":
            self._note_rename(arguments[0], arguments[1], options.get("src_dir_fd"))
            self._note_folder(arguments[0], options.get("src_dir_fd"))
            self._note_folder(arguments[1], options.get("dst_dir_fd"))
        else:
            self._note_folder(arguments[0], options.get("dir_fd"))
        return self._real[name](*arguments, **options)

    @contextmanager
    def plugged_in(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Watch, and cut; a cut ends the block quietly."""

        def watch(name: str) -> Callable[..., Any]:
            return lambda *arguments, **options: self.change(name, *arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(os, "open", self.open)
            for name in _CHANGING:
                patched.setattr(os, name, watch(name))
            try:
                yield
            except PowerCut:
                return

    def lose_unsynced(
        self, root: Path, *, renames_too: bool = False, names_too: bool = False
    ) -> None:
        """Empty every file below `root` whose content was not synced when the power went.

        `renames_too` takes back the renames whose folder was not synced either; `names_too` the
        files that were made in such a folder, however well they were synced themselves.
        """
        for path in list(root.rglob("*")) if names_too else []:
            if path.is_file() and (path.parent.stat().st_ino, path.stat().st_ino) in self._names:
                path.unlink()
        for _, old, new in reversed(self._renames if renames_too else []):
            if new.exists() and not old.exists():
                new.rename(old)
        for path in root.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.dirty_files:
                os.truncate(path, 0)

    def list_unsynced(self, root: Path) -> list[Path]:
        """Files and folders below `root`, itself included, that are not on the disk yet."""
        pending = self.dirty_files | self.dirty_folders
        return [path for path in (root, *root.rglob("*")) if path.stat().st_ino in pending]
