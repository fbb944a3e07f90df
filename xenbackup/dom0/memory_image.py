"""Memory images: files of `xl save` and `xm save`, judged, composed, given another identity.

Behind the head (`image_head.py`) come, as Xen's own libxl and libxc define them, two nested streams
(from Xen 4.6 on; `legacy_stream.py` knows the one of before, which all images of xm hold):

    16 bytes   libxl stream: ident, version, options (big-endian whatever the host)
    records    u32 type, u32 length, body padded to eight bytes; END (0) is the last
               a LIBXC_CONTEXT record (1) is followed by the libxc stream: 24 bytes of image
               header, 16 bytes of domain header, its own records to its own END

`xl` neither syncs the file nor heeds an error of close(), so its exit code says nothing about what
the file holds: the END record of the outer stream decides.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from xenbackup.dom0.image_head import (
    MAGIC,
    XM_MAGIC,
    ImageHead,
    compose_head,
    compose_xm_head,
    parse_json,
    read_creation_text,
    read_exactly,
    read_head,
)
from xenbackup.dom0.legacy_stream import (
    LegacyWalk,
    StreamUnfit,
    StreamUnknown,
    compose_legacy_stream,
    judge_legacy_stream,
)
from xenbackup.errors import RestoreRefused, SaveFailed
from xenbackup.model.names import check_domain_name

__all__ = [
    "MAGIC",
    "XM_MAGIC",
    "MemoryImage",
    "compose_legacy_image",
    "compose_memory_image",
    "compose_xm_image",
    "inspect_memory_image",
    "read_memory_payload",
    "rewrite_memory_image",
]

_LIBXL_HEADER = struct.Struct(">QII")
_LIBXL_IDENT = 0x4C6962786C466D74  # "LibxlFmt"
_LIBXL_VERSION = 2
_LIBXL_END = 0
_LIBXL_LIBXC_CONTEXT = 1

_LIBXC_HEADER = struct.Struct(">QIIHHI")
_LIBXC_MARKER = 0xFFFFFFFFFFFFFFFF
_LIBXC_IDENT = 0x58454E46  # "XENF"
_LIBXC_VERSIONS = (2, 3)
_LIBXC_END = 0
_LIBXC_PAGES = 1
_LIBXC_STATIC_END = 0x10
_OPTION_BIG_ENDIAN = 1 << 0
_DOMAIN_HEADER = struct.Struct("<IHHII")
_DOMAIN_PV = 1
_DOMAIN_HVM = 2
_PAGE_SHIFT = 12
_PAGE_BYTES = 1 << _PAGE_SHIFT
_PAGES_PER_RECORD = 1024

_RECORD = struct.Struct("<II")
_OPTIONAL_RECORD = 0x80000000
_LARGEST_KNOWN_RECORD = 0x100
_COPY_BYTES = 4 << 20
# What says how the old target was served: a new one may be a file where a volume was.
_OLD_TARGET_ONLY = ("backend", "script", "backend_domid", "backend_domname")


@dataclass(frozen=True, kw_only=True)
class MemoryImage:
    """What a saved-memory file holds; `reason` says why `complete` is False, else "".

    `xen_version` is the major.minor of the hypervisor that wrote the stream ("" when unread).
    `doubt` says what a complete image of the older formats could not be asked, else "".
    """

    complete: bool
    size_bytes: int
    domain_name: str = ""
    uuid: str = ""
    configuration_json: str = ""
    xen_version: str = ""
    reason: str = ""
    doubt: str = ""


def inspect_memory_image(path: Path) -> MemoryImage:
    """Walk the records of the file at `path` by seeking; a missing or foreign file is incomplete.

    An image of xm, or of xl before Xen 4.6, has no END record: it is complete when its head can be
    read and its stream reaches the end that its layout foretells; where that layout is not known to
    us, when it is at least as large as the guest's memory (`judge_legacy_stream`); `doubt` tells.

    Raises: SaveFailed when the file exists but reading it fails (an I/O error is no verdict).
    """
    try:
        with path.open("rb") as image:
            return _inspect(image, os.fstat(image.fileno()).st_size)
    except FileNotFoundError:
        return MemoryImage(complete=False, size_bytes=0, reason=f"{path} does not exist")
    except OSError as error:
        raise SaveFailed(f"Cannot read the memory image {path}: {error.strerror}.") from error


def compose_memory_image(configuration_json: str, payload: bytes) -> bytes:
    """A small, valid save file whose guest memory pages hold `payload` (its length in front).

    The guest type in the stream follows `c_info.type` of the configuration. `read_memory_payload`
    gives the payload back. Raises: SaveFailed when the configuration is not such JSON.
    """
    try:
        configuration = parse_json(configuration_json)
    except StreamUnfit as unfit:
        raise SaveFailed(f"Cannot compose a memory image: {unfit}.") from unfit
    kind = _DOMAIN_PV if read_creation_text(configuration, "type") == "pv" else _DOMAIN_HVM
    pages = _lay_out(payload)
    parts = [
        compose_head(configuration_json),
        _LIBXL_HEADER.pack(_LIBXL_IDENT, _LIBXL_VERSION, 0),
        _RECORD.pack(_LIBXL_LIBXC_CONTEXT, 0),
        _LIBXC_HEADER.pack(_LIBXC_MARKER, _LIBXC_IDENT, _LIBXC_VERSIONS[-1], 0, 0, 0),
        _DOMAIN_HEADER.pack(kind, _PAGE_SHIFT, 0, 4, 17),
        _RECORD.pack(_LIBXC_STATIC_END, 0),
    ]
    span = _PAGES_PER_RECORD * _PAGE_BYTES
    for offset in range(0, len(pages), span):
        chunk = pages[offset : offset + span]
        count, first = len(chunk) // _PAGE_BYTES, offset // _PAGE_BYTES
        frames = struct.pack(f"<II{count}Q", count, 0, *range(first, first + count))
        parts += [_RECORD.pack(_LIBXC_PAGES, len(frames) + len(chunk)), frames, chunk]
    parts += [_RECORD.pack(_LIBXC_END, 0), _RECORD.pack(_LIBXL_END, 0)]
    return b"".join(parts)


def compose_legacy_image(
    configuration: str, payload: bytes, *, fully_virtual: bool, vcpus: int = 1
) -> bytes:
    """As `compose_memory_image`, as xl up to Xen 4.4 wrote it; `configuration` is an xl.cfg."""
    stream = compose_legacy_stream(
        _lay_out(payload), fully_virtual=fully_virtual, vcpus=vcpus, extended=True
    )
    return compose_head(configuration, legacy=True) + stream


def compose_xm_image(
    expression: str, payload: bytes, *, fully_virtual: bool, vcpus: int = 1, extended: bool = False
) -> bytes:
    """As `compose_memory_image`, as xend wrote it; `expression` is the domain's S-expression."""
    stream = compose_legacy_stream(
        _lay_out(payload), fully_virtual=fully_virtual, vcpus=vcpus, extended=extended
    )
    return compose_xm_head(expression) + stream


