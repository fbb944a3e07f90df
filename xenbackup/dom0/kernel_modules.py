"""Modules of dom0's kernel that guests and backups need, and which of them the kernel has.

Xen's back-ends were renamed when they went into Linux itself (3.0): `blkbk` and `netbk` of the
kernels that Xen shipped are `xen-blkback` and `xen-netback` today.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xenbackup.model.devices import KernelModule

RELEASE_FILE = "/proc/sys/kernel/osrelease"
LOADED_FILE = "/proc/modules"
_ENDINGS = (".ko", ".ko.gz", ".ko.xz", ".ko.zst", ".o")


@dataclass(frozen=True, kw_only=True)
class NeededModule:
    """A module by today's name, its names of old, and what it is for."""

    name: str
    purpose: str
    aliases: tuple[str, ...] = ()


NEEDED_MODULES = (
    NeededModule(
        name="xen-blkback",
        purpose="serves guests' disks that are block devices; without it they cannot start",
        aliases=("blkbk", "blkback"),
    ),
    NeededModule(
        name="xen-netback",
        purpose="serves guests' network boards; without it guests with a vif cannot start",
        aliases=("netbk", "netback"),
    ),
    NeededModule(
        name="xen-pciback",
        purpose="hides PCI devices from dom0; without it none can be given to a guest",
        aliases=("pciback",),
    ),
    NeededModule(
        name="xen-gntdev",
        purpose="lets programs of dom0 map guests' pages; without it QEMU serves no disk",
        aliases=("gntdev",),
    ),
    NeededModule(
        name="xen-evtchn",
        purpose="gives programs of dom0 event channels; without it no toolstack works",
        aliases=("evtchn",),
    ),
    NeededModule(
        name="blktap",
        purpose="serves image files the old way (tap:); QEMU took its place",
        aliases=("blktap2",),
    ),
    NeededModule(name="loop", purpose="makes block devices of image files (file:)"),
    NeededModule(name="tun", purpose="connects the emulated network boards of HVM guests"),
    NeededModule(name="dm_mod", purpose="device mapper; without it there are no logical volumes"),
    NeededModule(
        name="dm_snapshot", purpose="snapshots of thick volumes; without it lvcreate -s fails"
    ),
    NeededModule(name="dm_thin_pool", purpose="thin volumes and their snapshots"),
    NeededModule(name="drbd", purpose="disks that are mirrored to another host (DRBD)"),
    NeededModule(name="iscsi_tcp", purpose="disks on the network through dom0's iSCSI initiator"),
)


def read_modules(read_text: Callable[[str], str | None]) -> tuple[KernelModule, ...]:
    """The state of every needed module. `read_text` gives a file of the host, None without it."""
    release = (read_text(RELEASE_FILE) or "").strip()
    folder = f"/lib/modules/{release}"
    known = bool(release) and "/" not in release and release not in (".", "..")
    loaded = parse_loaded_modules(read_text(LOADED_FILE))
    built_in = parse_module_list(read_text(f"{folder}/modules.builtin") if known else None)
    available = parse_module_list(read_text(f"{folder}/modules.dep") if known else None)
    return tuple(
        KernelModule(
            name=module.name,
            purpose=module.purpose,
            state=_judge(
                {_spell(name) for name in (module.name, *module.aliases)},
                loaded,
                built_in,
                available,
            ),
        )
        for module in NEEDED_MODULES
    )


def parse_loaded_modules(text: str | None) -> frozenset[str] | None:
    """Names in `/proc/modules`, the first word of each line; None for a file that is not there.

    xen_blkback 49152 2 - Live 0xffffffffc0a5d000
    """
    if text is None:
        return None
    return frozenset(_spell(line.split()[0]) for line in text.splitlines() if line.strip())


def parse_module_list(text: str | None) -> frozenset[str] | None:
    """Names in `modules.builtin` or `modules.dep`; None for a file that is not there.

        kernel/drivers/block/xen-blkback/xen-blkback.ko: kernel/…

    Before Linux 2.6.33 the paths were absolute, and there was no modules.builtin at all.
    """
    if text is None:
        return None
    names = set()
    for line in text.splitlines():
        path = line.partition(":")[0].strip()
        name = path.rpartition("/")[2]
        ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
        if ending and name != ending:
            names.add(_spell(name.removesuffix(ending)))
    return frozenset(names)


def _spell(name: str) -> str:
    """Module names are written with either sign; the kernel itself takes underscores."""
    return name.replace("-", "_")


def _judge(
    names: set[str],
    loaded: frozenset[str] | None,
    built_in: frozenset[str] | None,
    available: frozenset[str] | None,
) -> str:
    if loaded is not None and names & loaded:
        return "loaded"
    if built_in is not None and names & built_in:
        return "built-in"
    if available is not None and names & available:
        return "available"
    # A module in no list that was read may still be built in: missing takes both lists.
    return "missing" if built_in is not None and available is not None else "unknown"
