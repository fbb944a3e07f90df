"""The files that a recovery point is made of: what belongs to one, and what is missing from one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from xenbackup.model.point import Manifest
from xenbackup.storage.manifest import (
    CONFIGURATION_FILE,
    DOMAIN_FILE,
    MANIFEST_FILE,
    MEMORY_FILE,
    VDEV_PATTERN,
)
from xenbackup.system.folder import Entry, EntryKind

PINNED_FILE = ".pinned"
IMAGE_SUFFIX = ".img"

_FILES = frozenset((MANIFEST_FILE, DOMAIN_FILE, CONFIGURATION_FILE, MEMORY_FILE, PINNED_FILE))
_VDEV = re.compile(VDEV_PATTERN)


def is_part(entry: Entry) -> bool:
    """A plain file with a name that we give to a part of a point. Nothing else is ever removed."""
    if entry.kind is not EntryKind.FILE:
        return False
    stem = entry.name.removesuffix(IMAGE_SUFFIX)
    is_image = stem != entry.name and _VDEV.fullmatch(stem) is not None
    return is_image or entry.name in _FILES


def find_flaw(manifest: Manifest, entries: Iterable[Entry], *, disks_inside: bool) -> str:
    """What is missing from a point's folder or has the wrong size, "" when nothing is.

    No content is read: that is what verifying is for.
    """
    found = {entry.name: entry for entry in entries}
    for name, size_bytes in _list_expected(manifest, disks_inside):
        entry = found.get(name)
        if entry is None:
            return f"{name} is missing"
        if entry.kind is not EntryKind.FILE:
            return f"{name} is a {entry.kind}"
        if size_bytes is not None and entry.size_bytes != size_bytes:
            return f"{name} has {entry.size_bytes} bytes, its manifest says {size_bytes}"
    return ""


def _list_expected(manifest: Manifest, disks_inside: bool) -> Iterator[tuple[str, int | None]]:
    yield DOMAIN_FILE, None
    if manifest.configuration_digest:
        yield CONFIGURATION_FILE, None
    if manifest.memory is not None:
        yield manifest.memory.file, manifest.memory.size_bytes
    if disks_inside:
        for disk in manifest.disks:
            yield disk.file, disk.size_bytes