def _lay_out(payload: bytes) -> bytes:
    """Whole pages that begin with the payload's length."""
    pages = struct.pack("<Q", len(payload)) + payload
    return pages + bytes(-len(pages) % _PAGE_BYTES)


def read_memory_payload(path: Path) -> bytes:
    """What a `compose_…` put into the pages.

    Raises: SaveFailed when the image is not complete, or its pages hold no such payload.
    """
    content = bytearray()
    try:
        with path.open("rb") as image:
            size_bytes = os.fstat(image.fileno()).st_size
            for offset, length in _find_pages(image, size_bytes, read_head(image, size_bytes)):
                image.seek(offset)
                content += read_exactly(image, length)
    except OSError as error:
        raise SaveFailed(f"Cannot read the memory image {path}: {error.strerror}.") from error
    except (StreamUnfit, StreamUnknown, struct.error, ValueError) as error:
        raise SaveFailed(f"The memory image {path} is not complete: {error}.") from error
    length = int.from_bytes(content[:8], "little")
    if length > len(content) - 8:
        raise SaveFailed(f"The memory image {path} holds no payload of ours.")
    return bytes(content[8 : 8 + length])


def _find_pages(image: BinaryIO, size_bytes: int, head: ImageHead) -> Iterator[tuple[int, int]]:
    """Offset and length of every run of memory pages. Raises: StreamUnfit, StreamUnknown."""
    if head.legacy_stream:
        walk = LegacyWalk(image, size_bytes, head.stream_offset, fully_virtual=head.fully_virtual)
        yield from walk.find_pages()
        return
    for offset, length in _walk_stream(image, size_bytes, head.stream_offset):
        image.seek(offset)
        (count,) = struct.unpack("<I", read_exactly(image, 4))
        if length < 8 + 8 * count:
            raise StreamUnfit(f"the record of pages at byte {offset} is too short")
        yield offset + 8 + 8 * count, length - 8 - 8 * count


