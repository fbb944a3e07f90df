"""The manifest of a recovery point as JSON: written for people to read, read as hostile input.

Schema 1. Keys stand in a fixed order; every block's digest is one entry of `block_digests`, and a
run of equal ones (zeros, mostly) is `DIGEST*COUNT`. `configuration_digest`, and `backing` of a
disk, are left out where there is nothing to say, so older manifests read as well. The last line is
`checksum`, the BLAKE3 of all lines before it (`head -n -2 manifest.json | b3sum`), so that a
manifest that rotted or was edited does not pass for a good one.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from blake3 import blake3
from msgspec import Meta

from xenbackup.errors import PointDamaged
from xenbackup.model.domain import GuestKind, Tuning, VcpuPinning
from xenbackup.model.job import Consistency
from xenbackup.model.names import is_run_id
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import HostFacts, Manifest, StoredBacking, StoredDisk, StoredMemory
from xenbackup.storage.copying import BLOCK_SIZE_LIMIT_BYTES
from xenbackup.system.folder import is_plain_name

SCHEMA = 1
MANIFEST_FILE = "manifest.json"
DOMAIN_FILE = "domain.json"
CONFIGURATION_FILE = "domain.cfg"
MEMORY_FILE = "memory.save"
MANIFEST_LIMIT_BYTES = 256 << 20
"""A manifest of the largest disk a guest can have stays far below this."""

VDEV_PATTERN = r"\A[a-z][a-z0-9]{0,15}\Z"
_RESERVED_FILES = frozenset((MANIFEST_FILE, DOMAIN_FILE, CONFIGURATION_FILE))
_BLOCKS_LIMIT = 1 << 23
_BLOCK_SIZE_RANGE = (64 << 10, BLOCK_SIZE_LIMIT_BYTES)
_CLOSING = re.compile(rb'  "checksum": "([0-9a-f]{64})"\n}\n\Z')
_DIGEST_RUN = re.compile(r"([0-9a-f]{64})(?:\*([1-9][0-9]{0,8}))?")

_Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Size = Annotated[int, Meta(ge=0, le=1 << 56)]
_Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Text = Annotated[str, Meta(max_length=65536)]
_Vdev = Annotated[str, Meta(pattern=VDEV_PATTERN)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the document: no key missing, none unknown."""


class _BackingPart(_Strict, frozen=True, kw_only=True):
    kind: VolumeKind
    group: _Text
    lv_name: _Text
    pool: _Text


class _DiskPart(_Strict, frozen=True, kw_only=True):
    vdev: _Vdev
    file: _Text
    size_bytes: _Count
    writable: bool
    source: _Text
    digest: _Digest
    block_size_bytes: _Count
    block_digests: tuple[str, ...]
    backing: _BackingPart | None = None


class _MemoryPart(_Strict, frozen=True, kw_only=True):
    file: _Text
    size_bytes: _Size
    digest: _Digest


class _PinningPart(_Strict, frozen=True, kw_only=True):
    vcpu: _Count
    hard: _Text
    soft: _Text


class _TuningPart(_Strict, frozen=True, kw_only=True):
    scheduler: _Text
    weight: _Count | None
    cap: _Count | None
    vcpus: _Count
    pinning: tuple[_PinningPart, ...]


class _HostPart(_Strict, frozen=True, kw_only=True):
    hostname: _Text
    xen_version: _Text
    cpu_model: _Text
    cpu_features: tuple[_Text, ...]
    product_version: _Text


