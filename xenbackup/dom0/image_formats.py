"""Headers of image files with a format: how large a disk they hold, and what they stand on."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER_BYTES = 512
_QCOW_MAGIC = b"QFI\xfb"
_QCOW3_INCOMPATIBLE_OFFSET = 72
_QCOW3_EXTERNAL_DATA = 1 << 2
_QED_MAGIC = b"QED\0"
_QED_BACKING = 1 << 0
_VHD_COOKIE = b"conectix"
_VHD_DIFFERENCING = 4
_VMDK_MAGIC = b"KDMV"
_SECTOR_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """What the first bytes of an image say: `disk_bytes` is what its guest sees (0 unknown).

    `stands_on_another` means that it is no disk without another file: it holds only what differs
    from its backing file, or the tables of data that lie elsewhere.
    """

    format: str
    disk_bytes: int
    stands_on_another: bool = False


def parse_image_header(head: bytes) -> ImageHeader | None:
    """The header in the first 512 bytes of a qcow, qcow2, qed, vhd (dynamic) or vmdk (sparse) file.

    None for anything else. Sources: QEMU's docs/interop/qcow2 and qed_spec, block/qcow.c, the VHD
    format's specification, block/vmdk.c.
    """
    if head.startswith(_QCOW_MAGIC) and len(head) >= 40:
        version, backing_offset = struct.unpack_from(">IQ", head, 4)
        # qcow has a 32-bit time between the name's length and the size, qcow2 its cluster bits.
        (size_bytes,) = struct.unpack_from(">Q", head, 24)
        return ImageHeader(
            format="qcow" if version == 1 else "qcow2",
            disk_bytes=size_bytes,
            stands_on_another=backing_offset != 0 or (version >= 3 and _keeps_data_elsewhere(head)),
        )
    if head.startswith(_QED_MAGIC) and len(head) >= 56:
        (features,) = struct.unpack_from("<Q", head, 16)
        (size_bytes,) = struct.unpack_from("<Q", head, 48)
        return ImageHeader(
            format="qed",
            disk_bytes=size_bytes,
            stands_on_another=bool(features & _QED_BACKING),
        )
    if head.startswith(_VHD_COOKIE) and len(head) >= 64:
        size_bytes, kind = struct.unpack_from(">Q4xI", head, 48)
        return ImageHeader(
            format="vhd", disk_bytes=size_bytes, stands_on_another=kind == _VHD_DIFFERENCING
        )
    if head.startswith(_VMDK_MAGIC) and len(head) >= 20:
        (sectors,) = struct.unpack_from("<Q", head, 12)
        return ImageHeader(format="vmdk", disk_bytes=sectors * _SECTOR_BYTES)
    return None


def _keeps_data_elsewhere(head: bytes) -> bool:
    """A bit of version 3's incompatible features: the data is in a file of its own."""
    features = head[_QCOW3_INCOMPATIBLE_OFFSET : _QCOW3_INCOMPATIBLE_OFFSET + 8]
    return bool(int.from_bytes(features, "big") & _QCOW3_EXTERNAL_DATA)
