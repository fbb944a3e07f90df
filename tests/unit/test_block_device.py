"""Block devices and image files: what is read, what a failure says, what is never tried twice."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.errors import CopyFailed
from xenbackup.system.block_device import (
    BlockFile,
    allocate_buffer,
    open_block_device,
)


def make_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def block_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as block devices, so that they are read and written with O_DIRECT."""
    monkeypatch.setattr(stat, "S_ISBLK", stat.S_ISREG)


def test_buffers_are_zeroed_writable_and_page_aligned_for_direct_reads(tmp_path: Path) -> None:
    path = make_file(tmp_path / "image", os.urandom(8192))
    buffer = allocate_buffer(8192)
    assert bytes(8192) == buffer
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        assert 8192 == os.preadv(descriptor, [buffer], 0)
    finally:
        os.close(descriptor)
    assert path.read_bytes() == buffer


@given(size=st.integers(0, 20000), offset=st.integers(0, 20000), length=st.integers(1, 9000))
def test_any_range_reads_as_the_file_has_it(
    tmp_path_factory: pytest.TempPathFactory, size: int, offset: int, length: int
) -> None:
    content = bytes(index * 7 % 251 for index in range(size))
    path = make_file(tmp_path_factory.mktemp("read") / "image", content)
    device = open_block_device(path)
    buffer = allocate_buffer(length)
    try:
        found = device.read_into(offset, buffer)
    finally:
        device.close()
    assert content[offset : offset + length] == buffer[:found]


def test_read_goes_on_after_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(10000)
    device = open_block_device(make_file(tmp_path / "image", content))
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, bufs, at: preadv(fd, [bufs[0][:999]], at))
    buffer = allocate_buffer(10000)
    assert 10000 == device.read_into(0, buffer)
    assert content == buffer
    device.close()


def test_read_error_names_device_and_the_exact_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path / "image", bytes(100000))
    device = open_block_device(path)
    preadv = os.preadv

    def fail_at_8192(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        if offset >= 8192:
            raise OSError(errno.EIO, "Input/output error")
        return preadv(descriptor, [buffers[0][: 8192 - offset]], offset)

    monkeypatch.setattr(os, "preadv", fail_at_8192)
    with pytest.raises(CopyFailed, match=rf"Cannot read {path} at byte 8192: Input/output error"):
        device.read_into(0, allocate_buffer(65536))
    device.close()


def test_size_is_that_of_now(tmp_path: Path) -> None:
    path = make_file(tmp_path / "image", bytes(4096))
    device = open_block_device(path)
    assert 4096 == device.size_bytes
    os.truncate(path, 12288)
    assert 12288 == device.size_bytes
    device.close()


def test_written_content_is_there_after_flush(tmp_path: Path) -> None:
    path = make_file(tmp_path / "image", bytes(70000))
    device = open_block_device(path, writable=True)
    device.write_at(65536, memoryview(b"tail" * 1116))
    device.write_at(0, memoryview(b"head"))
    device.flush()
    device.close()
    content = path.read_bytes()
    assert (b"head", b"tail" * 1116, 70000) == (content[:4], content[65536:], len(content))


def test_write_goes_on_after_short_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_file(tmp_path / "image", bytes(9000))
    content = os.urandom(9000)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: pwrite(fd, view[:1000], at))
    device = open_block_device(path, writable=True)
    device.write_at(0, memoryview(content))
    device.close()
    assert content == path.read_bytes()


def test_write_past_the_end_is_refused_and_nothing_grows(tmp_path: Path) -> None:
    path = make_file(tmp_path / "image", bytes(4096))
    device = open_block_device(path, writable=True)
    with pytest.raises(CopyFailed, match=r"at byte 4000"):
        device.write_at(4000, memoryview(bytes(97)))
    device.close()
    assert 4096 == path.stat().st_size


