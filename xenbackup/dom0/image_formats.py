"""Headers of image files with a format: how large a disk they hold, and what they stand on."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER_BYTES = 512
_QCOW_MAGIC = b"QFI\xfb"
_VHD_COOKIE = b"conectix"
_VHD_DIFFERENCING = 4
_VMDK_MAGIC = b"KDMV"
_SECTOR_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """What the first bytes of an image say: `disk_bytes` is what its guest sees (0 unknown).

    `stands_on_another` means that it holds only what differs from another file, its backing file.
    """

    format: str
    disk_bytes: int
    stands_on_another: bool = False


def parse_image_header(head: bytes) -> ImageHeader | None:
    """The header in the first 512 bytes of a qcow, qcow2, vhd (dynamic) or vmdk (sparse) file.

    None for anything else. Sources: QEMU's docs/interop/qcow2 and block/qcow.c, the VHD format's
    specification, block/vmdk.c.
    """
    if head.startswith(_QCOW_MAGIC) and len(head) >= 40:
        version, backing_offset = struct.unpack_from(">IQ", head, 4)
        # qcow has a 32-bit time between the name's length and the size, qcow2 its cluster bits.
        (size_bytes,) = struct.unpack_from(">Q", head, 24)
        return ImageHeader(
            format="qcow" if version == 1 else "qcow2",
            disk_bytes=size_bytes,
            stands_on_another=backing_offset != 0,
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
