"""`lvremove`, `lvextend`, `lvchange`: what changes volumes, step by step as LVM does it."""

from __future__ import annotations

import re

from xenbackup.dom0.simulated.holders import show_holders
from xenbackup.dom0.simulated.lvm_fields import Row, list_rows
from xenbackup.dom0.simulated.lvm_names import (
    check_space,
    check_tag,
    cow_maximum_extents,
    display_size,
    find_group,
    find_volume,
    parse_size,
)
from xenbackup.dom0.simulated.lvm_report import row_values, split_name
from xenbackup.dom0.simulated.lvm_select import matches
from xenbackup.dom0.simulated.options import Options, parse_lvm_options
from xenbackup.dom0.simulated.processes import is_volume_open
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import Volume

_SHORT = "yfqvS:"
_COMMON = ("yes", "force", "quiet", "verbose", "noudevsync", "config=", "autobackup=", "select=")


def run_lvremove(session: Session, words: list[str]) -> int:
    options = parse_lvm_options("lvremove", words, _SHORT + "A:", _COMMON)
    selection = options.value("-S", "--select")
    if not options.rest and not selection:
        raise ToolFailed(
            3, "  Please provide a volume group name or path.\n  Run `lvremove --help' for more.\n"
        )
    session.spend(0.05)
    chosen, exit_code = _choose(session, options, selection)
    for uuid in chosen:
        volume = session.state.volumes.get(uuid)
        if volume is not None:
            exit_code = max(exit_code, _remove(session, volume, options))
    return exit_code


def _choose(session: Session, options: Options, selection: str) -> tuple[list[str], int]:
    """uuids of the volumes that arguments and selection mean, and the exit code so far."""
    exit_code = 0
    rows: list[Row] = []
    everything = list_rows(session, session.state.groups, hidden=False)
    if not options.rest:
        rows = everything
    for word in options.rest:
        group_name, _, name = split_name(session, word)
        if session.state.find_group(group_name) is None:
            session.err(
                f'  Volume group "{group_name}" not found\n'
                f"  Cannot process volume group {group_name}\n"
            )
            exit_code = 5
            continue
        found = [
            row for row in everything if row.group.name == group_name and name in ("", row.name)
        ]
        if name and not found:
            session.err(f'  Failed to find logical volume "{group_name}/{name}"\n')
            exit_code = 5
        rows += found
    if selection:
        rows = [row for row in rows if matches(selection, row_values(session, row))]
    return [row.volume.uuid for row in rows], exit_code


def _remove(session: Session, volume: Volume, options: Options) -> int:
    full_name = f"{volume.group}/{volume.name}"
    if volume.active and is_volume_open(session, volume):
        show_holders(session, volume)
        session.err(f"  Logical volume {full_name} in use.\n")
        return 5
    if not options.has("-y", "--yes", "-f", "--force"):
        session.err(
            f"Do you really want to remove active logical volume {full_name}? [y/n]: "
            "[n]\n"
            f"  Logical volume {full_name} not removed.\n"
        )
        return 5
    for dependent in _dependents(session, volume):
        exit_code = _remove(session, dependent, options)
        if exit_code:
            return exit_code
    origin = session.state.volumes.get(volume.origin)
    if origin is not None and volume.kind == "snapshot":
        # The origin's device is suspended while the snapshot leaves its stack.
        origin.suspended = True
        session.boundary("suspended")
        volume = session.state.volumes.get(volume.uuid, volume)
        session.spend(0.05)
        origin = session.state.volumes[origin.uuid]
        origin.suspended = False
    else:
        session.spend(0.05)
    if volume.kind == "thin":
        session.volumes.detach_thin_children(volume)
    session.state.volumes.pop(volume.uuid, None)
    session.commit()
    session.volumes.remove_files(volume)
    session.out(f'  Logical volume "{volume.name}" successfully removed.\n')
    session.boundary("removed")
    return 0


def _dependents(session: Session, volume: Volume) -> list[Volume]:
    """What goes with it: an origin's thick snapshots, a pool's volumes."""
    return [
        other
        for other in session.state.volumes.values()
        if (other.kind == "snapshot" and other.origin == volume.uuid)
        or (volume.kind == "pool" and other.pool == volume.uuid)
    ]


