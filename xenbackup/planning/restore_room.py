"""Whether what a restore makes anew will fit: in volume groups, thin pools and folders. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from blake3 import blake3

from xenbackup.model.inventory import Inventory
from xenbackup.model.point import StoredDisk
from xenbackup.model.restore import RestoreTarget, TargetAct
from xenbackup.model.restore_sight import RestoreSight
from xenbackup.model.volume import LogicalVolume

_MIB = 1 << 20


def find_pool(inventory: Inventory, group: str, name: str) -> LogicalVolume | None:
    """The thin pool of that name, if it is one."""
    for volume in inventory.volumes:
        if (volume.group, volume.name) == (group, name) and volume.attributes[0:1] == "t":
            return volume
    return None


def find_full_groups(targets: Sequence[RestoreTarget], sight: RestoreSight) -> Iterator[str]:
    """Groups without room for their new thick volumes."""
    needed: dict[str, int] = {}
    for target in targets:
        if target.act is TargetAct.CREATE_VOLUME and not target.pool:
            needed[target.group] = needed.get(target.group, 0) + target.capacity_bytes
    for name, size_bytes in needed.items():
        group = sight.inventory.find_group(name)
        if group is not None and group.free_bytes < size_bytes:
            yield (
                f"Volume group {name} has {group.free_bytes // _MIB} MiB free, the new volumes "
                f"need {-(-size_bytes // _MIB)} MiB: extend it, or give another place."
            )


def find_full_pools(
    targets: Sequence[RestoreTarget], sight: RestoreSight, *, whole: bool
) -> Iterator[str]:
    """Pools without room for what will be written into their new volumes.

    A pool that fills up fails every guest in it, so this is no matter of trying.
    """
    needed: dict[tuple[str, str], int] = {}
    for target in targets:
        if target.act is TargetAct.CREATE_VOLUME and target.pool:
            _add(needed, (target.group, target.pool), target, whole=whole)
    for pool, free, size in _list_short(needed, sight.inventory):
        yield (
            f"Thin pool {pool} has {free} free, the new volumes need up to {size}: extend it, or "
            "give another place."
        )


def find_tight_pools(
    targets: Sequence[RestoreTarget], sight: RestoreSight, *, whole: bool
) -> Iterator[str]:
    """Pools that might fill up as volumes that are there are written over: said, not refused, for
    what is right already is not written. What a snapshot shares is stored anew.
    """
    needed: dict[tuple[str, str], int] = {}
    for target in targets:
        volume = _find_thin(sight.inventory, target)
        if volume is not None:
            _add(needed, (volume.group, volume.pool), target, whole=whole)
    for pool, free, size in _list_short(needed, sight.inventory):
        yield (
            f"thin pool {pool} has {free} free, and up to {size} are written into its volumes: a "
            "pool that fills up fails every guest in it, so extend it or watch it"
        )


def _add(
    needed: dict[tuple[str, str], int],
    pool: tuple[str, str],
    target: RestoreTarget,
    *,
    whole: bool,
) -> None:
    size_bytes = target.disk.size_bytes if whole else count_filled_bytes(target.disk)
    needed[pool] = needed.get(pool, 0) + size_bytes


def _list_short(
    needed: Mapping[tuple[str, str], int], inventory: Inventory
) -> Iterator[tuple[str, str, str]]:
    """Pools with less room than is needed of them: `GROUP/NAME`, what is free, what is needed."""
    for (group, name), size_bytes in needed.items():
        free_bytes = _measure_pool(inventory, group, name)
        if free_bytes is not None and free_bytes < size_bytes:
            free, size = free_bytes // _MIB, -(-size_bytes // _MIB)
            yield f"{group}/{name}", f"{free} MiB", f"{size} MiB"


def _find_thin(inventory: Inventory, target: RestoreTarget) -> LogicalVolume | None:
    """The thin volume that a target is already."""
    for volume in inventory.volumes:
        if target.lv_uuid and volume.uuid == target.lv_uuid and volume.thin:
            return volume
    return None


def _measure_pool(inventory: Inventory, group: str, name: str) -> int | None:
    """Bytes free in a thin pool; None where LVM does not say."""
    found = find_pool(inventory, group, name)
    if found is None or found.data_percent is None:
        return None
    return int(found.size_bytes * (100.0 - found.data_percent) / 100.0)


def count_filled_bytes(disk: StoredDisk) -> int:
    """How much of a disk is in blocks that hold more than zeros: those alone are written."""
    zeros = blake3(bytes(disk.block_size_bytes)).hexdigest()
    last_bytes = disk.size_bytes - disk.block_size_bytes * max(len(disk.block_digests) - 1, 0)
    filled = sum(disk.block_size_bytes for digest in disk.block_digests[:-1] if digest != zeros)
    for digest in disk.block_digests[-1:]:
        if digest != blake3(bytes(last_bytes)).hexdigest():
            filled += last_bytes
    return filled


def find_full_folders(targets: Sequence[RestoreTarget], sight: RestoreSight) -> Iterator[str]:
    """Sparse files may fit where their sizes do not: said, not refused."""
    needed: dict[str, int] = {}
    free: dict[str, int] = {}
    for target in targets:
        if target.act is TargetAct.CREATE_FILE:
            folder = str(PurePosixPath(target.path).parent)
            needed[folder] = needed.get(folder, 0) + target.disk.size_bytes
            free[folder] = sight.find_path(target.path).folder_free_bytes
    for folder, size_bytes in needed.items():
        if free[folder] < size_bytes:
            yield (
                f"{folder} has {free[folder] // _MIB} MiB free, the images are "
                f"{-(-size_bytes // _MIB)} MiB with their holes: they may not fit"
            )
