"""Which disks are the same storage, whatever they are called. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from xenbackup.model.backing import BackingKind, DiskBacking

_WITHIN = "within:"
_NEVER_SHARED = (BackingKind.CDROM, BackingKind.EMPTY)


def find_shared(backings: Iterable[DiskBacking]) -> tuple[tuple[DiskBacking, ...], ...]:
    """Groups of two or more disks that are one storage, in the order in which they were given.

    Disks with a common token belong together, and a partition belongs to its whole disk: but two
    partitions of a disk that no guest has as a whole are neighbours, not the same. Drives for CDs
    are left out: what is only read may be read by many.
    """
    disks = tuple(backing for backing in backings if backing.kind not in _NEVER_SHARED)
    first: dict[str, int] = {}
    group = list(range(len(disks)))
    for index, disk in enumerate(disks):
        for token in disk.tokens:
            if not token.startswith(_WITHIN):
                _join(group, first.setdefault(token, index), index)
    for index, disk in enumerate(disks):
        for token in disk.tokens:
            whole = first.get(token.removeprefix(_WITHIN))
            if token.startswith(_WITHIN) and whole is not None:
                _join(group, whole, index)
    members: dict[int, list[DiskBacking]] = {}
    for index, disk in enumerate(disks):
        members.setdefault(_find_root(group, index), []).append(disk)
    return tuple(tuple(found) for found in members.values() if len(found) > 1)


def _find_root(group: list[int], index: int) -> int:
    while group[index] != index:
        group[index] = group[group[index]]
        index = group[index]
    return index


def _join(group: list[int], one: int, other: int) -> None:
    low, high = sorted((_find_root(group, one), _find_root(group, other)))
    group[high] = low