def run_lvextend(session: Session, words: list[str]) -> int:
    options = parse_lvm_options(
        "lvextend",
        words,
        _SHORT + "L:l:rn",
        (*_COMMON, "size=", "extents=", "resizefs", "nofsck"),
    )
    if len(options.rest) != 1:
        raise ToolFailed(3, "  Please specify a logical volume path.\n")
    size, extents = options.value("-L", "--size"), options.value("-l", "--extents")
    if bool(size) == bool(extents):
        raise ToolFailed(3, "  Please specify either size or extents (not both).\n")
    volume = find_volume(session, options.rest[0])
    group = find_group(session, volume.group)
    old = volume.size_bytes // group.extent_bytes
    if size:
        wanted_bytes = parse_size(size.lstrip("+"))
        wanted = -(-wanted_bytes // group.extent_bytes)
        if wanted_bytes % group.extent_bytes:
            rounded = display_size(wanted * group.extent_bytes)
            session.out(f"  Rounding size to boundary between physical extents: {rounded}.\n")
    else:
        match = re.fullmatch(r"\+?(\d+)", extents)
        if match is None:
            raise ToolFailed(3, f"  Invalid argument for --extents: {extents}\n")
        wanted = int(match[1])
    new = old + wanted if (size or extents).startswith("+") else wanted
    if volume.kind == "snapshot":
        origin = session.state.volumes[volume.origin]
        most = cow_maximum_extents(origin.size_bytes, group.extent_bytes)
        if new > most:
            session.out(
                f"  Reached maximum COW size {display_size(most * group.extent_bytes)} "
                f"({most} extents).\n"
            )
            new = most
    _grow(session, volume, old, new, group.extent_bytes)
    return 0


def _grow(session: Session, volume: Volume, old: int, new: int, extent_bytes: int) -> None:
    full_name = f"{volume.group}/{volume.name}"
    if new == old:
        raise ToolFailed(5, f"  New size ({new} extents) matches existing size ({old} extents).\n")
    if new < old:
        raise ToolFailed(
            5,
            f"  New size given ({new} extents) not larger than existing size ({old} extents)\n",
        )
    if volume.kind != "thin":
        check_space(session, find_group(session, volume.group), new - old)
    session.boundary("growing")
    session.spend(0.1)
    volume = session.state.volumes[volume.uuid]
    volume.size_bytes = new * extent_bytes
    session.volumes.grow_files(volume)
    session.commit()
    session.out(
        f"  Size of logical volume {full_name} changed from {display_size(old * extent_bytes)} "
        f"({old} extents) to {display_size(new * extent_bytes)} ({new} extents).\n"
        f"  Logical volume {full_name} successfully resized.\n"
    )


def run_lvchange(session: Session, words: list[str]) -> int:
    options = parse_lvm_options(
        "lvchange",
        words,
        _SHORT + "a:Kk:p:",
        (
            *_COMMON,
            "activate=",
            "ignoreactivationskip",
            "setactivationskip=",
            "refresh",
            "addtag=",
            "deltag=",
            "permission=",
        ),
    )
    if not options.rest and not options.has("-S", "--select"):
        raise ToolFailed(3, "  Please give logical volume path(s) or use --select for selection.\n")
    acts = (
        "-a",
        "--activate",
        "--refresh",
        "--addtag",
        "--deltag",
        "-k",
        "--setactivationskip",
        "-p",
        "--permission",
    )
    if not options.has(*acts):
        raise ToolFailed(3, "  Need 1 or more of -a, -k, -p, --addtag, --deltag, --refresh.\n")
    session.spend(0.05)
    chosen, exit_code = _choose(session, options, options.value("-S", "--select"))
    for uuid in chosen:
        exit_code = max(exit_code, _change(session, session.state.volumes[uuid], options))
    return exit_code


def _change(session: Session, volume: Volume, options: Options) -> int:
    full_name = f"{volume.group}/{volume.name}"
    for tag in options.values("--addtag"):
        check_tag(tag)
        if tag not in volume.tags:
            volume.tags.append(tag)
    for tag in options.values("--deltag"):
        volume.tags = [kept for kept in volume.tags if kept != tag]
    if options.has("--addtag", "--deltag"):
        session.out(f"  Logical volume {full_name} changed.\n")
    skip = options.value("-k", "--setactivationskip")
    if skip:
        volume.activation_skip = skip == "y"
    permission = options.value("-p", "--permission")
    if permission:
        volume.read_only = permission == "r"
    if options.has("--refresh"):
        _refresh(session, volume)
    return _activate(session, volume, options)


def _refresh(session: Session, volume: Volume) -> None:
    """Load the tables again and resume: the cure of a device left suspended."""
    volume.suspended = False
    for other in session.state.volumes.values():
        if other.origin == volume.uuid and other.kind == "snapshot":
            other.suspended = False


def _activate(session: Session, volume: Volume, options: Options) -> int:
    wanted = options.value("-a", "--activate")
    if not wanted:
        return 0
    if wanted.lstrip("aels") == "y":
        if not volume.activation_skip or options.has("-K", "--ignoreactivationskip"):
            volume.active = True
        return 0
    if wanted.lstrip("aels") == "n":
        if is_volume_open(session, volume):
            session.err(f"  Logical volume {volume.group}/{volume.name} in use.\n")
            return 5
        volume.active = False
        return 0
    raise ToolFailed(3, f"  Invalid argument for --activate: {wanted}\n")
