"""The stream that Xen up to 4.5 (and every xm) saves memory in: walked to its end, and composed.

It has no END record and its header has no magic. Its layout is that of Xen's xg_save_restore.h and
of the converter (`convert-legacy-stream`) that came with its successor; "word" is the saving
tool's unsigned long (4 or 8 bytes), everything little-endian:

    word      number of page frames (pfns)
    PV only   all ones and blocks of (id, size, data): vcpu context, extv, xcnt; then the frames of
              the guest's pfn table, one word each
    chunks    i32 n: n > 0 is a batch of n words (type in bits 28-31, pfn below) and a page for each
              whose type is below 0xd; n < 0 is a chunk of its own layout; 0 ends the memory
    PV tail   u32 and so many words: unmapped pfns; the context of each online vcpu (with 128 bytes
              where extv was said, and its xsave area where xcnt was); the shared info page
    HVM tail  three u64, u32 and so many bytes of context; then the device model's state
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

PAGE_BYTES = 4096
_PAGES_PER_BATCH = 1024
_NO_PAGE_TYPE = 0xD  # broken, allocated without content, or not there
_INVALID_PFN = 0xF0000000
_LAST_VCPU = 4095
_EXTENDED_CONTEXT_BYTES = 128
_CONTEXT_LIMIT_BYTES = 16 << 20
# Size of a processor's context, and so the width of the guest.
_GUEST_WIDTHS = {0x1430: 8, 0xAF0: 4}
_CONTEXT_BYTES = {8: 0x1430, 4: 0xAF0}

_CHUNK_VERIFY = -1
_CHUNK_VCPUS = -2
_CHUNK_TSC = -7
_CHUNK_LAST_CHECKPOINT = -9
_CHUNK_TOOLSTACK = -18
_SIMPLE_CHUNK_BYTES = {
    _CHUNK_VERIFY: 0,
    _CHUNK_TSC: 20,
    _CHUNK_LAST_CHECKPOINT: 0,
    # Numbers of fully virtualised guests: four bytes of padding, eight of value.
    **dict.fromkeys((-3, -4, -8, -10, -11, -14, -15, -16, -17, -19, -20), 12),
}

_OPEN_ENDED_DEVICE_MODEL = b"QemuDeviceModelRecord"
_MEASURED_DEVICE_MODELS = (b"DeviceModelRecord0002", b"RemusDeviceModelState")
_SIGNATURE_BYTES = len(_OPEN_ENDED_DEVICE_MODEL)


class StreamUnfit(Exception):
    """The walk met something that a complete image does not have; the text says what and where."""


class StreamUnknown(Exception):
    """The walk met a form that it does not know: no verdict. The text says what and where."""


def judge_legacy_stream(
    image: BinaryIO,
    size_bytes: int,
    offset: int,
    *,
    fully_virtual: bool,
    memory_bytes: int,
) -> str:
    """Walk the stream from `offset` to the end of the file; returns what stays in doubt, or "".

    A paravirtual stream's end is known exactly. Of a fully virtual one the device model's state
    may have no length of its own: then only its beginning is seen. Where the walk meets a form it
    does not know, the size decides: a running domain's pages are all written, so a file without
    `memory_bytes` behind its head is not whole; one that has them passes, in doubt.

    Raises: StreamUnfit when the stream is not whole.
    """
    walk = LegacyWalk(image, size_bytes, offset, fully_virtual=fully_virtual)
    try:
        if not sum(1 for _ in walk.find_pages()):
            raise StreamUnfit("the stream holds no memory pages")
    except StreamUnknown as unknown:
        if memory_bytes <= 0 or size_bytes - offset < memory_bytes:
            raise StreamUnfit(
                f"{unknown}; it holds {size_bytes - offset} bytes, its guest has "
                f"{memory_bytes} bytes of memory"
            ) from unknown
        return f"{unknown}: judged by its size alone"
    return walk.doubt


class LegacyWalk:
    """One walk through a stream; `doubt` says afterwards what could not be seen."""

    def __init__(
        self, image: BinaryIO, size_bytes: int, offset: int, *, fully_virtual: bool
    ) -> None:
        self.doubt = ""
        self._image = image
        self._size_bytes = size_bytes
        self._position = offset
        self._fully_virtual = fully_virtual
        self._word = 8
        self._context_bytes = 0
        self._extended = False
        self._has_xsave = False
        self._online_vcpus = 1

    def find_pages(self) -> Iterator[tuple[int, int]]:
        """Yield offset and length of every run of memory pages, then see the tail to its end.

        Raises: StreamUnfit where the file ends early; StreamUnknown where the form is not known.
        """
        pfns = self._read_pfn_count()
        if not self._fully_virtual:
            self._skip_tables(pfns)
        yield from self._walk_chunks()
        if self._fully_virtual:
            self._skip_virtual_tail()
        else:
            self._skip_paravirtual_tail()
        self._check_end()

    def _read_pfn_count(self) -> int:
        """The first word; its upper half is zero exactly where words have eight bytes."""
        low, high = self._unpack("<II", "its first word")
        if high:
            self._word = 4
            self._position -= 4
        if not low:
            raise StreamUnfit("its stream names no page frames")
        return int(low)

    def _skip_tables(self, pfns: int) -> None:
        self._read_extended_blocks()
        if not self._context_bytes:
            self._context_bytes = _CONTEXT_BYTES[self._word]
        frames_per_page = PAGE_BYTES // _GUEST_WIDTHS[self._context_bytes]
        self._skip(-(-pfns // frames_per_page) * self._word, "the table of page frames")

    def _read_extended_blocks(self) -> None:
        begin = self._position
        if self._read(self._word, "the first table") != b"\xff" * self._word:
            self._position = begin
            return
        (length,) = self._unpack("<I", "the extended information")
        end = self._position + length
        while self._position < end:
            where = self._position
            name, size = self._unpack("<4sI", "the extended information")
            content = self._position
            if name == b"vcpu":
                if size not in _GUEST_WIDTHS:
                    raise StreamUnknown(f"a vcpu context of {size} bytes at byte {where}")
                self._context_bytes = size
            elif name == b"extv":
                self._extended = True
            elif name == b"xcnt" and size >= 4:
                self._has_xsave = self._unpack("<I", "the extended information") != (0,)
            else:
                raise StreamUnknown(f"an unknown block {name!r} at byte {where}")
            self._position = content
            self._skip(size, "the extended information")
        if self._position != end:
            raise StreamUnfit(f"its extended information does not end at byte {end}")

    def _walk_chunks(self) -> Iterator[tuple[int, int]]:
        while True:
            where = self._position
            (kind,) = self._unpack("<i", "its memory")
            if kind == 0:
                return
            if kind > _PAGES_PER_BATCH:
                raise StreamUnknown(f"a batch of {kind} pages at byte {where}")
            if kind > 0:
                letter = "Q" if self._word == 8 else "I"
                pfns = self._unpack(f"<{kind}{letter}", "a batch of memory pages")
                count = sum(1 for pfn in pfns if pfn >> 28 & 0xF < _NO_PAGE_TYPE)
                begin = self._position
                self._skip(count * PAGE_BYTES, "a batch of memory pages")
                if count:
                    yield begin, count * PAGE_BYTES
            elif kind == _CHUNK_VCPUS:
                self._read_vcpus(where)
            elif kind == _CHUNK_TOOLSTACK:
                (length,) = self._unpack("<I", "a chunk of the toolstack")
                self._skip(length, "a chunk of the toolstack")
            elif kind in _SIMPLE_CHUNK_BYTES:
                self._skip(_SIMPLE_CHUNK_BYTES[kind], f"chunk {kind}")
            else:
                raise StreamUnknown(f"an unknown chunk {kind} at byte {where}")

    def _read_vcpus(self, where: int) -> None:
        (last,) = self._unpack("<i", "its list of vcpus")
        if not 0 <= last <= _LAST_VCPU:
            raise StreamUnknown(f"a vcpu {last} at byte {where}")
        words = self._unpack(f"<{last // 64 + 1}Q", "its list of vcpus")
        self._online_vcpus = sum(word.bit_count() for word in words)

    def _skip_paravirtual_tail(self) -> None:
        (unmapped,) = self._unpack("<I", "its list of unmapped pages")
        self._skip(unmapped * self._word, "its list of unmapped pages")
        for _ in range(self._online_vcpus):
            self._skip(self._context_bytes, "the context of a vcpu")
            if self._extended:
                self._skip(_EXTENDED_CONTEXT_BYTES, "the context of a vcpu")
            if self._has_xsave:
                _, length = self._unpack("<QQ", "the context of a vcpu")
                self._skip(length, "the context of a vcpu")
        self._skip(PAGE_BYTES, "its shared info page")

    def _skip_virtual_tail(self) -> None:
        where = self._position
        *_, length = self._unpack("<QQQI", "the hypervisor's context")
        if length > _CONTEXT_LIMIT_BYTES:
            raise StreamUnknown(f"a context of {length} bytes at byte {where}")
        self._skip(length, "the hypervisor's context")
        if self._position == self._size_bytes:
            raise StreamUnfit("it ends before the state of its device model")

    def _check_end(self) -> None:
        if self._position == self._size_bytes:
            return
        where = self._position
        if self._size_bytes - where > _SIGNATURE_BYTES:
            signature = self._read(_SIGNATURE_BYTES, "the device model's signature")
            if signature == _OPEN_ENDED_DEVICE_MODEL:
                self.doubt = "its device model's state goes on to the end of the file, unmeasured"
                return
            if signature in _MEASURED_DEVICE_MODELS:
                (length,) = self._unpack("<I", "the device model's state")
                self._skip(length, "the device model's state")
                where = self._position
        if where != self._size_bytes:
            raise StreamUnknown(f"{self._size_bytes - where} bytes follow its end at byte {where}")

    def _read(self, count: int, what: str) -> bytes:
        self._image.seek(self._position)
        self._skip(count, what)
        content = self._image.read(count)
        if len(content) != count:
            raise StreamUnfit(f"it ends inside {what}")
        return content

    def _unpack(self, form: str, what: str) -> tuple[Any, ...]:
        return struct.unpack(form, self._read(struct.calcsize(form), what))

    def _skip(self, count: int, what: str) -> None:
        if self._position + count > self._size_bytes:
            raise StreamUnfit(
                f"it ends at byte {self._size_bytes}, inside {what} that begins at byte "
                f"{self._position}"
            )
        self._position += count


def compose_legacy_stream(
    pages: bytes, *, fully_virtual: bool, vcpus: int = 1, extended: bool = False
) -> bytes:
    """A small, valid stream with these whole pages of memory, and a few frames without content.

    `extended` writes what tools from Xen 4 on write: extended vcpu contexts and the checkpoint
    chunk.
    """
    count = len(pages) // PAGE_BYTES
    unmapped = (count, count + 1)
    total = count + len(unmapped)
    context = bytes(_CONTEXT_BYTES[8])
    parts = [struct.pack("<Q", total)]
    if not fully_virtual:
        if extended:
            blocks = struct.pack("<4sI", b"vcpu", len(context)) + context
            blocks += struct.pack("<4sI", b"extv", 0)
            parts += [b"\xff" * 8, struct.pack("<I", len(blocks)), blocks]
        parts.append(bytes(8 * -(-total // (PAGE_BYTES // 8))))
    if extended:
        parts.append(struct.pack("<iIQII", _CHUNK_TSC, 0, 0, 0, 0))
    for first in range(0, count, _PAGES_PER_BATCH):
        batch = range(first, min(first + _PAGES_PER_BATCH, count))
        parts.append(struct.pack(f"<i{len(batch)}Q", len(batch), *batch))
        parts.append(pages[first * PAGE_BYTES : batch.stop * PAGE_BYTES])
    parts.append(struct.pack("<i2Q", 2, *(_INVALID_PFN for _ in unmapped)))
    parts.append(struct.pack("<iiQ", _CHUNK_VCPUS, vcpus - 1, (1 << vcpus) - 1))
    if extended:
        parts.append(struct.pack("<i", _CHUNK_LAST_CHECKPOINT))
    parts.append(struct.pack("<i", 0))
    if fully_virtual:
        state = b"device model"
        parts.append(struct.pack("<QQQI", 0, 0, 0, 8) + bytes(8))
        if extended:
            parts += [_MEASURED_DEVICE_MODELS[0], struct.pack("<I", len(state)), state]
        else:
            parts += [_OPEN_ENDED_DEVICE_MODEL, state]
    else:
        one = context + (bytes(_EXTENDED_CONTEXT_BYTES) if extended else b"")
        parts.append(struct.pack("<I2Q", len(unmapped), *unmapped))
        parts += [one * vcpus, bytes(PAGE_BYTES)]
    return b"".join(parts)