def rewrite_memory_image(
    source: Path,
    target: Path,
    *,
    name: str | None = None,
    uuid: str | None = None,
    disks: Mapping[str, str] | None = None,
) -> MemoryImage:
    """Copy a complete image to `target` (which must not exist) with another identity in its head.

    `disks` maps vdev (`xvda`) to the new path; disks left out keep theirs. The stream is copied
    unchanged, the copy synced and walked again. The target is private (0600): it is guest RAM.

    Raises: RestoreRefused when the source is not complete or of an older format, a vdev is unknown,
    or the target exists; SaveFailed when reading or writing fails.
    """
    inspected = inspect_memory_image(source)
    if not inspected.complete:
        raise RestoreRefused(f"The memory image {source} is not complete: {inspected.reason}.")
    if not inspected.xen_version:
        raise RestoreRefused(
            f"The memory image {source} was written by xm, or by xl before Xen 4.6: it can only be "
            "restored as it is.",
            hint="restore it under its own name and onto its own disks",
        )
    configuration = _rewrite_configuration(inspected.configuration_json, name, uuid, disks or {})
    created = False
    try:
        with source.open("rb") as image, _create_private(target) as copy:
            created = True
            image.seek(read_head(image, inspected.size_bytes).stream_offset)
            copy.write(compose_head(configuration))
            while chunk := image.read(_COPY_BYTES):
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
    except FileExistsError as error:
        raise RestoreRefused(f"{target} exists already; nothing was overwritten.") from error
    except OSError as error:
        if created:
            target.unlink(missing_ok=True)
        raise SaveFailed(f"Cannot write {target} from {source}: {error.strerror}.") from error
    result = inspect_memory_image(target)
    if not result.complete:
        raise SaveFailed(f"The rewritten memory image {target} is damaged: {result.reason}.")
    return result


