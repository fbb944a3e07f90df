"""The fields of `lvs`, `vgs` and `pvs`: their values as LVM reports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from xenbackup.dom0.simulated.processes import is_volume_open
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import Group, Volume
from xenbackup.dom0.simulated.volumes import THIN_BLOCK_BYTES

POOL_OVERHEAD_EXTENTS = 2
"""The pool's metadata and the spare beside it, an extent each."""
_TMETA_BLOCKS = 1024


@dataclass(frozen=True, kw_only=True)
class Row:
    """A logical volume as a row: itself, or a hidden part of a pool (`part` is its suffix)."""

    group: Group
    volume: Volume
    name: str
    uuid: str
    size_bytes: int
    part: str = ""


def list_rows(machine: Machine, groups: list[Group], *, hidden: bool) -> list[Row]:
    """Rows in LVM's order: by group, then by name without brackets."""
    rows: list[Row] = []
    for group in groups:
        spare: Row | None = None
        for volume in machine.state.volumes.values():
            if volume.group != group.name:
                continue
            whole = Row(
                group=group,
                volume=volume,
                name=volume.name,
                uuid=volume.uuid,
                size_bytes=volume.size_bytes,
            )
            rows.append(whole)
            if volume.kind == "pool" and hidden:
                tdata, tmeta, spare = _parts_of(whole)
                rows += [tdata, tmeta]
        if spare is not None:
            rows.append(spare)
    return sorted(rows, key=lambda row: (row.group.name, row.name))


def _parts_of(pool: Row) -> tuple[Row, Row, Row]:
    data, metadata, spare = pool.volume.parts
    small = replace(pool, size_bytes=pool.volume.metadata_bytes)
    return (
        replace(pool, name=f"{pool.name}_tdata", uuid=data, part="tdata"),
        replace(small, name=f"{pool.name}_tmeta", uuid=metadata, part="tmeta"),
        replace(small, name="lvol0_pmspare", uuid=spare, part="spare"),
    )


def free_bytes(machine: Machine, group: Group) -> int:
    used = 0
    for volume in machine.state.volumes.values():
        if volume.group == group.name and volume.kind != "thin":
            used += volume.size_bytes
            if volume.kind == "pool":
                used += POOL_OVERHEAD_EXTENTS * group.extent_bytes
    return group.size_bytes - used


def has_thick_snapshots(machine: Machine, volume: Volume) -> bool:
    return any(
        other.origin == volume.uuid and other.kind == "snapshot"
        for other in machine.state.volumes.values()
    )


def dm_name(group: str, name: str) -> str:
    return f"{group.replace('-', '--')}-{name.replace('-', '--')}"


def _attributes(machine: Machine, row: Row) -> str:
    volume = row.volume
    if row.part:
        kind = "T" if row.part == "tdata" else "e"
        return f"{kind}wi-------" if row.part == "spare" else f"{kind}wi-ao----"
    origin = has_thick_snapshots(machine, volume)
    kind = {"linear": "-", "snapshot": "s", "thin": "V", "pool": "t"}[volume.kind]
    if origin:
        kind = "o"
    invalid = volume.kind == "snapshot" and not machine.volumes.exceptions_of(volume).valid
    if not volume.active:
        active = "-"
    elif volume.suspended:
        active = "S" if invalid else "s"
    else:
        active = "I" if invalid else "a"
    target = {"snapshot": "s", "thin": "t", "pool": "t", "linear": "s" if origin else "-"}[
        volume.kind
    ]
    return "".join(
        (
            kind,
            "r" if volume.read_only else "w",
            "i-",
            active,
            "o" if volume.active and _is_open(machine, row) else "-",
            target,
            "z" if volume.kind in ("thin", "pool") else "-",
            "D" if volume.kind == "pool" and _pool_percent(machine, volume) >= 100 else "-",
            "k" if volume.activation_skip else "-",
        )
    )


def _is_open(machine: Machine, row: Row) -> bool:
    if row.part:
        return row.part != "spare"
    return row.volume.kind == "pool" or is_volume_open(machine, row.volume)


