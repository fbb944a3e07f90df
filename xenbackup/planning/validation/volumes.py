"""Rules about snapshots: room in groups, thin pools, and the kernel's part in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xenbackup.model.inventory import Inventory
from xenbackup.model.plan import DomainPlan, SnapshotKind
from xenbackup.model.problem import Problem
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.planning.forecast import POOL_FULL_PERCENT, compute_reserve_bytes
from xenbackup.planning.validation.codes import make_problem
from xenbackup.planning.validation.scene import Scene, add_largest, list_snapshot_groups, show_mib

POOL_FILLING_PERCENT = 80.0

_SNAPSHOT_MODULES = {
    SnapshotKind.THICK: "dm_snapshot",
    SnapshotKind.THIN: "dm_thin_pool",
}
_BLOCK_BACKEND = "xen_blkback"


def check_groups(scene: Scene) -> Iterator[Problem]:
    """Room for thick snapshots: of each guest alone, and of those that are held at once."""
    needs: dict[str, list[int]] = {}
    for plan in scene.plan.domains:
        for name, needed_bytes in list_snapshot_groups(plan, SnapshotKind.THICK).items():
            group = scene.inventory.find_group(name)
            if group is None:
                continue
            needs.setdefault(name, []).append(needed_bytes)
            if needed_bytes > group.free_bytes:
                yield make_problem(
                    "group-without-room",
                    subject=name,
                    message=(
                        f"{plan.domain.name}: its snapshots take {show_mib(needed_bytes)} of group "
                        f"{name}, which has {show_mib(group.free_bytes)} free."
                    ),
                    hint=f"`vgextend {name}`, free room in it, or give `snapshot` a smaller `size`",
                    domain=plan.domain.name,
                )
    for name, sizes in needs.items():
        group = scene.inventory.find_group(name)
        if group is not None:
            yield from _check_reserve(group, sizes, scene.setting.parallel_runs)


def _check_reserve(group: VolumeGroup, sizes: list[int], parallel_runs: int) -> Iterator[Problem]:
    """Those that fit alone, but with nothing to spare, or not together."""
    fitting = [size for size in sizes if size <= group.free_bytes]
    needed_bytes = add_largest(fitting, parallel_runs)
    reserve_bytes = compute_reserve_bytes(group)
    if not fitting or needed_bytes + reserve_bytes <= group.free_bytes:
        return
    at_once = min(len(fitting), max(parallel_runs, 1))
    guests = "one guest" if at_once == 1 else f"{at_once} guests at once"
    yield make_problem(
        "group-tight",
        subject=group.name,
        message=(
            f"Group {group.name} has {show_mib(group.free_bytes)} free; snapshots of {guests} take "
            f"{show_mib(needed_bytes)}, and {show_mib(reserve_bytes)} should stay free."
        ),
        hint=f"`vgextend {group.name}`, or free room in it",
    )


def check_pools(pools: Iterable[LogicalVolume]) -> Iterator[Problem]:
    """Thin pools whose data or metadata run out: every guest in such a pool stops then."""
    for pool in pools:
        label = f"{pool.group}/{pool.name}"
        for what, percent in (("data", pool.data_percent), ("metadata", pool.metadata_percent)):
            if percent is None or percent < POOL_FILLING_PERCENT:
                continue
            full = percent >= POOL_FULL_PERCENT
            option = "-L +SIZE" if what == "data" else "--poolmetadatasize +SIZE"
            yield make_problem(
                "thin-pool-full" if full else "thin-pool-filling",
                subject=label,
                message=f"Thin pool {label}: {percent:.0f}% of its {what} is used.",
                hint=f"`lvextend {option} {label}`, or remove what is not needed from it",
            )


def find_pools(inventory: Inventory) -> tuple[LogicalVolume, ...]:
    """All thin pools: first letter `t` of lv_attr, lvs(8)."""
    return tuple(volume for volume in inventory.volumes if volume.attributes[0:1] == "t")


def find_pools_of(plan: DomainPlan, inventory: Inventory) -> tuple[LogicalVolume, ...]:
    """Those in which a plan takes snapshots."""
    names = set()
    for disk in plan.disks:
        volume = inventory.find_volume_by_uuid(disk.lv_uuid)
        if disk.snapshot is SnapshotKind.THIN and volume is not None:
            names.add((volume.group, volume.pool))
    return tuple(pool for pool in find_pools(inventory) if (pool.group, pool.name) in names)


def check_snapshot_modules(scene: Scene) -> Iterator[Problem]:
    """What device-mapper needs for the snapshots of a plan."""
    missing = _find_missing_modules(scene.inventory)
    for plan in scene.plan.domains:
        for kind, name in _SNAPSHOT_MODULES.items():
            if name in missing and list_snapshot_groups(plan, kind):
                yield make_problem(
                    "module-missing",
                    subject=name,
                    message=(
                        f"{plan.domain.name}: its {kind} snapshots need the kernel module {name}, "
                        "which this kernel does not have."
                    ),
                    hint='install the kernel\'s modules, or use preset = "cold"',
                    domain=plan.domain.name,
                )


def check_backend_module(inventory: Inventory) -> Iterator[Problem]:
    """dom0's side of every block device."""
    if _BLOCK_BACKEND in _find_missing_modules(inventory):
        yield make_problem(
            "backend-module-missing",
            subject=_BLOCK_BACKEND,
            message=(
                f"This kernel does not have the module {_BLOCK_BACKEND}: guests on block devices "
                "cannot start."
            ),
            hint="boot a kernel that was built for dom0",
        )


def _find_missing_modules(inventory: Inventory) -> set[str]:
    """Names as the kernel has them, with underscores; modprobe takes hyphens as well."""
    return {
        module.name.replace("-", "_")
        for module in inventory.drivers.modules
        if module.state == "missing"
    }
