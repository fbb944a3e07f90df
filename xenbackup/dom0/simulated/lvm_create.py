"""`lvcreate`: plain volumes, thick and thin snapshots, thin pools and volumes."""

from __future__ import annotations

import itertools
import re

from xenbackup.dom0.simulated.faults import FaultKind
from xenbackup.dom0.simulated.lvm_fields import free_bytes
from xenbackup.dom0.simulated.lvm_names import (
    check_name,
    check_space,
    check_tag,
    cow_maximum_extents,
    display_size,
    find_group,
    parse_size,
)
from xenbackup.dom0.simulated.lvm_report import split_name
from xenbackup.dom0.simulated.options import Options, parse_lvm_options
from xenbackup.dom0.simulated.session import Machine, Session, ToolFailed
from xenbackup.dom0.simulated.state import Group, Volume

_LONG = (
    "snapshot",
    "yes",
    "quiet",
    "verbose",
    "extents=",
    "size=",
    "name=",
    "addtag=",
    "virtualsize=",
    "thin",
    "thinpool=",
    "type=",
    "permission=",
    "setactivationskip=",
    "ignoreactivationskip",
    "activate=",
    "wipesignatures=",
    "zero=",
    "noudevsync",
    "autobackup=",
    "config=",
    "chunksize=",
    "poolmetadatasize=",
)
_MOST_THIN_ID = 1 << 24


def run_lvcreate(session: Session, words: list[str]) -> int:
    options = parse_lvm_options("lvcreate", words, "syqvl:L:n:V:Tp:k:Ka:W:Z:A:c:", _LONG)
    for tag in options.values("--addtag"):
        check_tag(tag)
    name = options.value("-n", "--name").rpartition("/")[2]
    if name:
        check_name(name)
    session.spend(0.05)
    if options.has("-s", "--snapshot") or options.value("--type") == "snapshot":
        return _create_snapshot(session, options, name)
    if _wants_pool(options):
        return _create_pool(session, options, name)
    if options.has("-V", "--virtualsize"):
        return _create_thin(session, options, name)
    return _create_linear(session, options, name)


def _wants_pool(options: Options) -> bool:
    if options.has("-V", "--virtualsize"):
        return False
    return options.value("--type") == "thin-pool" or options.has("-T", "--thin", "--thinpool")


def _create_snapshot(session: Session, options: Options, name: str) -> int:
    if len(options.rest) != 1:
        raise ToolFailed(3, "  Please specify a logical volume to act as the snapshot origin.\n")
    group_name, _, origin_name = split_name(session, options.rest[0])
    group = find_group(session, group_name)
    origin = session.state.find_volume(group.name, origin_name)
    if origin is None:
        raise ToolFailed(
            5, f"  Snapshot origin LV {origin_name} not found in Volume group {group.name}.\n"
        )
    sized = options.has("-l", "--extents", "-L", "--size")
    if origin.kind == "thin" and not sized:
        return _create_thin_snapshot(session, options, group, origin, name)
    if not sized:
        raise ToolFailed(
            3,
            "  Please specify either size or extents with snapshots.\n"
            "  Run `lvcreate --help' for more information.\n",
        )
    if origin.kind == "snapshot":
        raise ToolFailed(5, "  Snapshots of snapshots are not supported.\n")
    if origin.kind == "pool":
        raise ToolFailed(5, "  Snapshots of thin pools are not supported.\n")
    extents = _wanted_extents(session, options, group, origin)
    most = cow_maximum_extents(origin.size_bytes, group.extent_bytes)
    if extents > most:
        session.out(
            f"  Reducing COW size {display_size(extents * group.extent_bytes)} down to maximum "
            f"usable size {display_size(most * group.extent_bytes)}.\n"
        )
        extents = most
    _check_new(session, options, group, name, extents)
    return _make_thick_snapshot(session, options, origin, name, extents * group.extent_bytes)