def _pool_percent(machine: Machine, pool: Volume) -> float:
    used = machine.volumes.used_pool_blocks(pool) * THIN_BLOCK_BYTES
    return round(100.0 * used / pool.size_bytes, 2)


def metadata_blocks(machine: Machine, pool: Volume) -> int:
    """Metadata blocks in use: a few at the start, more with every mapping and every volume."""
    volumes = sum(1 for v in machine.state.volumes.values() if v.pool == pool.uuid)
    return 10 + volumes * 2 + machine.volumes.used_pool_blocks(pool) // 100


def _data_percent(machine: Machine, row: Row) -> str:
    volume = row.volume
    if row.part or not volume.active:
        return ""
    if volume.kind == "snapshot":
        return f"{machine.volumes.exceptions_of(volume).percent:.2f}"
    if volume.kind == "pool":
        return f"{_pool_percent(machine, volume):.2f}"
    if volume.kind == "thin":
        return f"{machine.volumes.mapped_percent(volume):.2f}"
    return ""


def _metadata_percent(machine: Machine, row: Row) -> str:
    if row.part or row.volume.kind != "pool":
        return ""
    return f"{100.0 * metadata_blocks(machine, row.volume) / _TMETA_BLOCKS:.2f}"


def _origin(machine: Machine, row: Row, *, uuid: bool) -> str:
    found = machine.state.volumes.get(row.volume.origin) if not row.part else None
    if found is None:
        return ""
    return found.uuid if uuid else found.name


def _pool(machine: Machine, row: Row, *, uuid: bool) -> str:
    found = machine.state.volumes.get(row.volume.pool) if not row.part else None
    if found is None:
        return ""
    return found.uuid if uuid else found.name


def _invalid(machine: Machine, row: Row) -> str:
    if row.part or row.volume.kind != "snapshot" or not row.volume.active:
        return "unknown"
    return "" if machine.volumes.exceptions_of(row.volume).valid else "snapshot invalid"


def _device_open(machine: Machine, row: Row) -> str:
    if row.part == "spare" or not row.volume.active:
        return "unknown"
    return "open" if _is_open(machine, row) else ""


def _path(row: Row) -> str:
    hidden = row.part or row.volume.kind == "pool"
    return "" if hidden else f"/dev/{row.group.name}/{row.name}"


LvField = Callable[[Machine, Row], str | int]

LV_FIELDS: Mapping[str, LvField] = {
    "lv_uuid": lambda m, r: r.uuid,
    "lv_name": lambda m, r: f"[{r.name}]" if r.part else r.name,
    "lv_full_name": lambda m, r: f"{r.group.name}/{r.name}",
    "vg_name": lambda m, r: r.group.name,
    "vg_uuid": lambda m, r: r.group.uuid,
    "vg_size": lambda m, r: r.group.size_bytes,
    "vg_free": lambda m, r: free_bytes(m, r.group),
    "vg_extent_size": lambda m, r: r.group.extent_bytes,
    "lv_size": lambda m, r: r.size_bytes,
    "lv_attr": _attributes,
    "lv_tags": lambda m, r: "" if r.part else ",".join(sorted(r.volume.tags)),
    "origin": lambda m, r: _origin(m, r, uuid=False),
    "origin_uuid": lambda m, r: _origin(m, r, uuid=True),
    "pool_lv": lambda m, r: _pool(m, r, uuid=False),
    "pool_lv_uuid": lambda m, r: _pool(m, r, uuid=True),
    "snap_percent": _data_percent,
    "data_percent": _data_percent,
    "metadata_percent": _metadata_percent,
    "lv_path": lambda m, r: _path(r),
    "lv_dm_path": lambda m, r: f"/dev/mapper/{dm_name(r.group.name, r.name)}",
    "lv_active": lambda m, r: "active" if r.volume.active and r.part != "spare" else "",
    "lv_device_open": _device_open,
    "lv_snapshot_invalid": _invalid,
    "lv_merging": lambda m, r: "",
    "lv_suspended": lambda m, r: "suspended" if r.volume.suspended and not r.part else "",
    "lv_skip_activation": lambda m, r: "skip activation" if r.volume.activation_skip else "",
    "lv_permissions": lambda m, r: "read-only" if r.volume.read_only else "writeable",
    "lv_health_status": lambda m, r: "",
    "lv_kernel_major": lambda m, r: 253 if r.volume.active else -1,
    "lv_kernel_minor": lambda m, r: r.volume.minor if r.volume.active else -1,
    "lv_layout": lambda m, r: {"thin": "thin,sparse", "pool": "thin,pool"}.get(
        r.volume.kind, "linear"
    ),
    "lv_role": lambda m, r: "private" if r.part else "public",
    "thin_id": lambda m, r: r.volume.thin_id if r.volume.kind == "thin" and not r.part else "",
    "move_pv": lambda m, r: "",
    "mirror_log": lambda m, r: "",
    "copy_percent": lambda m, r: "",
    "convert_lv": lambda m, r: "",
}

