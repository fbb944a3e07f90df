"""Reflink copies on a file system that is a fake in memory: btrfs and its two sorts of files."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xenbackup.errors import SnapshotFailed
from xenbackup.system.reflink import FICLONE, clone_file

# As <linux/fs.h> has them on 64 bits, and as strace shows them of chattr(1) and lsattr(1).
GET_FLAGS = 0x80086601
SET_FLAGS = 0x40086602
NO_COPY_ON_WRITE = 0x00800000
COMPRESSED = 0x00000004


@dataclass
class FakeBtrfs:
    """Files by name with their flags; ioctls as btrfs answers them."""

    flags: dict[str, int] = field(default_factory=dict)
    folder_flags: int = 0
    refusals: dict[int, int] = field(default_factory=dict)
    cloned: list[tuple[str, str]] = field(default_factory=list)

    def ioctl(self, descriptor: int, request: int, argument: object = 0) -> object:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if request in self.refusals:
            raise OSError(self.refusals[request], os.strerror(self.refusals[request]))
        own = self.flags.setdefault(name, self.folder_flags)
        if request == GET_FLAGS:
            assert isinstance(argument, bytes)
            return struct.pack("=I", own) + argument[4:]
        if request == SET_FLAGS:
            assert isinstance(argument, bytes)
            assert 0 == os.fstat(descriptor).st_size, "only of an empty file"
            (self.flags[name],) = struct.unpack_from("=I", argument)
            return argument
        assert FICLONE == request
        assert isinstance(argument, int)
        source = Path(f"/proc/self/fd/{argument}").readlink().name
        if (own ^ self.flags.get(source, self.folder_flags)) & NO_COPY_ON_WRITE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.cloned.append((source, name))
        return 0


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"data")
    return disk


@pytest.fixture
def btrfs(monkeypatch: pytest.MonkeyPatch) -> FakeBtrfs:
    btrfs = FakeBtrfs()
    monkeypatch.setattr(fcntl, "ioctl", btrfs.ioctl)
    return btrfs


@pytest.mark.parametrize("source_flags", [0, NO_COPY_ON_WRITE, COMPRESSED])
@pytest.mark.parametrize("folder_flags", [0, NO_COPY_ON_WRITE, COMPRESSED | NO_COPY_ON_WRITE])
def test_copy_is_of_the_sort_that_its_source_is(
    btrfs: FakeBtrfs, disk: Path, source_flags: int, folder_flags: int
) -> None:
    btrfs.folder_flags = folder_flags
    btrfs.flags["disk.img"] = source_flags
    clone_file(disk, disk.with_name("copy.img"))
    assert [("disk.img", "copy.img")] == btrfs.cloned
    others = folder_flags & ~NO_COPY_ON_WRITE
    assert others | (source_flags & NO_COPY_ON_WRITE) == btrfs.flags["copy.img"]


@pytest.mark.parametrize("refusal", [errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL])
def test_file_system_without_flags_is_cloned_all_the_same(
    btrfs: FakeBtrfs, disk: Path, refusal: int
) -> None:
    btrfs.refusals = {GET_FLAGS: refusal}
    clone_file(disk, disk.with_name("copy.img"))
    assert [("disk.img", "copy.img")] == btrfs.cloned


def test_flag_that_cannot_be_set_leaves_nothing_behind(btrfs: FakeBtrfs, disk: Path) -> None:
    btrfs.flags["disk.img"] = NO_COPY_ON_WRITE
    btrfs.refusals = {SET_FLAGS: errno.EIO}
    with pytest.raises(SnapshotFailed, match="Input/output error"):
        clone_file(disk, disk.with_name("copy.img"))
    assert [disk] == list(disk.parent.iterdir())


def test_copy_that_fails_for_another_reason_says_which(btrfs: FakeBtrfs, disk: Path) -> None:
    btrfs.refusals = {FICLONE: errno.ENOSPC}
    with pytest.raises(SnapshotFailed, match="No space left"):
        clone_file(disk, disk.with_name("copy.img"))
    assert [disk] == list(disk.parent.iterdir())


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.EXDEV])
def test_file_system_without_reflinks_is_told_and_nothing_is_left(
    btrfs: FakeBtrfs, disk: Path, refusal: int
) -> None:
    btrfs.refusals = {FICLONE: refusal}
    with pytest.raises(SnapshotFailed, match="takes no reflink copy"):
        clone_file(disk, disk.with_name("copy.img"))
    assert [disk] == list(disk.parent.iterdir())
