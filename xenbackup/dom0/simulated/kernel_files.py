"""Files in which a dom0's kernel tells of its modules, below the simulated host's root."""

from __future__ import annotations

from pathlib import Path

RELEASES = {"xl": "6.1.0-56-amd64", "xm": "2.6.18-6-xen-amd64"}
_FOLDERS = {
    "xen-blkback": "drivers/block/xen-blkback",
    "xen-netback": "drivers/net/xen-netback",
    "xen-pciback": "drivers/xen/xen-pciback",
    "xen-gntdev": "drivers/xen",
    "xen-evtchn": "drivers/xen",
    "dm-mod": "drivers/md",
    "dm-snapshot": "drivers/md",
    "dm-thin-pool": "drivers/md",
    "loop": "drivers/block",
    "tun": "drivers/net",
    "drbd": "drivers/block/drbd",
    "iscsi_tcp": "drivers/scsi",
    # Names of the kernels that came with Xen itself.
    "blkbk": "drivers/xen/blkback",
    "netbk": "drivers/xen/netback",
    "blktap": "drivers/xen/blktap",
    "pciback": "drivers/xen/pciback",
}
_LOADED = {
    "xl": (
        *("xen_blkback", "xen_netback", "xen_pciback", "xen_gntdev", "xen_evtchn"),
        *("dm_snapshot", "dm_thin_pool", "loop", "tun"),
    ),
    "xm": ("blkbk", "netbk", "blktap", "dm_mod", "dm_snapshot", "loop"),
}
_BUILT_IN = {"xl": ("dm-mod",), "xm": ()}
_AVAILABLE = {
    "xl": (
        *("xen-blkback", "xen-netback", "xen-pciback", "xen-gntdev", "xen-evtchn"),
        *("dm-snapshot", "dm-thin-pool", "loop", "tun", "drbd", "iscsi_tcp"),
    ),
    "xm": ("blkbk", "netbk", "blktap", "pciback", "dm-mod", "dm-snapshot", "loop", "tun"),
}


def lay_kernel_files(directory: Path, toolstack: str, hostname: str) -> None:
    """Write /proc/modules, the kernel's release and its lists of modules below `directory`.

    A kernel of xm's time has no modules.builtin: it came with Linux 2.6.33.
    """
    release = RELEASES[toolstack]
    modules = f"lib/modules/{release}"
    _write(directory, "proc/sys/kernel/osrelease", release)
    _write(directory, "proc/sys/kernel/hostname", hostname)
    _write(
        directory,
        "proc/modules",
        *(f"{name} 49152 0 - Live 0x0000000000000000" for name in _LOADED[toolstack]),
    )
    _write(directory, f"{modules}/modules.dep", *map(_name_line, _AVAILABLE[toolstack]))
    if _BUILT_IN[toolstack]:
        paths = (_name_path(name) for name in _BUILT_IN[toolstack])
        _write(directory, f"{modules}/modules.builtin", *paths)


def _name_line(name: str) -> str:
    return f"{_name_path(name)}:"


def _name_path(name: str) -> str:
    return f"kernel/{_FOLDERS[name]}/{name}.ko"


def _write(directory: Path, path: str, *lines: str) -> None:
    whole = directory / path
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_text("".join(f"{line}\n" for line in lines))