@pytest.mark.parametrize(
    ("write", "reason"),
    [(lambda *_: 0, "No space left on device"), (None, "Input/output error")],
)
def test_failed_write_names_the_offset_and_every_later_act_fails_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[..., int] | None,
    reason: str,
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    device = open_block_device(make_file(tmp_path / "image", bytes(9000)), writable=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", write or fail)
        with pytest.raises(CopyFailed, match=f"Cannot write .*image at byte 512: {reason}"):
            device.write_at(512, memoryview(b"x"))
    with pytest.raises(CopyFailed, match="at byte 512"):
        device.write_at(0, memoryview(b"x"))
    with pytest.raises(CopyFailed, match="at byte 512"):
        device.flush()
    device.close()


def test_failed_sync_is_final_and_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []

    def fail_once(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail_once)
    device = open_block_device(make_file(tmp_path / "image", bytes(10)), writable=True)
    for _ in range(2):
        with pytest.raises(CopyFailed, match=r"image durable: Input/output error"):
            device.flush()
    assert 1 == len(syncs)
    device.close()


@pytest.mark.usefixtures("block_devices")
@pytest.mark.parametrize("size", [4096, 65536, 65536 + 512, 70001])
def test_block_device_reads_and_writes_every_byte_whatever_its_size(
    tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    path = make_file(tmp_path / "device", content)
    device = open_block_device(path, writable=True)
    buffer = allocate_buffer(1 << 17)
    assert size == device.read_into(0, buffer)
    assert content == bytes(buffer[:size])
    buffer[:size] = content[::-1]
    device.write_at(0, buffer[:size])
    device.flush()
    device.close()
    assert content[::-1] == path.read_bytes()


@pytest.mark.usefixtures("block_devices")
def test_block_device_is_claimed_for_writing_unless_it_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path / "device", bytes(4096))
    claims: list[bool] = []
    real_open = os.open

    def note(name: str, flags: int, *rest: int) -> int:
        if str(name) == str(path):
            claims.append(bool(flags & os.O_EXCL))
        return real_open(name, flags, *rest)

    monkeypatch.setattr(os, "open", note)
    for options in ({"writable": True}, {"writable": True, "shared": True}, {"writable": False}):
        open_block_device(path, **options).close()
    assert [True, False, False] == claims


@pytest.mark.usefixtures("block_devices")
def test_block_device_drops_the_stale_cache_where_it_cannot_be_read_directly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path / "device", os.urandom(4096 + 100))
    device = open_block_device(path)
    acts: list[str] = []
    fadvise, preadv = os.posix_fadvise, os.preadv

    def note_advice(descriptor: int, offset: int, length: int, advice: int) -> None:
        acts.append("drop" if advice == os.POSIX_FADV_DONTNEED else "other")
        fadvise(descriptor, offset, length, advice)

    def note_read(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        acts.append("read")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "posix_fadvise", note_advice)
    monkeypatch.setattr(os, "preadv", note_read)
    assert 100 == device.read_into(4096, allocate_buffer(100))
    assert ["drop", "read", "drop"] == acts
    device.close()


def test_missing_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match=r"Cannot open .*absent: No such file"):
        open_block_device(tmp_path / "absent")


def test_a_fifo_is_refused_without_waiting_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CopyFailed, match="neither a block device nor a file"):
        open_block_device(tmp_path / "fifo")


def test_a_folder_is_refused_by_the_device_itself(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match="neither a block device nor a file"):
        BlockFile(os.open(tmp_path, os.O_RDONLY), str(tmp_path))


def test_device_in_use_is_refused_with_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path / "image", b"")

    def busy(*_: object) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "open", busy)
    with pytest.raises(CopyFailed, match="resource busy") as caught:
        open_block_device(path, writable=True)
    assert "mounted in dom0" in caught.value.hint


def test_link_to_a_device_is_followed_as_lvm_needs(tmp_path: Path) -> None:
    (tmp_path / "lv").symlink_to(make_file(tmp_path / "dm-0", b"content"))
    device = open_block_device(tmp_path / "lv")
    buffer = allocate_buffer(7)
    assert 7 == device.read_into(0, buffer)
    assert b"content" == bytes(buffer)
    device.close()
    device.close()