class _Document(_Strict, frozen=True, kw_only=True):
    schema: Literal[1]
    point: _Text
    domain: Annotated[str, Meta(min_length=1, max_length=255)]
    identity: Annotated[str, Meta(min_length=1, max_length=255)]
    uuid: _Text
    kind: GuestKind
    consistency: Consistency
    preset: _Text
    job: _Text
    round: _Text
    created_at: datetime
    away_seconds: Annotated[float, Meta(ge=0, le=1e12)]
    memory_mib: _Count
    vcpus: _Count
    domain_digest: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
    configuration_digest: _Digest | None = None
    memory: _MemoryPart | None
    excluded_disks: tuple[_Text, ...]
    tuning: _TuningPart
    host: _HostPart
    disks: tuple[_DiskPart, ...]
    checksum: _Digest


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as a JSON document, the same bytes for the same manifest.

    Raises: PointDamaged when it holds what `decode_manifest` would refuse, so that no point is
    published which could not be read back.
    """
    document: dict[str, object] = {
        "schema": SCHEMA,
        "point": manifest.point,
        "domain": manifest.domain,
        "identity": manifest.identity,
        "uuid": manifest.uuid,
        "kind": manifest.kind.value,
        "consistency": manifest.consistency.value,
        "preset": manifest.preset,
        "job": manifest.job,
        "round": manifest.round,
        "created_at": manifest.created_at.astimezone(UTC).isoformat(),
        "away_seconds": float(manifest.away_seconds),
        "memory_mib": manifest.memory_mib,
        "vcpus": manifest.vcpus,
        "domain_digest": manifest.domain_digest,
        **_encode_configuration(manifest),
        "memory": _encode_memory(manifest.memory),
        "excluded_disks": list(manifest.excluded_disks),
        "tuning": _encode_tuning(manifest.tuning),
        "host": _encode_host(manifest.host),
        "disks": [_encode_disk(disk) for disk in manifest.disks],
    }
    # ASCII throughout: a domain's name may hold bytes that are no UTF-8, kept as lone surrogates.
    text = json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)
    covered = text.removesuffix("\n}").encode() + b",\n"
    content = covered + f'  "checksum": "{blake3(covered).hexdigest()}"\n}}\n'.encode()
    source = f"the manifest of {manifest.point}"
    if len(content) > MANIFEST_LIMIT_BYTES:
        _refuse(source, f"it has {len(content)} bytes, and {MANIFEST_LIMIT_BYTES} are read at most")
    decode_manifest(content, source=source)
    return content


def decode_manifest(content: bytes, *, source: str) -> Manifest:
    """A manifest from its document; `source` names it in errors.

    Raises: PointDamaged for anything but what `encode_manifest` writes: broken JSON, missing,
    unknown or doubled keys, wrong types, names that are no plain file names, counts that do not
    fit their sizes, a checksum that does not match.
    """
    document = _read_json(content, source)
    closing = _CLOSING.search(content)
    if closing is None or blake3(content[: closing.start()]).hexdigest().encode() != closing[1]:
        _refuse(source, "its checksum does not match: it was changed after it was written")
    if document.get("schema") != SCHEMA:
        _refuse(source, f"its schema {document.get('schema')!r} is not known to this version")
    try:
        _check_letters(document)
        parts = msgspec.convert(document, _Document, strict=True, str_keys=True)
    except (msgspec.ValidationError, UnicodeError, RecursionError) as error:
        _refuse(source, str(error))
    return _check_document(parts, source)


def _check_letters(value: object) -> None:
    """JSON can spell half a letter, which no file, terminal or database takes; those halves that
    stand for a byte of a name (`surrogateescape`) are let be. Raises: UnicodeError.
    """
    if isinstance(value, str):
        value.encode("utf-8", "surrogateescape")
    elif isinstance(value, dict):
        for key, part in value.items():
            _check_letters(key)
            # Digests are checked letter by letter, and may be a million.
            if key != "block_digests":
                _check_letters(part)
    elif isinstance(value, list):
        for part in value:
            _check_letters(part)


def _refuse(source: str, reason: str) -> NoReturn:
    raise PointDamaged(
        f"Cannot use {source}: {reason}.",
        hint="the point cannot be trusted: verify the others, and restore from one that is good",
    )


def _read_json(content: bytes, source: str) -> dict[str, Any]:
    def take_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
        taken = dict(pairs)
        if len(taken) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return taken

    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number of JSON")

    try:
        document = json.loads(
            content.decode("ascii"),
            object_pairs_hook=take_pairs,
            parse_constant=refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        _refuse(source, f"it is no JSON document ({error})")
    if not isinstance(document, dict):
        _refuse(source, "it is no JSON object")
    return document


def _encode_configuration(manifest: Manifest) -> dict[str, object]:
    digest = manifest.configuration_digest
    return {"configuration_digest": digest} if digest else {}


def _encode_memory(memory: StoredMemory | None) -> dict[str, object] | None:
    if memory is None:
        return None
    return {"file": memory.file, "size_bytes": memory.size_bytes, "digest": memory.digest}


def _encode_tuning(tuning: Tuning) -> dict[str, object]:
    return {
        "scheduler": tuning.scheduler,
        "weight": tuning.weight,
        "cap": tuning.cap,
        "vcpus": tuning.vcpus,
        "pinning": [
            {"vcpu": pin.vcpu, "hard": pin.hard, "soft": pin.soft} for pin in tuning.pinning
        ],
    }


def _encode_host(host: HostFacts) -> dict[str, object]:
    return {
        "hostname": host.hostname,
        "xen_version": host.xen_version,
        "cpu_model": host.cpu_model,
        "cpu_features": list(host.cpu_features),
        "product_version": host.product_version,
    }


def _encode_disk(disk: StoredDisk) -> dict[str, object]:
    runs = ((digest, sum(1 for _ in same)) for digest, same in groupby(disk.block_digests))
    return {
        "vdev": disk.vdev,
        "file": disk.file,
        "size_bytes": disk.size_bytes,
        "writable": disk.writable,
        "source": disk.source,
        **_encode_backing(disk.backing),
        "digest": disk.digest,
        "block_size_bytes": disk.block_size_bytes,
        "block_digests": [digest if n == 1 else f"{digest}*{n}" for digest, n in runs],
    }


def _encode_backing(backing: StoredBacking | None) -> dict[str, object]:
    if backing is None:
        return {}
    fields = {"group": backing.group, "lv_name": backing.lv_name, "pool": backing.pool}
    return {"backing": {"kind": backing.kind.value, **fields}}


def _check_document(parts: _Document, source: str) -> Manifest:
    if not is_run_id(parts.point):
        _refuse(source, f"{parts.point!r} is no id of a point")
    if parts.created_at.utcoffset() != timedelta(0):
        _refuse(source, "`created_at` is not in UTC")
    smallest, _ = _BLOCK_SIZE_RANGE
    # Of all disks together: a run of equal digests is short here, and long in memory.
    blocks = sum(-(-d.size_bytes // max(d.block_size_bytes, smallest)) for d in parts.disks)
    if blocks > _BLOCKS_LIMIT:
        _refuse(source, f"its disks have {blocks} blocks, more than a guest can have")
    disks = tuple(_check_disk(part, source) for part in parts.disks)
    files = [disk.file for disk in disks]
    if parts.memory is not None:
        _check_file(parts.memory.file, source)
        files.append(parts.memory.file)
    for what, names in (("file", files), ("disk", [disk.vdev for disk in disks])):
        if len(set(names)) != len(names):
            _refuse(source, f"two entries claim the same {what}")
    memory, tuning, host = parts.memory, parts.tuning, parts.host
    return Manifest(
        point=parts.point,
        job=parts.job,
        round=parts.round,
        domain=parts.domain,
        uuid=parts.uuid,
        identity=parts.identity,
        kind=parts.kind,
        consistency=parts.consistency,
        preset=parts.preset,
        created_at=parts.created_at.astimezone(UTC),
        disks=disks,
        excluded_disks=parts.excluded_disks,
        memory=None if memory is None else StoredMemory(**msgspec.structs.asdict(memory)),
        tuning=Tuning(
            pinning=tuple(
                VcpuPinning(vcpu=pin.vcpu, hard=pin.hard, soft=pin.soft) for pin in tuning.pinning
            ),
            scheduler=tuning.scheduler,
            weight=tuning.weight,
            cap=tuning.cap,
            vcpus=tuning.vcpus,
        ),
        host=HostFacts(**msgspec.structs.asdict(host)),
        away_seconds=parts.away_seconds,
        memory_mib=parts.memory_mib,
        vcpus=parts.vcpus,
        domain_digest=parts.domain_digest,
        configuration_digest=parts.configuration_digest or "",
    )


def _check_disk(part: _DiskPart, source: str) -> StoredDisk:
    _check_file(part.file, source)
    low, high = _BLOCK_SIZE_RANGE
    if not low <= part.block_size_bytes <= high or part.block_size_bytes % low:
        _refuse(source, f"{part.vdev}: blocks of {part.block_size_bytes} bytes are not ours")
    blocks = -(-part.size_bytes // part.block_size_bytes)
    digests: list[str] = []
    for run in part.block_digests:
        match = _DIGEST_RUN.fullmatch(run)
        if match is None:
            _refuse(source, f"{part.vdev}: {run[:80]!r} is no digest of a block")
        count = int(match.group(2) or 1)
        if len(digests) + count > blocks:
            _refuse(source, f"{part.vdev}: more digests than its {blocks} blocks")
        digests.extend([match.group(1)] * count)
    if len(digests) != blocks:
        _refuse(source, f"{part.vdev}: {len(digests)} digests for {blocks} blocks")
    return StoredDisk(
        vdev=part.vdev,
        file=part.file,
        size_bytes=part.size_bytes,
        digest=part.digest,
        block_size_bytes=part.block_size_bytes,
        block_digests=tuple(digests),
        source=part.source,
        writable=part.writable,
        backing=None
        if part.backing is None
        else StoredBacking(**msgspec.structs.asdict(part.backing)),
    )


def _check_file(name: str, source: str) -> None:
    """A file of a point: a plain name, not hidden, and none that we give to another part."""
    hidden = name.startswith(".") or any(ord(letter) < 0x20 for letter in name)
    if hidden or name in _RESERVED_FILES or not is_plain_name(name):
        _refuse(source, f"{name!r} is no plain file name")
