"""Memory images: whole ones are known as such, and nothing else is."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.dom0.memory_image import (
    MAGIC,
    XM_MAGIC,
    MemoryImage,
    compose_memory_image,
    inspect_memory_image,
    read_memory_payload,
    rewrite_memory_image,
)
from xenbackup.errors import RestoreRefused, SaveFailed, UsageError, XenbackupError

UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
CONFIGURATION = json.dumps(
    {
        "c_info": {"type": "pv", "name": "web", "uuid": UUID},
        "b_info": {"max_memkb": 98304},
        "disks": [
            {"pdev_path": "/dev/xenvols/web_root", "vdev": "xvda", "readwrite": 1},
            {"pdev_path": "/dev/xenvols/web_data", "vdev": "xvdb", "readwrite": 1},
        ],
    }
)
IMAGE = compose_memory_image(CONFIGURATION, b"counter 1900 " * 1000)
HEADER_BYTES = 48 + 4 + len(CONFIGURATION) + 1
LIBXL_BYTES = 16
LIBXC_BYTES = 8 + 24 + 16


def write(folder: Path, content: bytes) -> Path:
    path = folder / "web.save"
    path.write_bytes(content)
    return path


def inspect(folder: Path, content: bytes) -> MemoryImage:
    return inspect_memory_image(write(folder, content))


def record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def test_a_whole_image_tells_whose_it_is(tmp_path: Path) -> None:
    expected = MemoryImage(
        complete=True,
        size_bytes=len(IMAGE),
        domain_name="web",
        uuid=UUID,
        configuration_json=CONFIGURATION,
        xen_version="4.17",
    )
    assert expected == inspect(tmp_path, IMAGE)


def test_the_head_is_laid_out_as_xl_writes_it() -> None:
    assert b"Xen saved domain, xl format\n \0 \r" == IMAGE[:32] == MAGIC
    byte_order, mandatory, optional, length = struct.unpack_from("<IIII", IMAGE, 32)
    # xl prints these as `new xl format (info 0x3/0x0/1040)`: 1040 is four bytes of length, the
    # JSON, and the NUL at its end.
    assert (0x01020304, 3, 0, 4 + len(CONFIGURATION) + 1) == (
        byte_order,
        mandatory,
        optional,
        length,
    )
    assert IMAGE[HEADER_BYTES:].startswith(b"LibxlFmt")
    assert b"\xff" * 8 + b"XENF" == IMAGE[HEADER_BYTES + 24 :][:12]


def test_the_payload_comes_back(tmp_path: Path) -> None:
    for payload in (b"", b"x", bytes(range(256)) * 40_000):
        path = write(tmp_path, compose_memory_image(CONFIGURATION, payload))
        assert inspect_memory_image(path).complete
        assert payload == read_memory_payload(path)


def test_every_truncation_is_incomplete(tmp_path: Path) -> None:
    image = compose_memory_image(CONFIGURATION, b"small")
    for length in [*range(HEADER_BYTES + 400), *range(len(image) - 100, len(image))]:
        found = inspect(tmp_path, image[:length])
        assert not found.complete, length
        assert found.reason, length


def test_an_image_cut_at_the_end_of_its_memory_still_tells_its_domain(tmp_path: Path) -> None:
    found = inspect(tmp_path, IMAGE[:-8])
    assert (False, "web", UUID) == (found.complete, found.domain_name, found.uuid)
    assert "END" in found.reason


def test_bytes_after_the_end_record_are_not_what_xl_wrote(tmp_path: Path) -> None:
    found = inspect(tmp_path, IMAGE + b"\0")
    assert (False, "1 bytes follow its END record") == (found.complete, found.reason)


def test_records_of_an_emulator_between_the_streams_are_walked_over(tmp_path: Path) -> None:
    emulator = record(3, b"q" * 6679)
    found = inspect(tmp_path, IMAGE[:-8] + emulator + record(0))
    assert found.complete


def test_optional_records_of_later_versions_are_walked_over(tmp_path: Path) -> None:
    assert inspect(tmp_path, IMAGE[:-8] + record(0x80000042, b"new") + record(0)).complete


def test_a_stream_of_unknown_records_is_not_called_complete(tmp_path: Path) -> None:
    found = inspect(tmp_path, IMAGE[:-8] + record(0x4242, b"?") + record(0))
    assert not found.complete
    assert "unknown" in found.reason


def test_an_image_without_memory_is_not_complete(tmp_path: Path) -> None:
    start = HEADER_BYTES + LIBXL_BYTES + LIBXC_BYTES
    found = inspect(tmp_path, IMAGE[:start] + record(0) + record(0))
    assert (False, "the stream holds no memory pages") == (found.complete, found.reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin as a file of `xl save`"),
        (b"\0" * 4096, "does not begin as a file of `xl save`"),
        (XM_MAGIC + b"\0" * 100, "S-expression of 0 bytes"),
        (MAGIC + struct.pack("<IIII", 0x04030201, 3, 0, 5) + b"\0" * 99, "byte order"),
        (MAGIC + struct.pack("<IIII", 0x01020304, 4, 0, 5) + b"\0" * 99, "another Xen version"),
        (MAGIC + struct.pack("<IIII", 0x01020304, 3, 0, 1 << 31) + b"\0" * 99, "does not fit"),
        (MAGIC + struct.pack("<IIIII", 0x01020304, 3, 0, 8, 5) + b"\0" * 99, "claims 5"),
        (MAGIC + struct.pack("<IIIII", 0x01020304, 3, 0, 8, 4) + b"{[(\0" * 99, "no JSON"),
        (MAGIC + struct.pack("<IIIII", 0x01020304, 3, 0, 8, 4) + b"[]\0\0" * 99, "c_info"),
    ],
)
def test_foreign_files_are_incomplete_and_say_why(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    found = inspect(tmp_path, content)
    assert not found.complete
    assert reason in found.reason


def test_a_missing_file_is_incomplete(tmp_path: Path) -> None:
    assert "does not exist" in inspect_memory_image(tmp_path / "missing").reason


def test_a_file_that_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(SaveFailed, match="Cannot read"):
        inspect_memory_image(tmp_path)


def test_a_deeply_nested_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SaveFailed, match="no JSON"):
        compose_memory_image("[" * 200_000, b"")


def test_rewriting_changes_identity_and_disks_and_nothing_else(tmp_path: Path) -> None:
    source, target = write(tmp_path, IMAGE), tmp_path / "copy"
    found = rewrite_memory_image(
        source,
        target,
        name="web-copy",
        uuid="11111111-bc1e-4273-8175-79ad2f3505e8",
        disks={"xvda": "/dev/other/web_root"},
    )
    assert (True, "web-copy", "11111111-bc1e-4273-8175-79ad2f3505e8") == (
        found.complete,
        found.domain_name,
        found.uuid,
    )
    paths = [disk["pdev_path"] for disk in json.loads(found.configuration_json)["disks"]]
    assert ["/dev/other/web_root", "/dev/xenvols/web_data"] == paths
    assert {"max_memkb": 98304} == json.loads(found.configuration_json)["b_info"]
    assert read_memory_payload(source) == read_memory_payload(target)
    assert 0o600 == target.stat().st_mode & 0o777


def test_rewriting_nothing_keeps_the_configuration(tmp_path: Path) -> None:
    found = rewrite_memory_image(write(tmp_path, IMAGE), tmp_path / "copy")
    assert json.loads(CONFIGURATION) == json.loads(found.configuration_json)


def test_rewriting_refuses_partial_images_unknown_disks_and_existing_targets(
    tmp_path: Path,
) -> None:
    target = tmp_path / "copy"
    with pytest.raises(RestoreRefused, match="not complete"):
        rewrite_memory_image(write(tmp_path, IMAGE[:-8]), target)
    source = write(tmp_path, IMAGE)
    with pytest.raises(RestoreRefused, match="xvdz"):
        rewrite_memory_image(source, target, disks={"xvdz": "/dev/x"})
    with pytest.raises(UsageError):
        rewrite_memory_image(source, target, name="a\nb")
    assert not target.exists()
    target.write_bytes(b"precious")
    with pytest.raises(RestoreRefused, match="exists already"):
        rewrite_memory_image(source, target)
    assert b"precious" == target.read_bytes()


def test_an_image_of_another_maker_has_no_payload_of_ours(tmp_path: Path) -> None:
    start = HEADER_BYTES + LIBXL_BYTES + LIBXC_BYTES
    for pages in (b"", record(1, struct.pack("<IIQ", 1, 0, 0) + b"\xff" * 4096)):
        path = write(tmp_path, IMAGE[:start] + pages + record(0) + record(0))
        with pytest.raises(SaveFailed, match="no payload of ours"):
            read_memory_payload(path)


def test_a_copy_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    source, target = write(tmp_path, IMAGE), tmp_path / "copy"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SaveFailed, match="Cannot write"):
            rewrite_memory_image(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert not target.exists()


@settings(max_examples=150, deadline=None)
@given(cut=st.binary(max_size=300))
def test_any_bytes_get_a_verdict(tmp_path_factory: pytest.TempPathFactory, cut: bytes) -> None:
    folder = tmp_path_factory.mktemp("image")
    for content in (cut, MAGIC + cut, IMAGE[:HEADER_BYTES] + cut):
        assert not inspect(folder, content).complete


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(IMAGE) - 1), flip=st.integers(1, 255))
def test_a_damaged_byte_never_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("image")
    damaged = bytearray(IMAGE)
    damaged[position] ^= flip
    path = write(folder, bytes(damaged))
    assert inspect_memory_image(path).size_bytes == len(IMAGE)
    with contextlib.suppress(XenbackupError):
        read_memory_payload(path)
