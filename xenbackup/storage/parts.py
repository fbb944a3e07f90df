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
DAMAGED_FILE = ".damaged"
IMAGE_SUFFIX = ".img"

_FILES = frozenset((MANIFEST_FILE, DOMAIN_FILE, CONFIGURATION_FILE, MEMORY_FILE))
_VDEV = re.compile(VDEV_PATTERN)
# As `Folder.replace_file` names what it has not renamed yet: a kill leaves it.
_UNFINISHED_MARK = re.compile(rf"\.{re.escape(DAMAGED_FILE)}\.[0-9]+-[0-9a-f]{{8}}\.new")


def is_mark(name: str) -> bool:
    """A file that says something about the point and is no part of what was backed up."""
    return name in (PINNED_FILE, DAMAGED_FILE) or is_unfinished_mark(name)


def is_unfinished_mark(name: str) -> bool:
    """What a kill left of writing a mark: it says nothing."""
    return _UNFINISHED_MARK.fullmatch(name) is not None


def is_part(entry: Entry) -> bool:
    """A plain file with a name that we give to a part of a point. Nothing else is ever removed."""
    if entry.kind is not EntryKind.FILE:
        return False
    stem = entry.name.removesuffix(IMAGE_SUFFIX)
    is_image = stem != entry.name and _VDEV.fullmatch(stem) is not None
    return is_image or entry.name in _FILES or is_mark(entry.name)


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
