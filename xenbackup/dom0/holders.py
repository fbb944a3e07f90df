"""Who holds what: a file's lock or a mapped device, as the kernel tells it in /proc and /sys.

These answers go into the words of errors and warnings, and decide nothing. What cannot be read is
left out: a process that ends meanwhile, a row that is cut short, a kernel that does not tell. So
"nobody found" means no more than that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xenbackup.dom0.device_mapper import MappedDevice, list_devices, spell_mapper_name
from xenbackup.dom0.host import Host
from xenbackup.dom0.mount_table import parse_mounts
from xenbackup.errors import CommandFailed, UnexpectedOutput
from xenbackup.model.printable import show_text

_COMMAND_CHARACTERS = 80
_READ_BYTES = 1 << 20
_DELETED = " (deleted)"
# Locks of open file descriptions (OFDLCK) belong to no process: the kernel gives -1 for its number.
_LOCK = re.compile(
    r"\d+: (?P<kind>[A-Z]+) +[A-Z]+ +[A-Z]+ (?P<pid>\d{1,10}) "
    r"(?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):(?P<inode>\d+) .*"
)
_BACKEND = re.compile(r"vbd-(?P<domid>\d{1,5})-(?P<vdev>\d{1,9})")


@dataclass(frozen=True, kw_only=True)
class LockRow:
    """One granted lock: the process, and the file by its file system's number and its own."""

    pid: int
    major: int
    minor: int
    inode: int


def parse_locks(text: str) -> tuple[LockRow, ...]:
    """Granted locks of /proc/locks, proc(5); those who wait for one (`->`) are left out.

    5: POSIX  ADVISORY  WRITE 1716 00:19:1023 0 EOF
    5: -> POSIX  ADVISORY  WRITE 1822 00:19:1023 0 EOF
    """
    return tuple(
        LockRow(
            pid=int(match["pid"]),
            major=int(match["major"], 16),
            minor=int(match["minor"], 16),
            inode=int(match["inode"]),
        )
        for line in text.splitlines()
        if (match := _LOCK.fullmatch(line)) is not None
    )


def list_lock_holders(host: Host, path: str) -> tuple[str, ...]:
    """Processes that hold a lock on the file, as `process 1716 (xl create web.cfg)`."""
    try:
        found = host.place(path).stat()
    except OSError:
        return ()
    file = (os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)
    rows = parse_locks(_read_text(host.place("/proc/locks")))
    pids = {row.pid for row in rows if (row.major, row.minor, row.inode) == file}
    return tuple(describe_process(host, pid) for pid in sorted(pids))


def list_device_holders(host: Host, path: str) -> tuple[str, ...]:
    """What holds the mapped device behind `/dev/GROUP/NAME` open, each as words of a sentence.

    Guests by their back-ends, devices that stand on it, mounts, and processes; () when nothing is
    found, or the device is not there.
    """
    try:
        devices = list_devices(host)
    except (CommandFailed, UnexpectedOutput):
        return ()
    name = spell_mapper_name(path)
    device = next((found for found in devices if found.name == name), None)
    if device is None:
        return ()
    return (
        *_list_guests(host, device),
        *_list_devices_above(host, device, devices),
        *_list_mounts(host, device),
        *_list_openers(host, device, path),
    )


def describe_process(host: Host, pid: int) -> str:
    """`process 1716 (xl create web.cfg)`, its words made fit for a terminal."""
    folder = host.place(f"/proc/{pid}")
    words = _read_text(folder / "cmdline").replace("\0", " ").strip()
    words = words or _read_text(folder / "comm").strip()
    return (
        f"process {pid} ({show_text(words, limit=_COMMAND_CHARACTERS)})"
        if words
        else (f"process {pid}")
    )


def _list_guests(host: Host, device: MappedDevice) -> Iterator[str]:
    """Guests whose back-end in this kernel has it: that holds a device without any process."""
    # xen-blkback prints both numbers in hexadecimal.
    number = f"{device.major:x}:{device.minor:x}"
    for folder in _list_folder(host, "/sys/bus/xen-backend/devices"):
        match = _BACKEND.fullmatch(folder.name)
        if match and _read_text(folder / "physical_device").strip() == number:
            yield f"domain {match['domid']} (virtual disk {match['vdev']})"


def _list_devices_above(
    host: Host, device: MappedDevice, devices: tuple[MappedDevice, ...]
) -> Iterator[str]:
    names = {f"dm-{found.minor}": found.name for found in devices}
    for above in _list_folder(host, f"/sys/dev/block/{device.major}:{device.minor}/holders"):
        yield f"device {names.get(above.name, above.name)}"


def _list_mounts(host: Host, device: MappedDevice) -> Iterator[str]:
    """Where it is mounted, as this process sees it, or else as the first that does."""
    number = f"{device.major}:{device.minor}"
    nodes = _spell_nodes(device)
    told = set()
    for folder in (host.place("/proc/self"), *_list_processes(host)):
        for mount in parse_mounts(_read_text(folder / "mountinfo")):
            # Btrfs gives a number of its own, but its source is the device.
            if mount.point in told or (mount.number != number and mount.source not in nodes):
                continue
            told.add(mount.point)
            eyes = "" if folder.name == "self" else f", as process {folder.name} sees it"
            yield f"a mount at {show_text(mount.point)}{eyes}"


def _list_openers(host: Host, device: MappedDevice, path: str) -> Iterator[str]:
    nodes = {path, *_spell_nodes(device)}
    for folder in _list_processes(host):
        links = (_read_link(link) for link in _list_below(folder / "fd"))
        if any(link.removesuffix(_DELETED) in nodes for link in links):
            yield describe_process(host, int(folder.name))


def _spell_nodes(device: MappedDevice) -> tuple[str, ...]:
    """Names under which /proc shows its node: udev's, and libdevmapper's where udev is not."""
    return (f"/dev/dm-{device.minor}", f"/dev/mapper/{device.name}")


def _list_processes(host: Host) -> list[Path]:
    folders = [path for path in _list_folder(host, "/proc") if path.name.isdecimal()]
    return sorted(folders, key=lambda path: int(path.name))


def _list_folder(host: Host, path: str) -> list[Path]:
    return _list_below(host.place(path))


def _list_below(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read_link(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _read_text(path: Path) -> str:
    """Text of a file in /proc or /sys; "" when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(_READ_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
