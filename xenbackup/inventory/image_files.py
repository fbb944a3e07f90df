"""Image files behind disks: where they lie, who holds them, whether they can be cloned."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xenbackup.dom0.image_formats import HEADER_BYTES, ImageHeader, parse_image_header
from xenbackup.inventory.host_storage import HostStorage, Node
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.domain import Disk, Domain


class ImageFiles:
    """Describes files of one host; each file system is asked once whether it can reflink."""

    def __init__(self, storage: HostStorage, read_reflink: Callable[[Path], bool | None]) -> None:
        self._storage = storage
        self._read_reflink = read_reflink
        self._reflinks: dict[str, bool | None] = {}

    def describe(self, draft: DiskBacking, disk: Disk, domain: Domain, node: Node) -> DiskBacking:
        """The backing that a disk on a regular file is; `draft.path` is that file."""
        mount = self._storage.find_mount(draft.path)
        optical = disk.cdrom or (not disk.writable and draft.path.lower().endswith(".iso"))
        size_bytes, problem = node.size_bytes, ""
        if not disk.cdrom:
            size_bytes, problem = self._storage.measure(draft.path)
        draft = replace(
            draft,
            kind=BackingKind.CDROM if optical else BackingKind.IMAGE_FILE,
            size_bytes=size_bytes,
            allocated_bytes=node.allocated_bytes,
            filesystem=mount.filesystem if mount is not None else "",
            mount_point=mount.point if mount is not None else "",
            problem=problem,
        )
        if optical:
            return draft
        draft = self._describe_file_use(draft, domain, node)
        draft = self._describe_reflink(draft)
        return self._describe_format(draft)

    def _describe_file_use(self, draft: DiskBacking, domain: Domain, node: Node) -> DiskBacking:
        """The loop device of a running guest's file is its own back-end, unless dom0 uses that."""
        held, loop = self._storage.explain_file_use(node), self._storage.find_loop(node)
        if loop and held:
            loop_node = self._storage.look(loop)
            used = self._storage.explain_holder(loop_node.number) if loop_node.number else ""
            if used:
                held = f"{held}, which is {used}"
            elif domain.exists:
                return add_note(draft, f"served through {loop}")
        return replace(draft, held=held)

    def _describe_reflink(self, draft: DiskBacking) -> DiskBacking:
        if draft.filesystem == "btrfs":
            return replace(draft, can_reflink=True)
        if draft.filesystem != "xfs":
            return draft
        point = draft.mount_point
        if point not in self._reflinks:
            self._reflinks[point] = self._read_reflink(self._storage.host.place(point))
        able = self._reflinks[point]
        if able is None:
            note = f"whether the XFS at {point} can reflink could not be read"
            draft = add_note(draft, note)
        elif not able:
            draft = add_note(draft, f"the XFS at {point} was made without reflink")
        return replace(draft, can_reflink=bool(able))

    def _describe_format(self, draft: DiskBacking) -> DiskBacking:
        if draft.format in ("raw", "empty"):
            return draft
        note = (
            f"an image of format {draft.format}: its data lives in the file, which is copied whole "
            "while the guest is saved"
        )
        header = _read_header(self._storage.host.place(draft.path))
        if header is None:
            return add_note(draft, note)
        if header.format != draft.format:
            note += f"; its own header says {header.format}"
        if header.disk_bytes:
            note += f"; the guest sees a disk of {header.disk_bytes} bytes"
        draft = add_note(draft, note)
        if header.stands_on_another:
            draft = add_note(
                replace(draft, stands_on_another=True),
                "it holds only what differs from another file: a copy of it alone is no disk",
            )
        return draft


def add_note(draft: DiskBacking, note: str) -> DiskBacking:
    """The backing with one sentence more for a person."""
    return replace(draft, notes=(*draft.notes, note))


def _read_header(path: Path) -> ImageHeader | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return parse_image_header(os.pread(descriptor, HEADER_BYTES, 0))
    except OSError:
        return None
    finally:
        os.close(descriptor)
