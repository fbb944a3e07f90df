"""Each sign of corruption that a guest of the simulated host knows, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.simulated.hosts import (
    SPOOL,
    WEB_UUID,
    call,
    complaints,
    counter,
    letters,
    look,
    make_host,
    must,
    read_volume,
    write_volume,
)
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.dom0.simulated.guest_memory import _digest, decode_memory, encode_memory
from xenbackup.dom0.simulated.guests import (
    RECORD_OFFSET,
    RING_OFFSET,
    SCRATCH_OFFSET,
    Record,
    decode_record,
    encode_record,
)
from xenbackup.dom0.simulated.state import KIB, Ram

ROOT, DATA = "/dev/xenvols/web_root", "/dev/xenvols/web_data"
IMAGE = f"{SPOOL}/image"


def save(host: SimulatedHost) -> None:
    host.sleep(5.0)
    must(host, "xl", "save", "web", IMAGE)


# Memory


@given(
    counter=st.integers(min_value=0, max_value=1 << 40),
    size_bytes=st.integers(min_value=0, max_value=8192),
)
def test_memory_comes_back_as_it_was(counter: int, size_bytes: int) -> None:
    ram = Ram(key="web", counter=counter, written=[1, 2])
    payload = encode_memory(ram, size_bytes)
    assert len(payload) >= size_bytes
    assert ram == decode_memory(payload)


@given(st.data())
def test_any_changed_byte_of_memory_is_noticed(data: st.DataObject) -> None:
    payload = bytearray(encode_memory(Ram(key="web", counter=7), 2048))
    place = data.draw(st.integers(min_value=0, max_value=len(payload) - 1))
    payload[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    assert decode_memory(bytes(payload)) is None


@pytest.mark.parametrize("length", [0, 27])
def test_memory_that_is_cut_short_is_none(length: int) -> None:
    assert decode_memory(encode_memory(Ram(key="web"), 64)[:length]) is None


def test_memory_of_another_program_is_none() -> None:
    payload = encode_memory(Ram(key="web"), 0)
    body = msgspec.json.encode(Ram(key="web"))
    other = b'{"counter":1}'.ljust(len(body))
    head = payload[:12] + _digest(other, b"")
    assert decode_memory(head + other) is None
    assert decode_memory(payload[:12] + _digest(body, b"") + body) == Ram(key="web")


# Records


@pytest.mark.parametrize("content", [b"", b"XBTICK01", bytes(512)])
def test_what_is_no_record_is_none(content: bytes) -> None:
    assert decode_record(content) is None


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "running: xvda holds no valid record, memory knows"),
        (Record(key="web", disk=1, counter=0, epoch=0), "running: xvda is disk 2 of web"),
        (Record(key="mail", disk=0, counter=0, epoch=0), "running: xvda is disk 1 of mail"),
    ],
)
def test_record_that_is_replaced_is_noticed_at_once(
    tmp_path: Path, record: Record | None, said: str
) -> None:
    host = make_host(tmp_path)
    host.sleep(1.0)
    write_volume(host, ROOT, encode_record(record) if record else bytes(512), RECORD_OFFSET)
    host.sleep(1.0)
    assert [text for text in complaints(host) if text.startswith(said)]


# Booting and going on


def test_history_that_is_lost_is_noticed_at_boot(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(5.0)
    must(host, "xl", "destroy", "web")
    write_volume(host, ROOT, bytes(32 * 4096), RING_OFFSET)
    must(host, "xl", "create", "/etc/xen/web.cfg")
    assert ["boot: xvda lost the history of round"] == [text[:36] for text in complaints(host)]


def test_history_that_is_lost_is_noticed_by_memory_that_goes_on(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    save(host)
    write_volume(host, DATA, bytes(32 * 4096), RING_OFFSET)
    must(host, "xl", "restore", IMAGE)
    assert ["resume: xvdb lost the history of round"] == [text[:38] for text in complaints(host)]


def test_first_disk_without_a_record_leaves_the_second_to_count_from(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.sleep(5.0)
    must(host, "xl", "destroy", "web")
    for path in (ROOT, DATA):
        write_volume(host, path, bytes(512), RECORD_OFFSET)
    must(host, "xl", "create", "/etc/xen/web.cfg")
    assert [
        "boot: xvda holds no valid record",
        "boot: xvdb holds no valid record",
    ] == complaints(host)


def test_memory_that_finds_another_number_of_disks_notices(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    save(host)
    place = host.place("/etc/xen/web.cfg")
    lines = [line for line in place.read_text().splitlines() if not line.startswith("disk")]
    place.write_text("\n".join([*lines, "disk = [ 'phy:/dev/xenvols/web_root,xvda,w' ]"]) + "\n")
    must(host, "xl", "restore", "/etc/xen/web.cfg", IMAGE)
    assert ["resume: memory knows 2 disks, the machine has 1"] == complaints(host)


@pytest.mark.parametrize("words", [("create", "/etc/xen/web.cfg"), ("restore", IMAGE)])
def test_guest_whose_disk_is_suspended_starts_when_it_answers(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    host = make_host(tmp_path)
    save(host)
    must(host, "dmsetup", "suspend", "xenvols-web_data")
    must(host, "xl", *words)
    host.sleep(30.0)
    assert "-b----" == letters(host)
    content = read_volume(host, ROOT)
    must(host, "dmsetup", "resume", "xenvols-web_data")
    host.sleep(5.0)
    assert content != read_volume(host, ROOT)
    assert [] == complaints(host)


def test_suspend_that_is_due_to_a_paused_guest_leaves_it_paused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    host.set_fault(
        Fault(tool="xl", verb="save", kind=FaultKind.KILL_MIDDLE, boundary="requested", times=1)
    )
    assert -9 == call(host, "xl", "save", "web", IMAGE).exit_code
    must(host, "xl", "pause", "web")
    at = counter(host)
    host.sleep(10.0)
    assert ("--p---", at) == (letters(host), counter(host))
    must(host, "xl", "unpause", "web")
    host.sleep(1.0)
    assert at < counter(host)


# Scratch


@pytest.mark.parametrize("size", [0, 512, 5000, 100 * KIB])
def test_scratch_of_any_size_stays_in_its_region(tmp_path: Path, size: int) -> None:
    host = make_host(tmp_path)
    beside = slice(SCRATCH_OFFSET + 128 * KIB, None)
    before = read_volume(host, DATA)
    with host.machine() as machine:
        ram = machine.state.domains[0].ram
        assert ram is not None
        ram.scratch_bytes = size
        machine.commit()
    host.sleep(8.0)
    host.sleep(3600.0)
    after = read_volume(host, DATA)
    region = slice(SCRATCH_OFFSET, SCRATCH_OFFSET + 128 * KIB)
    assert (before[region] != after[region]) == bool(size)
    assert before[beside] == after[beside]
    assert [] == complaints(host)


def test_identity_of_the_guest_outlives_all_of_this(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    save(host)
    must(host, "xl", "restore", IMAGE)
    (entry,) = json.loads(must(host, "xl", "list", "-l", "web"))
    assert WEB_UUID == entry["config"]["c_info"]["uuid"] == look(host).uuid
