"""Snapshots hold their instant whatever is written later, by copying before the write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulated.hosts import (
    RUN,
    THINNY,
    WEB,
    call,
    complaints,
    make_host,
    must,
    read_volume,
    write_volume,
)
from xenbackup.dom0.simulated import Fault, FaultKind, GroupSpec, SimulatedHost, ThinPoolSpec
from xenbackup.dom0.simulated.exception_store import CHUNK_BYTES, ExceptionStore, StoreFull
from xenbackup.dom0.simulated.state import KIB, MIB
from xenbackup.errors import CopyFailed

VOLUME_BYTES = 512 * KIB
Write = tuple[int, bytes]
writes = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=VOLUME_BYTES - 9000),
        st.binary(min_size=1, max_size=9000),
    ),
    max_size=6,
)


def make_volume(host: SimulatedHost, name: str, *, thin: bool) -> str:
    if thin:
        must(
            host,
            "lvcreate",
            "-y",
            "-V",
            f"{VOLUME_BYTES}b",
            "--thinpool",
            "pool",
            "-n",
            name,
            "xenvols",
        )
    else:
        must(host, "lvcreate", "-y", "-L", f"{VOLUME_BYTES}b", "-n", name, "xenvols")
    return f"/dev/xenvols/{name}"


def take_snapshot(host: SimulatedHost, origin: str, name: str, *, thin: bool) -> str:
    size = () if thin else ("-l", "100%ORIGIN")
    must(host, "lvcreate", "-s", "-y", *size, "-n", name, f"xenvols/{origin}")
    if thin:
        must(host, "lvchange", "-ay", "-K", f"xenvols/{name}")
    return f"/dev/xenvols/{name}"


def apply(host: SimulatedHost, path: str, model: bytearray, done: list[Write]) -> None:
    for offset, content in done:
        write_volume(host, path, content, offset)
        model[offset : offset + len(content)] = content


@settings(max_examples=25)
@given(before=writes, between=writes, after=writes, own=writes, thin=st.booleans())
def test_snapshots_read_as_a_model_says(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[Write],
    between: list[Write],
    after: list[Write],
    own: list[Write],
    thin: bool,
) -> None:
    host = make_host(tmp_path_factory.mktemp("model"))
    origin = make_volume(host, "o", thin=thin)
    now = bytearray(VOLUME_BYTES)
    apply(host, origin, now, before)
    first = take_snapshot(host, "o", "s1", thin=thin)
    first_holds = bytearray(now)
    apply(host, origin, now, between)
    second = take_snapshot(host, "o", "s2", thin=thin)
    second_holds = bytes(now)
    apply(host, origin, now, after)
    apply(host, first, first_holds, own)
    host.close()
    again = SimulatedHost(host.directory)
    assert bytes(now) == read_volume(again, origin)
    assert bytes(first_holds) == read_volume(again, first)
    assert second_holds == read_volume(again, second)
    must(again, "lvremove", "-y", "xenvols/s1")
    assert second_holds == read_volume(again, second)
    again.close()


def test_thin_snapshot_of_a_snapshot_keeps_both(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    origin = make_volume(host, "o", thin=True)
    write_volume(host, origin, b"one")
    first = take_snapshot(host, "o", "s1", thin=True)
    second = take_snapshot(host, "s1", "s2", thin=True)
    write_volume(host, origin, b"two")
    write_volume(host, first, b"new")
    assert [b"two", b"new", b"one"] == [
        read_volume(host, path)[:3] for path in (origin, first, second)
    ]


def test_thin_snapshot_outlives_its_origin(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    origin = make_volume(host, "o", thin=True)
    write_volume(host, origin, b"kept", 100_000)
    snapshot = take_snapshot(host, "o", "s", thin=True)
    held = read_volume(host, snapshot)
    must(host, "lvremove", "-y", "xenvols/o")
    assert held == read_volume(host, snapshot)
    assert b"kept" == held[100_000:100_004]


def test_overflow_comes_when_the_store_is_full_and_not_before(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    origin = make_volume(host, "o", thin=False)
    must(host, "lvcreate", "-s", "-y", "-l", "1", "-n", "s", "xenvols/o")
    room = 256 * KIB // CHUNK_BYTES - 2
    for chunk in range(room):
        write_volume(host, origin, b"x", chunk * CHUNK_BYTES)
    attributes = must(host, "lvs", "--noheadings", "-o", "lv_attr,snap_percent", "xenvols/s")
    assert ["swi-a-s---", "99.99"] == attributes.split()
    assert bytes(VOLUME_BYTES) == read_volume(host, "/dev/xenvols/s")
    write_volume(host, origin, b"x", room * CHUNK_BYTES)
    fields = "lv_attr,snap_percent,lv_snapshot_invalid"
    row = must(host, "lvs", "--noheadings", "--separator", ";", "-o", fields, "xenvols/s")
    assert "swi-I-s---;100.00;snapshot invalid" == row.strip()
    assert "0 1024 snapshot Invalid" == must(host, "dmsetup", "status", "xenvols-s").strip()
    with pytest.raises(CopyFailed, match="at byte 0"):
        read_volume(host, "/dev/xenvols/s")
    write_volume(host, origin, b"y", 0)


def test_overflow_harms_no_guest(tmp_path: Path) -> None:
    host = make_host(tmp_path, WEB)
    must(host, "lvcreate", "-s", "-y", "-l", "1", "-n", "s", "xenvols/web_root")
    host.sleep(60.0)
    assert "swi-I-s---" in must(host, "lvs", "xenvols/s")
    must(host, "xl", "destroy", "web")
    must(host, "xl", "create", "/etc/xen/web.cfg")
    host.sleep(5.0)
    assert [] == complaints(host)


def test_metadata_counts_as_the_kernel_counts_it(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    origin = make_volume(host, "o", thin=False)
    must(host, "lvcreate", "-s", "-y", "-l", "2", "-n", "s", "xenvols/o")
    assert "0 1024 snapshot 16/1024 16" == must(host, "dmsetup", "status", "xenvols-s").strip()
    for chunk in (3, 100, 101, 50):
        write_volume(host, origin, b"x", chunk * CHUNK_BYTES)
    assert "0 1024 snapshot 48/1024 16" == must(host, "dmsetup", "status", "xenvols-s").strip()


def test_exception_store_is_dm_snapshots_own_format(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "cow", os.O_RDWR | os.O_CREAT)
    ExceptionStore.format(fd)
    store = ExceptionStore(fd, 4 * MIB)
    for chunk in (3, 100, 101, 5000):
        store.preserve(chunk, bytes([chunk % 256]) * CHUNK_BYTES)
    assert b"SnAp" == os.pread(fd, 4, 0)
    assert [1, 1, 8] == [int.from_bytes(os.pread(fd, 4, n), "little") for n in (4, 8, 12)]
    pairs = [
        tuple(int.from_bytes(os.pread(fd, 8, CHUNK_BYTES + 16 * n + m), "little") for m in (0, 8))
        for n in range(5)
    ]
    assert [(3, 2), (100, 3), (101, 4), (5000, 5), (0, 0)] == pairs
    os.close(fd)


def test_exception_store_is_read_back_beyond_its_first_area(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "cow", os.O_RDWR | os.O_CREAT)
    ExceptionStore.format(fd)
    store = ExceptionStore(fd, 4 * MIB)
    for chunk in range(600):
        store.preserve(chunk, chunk.to_bytes(4, "little") * (CHUNK_BYTES // 4))
    again = ExceptionStore(fd, 4 * MIB)
    assert store.table == again.table
    assert 600 == len(again.table)
    assert len(set(again.table.values())) == 600
    assert not {1, 258, 515} & set(again.table.values()), "areas lie there"
    for chunk in (0, 255, 256, 599):
        kept = again.read_chunk(chunk)
        assert kept is not None
        assert chunk == int.from_bytes(kept[:4], "little")
    os.close(fd)


def test_full_exception_store_says_so_for_good(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "cow", os.O_RDWR | os.O_CREAT)
    ExceptionStore.format(fd)
    store = ExceptionStore(fd, 4 * CHUNK_BYTES)
    store.preserve(0, bytes(CHUNK_BYTES))
    store.preserve(1, bytes(CHUNK_BYTES))
    with pytest.raises(StoreFull):
        store.preserve(2, bytes(CHUNK_BYTES))
    assert not ExceptionStore(fd, 4 * CHUNK_BYTES).valid
    os.close(fd)


def test_full_pool_makes_its_guests_wait_and_loses_nothing(tmp_path: Path) -> None:
    small = ThinPoolSpec(name="pool", size_bytes=2 * MIB)
    group = GroupSpec(size_bytes=64 * MIB, extent_bytes=256 * KIB, pools=(small,))
    host = make_host(tmp_path, THINNY, group=group)
    filler = make_volume(host, "filler", thin=True)
    host.sleep(30.0)
    used = float(must(host, "lvs", "--noheadings", "-o", "data_percent", "xenvols/pool"))
    assert 0 < used < 100
    take_snapshot(host, "thinny_root", "s", thin=True)
    with pytest.raises(CopyFailed, match="full"):
        device = host.open_volume(filler, writable=True)
        try:
            for offset in range(0, VOLUME_BYTES, 4096):
                device.write_at(offset, memoryview(b"z" * 4096))
            for offset in range(0, 2 * MIB, 64 * KIB):
                write_volume(host, "/dev/xenvols/s", b"z", offset)
        except Exception as error:
            raise CopyFailed(f"full: {error}") from error
        finally:
            device.close()
    host.sleep(5.0)
    must(host, "lvremove", "-y", "xenvols/filler", "xenvols/s")
    host.sleep(5.0)
    assert [] == complaints(host)


def test_inactive_volume_cannot_be_opened(tmp_path: Path) -> None:
    host = make_host(tmp_path, THINNY)
    must(host, "lvcreate", "-s", "-y", "-n", "s", "xenvols/thinny_root")
    with pytest.raises(CopyFailed, match="/dev/xenvols/s"):
        host.open_volume("/dev/xenvols/s")
    must(host, "lvchange", "-ay", "xenvols/s")
    with pytest.raises(CopyFailed):
        host.open_volume("/dev/xenvols/s")
    must(host, "lvchange", "-ay", "-K", "xenvols/s")
    host.open_volume("/dev/xenvols/s").close()


def test_read_error_names_device_and_offset(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(Fault(tool="read", kind=FaultKind.EIO, verb="web_root", offset=70_000))
    device = host.open_volume("/dev/xenvols/web_root")
    try:
        buffer = memoryview(bytearray(65_536))
        assert 65_536 == device.read_into(0, buffer)
        with pytest.raises(CopyFailed, match=r"/dev/xenvols/web_root at byte 65536"):
            device.read_into(65_536, buffer)
    finally:
        device.close()


def test_reading_takes_time_and_lets_guests_tick(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    before = host.monotonic_seconds()
    read_volume(host, "/dev/xenvols/web_root")
    assert pytest.approx(2 * MIB / (200 * MIB)) == host.monotonic_seconds() - before


def test_write_past_the_end_of_a_volume_is_refused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    path = make_volume(host, "o", thin=False)
    device = host.open_volume(path, writable=True)
    try:
        with pytest.raises(CopyFailed, match="No space left"):
            device.write_at(VOLUME_BYTES - 10, memoryview(b"x" * 11))
    finally:
        device.close()


def test_open_volume_is_in_use_until_it_is_closed(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    path = make_volume(host, "o", thin=False)
    device = host.open_volume(path)
    refused = call(host, "lvremove", "-y", "xenvols/o")
    assert (5, "  Logical volume xenvols/o in use.\n") == (refused.exit_code, refused.stderr)
    device.close()
    device.close()
    must(host, "lvremove", "-y", "xenvols/o")


def test_volume_held_by_a_dead_process_is_free(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    make_volume(host, "o", thin=False)
    child = os.fork()
    if child == 0:
        host.open_volume("/dev/xenvols/o")
        os._exit(0)
    os.waitpid(child, 0)
    must(host, "lvremove", "-y", "xenvols/o")


def test_snapshot_marks_are_those_of_its_run(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    must(
        host, "lvcreate", "-s", "-y", "-l", "1", "-n", "s", "--addtag", "xenbackup",
        "--addtag", f"xb.run={RUN}", "xenvols/web_root",
    )  # fmt: skip
    listed = must(host, "lvs", "--noheadings", "-o", "lv_tags", "xenvols/s").strip()
    assert f"xb.run={RUN},xenbackup" == listed
