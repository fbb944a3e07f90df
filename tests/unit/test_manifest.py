"""Manifests: what is written reads back the same; anything else is refused, never guessed at."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.points import POINT, make_manifest
from xenbackup.errors import PointDamaged
from xenbackup.model.domain import GuestKind, Tuning, VcpuPinning
from xenbackup.model.job import Consistency
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import HostFacts, Manifest, StoredBacking, StoredDisk, StoredMemory
from xenbackup.storage.manifest import decode_manifest, encode_manifest

ZERO = "0" * 64
MIB = 1 << 20

digests = st.sampled_from([ZERO, "a" * 64, "0123456789abcdef" * 4])
# A domain's name may hold any byte but control characters; those that are no UTF-8 come to us as
# lone surrogates.
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xD7FF), max_size=20)
names = st.binary(min_size=1, max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
counts = st.integers(0, 1 << 40)


backings = st.none() | st.builds(
    StoredBacking, kind=st.sampled_from(VolumeKind), group=texts, lv_name=texts, pool=texts
)


@st.composite
def disks(draw: st.DrawFn, vdev: str) -> StoredDisk:
    block_size = draw(st.sampled_from([64 << 10, 4 * MIB]))
    runs = draw(st.lists(st.tuples(digests, st.integers(1, 8)), max_size=4))
    blocks = tuple(digest for digest, count in runs for _ in range(count))
    short = draw(st.integers(0, block_size - 1)) if blocks else 0
    return StoredDisk(
        vdev=vdev,
        file=f"{vdev}.img",
        size_bytes=len(blocks) * block_size - short,
        digest=draw(digests),
        block_size_bytes=block_size,
        block_digests=blocks,
        source=draw(texts),
        writable=draw(st.booleans()),
        backing=draw(backings),
    )


manifests = st.builds(
    Manifest,
    point=st.just(POINT),
    job=texts,
    round=texts,
    domain=names,
    uuid=texts,
    identity=names,
    kind=st.sampled_from(GuestKind),
    consistency=st.sampled_from(Consistency),
    preset=texts,
    created_at=st.datetimes(timezones=st.just(UTC)),
    disks=st.sets(st.sampled_from(["xvda", "xvdb", "hda", "sda1"])).flatmap(
        lambda vdevs: st.tuples(*(disks(vdev) for vdev in sorted(vdevs)))
    ),
    excluded_disks=st.lists(texts, max_size=2).map(tuple),
    memory=st.none()
    | st.builds(StoredMemory, file=st.just("memory.save"), size_bytes=counts, digest=digests),
    tuning=st.builds(
        Tuning,
        pinning=st.lists(
            st.builds(VcpuPinning, vcpu=st.integers(0, 512), hard=texts, soft=texts), max_size=3
        ).map(tuple),
        scheduler=texts,
        weight=st.none() | counts,
        cap=st.none() | counts,
        vcpus=counts,
    ),
    host=st.builds(
        HostFacts,
        hostname=texts,
        xen_version=texts,
        cpu_model=texts,
        cpu_features=st.lists(texts, max_size=3).map(tuple),
        product_version=texts,
    ),
    away_seconds=st.floats(0, 1e9),
    memory_mib=counts,
    vcpus=counts,
    domain_digest=st.just("") | digests,
    configuration_digest=st.just("") | digests,
)


def make_disk(**changes: Any) -> StoredDisk:
    fields: dict[str, Any] = {
        "vdev": "xvda",
        "file": "xvda.img",
        "size_bytes": 12 * MIB,
        "digest": "b" * 64,
        "block_size_bytes": 4 * MIB,
        "block_digests": (ZERO, ZERO, "a" * 64),
        "source": "/dev/vg/web",
    }
    return StoredDisk(**(fields | changes))


def seal(document: dict[str, Any]) -> bytes:
    """A document with a checksum that fits it, so that only its content can be wrong."""
    document = {key: value for key, value in document.items() if key != "checksum"}
    covered = json.dumps(document, indent=2).removesuffix("\n}").encode() + b",\n"
    return covered + f'  "checksum": "{blake3(covered).hexdigest()}"\n}}\n'.encode()


def change(**changes: Any) -> bytes:
    """A manifest with one disk, its document changed and sealed again."""
    document = json.loads(encode_manifest(make_manifest(disks=(make_disk(),))))
    return seal(document | changes)


def change_disk(**changes: Any) -> bytes:
    document = json.loads(encode_manifest(make_manifest(disks=(make_disk(),))))
    return seal(document | {"disks": [document["disks"][0] | changes]})


@given(manifest=manifests)
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    content = encode_manifest(manifest)
    assert manifest == decode_manifest(content, source="it")
    assert content == encode_manifest(manifest)


def test_equal_blocks_are_written_as_one_entry() -> None:
    document = json.loads(encode_manifest(make_manifest(disks=(make_disk(),))))
    assert [f"{ZERO}*2", "a" * 64] == document["disks"][0]["block_digests"]


def test_what_older_manifests_did_not_say_is_not_written_and_not_missed() -> None:
    older = make_manifest(disks=(make_disk(),))
    document = json.loads(encode_manifest(older))
    assert "configuration_digest" not in document
    assert "backing" not in document["disks"][0]
    read = decode_manifest(seal(document), source="it")
    assert ("", None) == (read.configuration_digest, read.disks[0].backing)


def test_what_backed_a_disk_is_kept() -> None:
    kind = VolumeKind.LOGICAL_VOLUME
    thin = StoredBacking(kind=kind, group="vg", lv_name="web", pool="pool")
    content = encode_manifest(make_manifest(disks=(make_disk(backing=thin),)))
    assert {"kind": "logical-volume", "group": "vg", "lv_name": "web", "pool": "pool"} == (
        json.loads(content)["disks"][0]["backing"]
    )
    assert thin == decode_manifest(content, source="it").disks[0].backing


@pytest.mark.parametrize(
    "backing", [{}, {"kind": "tape", "group": "", "lv_name": "", "pool": ""}, "thin", 7]
)
def test_backing_of_another_shape_is_refused(backing: object) -> None:
    with pytest.raises(PointDamaged, match="backing"):
        decode_manifest(change_disk(backing=backing), source="it")


def test_keys_stand_in_a_fixed_order_and_the_checksum_last() -> None:
    document = json.loads(encode_manifest(make_manifest()))
    assert ["schema", "point", "domain", "identity"] == list(document)[:4]
    assert "checksum" == list(document)[-1]


def test_checksum_covers_all_lines_before_its_own() -> None:
    content = encode_manifest(make_manifest(disks=(make_disk(),)))
    lines = content.splitlines(keepends=True)
    document = json.loads(content)
    assert document["checksum"] == blake3(b"".join(lines[:-2])).hexdigest()


@given(position=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(position: int, bit: int) -> None:
    content = bytearray(encode_manifest(make_manifest(disks=(make_disk(),))))
    content[position % len(content)] ^= 1 << bit
    with pytest.raises(PointDamaged):
        decode_manifest(bytes(content), source="it")


@given(length=st.integers(0))
def test_any_truncation_is_found(length: int) -> None:
    content = encode_manifest(make_manifest(disks=(make_disk(),)))
    with pytest.raises(PointDamaged):
        decode_manifest(content[: length % len(content)], source="it")


@given(content=st.binary(max_size=200))
def test_garbage_is_refused_and_named(content: bytes) -> None:
    with pytest.raises(PointDamaged, match="manifest of web"):
        decode_manifest(content, source="the manifest of web")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"[" * 100000, "no JSON document"),
        (lambda: b"[]", "no JSON object"),
        (lambda: b'{"schema": 1, "schema": 1}', "stands twice"),
        (lambda: b'{"schema": NaN}', "NaN"),
        (lambda: change(schema=2), "schema 2 is not known"),
        (lambda: change(surprise=1), "unknown field"),
        (lambda: change(point="../../etc"), "no id of a point"),
        (lambda: change(domain=""), "domain"),
        (lambda: change(kind="vmware"), "kind"),
        (lambda: change(memory_mib=-1), "memory_mib"),
        (lambda: change(memory_mib="512"), "memory_mib"),
        (lambda: change(away_seconds=-0.5), "away_seconds"),
        (lambda: change(created_at="yesterday"), "created_at"),
        (lambda: change(created_at="2026-11-22T02:31:05"), "not in UTC"),
        (lambda: change(created_at="0001-01-01T00:00:00+14:00"), "not in UTC"),
        (lambda: change(memory={"file": "m", "size_bytes": 1}), "digest"),
        (lambda: change(memory={"file": "xvda.img", "size_bytes": 1, "digest": ZERO}), "same file"),
        (lambda: change_disk(vdev="../xvda"), "vdev"),
        (lambda: change_disk(vdev="xvda\n"), "vdev"),
        (lambda: change_disk(file="../../etc/shadow"), "plain file name"),
        (lambda: change_disk(file=".."), "plain file name"),
        (lambda: change_disk(file=""), "plain file name"),
        (lambda: change_disk(file=".owner.json"), "plain file name"),
        (lambda: change_disk(file="manifest.json"), "plain file name"),
        (lambda: change_disk(file="a\0b"), "plain file name"),
        (lambda: change_disk(file="\ud800.img"), "surrogates"),
        (lambda: change(domain="\ud800"), "surrogates"),
        (lambda: change(**{"\ud800": 1}), "surrogates"),
        (lambda: change(excluded_disks=["\ud800"]), "surrogates"),
        (lambda: change(memory={"file": "m", "size_bytes": 1 << 60, "digest": ZERO}), "memory"),
        (lambda: change_disk(file="x" * 256), "plain file name"),
        (lambda: change_disk(digest="B" * 64), "digest"),
        (lambda: change_disk(size_bytes=-1), "size_bytes"),
        (lambda: change_disk(size_bytes=1 << 62), "more than a guest can have"),
        (lambda: change_disk(size_bytes=1 << 70), "size_bytes"),
        (lambda: change_disk(block_size_bytes=0), "are not ours"),
        (lambda: change_disk(block_size_bytes=65537), "are not ours"),
        (lambda: change_disk(block_digests=[ZERO]), "1 digests for 3 blocks"),
        (lambda: change_disk(block_digests=[f"{ZERO}*4"]), "more digests"),
        (lambda: change_disk(block_digests=[f"{ZERO}*999999999"]), "more digests"),
        (lambda: change_disk(block_digests=[f"{ZERO}*0", f"{ZERO}*3"]), "no digest"),
        (lambda: change_disk(block_digests=["x"] * 3), "no digest"),
        (lambda: change_disk(block_digests=[f"{ZERO}*٣"]), "no digest"),
    ],
)
def test_hostile_manifest_is_refused_with_the_reason(
    content: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(PointDamaged, match=reason):
        decode_manifest(content(), source="the manifest")


def test_disks_that_are_large_in_memory_alone_are_refused_before_they_fill_it() -> None:
    """A run of equal digests is a short text: eight such disks would take a gigabyte."""
    document = json.loads(change())
    disk = document["disks"][0]
    size = {
        "size_bytes": 1 << 38,
        "block_size_bytes": 64 << 10,
        "block_digests": [f"{ZERO}*{1 << 22}"],
    }
    document["disks"] = [
        disk | size | {"vdev": f"xvd{letter}", "file": f"xvd{letter}.img"} for letter in "abc"
    ]
    with pytest.raises(PointDamaged, match="12582912 blocks, more than a guest can have"):
        decode_manifest(seal(document), source="it")


def test_two_disks_of_one_name_are_refused() -> None:
    document = json.loads(encode_manifest(make_manifest(disks=(make_disk(),))))
    twice = document["disks"] * 2
    with pytest.raises(PointDamaged, match="same file"):
        decode_manifest(seal(document | {"disks": twice}), source="it")
    renamed = [twice[0], twice[1] | {"file": "other.img"}]
    with pytest.raises(PointDamaged, match="same disk"):
        decode_manifest(seal(document | {"disks": renamed}), source="it")


def test_missing_keys_are_refused_one_by_one() -> None:
    document = json.loads(encode_manifest(make_manifest(disks=(make_disk(),))))
    for key in [key for key in document if key != "checksum"]:
        shorter = {name: value for name, value in document.items() if name != key}
        with pytest.raises(PointDamaged, match=key):
            decode_manifest(seal(shorter), source="it")


def test_times_are_written_in_utc_whatever_zone_they_came_in() -> None:
    local = datetime.fromisoformat("2026-11-22T04:31:05+02:00")
    document = json.loads(encode_manifest(make_manifest(created_at=local)))
    assert "2026-11-22T02:31:05+00:00" == document["created_at"]


def test_a_manifest_longer_than_what_is_read_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xenbackup.storage.manifest.MANIFEST_LIMIT_BYTES", 100)
    with pytest.raises(PointDamaged, match="100 are read at most"):
        encode_manifest(make_manifest())


def test_a_manifest_that_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(PointDamaged, match="vdev"):
        encode_manifest(make_manifest(disks=(make_disk(vdev="../x"),)))
