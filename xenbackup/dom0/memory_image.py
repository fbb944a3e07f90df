"""Memory images: the files that `xl save` writes, judged, composed and given another identity.

Layout (xl's save header, then two nested streams, as Xen's own libxl and libxc define them):

    48 bytes   magic, byte order, mandatory flags, optional flags, length of the optional part
    optional   u32 length of the configuration, the configuration (JSON, NUL at its end)
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
from typing import BinaryIO

from xenbackup.errors import RestoreRefused, SaveFailed
from xenbackup.model.names import check_domain_name

MAGIC = b"Xen saved domain, xl format\n \0 \r"
XM_MAGIC = b"LinuxGuestRecord"

_BYTE_ORDER_MARK = 0x01020304
_FLAG_JSON = 1 << 0
_FLAG_STREAM_V2 = 1 << 1
_HEADER_TAIL = struct.Struct("<IIII")
_HEADER_BYTES = len(MAGIC) + _HEADER_TAIL.size
_CONFIGURATION_LIMIT_BYTES = 16 << 20

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
    """

    complete: bool
    size_bytes: int
    domain_name: str = ""
    uuid: str = ""
    configuration_json: str = ""
    xen_version: str = ""
    reason: str = ""


class _Unfit(Exception):
    """The walk met something that a complete image does not have; the text says what and where."""


@dataclass(frozen=True)
class _Header:
    """The file's head: the configuration inside it, and where the libxl stream begins."""

    configuration_json: str
    stream_offset: int


def inspect_memory_image(path: Path) -> MemoryImage:
    """Walk the records of the file at `path` by seeking; a missing or foreign file is incomplete.

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
        configuration = _parse_configuration(configuration_json)
    except _Unfit as unfit:
        raise SaveFailed(f"Cannot compose a memory image: {unfit}.") from unfit
    kind = _DOMAIN_PV if _read_text(configuration, "type") == "pv" else _DOMAIN_HVM
    pages = struct.pack("<Q", len(payload)) + payload
    pages += bytes(-len(pages) % _PAGE_BYTES)
    parts = [
        _compose_header(configuration_json),
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


def read_memory_payload(path: Path) -> bytes:
    """What `compose_memory_image` put into the pages.

    Raises: SaveFailed when the image is not complete, or its pages hold no such payload.
    """
    content = bytearray()
    try:
        with path.open("rb") as image:
            size_bytes = os.fstat(image.fileno()).st_size
            header = _read_header(image, size_bytes)
            for offset, length in _walk_stream(image, size_bytes, header.stream_offset):
                image.seek(offset)
                (count,) = struct.unpack("<I", _read_exactly(image, 4))
                image.seek(offset + 8 + 8 * count)
                content += _read_exactly(image, length - 8 - 8 * count)
    except OSError as error:
        raise SaveFailed(f"Cannot read the memory image {path}: {error.strerror}.") from error
    except (_Unfit, struct.error, ValueError) as error:
        raise SaveFailed(f"The memory image {path} is not complete: {error}.") from error
    length = int.from_bytes(content[:8], "little")
    if length > len(content) - 8:
        raise SaveFailed(f"The memory image {path} holds no payload of ours.")
    return bytes(content[8 : 8 + length])


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

    Raises: RestoreRefused when the source is not complete, a vdev is unknown, or the target exists;
    SaveFailed when reading or writing fails.
    """
    inspected = inspect_memory_image(source)
    if not inspected.complete:
        raise RestoreRefused(f"The memory image {source} is not complete: {inspected.reason}.")
    configuration = _rewrite_configuration(inspected.configuration_json, name, uuid, disks or {})
    created = False
    try:
        with source.open("rb") as image, _create_private(target) as copy:
            created = True
            image.seek(_read_header(image, inspected.size_bytes).stream_offset)
            copy.write(_compose_header(configuration))
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
    configuration = _parse_configuration(text)
    creation = configuration["c_info"]
    if not isinstance(creation, dict):
        raise RestoreRefused("The memory image's configuration has no c_info object.")
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


def _compose_header(configuration_json: str) -> bytes:
    # xl hands the text to a C parser: the NUL belongs to it and counts in its length.
    configuration = configuration_json.encode("utf-8", "surrogateescape") + b"\0"
    optional = struct.pack("<I", len(configuration)) + configuration
    flags = _FLAG_JSON | _FLAG_STREAM_V2
    return MAGIC + _HEADER_TAIL.pack(_BYTE_ORDER_MARK, flags, 0, len(optional)) + optional


def _inspect(image: BinaryIO, size_bytes: int) -> MemoryImage:
    try:
        header = _read_header(image, size_bytes)
        configuration = _parse_configuration(header.configuration_json)
    except _Unfit as unfit:
        return MemoryImage(complete=False, size_bytes=size_bytes, reason=str(unfit))
    reason, version = "", ""
    try:
        version = _read_xen_version(image, header.stream_offset)
        if not sum(1 for _ in _walk_stream(image, size_bytes, header.stream_offset)):
            reason = "the stream holds no memory pages"
    except _Unfit as unfit:
        reason = str(unfit)
    return MemoryImage(
        complete=not reason,
        size_bytes=size_bytes,
        domain_name=_read_text(configuration, "name"),
        uuid=_read_text(configuration, "uuid").lower(),
        configuration_json=header.configuration_json,
        xen_version=version,
        reason=reason,
    )