def _make_thick_snapshot(
    session: Session, options: Options, origin: Volume, name: str, size_bytes: int
) -> int:
    """First a plain volume, zeroed; then, with the origin suspended, it becomes its snapshot."""
    origin_uuid = origin.uuid
    snapshot = _add(session, options, origin.group, name, kind="linear", size_bytes=size_bytes)
    session.boundary("plain")
    session.spend(0.05)
    snapshot = session.state.volumes[snapshot.uuid]
    origin = session.state.volumes[origin_uuid]
    snapshot.kind, snapshot.origin = "snapshot", origin.uuid
    session.volumes.remove_files(snapshot)
    session.volumes.create_files(snapshot)
    origin.suspended = snapshot.suspended = True
    session.boundary("suspended")
    session.spend(0.02)
    snapshot = session.state.volumes[snapshot.uuid]
    session.state.volumes[origin_uuid].suspended = snapshot.suspended = False
    session.commit()
    session.spend(0.03)
    session.out(f'  Logical volume "{name}" created.\n')
    return 0


def _create_thin_snapshot(
    session: Session, options: Options, group: Group, origin: Volume, name: str
) -> int:
    pool = session.state.volumes[origin.pool]
    _check_new(session, options, group, name, 0)
    origin.suspended = True
    session.boundary("suspended")
    session.spend(0.02)
    origin = session.state.volumes[origin.uuid]
    origin.suspended = False
    snapshot = _add(
        session, options, group.name, name, kind="thin", size_bytes=origin.size_bytes, create=False
    )
    snapshot.origin, snapshot.pool = origin.uuid, pool.uuid
    session.volumes.create_files(snapshot)
    snapshot.thin_id = _next_thin_id(session, pool)
    # Thin snapshots are skipped by activation unless asked for with -K, or -k n.
    snapshot.activation_skip = options.value("-k", "--setactivationskip", default="y") == "y"
    snapshot.active = not snapshot.activation_skip or options.has("-K", "--ignoreactivationskip")
    session.commit()
    session.spend(0.05)
    session.out(f'  Logical volume "{name}" created.\n')
    return 0


def _create_pool(session: Session, options: Options, name: str) -> int:
    group_name = options.rest[0] if options.rest else ""
    if "/" in group_name.removeprefix("/dev/"):
        group_name, _, name = split_name(session, group_name)
    group = find_group(session, group_name)
    name = options.value("--thinpool").rpartition("/")[2] or name
    extents = _wanted_extents(session, options, group, None)
    _check_new(session, options, group, name, extents + 2)
    pool = _add(
        session, options, group.name, name, kind="pool", size_bytes=extents * group.extent_bytes
    )
    pool.metadata_bytes = group.extent_bytes
    pool.parts = [draw_lvm_uuid(session) for _ in range(3)]
    session.spend(0.1)
    session.out(f'  Logical volume "{name}" created.\n')
    return 0


