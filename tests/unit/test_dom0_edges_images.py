"""Memory images at their edges: streams cut or forged at each place, and files that change."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path

import pytest

from tests.unit.test_legacy_image import FILE, HEAD, MEMORY_MIB, expression
from tests.unit.test_legacy_image import inspect as inspect_legacy
from tests.unit.test_legacy_image import stream as lay_legacy_stream
from tests.unit.test_memory_image import CONFIGURATION, HEADER_BYTES, IMAGE, inspect, record, write
from xenbackup.dom0.legacy_stream import (
    PAGE_BYTES,
    LegacyWalk,
    StreamUnfit,
    compose_legacy_stream,
)
from xenbackup.dom0.memory_image import (
    XM_MAGIC,
    compose_legacy_image,
    compose_memory_image,
    compose_xm_image,
    inspect_memory_image,
    read_memory_payload,
    rewrite_memory_image,
)
from xenbackup.errors import RestoreRefused, SaveFailed

LIBXC_BEGIN = HEADER_BYTES + 16 + 8
FIRST_PAGES = LIBXC_BEGIN + 24 + 16


def extended(blocks: bytes, *, claims: int | None = None) -> bytes:
    length = len(blocks) if claims is None else claims
    return struct.pack("<Q", 2) + b"\xff" * 8 + struct.pack("<I", length) + blocks + bytes(9000)


def hvm(tail: bytes) -> bytes:
    """A fully virtual stream of one page by hand, with this tail."""
    expressed = expression("hvm")
    head = XM_MAGIC + struct.pack(">i", len(expressed)) + expressed.encode()
    page = struct.pack("<iQ", 1, 0) + bytes(PAGE_BYTES) + struct.pack("<i", 0)
    return head + struct.pack("<Q", 2) + page + tail


CONTEXT = struct.pack("<QQQI", 0, 0, 0, 8) + bytes(8)


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (struct.pack("<Q", 0), "names no page frames"),
        (extended(struct.pack("<4sI", b"vcpu", 77) + bytes(77)), "a vcpu context of 77 bytes"),
        (extended(struct.pack("<4sI", b"what", 0)), "an unknown block b'what'"),
        (extended(struct.pack("<4sI", b"xcnt", 2) + bytes(2)), "an unknown block b'xcnt'"),
        (extended(struct.pack("<4sI", b"extv", 0), claims=7), "does not end at byte"),
        (lay_legacy_stream(struct.pack("<i", 1025)), "a batch of 1025 pages"),
        (lay_legacy_stream(struct.pack("<ii", -2, 4096)), "a vcpu 4096"),
        (lay_legacy_stream(struct.pack("<ii", -2, -1)), "a vcpu -1"),
    ],
)
def test_paravirtual_stream_of_another_form_is_not_complete(
    tmp_path: Path, stream: bytes, reason: str
) -> None:
    found = inspect_legacy(tmp_path, HEAD + stream)
    assert not found.complete
    assert reason in found.reason


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (CONTEXT, "ends before the state of its device model"),
        (struct.pack("<QQQI", 0, 0, 0, (16 << 20) + 1), "a context of 16777217 bytes"),
        (CONTEXT + b"NobodysDeviceModel001" + b"x", "22 bytes follow its end"),
        (CONTEXT + b"short", "5 bytes follow its end"),
        (CONTEXT + b"DeviceModelRecord0002" + struct.pack("<I", 99) + b"x", "the device model's"),
    ],
)
def test_fully_virtual_stream_of_another_form_is_not_complete(
    tmp_path: Path, tail: bytes, reason: str
) -> None:
    found = inspect_legacy(tmp_path, hvm(tail))
    assert not found.complete
    assert reason in found.reason


def test_device_model_with_a_length_is_seen_to_its_end(tmp_path: Path) -> None:
    tail = CONTEXT + b"RemusDeviceModelState" + struct.pack("<I", 3) + b"abc"
    found = inspect_legacy(tmp_path, hvm(tail))
    assert (True, "") == (found.complete, found.doubt), found.reason


def test_file_that_shrinks_while_it_is_walked_is_not_complete() -> None:
    content = compose_legacy_stream(bytes(PAGE_BYTES), fully_virtual=True)
    shrunk = io.BytesIO(content[:6])
    walk = LegacyWalk(shrunk, len(content), 0, fully_virtual=True)
    with pytest.raises(StreamUnfit, match="ends inside its first word"):
        list(walk.find_pages())


def test_configuration_file_in_the_head_that_nobody_can_read_makes_it_incomplete(
    tmp_path: Path,
) -> None:
    image = compose_legacy_image(FILE, b"x", fully_virtual=False)
    broken = image.replace(b"memory", b"memo(y")
    found = inspect_legacy(tmp_path, broken)
    assert not found.complete
    assert "its configuration cannot be read" in found.reason


def test_payload_of_an_image_that_is_missing_or_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SaveFailed, match="Cannot read the memory image"):
        read_memory_payload(tmp_path / "absent")
    cut = write(tmp_path, IMAGE[:-4])
    with pytest.raises(SaveFailed, match="is not complete"):
        read_memory_payload(cut)
    strange = compose_xm_image(expression(), b"x" * (MEMORY_MIB << 20), fully_virtual=False)
    unknown = strange.replace(struct.pack("<iiQ", -2, 0, 1), struct.pack("<iiQ", -5, 0, 1))
    with pytest.raises(SaveFailed, match="unknown chunk -5"):
        read_memory_payload(write(tmp_path, unknown))


def test_record_of_pages_too_short_for_its_own_count_is_refused(tmp_path: Path) -> None:
    pages = record(1, struct.pack("<II", 9, 0))
    path = write(tmp_path, IMAGE[:FIRST_PAGES] + pages + record(0) + record(0))
    with pytest.raises(SaveFailed, match="too short"):
        read_memory_payload(path)


@pytest.mark.parametrize(
    ("offset", "reason"),
    [(HEADER_BYTES, "no libxl stream that we know"), (LIBXC_BEGIN, "no libxc stream that we know")],
)
def test_streams_of_another_magic_are_not_complete(
    tmp_path: Path, offset: int, reason: str
) -> None:
    damaged = bytearray(IMAGE)
    damaged[offset] ^= 0x80
    found = inspect(tmp_path, bytes(damaged))
    assert not found.complete
    assert reason in found.reason


def test_disk_that_keeps_its_path_keeps_what_belongs_to_it(tmp_path: Path) -> None:
    configuration = json.loads(CONFIGURATION)
    configuration["disks"][0]["script"] = "block-x"
    configuration["disks"].append("no disk at all")
    source = write(tmp_path, compose_memory_image(json.dumps(configuration), b"x"))
    same = {"xvda": "/dev/xenvols/web_root"}
    kept = rewrite_memory_image(source, tmp_path / "kept", disks=same)
    assert "block-x" == json.loads(kept.configuration_json)["disks"][0]["script"]
    moved = rewrite_memory_image(source, tmp_path / "moved", disks={"xvda": "/dev/other"})
    assert {"pdev_path": "/dev/other", "vdev": "xvda", "readwrite": 1} == json.loads(
        moved.configuration_json
    )["disks"][0]


def test_configuration_whose_disks_are_no_list_has_none_to_move(tmp_path: Path) -> None:
    configuration = json.loads(CONFIGURATION) | {"disks": {"xvda": 1}}
    source = write(tmp_path, compose_memory_image(json.dumps(configuration), b"x"))
    with pytest.raises(RestoreRefused, match="no disk xvda"):
        rewrite_memory_image(source, tmp_path / "copy", disks={"xvda": "/dev/x"})


def test_copy_into_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SaveFailed, match=r"Cannot write .*absent"):
        rewrite_memory_image(write(tmp_path, IMAGE), tmp_path / "absent" / "copy")


def test_copy_that_a_disk_swallowed_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path, IMAGE), tmp_path / "copy"
    fsync = os.fsync

    def lose_the_end(descriptor: int) -> None:
        fsync(descriptor)
        os.ftruncate(descriptor, 200)

    monkeypatch.setattr(os, "fsync", lose_the_end)
    with pytest.raises(SaveFailed, match="is damaged"):
        rewrite_memory_image(source, target)


def test_image_whose_configuration_says_nothing_of_memory_is_read(tmp_path: Path) -> None:
    source = write(tmp_path, compose_memory_image('{"c_info": {"name": 5}}', b"x"))
    found = inspect_memory_image(source)
    assert found.complete, found.reason
    assert ("", "") == (found.domain_name, found.uuid)