def _read_header(image: BinaryIO, size_bytes: int) -> _Header:
    image.seek(0)
    magic = image.read(len(MAGIC))
    if magic.startswith(XM_MAGIC):
        raise _Unfit("it was written by xm, whose stream cannot be judged")
    if magic != MAGIC:
        raise _Unfit("it does not begin as a file of `xl save`")
    byte_order, mandatory, optional, length = _HEADER_TAIL.unpack(
        _read_exactly(image, _HEADER_TAIL.size)
    )
    if byte_order != _BYTE_ORDER_MARK:
        raise _Unfit("its byte order is not this machine's")
    if mandatory != _FLAG_JSON | _FLAG_STREAM_V2 or optional:
        raise _Unfit(
            f"its header has flags {mandatory:#x}/{optional:#x}: a format of another Xen version"
        )
    if not 4 < length <= min(_CONFIGURATION_LIMIT_BYTES, size_bytes - _HEADER_BYTES):
        raise _Unfit(f"its configuration of {length} bytes does not fit the file")
    part = _read_exactly(image, length)
    (configuration_bytes,) = struct.unpack_from("<I", part)
    if configuration_bytes > length - 4:
        raise _Unfit(f"its configuration claims {configuration_bytes} of {length - 4} bytes")
    text = part[4 : 4 + configuration_bytes].split(b"\0", 1)[0]
    return _Header(text.decode("utf-8", "surrogateescape"), _HEADER_BYTES + length)


def _read_xen_version(image: BinaryIO, stream_offset: int) -> str:
    """Major and minor version in the domain header, which follows the first LIBXC_CONTEXT."""
    image.seek(stream_offset + _LIBXL_HEADER.size + _RECORD.size + _LIBXC_HEADER.size)
    _, _, _, major, minor = _DOMAIN_HEADER.unpack(_read_exactly(image, _DOMAIN_HEADER.size))
    return f"{major}.{minor}"


def _walk_stream(image: BinaryIO, size_bytes: int, offset: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of every record of memory pages, up to the outer END.

    Raises: _Unfit where the file ends early, goes on after END, or is no such stream.
    """
    image.seek(offset)
    ident, version, options = _LIBXL_HEADER.unpack(_read_exactly(image, _LIBXL_HEADER.size))
    if ident != _LIBXL_IDENT or version != _LIBXL_VERSION or options & _OPTION_BIG_ENDIAN:
        raise _Unfit(f"no libxl stream that we know begins at byte {offset}")
    position = offset + _LIBXL_HEADER.size
    while True:
        kind, length, body = _read_record(image, size_bytes, position, "libxl")
        position = _end_of_record(body, length)
        if kind == _LIBXL_END:
            break
        if kind == _LIBXL_LIBXC_CONTEXT:
            position = yield from _walk_libxc(image, size_bytes, position)
    if position != size_bytes:
        raise _Unfit(f"{size_bytes - position} bytes follow its END record")


def _walk_libxc(
    image: BinaryIO, size_bytes: int, offset: int
) -> Generator[tuple[int, int], None, int]:
    """As `_walk_stream`, for the inner stream; returns where the outer one goes on."""
    image.seek(offset)
    marker, ident, version, options, _, _ = _LIBXC_HEADER.unpack(
        _read_exactly(image, _LIBXC_HEADER.size)
    )
    known = marker == _LIBXC_MARKER and ident == _LIBXC_IDENT and version in _LIBXC_VERSIONS
    if not known or options & _OPTION_BIG_ENDIAN:
        raise _Unfit(f"no libxc stream that we know begins at byte {offset}")
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
    kind, length = _RECORD.unpack(_read_exactly(image, _RECORD.size))
    if kind & ~_OPTIONAL_RECORD > _LARGEST_KNOWN_RECORD:
        raise _Unfit(f"unknown {stream} record {kind:#x} at byte {position}")
    body = position + _RECORD.size
    if _end_of_record(body, length) > size_bytes:
        raise _Unfit(f"it ends inside the {stream} record at byte {position}")
    return kind, length, body


def _end_of_record(body: int, length: int) -> int:
    return body + length + -length % 8


def _read_exactly(image: BinaryIO, count: int) -> bytes:
    content = image.read(count)
    if len(content) != count:
        raise _Unfit(f"it ends at byte {image.tell()}, before its END record")
    return content


def _parse_configuration(text: str) -> dict[str, object]:
    try:
        configuration = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Unfit(f"its configuration is no JSON: {error}") from error
    if not isinstance(configuration, dict) or not isinstance(configuration.get("c_info"), dict):
        raise _Unfit("its configuration has no c_info object")
    return configuration


def _read_text(configuration: Mapping[str, object], key: str) -> str:
    creation = configuration.get("c_info")
    value = creation.get(key, "") if isinstance(creation, dict) else ""
    return value if isinstance(value, str) else ""