def _create_thin(session: Session, options: Options, name: str) -> int:
    pool_name = options.value("--thinpool").rpartition("/")[2]
    group_name = options.rest[0] if options.rest else ""
    if "/" in group_name:
        group_name, _, pool_name = split_name(session, group_name)
    group = find_group(session, group_name)
    pool = session.state.find_volume(group.name, pool_name)
    if pool is None or pool.kind != "pool":
        raise ToolFailed(5, f"  Thin pool {pool_name} not found in Volume group {group.name}.\n")
    size = parse_size(options.value("-V", "--virtualsize"))
    size_bytes = -(-size // group.extent_bytes) * group.extent_bytes
    _check_new(session, options, group, name, 0)
    volume = _add(
        session, options, group.name, name, kind="thin", size_bytes=size_bytes, create=False
    )
    volume.pool, volume.thin_id = pool.uuid, _next_thin_id(session, pool)
    session.volumes.create_files(volume)
    session.commit()
    session.spend(0.1)
    session.out(f'  Logical volume "{name}" created.\n')
    return 0


def _create_linear(session: Session, options: Options, name: str) -> int:
    group = find_group(session, options.rest[0] if options.rest else "")
    if options.value("--type", default="linear") not in ("linear", "striped"):
        raise ToolFailed(3, f"  Invalid argument for --type: {options.value('--type')}\n")
    if not options.has("-l", "--extents", "-L", "--size"):
        raise ToolFailed(
            3,
            "  Please specify either size or extents.\n"
            "  Run `lvcreate --help' for more information.\n",
        )
    extents = _wanted_extents(session, options, group, None)
    name = name or _automatic_name(session, group)
    _check_new(session, options, group, name, extents)
    size_bytes = extents * group.extent_bytes
    _add(session, options, group.name, name, kind="linear", size_bytes=size_bytes)
    session.boundary("plain")
    session.spend(0.1)
    session.out(f'  Logical volume "{name}" created.\n')
    return 0


def _wanted_extents(session: Session, options: Options, group: Group, origin: Volume | None) -> int:
    size = options.value("-L", "--size")
    if size:
        size_bytes = parse_size(size)
        extents = max(-(-size_bytes // group.extent_bytes), 1)
        if size_bytes % group.extent_bytes:
            rounded = display_size(extents * group.extent_bytes)
            session.out(f"  Rounding up size to full physical extent {rounded}\n")
        return extents
    text = options.value("-l", "--extents")
    match = re.fullmatch(r"(\d+)(?:%(ORIGIN|FREE|VG))?", text, re.IGNORECASE)
    if match is None or ((match[2] or "").upper() == "ORIGIN" and origin is None):
        raise ToolFailed(3, f"  Invalid argument for --extents: {text}\n")
    count, base = int(match[1]), (match[2] or "").upper()
    if base == "ORIGIN" and origin is not None:
        # LVM adds the metadata that a store for the whole origin would need.
        whole = origin.size_bytes // group.extent_bytes
        metadata = cow_maximum_extents(origin.size_bytes, group.extent_bytes) - whole
        return metadata + -(-whole * count // 100)
    if base == "VG":
        return group.size_bytes // group.extent_bytes * count // 100
    if base == "FREE":
        return _free_extents(session, group) * count // 100
    return count


def _free_extents(machine: Machine, group: Group) -> int:
    return free_bytes(machine, group) // group.extent_bytes


def _check_new(session: Session, options: Options, group: Group, name: str, extents: int) -> None:
    if not name:
        raise ToolFailed(3, "  Please provide a name for the new logical volume.\n")
    if session.state.find_volume(group.name, name) is not None:
        raise ToolFailed(
            5, f'  Logical Volume "{name}" already exists in volume group "{group.name}"\n'
        )
    if session.struck_by(FaultKind.ENOSPC) is not None:
        extents += _free_extents(session, group)
    check_space(session, group, extents)


def _add(
    session: Session,
    options: Options,
    group: str,
    name: str,
    *,
    kind: str,
    size_bytes: int,
    create: bool = True,
) -> Volume:
    state = session.state
    volume = Volume(
        uuid=draw_lvm_uuid(session),
        name=name,
        group=group,
        kind=kind,
        size_bytes=size_bytes,
        minor=state.next_minor,
        tags=list(dict.fromkeys(options.values("--addtag"))),
        read_only=options.value("-p", "--permission") == "r",
    )
    state.next_minor += 1
    state.volumes[volume.uuid] = volume
    if create:
        session.volumes.create_files(volume)
    return volume


def _automatic_name(session: Session, group: Group) -> str:
    taken = {volume.name for volume in session.state.volumes.values() if volume.group == group.name}
    return next(name for name in (f"lvol{n}" for n in range(_MOST_THIN_ID)) if name not in taken)


def _next_thin_id(machine: Machine, pool: Volume) -> int:
    used = {v.thin_id for v in machine.state.volumes.values() if v.pool == pool.uuid}
    return next(number for number in range(1, _MOST_THIN_ID) if number not in used)


def draw_lvm_uuid(machine: Machine) -> str:
    """A uuid as LVM writes them: 6-4-4-4-4-4-6 letters and digits."""
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    number = machine.draw() << 128 | machine.draw() << 64 | machine.draw()
    letters = []
    for _ in range(32):
        number, digit = divmod(number, len(alphabet))
        letters.append(alphabet[digit])
    text = "".join(letters)
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(text[a:b] for a, b in itertools.pairwise(cuts))
