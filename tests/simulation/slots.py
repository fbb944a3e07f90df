"""The volume group that disks are copied into on some hosts: prepared volumes, and one that is not.

The prepared ones hold a point already when a seed begins. The first of them is larger than its
disk; what lies behind the disk, and the volume that nobody marked, no run may ever touch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.building import DiskSpec, GroupSpec
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import KIB, MIB, Volume
from xenbackup.model.command import Command
from xenbackup.model.slot import name_slot
from xenbackup.model.volume import TAG_DESTINATION

BACKUP_GROUP = "backupvols"
RECORDS = "/var/lib/xenbackup/volumes/local"
KEEPSAKE = "keepsake"
BEHIND_BYTES = 128 * KIB
GROUP_SPEC = GroupSpec(name=BACKUP_GROUP, size_bytes=8 * MIB, extent_bytes=64 * KIB)
_PRECIOUS = b"not a byte of this is a backup's\n" * 1024


def list_vdevs(disks: Sequence[DiskSpec]) -> list[str]:
    return [disk.vdev or f"xvd{chr(ord('a') + at)}" for at, disk in enumerate(disks)]


def lay_slots(host: SimulatedHost, guest: str, disks: Sequence[DiskSpec]) -> None:
    """A marked volume for each disk, and the unmarked one, as an administrator makes them."""
    first = list_vdevs(disks)[0]
    for vdev, disk in zip(list_vdevs(disks), disks, strict=True):
        size = disk.size_bytes + (BEHIND_BYTES if vdev == first else 0)
        _create(host, name_slot(guest, vdev), size, "--addtag", TAG_DESTINATION)
    _create(host, KEEPSAKE, BEHIND_BYTES)
    with host.machine() as machine:
        for volume, offset in _list_precious(machine, disks):
            machine.volumes.write(volume, offset, _PRECIOUS)


def _create(host: SimulatedHost, name: str, size_bytes: int, *options: str) -> None:
    argv = ("lvcreate", "-y", "-L", f"{size_bytes // KIB}k", "-n", name, *options, BACKUP_GROUP)
    result = host.run(Command(argv=argv, timeout_seconds=60.0))
    if result.exit_code:
        raise AssertionError(f"{' '.join(argv)}: {result.stderr}")


def list_group(machine: Machine) -> list[Volume]:
    """All volumes of the group, by name."""
    volumes = [v for v in machine.state.volumes.values() if v.group == BACKUP_GROUP]
    return sorted(volumes, key=lambda volume: volume.name)


def _list_precious(machine: Machine, disks: Sequence[DiskSpec]) -> Iterator[tuple[Volume, int]]:
    """Where something lies that no run may write over."""
    for volume in list_group(machine):
        if volume.name == KEEPSAKE:
            yield volume, 0
        elif volume.name.endswith("--" + list_vdevs(disks)[0]):
            yield volume, disks[0].size_bytes


def judge_slots(machine: Machine, disks: Sequence[DiskSpec]) -> Iterator[str]:
    """Bytes that were not ours to write."""
    for volume, offset in _list_precious(machine, disks):
        if machine.volumes.read_bytes(volume, offset, len(_PRECIOUS)) != _PRECIOUS:
            yield f"{volume.name} was written over from {offset} on"


def read_slot(machine: Machine, name: str, size_bytes: int) -> bytes:
    """The beginning of a volume of the group; b"" when there is none."""
    for volume in list_group(machine):
        if volume.name == name:
            return machine.volumes.read_bytes(volume, 0, size_bytes)
    return b""


def set_active(host: SimulatedHost, *, active: bool) -> None:
    """The disk under the group is pulled out, or is back."""
    with host.machine() as machine:
        for volume in list_group(machine):
            volume.active = active
        machine.commit()
