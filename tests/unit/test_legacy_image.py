"""Images of xm and of xl before Xen 4.6: no END record, so their end is known from their layout."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.dom0.legacy_stream import PAGE_BYTES, compose_legacy_stream
from xenbackup.dom0.memory_image import (
    XM_MAGIC,
    MemoryImage,
    compose_legacy_image,
    compose_xm_image,
    inspect_memory_image,
    read_memory_payload,
    rewrite_memory_image,
)
from xenbackup.errors import RestoreRefused

UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
MEMORY_MIB = 1


def expression(image: str = "linux") -> str:
    return (
        f"(domain (domid 3) (uuid {UUID}) (name web) (memory {MEMORY_MIB}) (vcpus 2)"
        f" (image ({image} (kernel /boot/x))) (state ---s--))"
    )


HEAD = XM_MAGIC + struct.pack(">i", len(expression())) + expression().encode()
FILE = f'name = "web"\nuuid = "{UUID}"\nmemory = {MEMORY_MIB}\nkernel = "/boot/x"\n'
PAYLOAD = b"counter 1900 " * 1000
FORMS = {
    "xm 3 pv": compose_xm_image(expression(), PAYLOAD, fully_virtual=False, vcpus=2),
    "xm 4 pv": compose_xm_image(expression(), PAYLOAD, fully_virtual=False, vcpus=2, extended=True),
    "xl 4.3 pv": compose_legacy_image(FILE, PAYLOAD, fully_virtual=False),
    "xl 4.3 hvm": compose_legacy_image('type = "hvm"\n' + FILE, PAYLOAD, fully_virtual=True),
}


def inspect(folder: Path, content: bytes) -> MemoryImage:
    path = folder / "image"
    path.write_bytes(content)
    return inspect_memory_image(path)


def stream(*parts: bytes, word: str = "Q", context: int = 0x1430) -> bytes:
    """A paravirtual stream of one page by hand, with `parts` between its page and its end."""
    tail = struct.pack(f"<iI{word}", 0, 1, 1) + bytes(context) + bytes(PAGE_BYTES)
    page = struct.pack(f"<i{word}", 1, 0) + bytes(PAGE_BYTES)
    return struct.pack(f"<2{word}", 2, 7) + page + b"".join(parts) + tail


@pytest.mark.parametrize("form", FORMS)
def test_whole_image_tells_whose_it_is_and_gives_its_memory_back(tmp_path: Path, form: str) -> None:
    found = inspect(tmp_path, FORMS[form])
    assert (True, "web", UUID, "", "") == (
        found.complete,
        found.domain_name,
        found.uuid,
        found.reason,
        found.doubt,
    )
    assert PAYLOAD == read_memory_payload(tmp_path / "image")


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation_is_incomplete(tmp_path: Path, form: str) -> None:
    image = FORMS[form]
    for length in [*range(0, len(image), 97), *range(len(image) - 60, len(image))]:
        found = inspect(tmp_path, image[:length])
        assert not found.complete, length
        assert found.reason, length


def test_paravirtual_stream_by_hand_as_its_documents_lay_it_out(tmp_path: Path) -> None:
    assert inspect(tmp_path, HEAD + stream()).complete


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(struct.pack("<i", -1), id="verify"),
        pytest.param(struct.pack("<iiQ", -2, 0, 1), id="vcpus"),
        pytest.param(struct.pack("<iIQII", -7, 0, 0, 0, 0), id="tsc"),
        pytest.param(struct.pack("<iIQ", -8, 0, 0), id="console"),
        pytest.param(struct.pack("<i", -9), id="last checkpoint"),
        pytest.param(struct.pack("<iI", -18, 5) + bytes(5), id="toolstack"),
        pytest.param(struct.pack("<iQ", 1, 0xF0000000), id="a frame without a page"),
        pytest.param(struct.pack("<iQ", 1, 0x90000003) + bytes(PAGE_BYTES), id="a pinned table"),
    ],
)
def test_chunks_between_pages_and_end_are_walked_over(tmp_path: Path, chunk: bytes) -> None:
    found = inspect(tmp_path, HEAD + stream(chunk))
    assert (True, "") == (found.complete, found.doubt), found.reason


def test_every_online_vcpu_has_its_context(tmp_path: Path) -> None:
    two = struct.pack("<iiQ", -2, 3, 0b1001)
    assert not inspect(tmp_path, HEAD + stream(two)).complete
    assert inspect(tmp_path, HEAD + stream(two, context=2 * 0x1430)).complete


def test_stream_of_a_dom0_of_32_bits(tmp_path: Path) -> None:
    assert inspect(tmp_path, HEAD + stream(word="I", context=0xAF0)).complete
    assert not inspect(tmp_path, HEAD + stream(word="I", context=0xAF0)[:-1]).complete


def test_extended_information_gives_the_width_of_the_guest_and_its_contexts(tmp_path: Path) -> None:
    blocks = struct.pack("<4sI", b"vcpu", 0xAF0) + bytes(0xAF0)
    blocks += struct.pack("<4sI", b"extv", 0) + struct.pack("<4sII", b"xcnt", 4, 576)
    head = struct.pack("<Q", 2) + b"\xff" * 8 + struct.pack("<I", len(blocks)) + blocks
    tables = struct.pack("<Q", 7)
    page = struct.pack("<iQ", 1, 0) + bytes(PAGE_BYTES) + struct.pack("<iI", 0, 0)
    vcpu = bytes(0xAF0) + bytes(128) + struct.pack("<QQ", 3, 560) + bytes(560)
    image = HEAD + head + tables + page + vcpu + bytes(PAGE_BYTES)
    assert inspect(tmp_path, image).complete
    assert not inspect(tmp_path, image[:-1]).complete


def test_device_model_without_a_length_leaves_a_doubt(tmp_path: Path) -> None:
    image = compose_xm_image(expression("hvm"), PAYLOAD, fully_virtual=True)
    found = inspect(tmp_path, image)
    assert found.complete
    assert "device model" in found.doubt
    assert not inspect(tmp_path, image[: image.index(b"QemuDeviceModelRecord")]).complete


def test_form_that_is_not_known_is_judged_by_its_size_alone(tmp_path: Path) -> None:
    strange = struct.pack("<i", -5)  # transcendent memory: nobody wrote down its layout
    small = inspect(tmp_path, HEAD + stream(strange))
    assert not small.complete
    assert "unknown chunk -5" in small.reason
    large = inspect(tmp_path, HEAD + stream(strange) + bytes(MEMORY_MIB << 20))
    assert large.complete
    assert "by its size alone" in large.doubt


def test_bytes_after_the_end_are_a_form_that_is_not_known(tmp_path: Path) -> None:
    assert "follow its end" in inspect(tmp_path, FORMS["xm 3 pv"] + b"\0").reason


def test_stream_without_pages_is_not_complete(tmp_path: Path) -> None:
    empty = compose_legacy_stream(b"", fully_virtual=False)
    assert "no memory pages" in inspect(tmp_path, HEAD + empty).reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(domain", "cannot be read"),
        ("(domain (domid 3) (name web) (uuid nonsense))", "cannot be read"),
        ("", "0 bytes"),
        ("(domain (domid 0) (name Domain-0))", "0 guests"),
    ],
)
def test_heads_that_are_no_domain_are_incomplete(tmp_path: Path, text: str, reason: str) -> None:
    image = XM_MAGIC + struct.pack(">i", len(text)) + text.encode() + stream()
    assert reason in inspect(tmp_path, image).reason


def test_older_images_take_no_other_identity(tmp_path: Path) -> None:
    source = tmp_path / "image"
    source.write_bytes(FORMS["xm 3 pv"])
    with pytest.raises(RestoreRefused, match="only be restored as it is"):
        rewrite_memory_image(source, tmp_path / "copy", name="other")


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMS)),
    position=st.integers(0, 60_000),
    flip=st.integers(1, 255),
    cut=st.integers(0, 60_000),
)
def test_damage_gets_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, form: str, position: int, flip: int, cut: int
) -> None:
    damaged = bytearray(FORMS[form])
    damaged[position % len(damaged)] ^= flip
    content = bytes(damaged[: max(len(damaged) - cut, 0)])
    found = inspect(tmp_path_factory.mktemp("image"), content)
    assert found.size_bytes == len(content)
    assert found.complete or found.reason