VgField = Callable[[Machine, Group], str | int]


def _count_volumes(machine: Machine, group: Group) -> int:
    return sum(1 for volume in machine.state.volumes.values() if volume.group == group.name)


def _count_snapshots(machine: Machine, group: Group) -> int:
    return sum(
        1
        for volume in machine.state.volumes.values()
        if volume.group == group.name and volume.kind == "snapshot"
    )


VG_FIELDS: Mapping[str, VgField] = {
    "vg_uuid": lambda m, g: g.uuid,
    "vg_name": lambda m, g: g.name,
    "vg_attr": lambda m, g: "wz--n-",
    "vg_size": lambda m, g: g.size_bytes,
    "vg_free": free_bytes,
    "vg_extent_size": lambda m, g: g.extent_bytes,
    "vg_extent_count": lambda m, g: g.size_bytes // g.extent_bytes,
    "vg_free_count": lambda m, g: free_bytes(m, g) // g.extent_bytes,
    "pv_count": lambda m, g: 1,
    "lv_count": _count_volumes,
    "snap_count": _count_snapshots,
    "vg_tags": lambda m, g: "",
    "vg_fmt": lambda m, g: "lvm2",
}

PV_FIELDS: Mapping[str, VgField] = {
    "pv_name": lambda m, g: g.device,
    "pv_uuid": lambda m, g: g.pv_uuid,
    "vg_name": lambda m, g: g.name,
    "pv_fmt": lambda m, g: "lvm2",
    "pv_attr": lambda m, g: "a--",
    "pv_size": lambda m, g: g.size_bytes,
    "pv_free": free_bytes,
    "pv_used": lambda m, g: g.size_bytes - free_bytes(m, g),
}

SIZE_FIELDS = frozenset(
    ("lv_size", "vg_size", "vg_free", "vg_extent_size", "pv_size", "pv_free", "pv_used")
)
HEADINGS = {
    "lv_name": "LV",
    "vg_name": "VG",
    "lv_attr": "Attr",
    "lv_size": "LSize",
    "pool_lv": "Pool",
    "origin": "Origin",
    "data_percent": "Data%",
    "metadata_percent": "Meta%",
    "snap_percent": "Snap%",
    "move_pv": "Move",
    "mirror_log": "Log",
    "copy_percent": "Cpy%Sync",
    "convert_lv": "Convert",
    "lv_uuid": "LV UUID",
    "lv_tags": "LV Tags",
    "lv_path": "Path",
    "lv_dm_path": "DMPath",
    "thin_id": "ThId",
    "vg_size": "VSize",
    "vg_free": "VFree",
    "vg_attr": "Attr",
    "pv_count": "#PV",
    "lv_count": "#LV",
    "snap_count": "#SN",
    "pv_name": "PV",
    "pv_fmt": "Fmt",
    "pv_attr": "Attr",
    "pv_size": "PSize",
    "pv_free": "PFree",
}
