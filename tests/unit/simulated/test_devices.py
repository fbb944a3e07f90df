"""Volumes and image files opened as block devices, copied, cloned, and held."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import (
    GROUP,
    THINNY,
    WEB,
    call,
    complaints,
    counter,
    look,
    make_host,
    must,
    read_volume,
    write_volume,
)
from xenbackup.dom0.simulated import (
    DiskSpec,
    Fault,
    FaultKind,
    GuestSpec,
    SimulatedHost,
    copy_host,
    create_host,
)
from xenbackup.dom0.simulated.exception_store import CHUNK_BYTES, ExceptionStore
from xenbackup.dom0.simulated.holders import hold_toolstack_lock, release_toolstack_lock
from xenbackup.dom0.simulated.sparse_files import copy_sparse
from xenbackup.dom0.simulated.state import KIB, MIB, SimulatorFailed
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.volumes import VolumeBroken
from xenbackup.errors import CopyFailed, SnapshotFailed

DISK = "/srv/images/disk.img"
FILED = GuestSpec(
    name="filed",
    disks=(DiskSpec(volume=DISK, size_bytes=MIB),),
    memory_mib=32,
    ram_bytes=16 * KIB,
    scratch_region_bytes=128 * KIB,
)
ROOT = "/dev/xenvols/web_root"


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return make_host(tmp_path, WEB, FILED)


# Opened


def test_image_file_is_read_and_written_as_a_device(host: SimulatedHost) -> None:
    device = host.open_volume(DISK, writable=True)
    assert (DISK, MIB) == (device.path, device.size_bytes)
    before = host.monotonic_seconds()
    device.write_at(MIB - 8192, memoryview(b"w" * 8192))
    device.flush()
    buffer = bytearray(16384)
    assert 12288 == device.read_into(MIB - 12288, memoryview(buffer))
    assert bytes(4096) + b"w" * 8192 == bytes(buffer[:12288])
    assert 0 == device.read_into(0, memoryview(bytearray()))
    device.close()
    device.close()
    assert before < host.monotonic_seconds()


def test_volume_is_read_and_written_under_its_own_path(host: SimulatedHost) -> None:
    must(host, "lvcreate", "-y", "-L", "512k", "-n", "target", "xenvols")
    device = host.open_volume("/dev/xenvols/target", writable=True)
    assert ("/dev/xenvols/target", 512 * KIB) == (device.path, device.size_bytes)
    device.write_at(4096, memoryview(b"content"))
    device.flush()
    device.close()
    assert b"content" == read_volume(host, "/dev/xenvols/target")[4096:4103]


def test_device_opened_for_reading_is_not_written(host: SimulatedHost) -> None:
    device = host.open_volume(DISK)
    with pytest.raises(CopyFailed, match="at byte 512: opened for reading"):
        device.write_at(512, memoryview(b"x"))
    device.close()


def test_file_that_is_not_there_cannot_be_opened(host: SimulatedHost) -> None:
    with pytest.raises(CopyFailed, match="Cannot open /srv/nosuch: No such file or directory"):
        host.open_volume("/srv/nosuch")


def test_file_that_cannot_be_synced_is_told(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, os.strerror(5))

    device = host.open_volume(DISK, writable=True)
    monkeypatch.setattr("xenbackup.dom0.simulated.device.os.fsync", fail)
    with pytest.raises(CopyFailed, match=f"Cannot sync {DISK}: Input/output error."):
        device.flush()
    device.close()


def test_volume_that_is_removed_by_force_is_gone_for_who_has_it_open(host: SimulatedHost) -> None:
    must(host, "lvcreate", "-y", "-L", "512k", "-n", "x", "xenvols")
    device = host.open_volume("/dev/xenvols/x")
    with host.machine() as machine:
        found = machine.resolve_volume("/dev/xenvols/x")
        assert found is not None
        del machine.state.volumes[found.uuid]
        machine.commit()
    with pytest.raises(CopyFailed, match="Cannot access /dev/xenvols/x at byte 0: the volume is"):
        device.read_into(0, memoryview(bytearray(512)))
    device.close()


def test_suspended_device_is_told_instead_of_waited_for(host: SimulatedHost) -> None:
    must(host, "dmsetup", "suspend", "xenvols-web_root")
    device = host.open_volume(ROOT)
    with pytest.raises(CopyFailed, match="xenvols/web_root is suspended, the call would not"):
        device.read_into(0, memoryview(bytearray(512)))
    device.close()


@pytest.mark.parametrize("act", ["read", "write"])
def test_fault_of_an_image_file_strikes_where_it_lies(host: SimulatedHost, act: str) -> None:
    host.set_fault(Fault(tool=act, kind=FaultKind.EIO, verb=DISK, offset=4096))
    device = host.open_volume(DISK, writable=True)
    content = memoryview(bytearray(4096))

    def access(offset: int) -> None:
        if act == "read":
            device.read_into(offset, content)
        else:
            device.write_at(offset, content)

    access(8192)
    with pytest.raises(CopyFailed, match=f"Cannot {act} {DISK} at byte 4096: Input/output error"):
        access(4096)
    device.close()


def test_volume_that_is_not_active_is_not_read(host: SimulatedHost) -> None:
    must(host, "lvcreate", "-y", "-L", "256k", "-n", "x", "xenvols")
    must(host, "lvchange", "-an", "xenvols/x")
    with pytest.raises(VolumeBroken, match="xenvols/x is not active"):
        write_volume(host, "/dev/xenvols/x", b"x")


def test_full_snapshot_refuses_what_is_written_to_it(host: SimulatedHost) -> None:
    must(host, "xl", "pause", "web")
    must(host, "lvcreate", "-s", "-y", "-l", "1", "-n", "s", "xenvols/web_root")
    device = host.open_volume("/dev/xenvols/s", writable=True)
    with pytest.raises(CopyFailed, match="snapshot xenvols/s is full"):
        device.write_at(0, memoryview(bytes(512 * KIB)))
    device.close()
    listed = must(host, "lvs", "--noheadings", "-o", "lv_attr", "xenvols/s")
    assert "swi-I-s---" == listed.strip()


def test_chunk_is_kept_once_and_never_by_an_invalid_store(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "cow", os.O_RDWR | os.O_CREAT)
    ExceptionStore.format(fd)
    store = ExceptionStore(fd, MIB)
    store.preserve(3, b"a" * CHUNK_BYTES)
    store.preserve(3, b"b" * CHUNK_BYTES)
    assert b"a" * CHUNK_BYTES == store.read_chunk(3)
    store.invalidate()
    store.preserve(4, b"c" * CHUNK_BYTES)
    assert store.read_chunk(4) is None
    os.close(fd)


# Copied and cloned


def test_host_is_copied_only_from_a_host_to_nowhere(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    for source, target in (
        (tmp_path / "nothing", tmp_path / "new"),
        (host.directory, host.directory),
    ):
        with pytest.raises(SimulatorFailed, match="Cannot copy the simulated host"):
            copy_host(source, target)


def test_file_that_shrinks_while_it_is_copied_ends_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 8192)
    send = os.sendfile

    def send_less(out: int, given: int, offset: int, count: int) -> int:
        os.truncate(source, 4096)
        return send(out, given, offset, count)

    monkeypatch.setattr("xenbackup.dom0.simulated.sparse_files.os.sendfile", send_less)
    copy_sparse(source, target)
    assert b"x" * 4096 + bytes(4096) == target.read_bytes()


def mount(host: SimulatedHost, filesystem: str) -> None:
    place = host.place("/proc/self/mountinfo")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"36 25 0:40 / /srv rw,relatime - {filesystem} /dev/sdb1 rw\n")


def test_file_is_cloned_where_the_filesystem_shares(tmp_path: Path) -> None:
    seen: list[str] = []
    host = make_host(tmp_path, FILED, on_boundary=seen.append)
    mount(host, "xfs")
    must(host, "xl", "pause", "filed")
    seen.clear()
    before = host.monotonic_seconds()
    host.clone_file(DISK, f"{DISK}.clone")
    assert ["clone:begun", "clone:done"] == seen
    clone = host.place(f"{DISK}.clone")
    assert host.place(DISK).read_bytes() == clone.read_bytes()
    assert 0o600 == clone.stat().st_mode & 0o777
    assert pytest.approx(0.02) == host.monotonic_seconds() - before
    host.on_boundary = None
    with pytest.raises(SnapshotFailed, match=f"take a reflink copy of {DISK}"):
        host.clone_file(DISK, f"{DISK}.clone")
    host.clone_file(DISK, f"{DISK}.other")


@pytest.mark.parametrize("filesystem", ["ext4", ""])
def test_file_is_not_cloned_elsewhere(host: SimulatedHost, filesystem: str) -> None:
    if filesystem:
        mount(host, filesystem)
    with pytest.raises(SnapshotFailed, match="takes no reflink copy: Operation not supported"):
        host.clone_file(DISK, f"{DISK}.clone")
    assert not host.place(f"{DISK}.clone").exists()


# Guests with image files


def test_guest_waits_while_its_file_is_away(host: SimulatedHost) -> None:
    at = counter(host, "filed")
    host.sleep(1.0)
    place = host.place(DISK)
    place.rename(f"{place}.away")
    host.sleep(2.0)
    stuck = counter(host, "filed")
    assert at < stuck
    host.sleep(2.0)
    assert (stuck, True) == (counter(host, "filed"), look(host, "filed").blocked)
    Path(f"{place}.away").rename(place)
    host.sleep(2.0)
    assert stuck < counter(host, "filed")
    assert [] == complaints(host)


def test_guest_waits_when_its_file_goes_between_its_look_and_its_write(
    host: SimulatedHost,
) -> None:
    host.sleep(1.0)
    steps: list[int] = []
    while steps[-1:] != [1] and len(steps) < 8:
        host.sleep(0.025)
        ram = look(host, "filed").ram
        assert ram is not None
        steps.append(ram.step)
    assert 1 == steps[-1], "it has looked at its disk and will write its history"
    at, place = counter(host, "filed"), host.place(DISK)
    place.rename(f"{place}.away")
    host.sleep(0.2)
    assert (at, True) == (counter(host, "filed"), look(host, "filed").blocked)
    Path(f"{place}.away").rename(place)
    host.sleep(2.0)
    assert at < counter(host, "filed")
    assert [] == complaints(host)


# Made


def test_disk_is_no_smaller_than_its_guest_needs(tmp_path: Path) -> None:
    tiny = GuestSpec(name="tiny", disks=(DiskSpec(volume="tiny", size_bytes=64 * KIB),))
    with pytest.raises(SimulatorFailed, match=f"tiny is smaller than {320 * KIB} bytes"):
        make_host(tmp_path, tiny)


def test_disk_that_two_guests_name_is_made_once(tmp_path: Path) -> None:
    twin = GuestSpec(name="twin", disks=WEB.disks, running=False)
    host = make_host(tmp_path, twin, WEB)
    assert 2 == must(host, "lvs", "--noheadings", "-o", "lv_name").count("web_")
    host.sleep(1.0)
    assert [] == complaints(host)


def test_guest_that_cannot_be_started_is_named_with_what_the_toolstack_said(
    tmp_path: Path,
) -> None:
    with pytest.raises(SimulatorFailed, match=r"Cannot start web: (.|\n)*failed to free memory"):
        make_host(tmp_path, total_memory_mib=1600)


# Held


def test_tool_waits_for_xls_lock_until_its_deadline(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "destroy", "web")
    hold_toolstack_lock(host.directory, pid=4711, command="xl create other.cfg")
    cmdline = host.place("/proc/4711/cmdline").read_bytes()
    assert b"xl\0create\0other.cfg\0" == cmdline
    result = call(host, "xl", "create", "/etc/xen/web.cfg", timeout_seconds=20.0)
    assert result.timed_out
    assert pytest.approx(20.0) == result.duration_seconds
    release_toolstack_lock(host.directory, pid=4711)
    assert not host.place("/proc/4711").exists()
    must(host, "xl", "create", "/etc/xen/web.cfg")


def test_lock_of_another_file_is_waited_for_by_nobody(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(host, "xl", "destroy", "web")
    hold_toolstack_lock(host.directory, pid=4711, command="xl create other.cfg")
    inode = host.place("/var/lock/xl").stat().st_ino
    locks = host.place("/proc/locks")
    locks.write_text(locks.read_text().replace(f":{inode} ", f":{inode + 7} "))
    must(host, "xl", "create", "/etc/xen/web.cfg")


def test_only_holders_of_the_refused_volume_are_shown(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB, THINNY)
    for name in ("a", "b"):
        must(host, "lvcreate", "-y", "-L", "256k", "-n", name, "xenvols")
    devices = [host.open_volume(f"/dev/xenvols/{name}") for name in ("a", "b")]
    assert 5 == call(host, "lvremove", "-y", "xenvols/b").exit_code
    links = host.place(f"/proc/{os.getpid()}/fd")
    with host.machine() as machine:
        shown = machine.resolve_volume("/dev/xenvols/b")
        assert shown is not None
    assert [f"/dev/dm-{shown.minor}"] == [str(link.readlink()) for link in links.iterdir()]
    for device in devices:
        device.close()


# The store


def test_state_of_which_nothing_is_readable_is_told(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.close()
    for slot in ("state.a", "state.b"):
        (host.directory / "host" / slot).write_bytes(b"")
    with pytest.raises(SimulatorFailed, match="is unreadable"):
        host.boot_id()


def test_store_that_is_closed_under_its_lock_gives_it_back(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    store = Store(host.directory)
    store.lock()
    store.close()
    store.unlock()
    must(host, "xl", "list")
    store.lock()
    store.unlock()


def test_processor_is_named(tmp_path: Path) -> None:
    create_host(tmp_path / "host", groups=(GROUP,), guests=())
    assert "AMD Opteron 23xx" in SimulatedHost(tmp_path / "host").cpu_model()
