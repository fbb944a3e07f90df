"""The head of a saved-memory file: who wrote it, whose memory it holds, where its stream begins.

xl   48 bytes: magic, byte order, mandatory flags, optional flags, length of the optional part;
     u32 length of the configuration, the configuration. It is JSON with a NUL at its end (flag
     1, Xen 4.5 on), or the text of the guest's xl.cfg; the stream is the present one (flag 2,
     Xen 4.6 on) or the legacy one
xm   16 bytes of magic, i32 length (big-endian) and the domain's S-expression; legacy stream
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from xenbackup.dom0.guest_configuration import parse_identity
from xenbackup.dom0.legacy_stream import StreamUnfit
from xenbackup.dom0.xm_parsers import parse_xm_domains
from xenbackup.errors import ConfigurationError, UnexpectedOutput
from xenbackup.model.domain import GuestKind

MAGIC = b"Xen saved domain, xl format\n \0 \r"
XM_MAGIC = b"LinuxGuestRecord"

_BYTE_ORDER_MARK = 0x01020304
_FLAG_JSON = 1 << 0
_FLAG_STREAM_V2 = 1 << 1
_TAIL = struct.Struct("<IIII")
_HEAD_BYTES = len(MAGIC) + _TAIL.size
_XM_LENGTH = struct.Struct(">i")
_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class ImageHead:
    """`configuration_json` is "" where the head holds none, as is `configuration_file` (an xl.cfg).

    `memory_bytes` is 0 where the configuration does not say it.
    """

    stream_offset: int
    legacy_stream: bool = False
    domain_name: str = ""
    uuid: str = ""
    configuration_json: str = ""
    configuration_file: str = ""
    fully_virtual: bool = False
    memory_bytes: int = 0


def read_head(image: BinaryIO, size_bytes: int) -> ImageHead:
    """Read from the file's beginning. Raises: StreamUnfit when it is no head that we know."""
    image.seek(0)
    magic = image.read(len(MAGIC))
    if magic.startswith(XM_MAGIC):
        return _read_xm_head(image, size_bytes)
    if magic != MAGIC:
        raise StreamUnfit("it does not begin as a file of `xl save`")
    byte_order, mandatory, optional, length = _TAIL.unpack(read_exactly(image, _TAIL.size))
    if byte_order != _BYTE_ORDER_MARK:
        raise StreamUnfit("its byte order is not this machine's")
    legacy = not mandatory & _FLAG_STREAM_V2
    if mandatory & ~(_FLAG_JSON | _FLAG_STREAM_V2) or optional:
        raise StreamUnfit(
            f"its header has flags {mandatory:#x}/{optional:#x}: a format of another Xen version"
        )
    if not 4 < length <= min(_LIMIT_BYTES, size_bytes - _HEAD_BYTES):
        raise StreamUnfit(f"its configuration of {length} bytes does not fit the file")
    part = read_exactly(image, length)
    (configuration_bytes,) = struct.unpack_from("<I", part)
    if configuration_bytes > length - 4:
        raise StreamUnfit(f"its configuration claims {configuration_bytes} of {length - 4} bytes")
    text = part[4 : 4 + configuration_bytes].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    if mandatory & _FLAG_JSON:
        return _understand_json(text, _HEAD_BYTES + length, legacy=legacy)
    return _understand_file(text, _HEAD_BYTES + length, legacy=legacy)


def _understand_json(text: str, stream_offset: int, *, legacy: bool) -> ImageHead:
    configuration = parse_json(text)
    building = configuration.get("b_info")
    memory = building.get("target_memkb") if isinstance(building, dict) else None
    return ImageHead(
        stream_offset=stream_offset,
        legacy_stream=legacy,
        domain_name=read_creation_text(configuration, "name"),
        uuid=read_creation_text(configuration, "uuid").lower(),
        configuration_json=text,
        fully_virtual=read_creation_text(configuration, "type") != "pv",
        memory_bytes=memory * 1024 if isinstance(memory, int) else 0,
    )


def _understand_file(text: str, stream_offset: int, *, legacy: bool) -> ImageHead:
    try:
        guest = parse_identity(text, "the image's configuration")
    except ConfigurationError as error:
        raise StreamUnfit(f"its configuration cannot be read: {error.message}") from error
    return ImageHead(
        stream_offset=stream_offset,
        legacy_stream=legacy,
        domain_name=guest.name,
        uuid=guest.uuid.lower(),
        configuration_file=text,
        fully_virtual=guest.kind is not GuestKind.PV,
        memory_bytes=guest.memory_mib << 20,
    )


def _read_xm_head(image: BinaryIO, size_bytes: int) -> ImageHead:
    begin = len(XM_MAGIC) + _XM_LENGTH.size
    image.seek(len(XM_MAGIC))
    (length,) = _XM_LENGTH.unpack(read_exactly(image, _XM_LENGTH.size))
    if not 0 < length <= min(_LIMIT_BYTES, size_bytes - begin):
        raise StreamUnfit(f"its S-expression of {length} bytes does not fit the file")
    text = read_exactly(image, length).decode("utf-8", "surrogateescape")
    try:
        domains = parse_xm_domains(text)
    except UnexpectedOutput as error:
        raise StreamUnfit(f"its S-expression cannot be read: {error.message}") from error
    if len(domains) != 1:
        raise StreamUnfit(f"its S-expression tells of {len(domains)} guests")
    (domain,) = domains
    return ImageHead(
        stream_offset=begin + length,
        legacy_stream=True,
        domain_name=domain.name,
        uuid=domain.uuid,
        fully_virtual=domain.kind is GuestKind.HVM,
        memory_bytes=domain.memory_mib << 20,
    )


def compose_head(configuration: str, *, legacy: bool = False) -> bytes:
    """What xl writes before its stream; a legacy head holds an xl.cfg in the place of JSON."""
    content = configuration.encode("utf-8", "surrogateescape")
    if not legacy:
        content += b"\0"  # xl hands the text to a C parser: the NUL counts in its length
    optional = struct.pack("<I", len(content)) + content
    flags = 0 if legacy else _FLAG_JSON | _FLAG_STREAM_V2
    return MAGIC + _TAIL.pack(_BYTE_ORDER_MARK, flags, 0, len(optional)) + optional


def compose_xm_head(expression: str) -> bytes:
    """What xend writes before its stream."""
    content = expression.encode("utf-8", "surrogateescape")
    return XM_MAGIC + _XM_LENGTH.pack(len(content)) + content


def read_exactly(image: BinaryIO, count: int) -> bytes:
    """Raises: StreamUnfit when the file ends before."""
    content = image.read(count)
    if len(content) != count:
        raise StreamUnfit(f"it ends at byte {image.tell()}, before its END record")
    return content


def parse_json(text: str) -> dict[str, object]:
    """A configuration as libxl writes it. Raises: StreamUnfit."""
    try:
        configuration = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StreamUnfit(f"its configuration is no JSON: {error}") from error
    if not isinstance(configuration, dict) or not isinstance(configuration.get("c_info"), dict):
        raise StreamUnfit("its configuration has no c_info object")
    return configuration


def read_creation_text(configuration: Mapping[str, object], key: str) -> str:
    """A text of `c_info`, "" when there is none."""
    creation = configuration.get("c_info")
    value = creation.get(key, "") if isinstance(creation, dict) else ""
    return value if isinstance(value, str) else ""
