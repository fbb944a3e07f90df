"""Names, sizes, tags and space of logical volumes, as LVM reads and refuses them."""

from __future__ import annotations

import re

from xenbackup.dom0.simulated.lvm_fields import free_bytes
from xenbackup.dom0.simulated.lvm_report import split_name
from xenbackup.dom0.simulated.session import Machine, Session, ToolFailed
from xenbackup.dom0.simulated.state import Group, Volume

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bskmgte]?)(?:i?b)?", re.IGNORECASE)
_SHIFTS = {"b": 0, "s": 9, "k": 10, "m": 20, "g": 30, "t": 40, "e": 60, "": 20}
_TAG = re.compile(r"[A-Za-z0-9_+.\-/=!:#&]+")
_NAME = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.\-]*")
_NAME_LIMIT = 127
_RESERVED = ("_cdata", "_cmeta", "_mimage", "_mlog", "_tdata", "_tmeta", "_rimage", "_rmeta")
_CHUNK_BYTES = 4096
_PAIRS_PER_CHUNK = 256


def parse_size(text: str) -> int:
    """Bytes of `-L 64m`, `1.5G`, `4194304b`; a bare number is MiB. Raises: ToolFailed."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ToolFailed(
            3, f"  Invalid argument for --size: {text}\n  Error during parsing of command line.\n"
        )
    return int(float(match[1]) * (1 << _SHIFTS[match[2].lower()]))


def check_tag(tag: str) -> None:
    """Raises: ToolFailed for a tag that LVM does not take."""
    if not _TAG.fullmatch(tag) or tag.startswith("-") or len(tag) > 1024:
        raise ToolFailed(3, f"  Tag {tag} is not valid.\n  Error during parsing of command line.\n")


def check_name(name: str) -> None:
    """Raises: ToolFailed for a name that a logical volume cannot have."""
    reserved = name.startswith(("snapshot", "pvmove")) or any(part in name for part in _RESERVED)
    if name in (".", "..") or reserved:
        raise ToolFailed(3, f'  Names "{name}" is reserved. Please choose a different LV name.\n')
    if not _NAME.fullmatch(name) or len(name) > _NAME_LIMIT:
        raise ToolFailed(3, f'  Logical volume name "{name}" is invalid.\n')


def find_volume(session: Session, word: str) -> Volume:
    """The volume that an argument names. Raises: ToolFailed with exit 5, as LVM says it."""
    group_name, _, name = split_name(session, word)
    if session.state.find_group(group_name) is None:
        raise ToolFailed(
            5,
            f'  Volume group "{group_name}" not found\n'
            f"  Cannot process volume group {group_name}\n",
        )
    found = session.state.find_volume(group_name, name)
    if found is None:
        raise ToolFailed(5, f'  Failed to find logical volume "{group_name}/{name}"\n')
    return found


def find_group(session: Session, name: str) -> Group:
    """A group by name. Raises: ToolFailed with exit 5."""
    found = session.state.find_group(name.removeprefix("/dev/"))
    if found is None:
        raise ToolFailed(
            5, f'  Volume group "{name}" not found\n  Cannot process volume group {name}\n'
        )
    return found


def check_space(machine: Machine, group: Group, extents: int) -> None:
    """Raises: ToolFailed with exit 5 when the group has not so many extents left."""
    free = free_bytes(machine, group) // group.extent_bytes
    if extents > free:
        raise ToolFailed(
            5,
            f'  Volume group "{group.name}" has insufficient free space '
            f"({free} extents): {extents} required.\n",
        )


def cow_maximum_extents(origin_bytes: int, extent_bytes: int) -> int:
    """The largest useful exception store: every chunk of the origin, and the metadata for them."""
    chunks = -(-origin_bytes // _CHUNK_BYTES)
    metadata = 2 + -(-chunks // _PAIRS_PER_CHUNK)
    return -(-(chunks + metadata) * _CHUNK_BYTES // extent_bytes)


def display_size(size_bytes: int) -> str:
    """A size in LVM's sentences: `12.00 MiB`."""
    for unit, shift in (("GiB", 30), ("MiB", 20)):
        if size_bytes >= 1 << shift:
            return f"{size_bytes / (1 << shift):.2f} {unit}"
    return f"{size_bytes / 1024:.2f} KiB"