def _create_private(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")


def _rewrite_configuration(
    text: str, name: str | None, uuid: str | None, disks: Mapping[str, str]
) -> str:
    configuration = parse_json(text)
    # That it is an object, parse_json has seen.
    creation = cast(dict[str, object], configuration["c_info"])
    if name is not None:
        creation["name"] = check_domain_name(name)
    if uuid is not None:
        creation["uuid"] = uuid
    unmet = dict(disks)
    listed = configuration.get("disks", [])
    for disk in listed if isinstance(listed, list) else []:
        if isinstance(disk, dict) and isinstance(disk.get("vdev"), str) and disk["vdev"] in unmet:
            path = unmet.pop(disk["vdev"])
            if disk.get("pdev_path") != path:
                for key in _OLD_TARGET_ONLY:
                    disk.pop(key, None)
            disk["pdev_path"] = path
    if unmet:
        raise RestoreRefused(
            f"The memory image's configuration has no disk {', '.join(sorted(unmet))}."
        )
    return json.dumps(configuration, indent=4) + "\n"


def _inspect(image: BinaryIO, size_bytes: int) -> MemoryImage:
    try:
        head = read_head(image, size_bytes)
    except StreamUnfit as unfit:
        return MemoryImage(complete=False, size_bytes=size_bytes, reason=str(unfit))
    reason, version, doubt = "", "", ""
    try:
        if head.legacy_stream:
            doubt = judge_legacy_stream(
                image,
                size_bytes,
                head.stream_offset,
                fully_virtual=head.fully_virtual,
                memory_bytes=head.memory_bytes,
            )
        else:
            version = _read_xen_version(image, head.stream_offset)
            if not sum(1 for _ in _walk_stream(image, size_bytes, head.stream_offset)):
                reason = "the stream holds no memory pages"
    except StreamUnfit as unfit:
        reason = str(unfit)
    return MemoryImage(
        complete=not reason,
        size_bytes=size_bytes,
        domain_name=head.domain_name,
        uuid=head.uuid,
        configuration_json=head.configuration_json,
        xen_version=version,
        reason=reason,
        doubt=doubt,
    )


def _read_xen_version(image: BinaryIO, stream_offset: int) -> str:
    """Major and minor version in the domain header, which follows the first LIBXC_CONTEXT."""
    image.seek(stream_offset + _LIBXL_HEADER.size + _RECORD.size + _LIBXC_HEADER.size)
    _, _, _, major, minor = _DOMAIN_HEADER.unpack(read_exactly(image, _DOMAIN_HEADER.size))
    return f"{major}.{minor}"


def _walk_stream(image: BinaryIO, size_bytes: int, offset: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of every record of memory pages, up to the outer END.

    Raises: StreamUnfit where the file ends early, goes on after END, or is no such stream.
    """
    image.seek(offset)
    ident, version, options = _LIBXL_HEADER.unpack(read_exactly(image, _LIBXL_HEADER.size))
    if ident != _LIBXL_IDENT or version != _LIBXL_VERSION or options & _OPTION_BIG_ENDIAN:
        raise StreamUnfit(f"no libxl stream that we know begins at byte {offset}")
    position = offset + _LIBXL_HEADER.size
    while True:
        kind, length, body = _read_record(image, size_bytes, position, "libxl")
        position = _end_of_record(body, length)
        if kind == _LIBXL_END:
            break
        if kind == _LIBXL_LIBXC_CONTEXT:
            position = yield from _walk_libxc(image, size_bytes, position)
    if position != size_bytes:
        raise StreamUnfit(f"{size_bytes - position} bytes follow its END record")


def _walk_libxc(
    image: BinaryIO, size_bytes: int, offset: int
) -> Generator[tuple[int, int], None, int]:
    """As `_walk_stream`, for the inner stream; returns where the outer one goes on."""
    image.seek(offset)
    marker, ident, version, options, _, _ = _LIBXC_HEADER.unpack(
        read_exactly(image, _LIBXC_HEADER.size)
    )
    known = marker == _LIBXC_MARKER and ident == _LIBXC_IDENT and version in _LIBXC_VERSIONS
    if not known or options & _OPTION_BIG_ENDIAN:
        raise StreamUnfit(f"no libxc stream that we know begins at byte {offset}")
    position = offset + _LIBXC_HEADER.size + _DOMAIN_HEADER.size
    while True:
        kind, length, body = _read_record(image, size_bytes, position, "libxc")
        position = _end_of_record(body, length)
        if kind == _LIBXC_END:
            return position
        if kind == _LIBXC_PAGES:
            yield body, length


def _read_record(
    image: BinaryIO, size_bytes: int, position: int, stream: str
) -> tuple[int, int, int]:
    """Type and length of the record at `position`, and where its body begins."""
    image.seek(position)
    kind, length = _RECORD.unpack(read_exactly(image, _RECORD.size))
    if kind & ~_OPTIONAL_RECORD > _LARGEST_KNOWN_RECORD:
        raise StreamUnfit(f"unknown {stream} record {kind:#x} at byte {position}")
    body = position + _RECORD.size
    if _end_of_record(body, length) > size_bytes:
        raise StreamUnfit(f"it ends inside the {stream} record at byte {position}")
    return kind, length, body


def _end_of_record(body: int, length: int) -> int:
    return body + length + -length % 8
