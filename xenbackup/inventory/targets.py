"""What a path stands for: the device or file behind it, whatever it is called, and who holds it.

Two spellings of one device (`/dev/vg/lv`, `/dev/mapper/vg-lv`, `/dev/dm-3`) must never pass for
two: a restore compares identities (LV UUID, device number, inode), never strings alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from xenbackup.dom0.host import Host
from xenbackup.errors import CopyFailed
from xenbackup.model.inventory import Inventory
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore_sight import DiskUse, PathSight
from xenbackup.model.volume import LogicalVolume


class TargetReader:
    """Looks at paths of one host, with one inventory of it.

    `places` are folders that are ours (destinations, spool, state) by what they are called in
    messages: nothing is restored into one.
    """

    def __init__(self, host: Host, inventory: Inventory, places: Iterable[tuple[str, str]]) -> None:
        self._host = host
        self._inventory = inventory
        self._places = tuple((name, host.place(path).resolve()) for name, path in places)
        self._volumes = dict(self._number_volumes())
        self._mounts = dict(self._list_mounts())
        self._files_in_use = dict(self._list_files_in_use())

    def look(self, path: str) -> PathSight:
        """What stands behind an absolute path of the host now."""
        real = self._host.place(path)
        volume = self._inventory.find_volume(path)
        try:
            found = real.stat()
        except OSError:
            found = None
        if volume is None and found is not None and stat.S_ISBLK(found.st_mode):
            volume = self._volumes.get(found.st_rdev)
        if volume is not None:
            return self._describe_volume(path, volume, found)
        if found is None:
            return self._describe_absent(path, real)
        if stat.S_ISBLK(found.st_mode):
            return self._describe_device(path, found)
        if stat.S_ISREG(found.st_mode):
            return self._describe_file(path, real, found)
        return PathSight(
            path=path,
            exists=True,
            tokens=_name_path(path),
            problem="is neither a block device nor a regular file",
        )

    def list_uses(self) -> tuple[DiskUse, ...]:
        """All disks of all domains that dom0 serves, running ones and shut off ones."""
        return tuple(
            DiskUse(
                domain=domain,
                vdev=disk.vdev,
                writable=disk.writable and not disk.cdrom,
                sight=self.look(disk.target),
            )
            for domain in self._inventory.domains
            for disk in domain.disks
            if disk.target.startswith("/") and disk.served_by_dom0
        )

    def _describe_volume(
        self, path: str, volume: LogicalVolume, found: os.stat_result | None
    ) -> PathSight:
        tokens = {f"lv:{volume.uuid}", *_name_path(path)}
        held = ""
        if found is not None and stat.S_ISBLK(found.st_mode):
            tokens.add(_name_number(found.st_rdev))
            held = self._explain_holder(found.st_rdev)
        return PathSight(
            path=path,
            exists=True,
            kind=VolumeKind.LOGICAL_VOLUME,
            tokens=frozenset(tokens),
            size_bytes=volume.size_bytes,
            volume=volume,
            held=held or ("open in dom0" if volume.open else ""),
        )

    def _describe_device(self, path: str, found: os.stat_result) -> PathSight:
        size_bytes, problem = self._measure(path)
        return PathSight(
            path=path,
            exists=True,
            kind=None if problem else VolumeKind.BLOCK_DEVICE,
            tokens=_name_path(path) | {_name_number(found.st_rdev)},
            relatives=frozenset(self._name_relatives(found.st_rdev)),
            size_bytes=size_bytes,
            held=self._explain_holder(found.st_rdev),
            problem=problem,
        )

    def _describe_file(self, path: str, real: Path, found: os.stat_result) -> PathSight:
        number = (found.st_dev, found.st_ino)
        return PathSight(
            path=path,
            exists=True,
            kind=VolumeKind.IMAGE_FILE,
            tokens=_name_path(path) | {f"file:{found.st_dev}:{found.st_ino}"},
            size_bytes=found.st_size,
            inode=found.st_ino,
            held=self._files_in_use.get(number, ""),
            inside=self._explain_inside(real),
            folder_exists=True,
        )

    def _describe_absent(self, path: str, real: Path) -> PathSight:
        folder = real.parent
        exists = folder.is_dir()
        free_bytes = 0
        if exists:
            with suppress(OSError):
                space = os.statvfs(folder)
                free_bytes = space.f_bavail * space.f_frsize
        return PathSight(
            path=path,
            exists=False,
            tokens=_name_path(path) | _name_path(str(folder.resolve() / real.name)),
            inside=self._explain_inside(real),
            folder_exists=exists,
            folder_free_bytes=free_bytes,
        )

    def _measure(self, path: str) -> tuple[int, str]:
        try:
            device = self._host.open_volume(path)
        except CopyFailed as error:
            return 0, f"cannot be opened: {error.message}"
        try:
            return device.size_bytes, ""
        except CopyFailed as error:
            return 0, f"cannot be measured: {error.message}"
        finally:
            device.close()

    def _explain_inside(self, real: Path) -> str:
        whole = real.parent.resolve() / real.name
        for name, folder in self._places:
            if whole.is_relative_to(folder):
                return name
        return ""

    # Block devices, by number

    def _number_volumes(self) -> Iterator[tuple[int, LogicalVolume]]:
        for volume in self._inventory.volumes:
            if not volume.path:
                continue
            with suppress(OSError):
                found = self._host.place(volume.path).stat()
                if stat.S_ISBLK(found.st_mode):
                    yield found.st_rdev, volume

    def _name_relatives(self, number: int) -> Iterator[str]:
        """The disk that the device is a partition of, and its own partitions."""
        folder = self._find_folder(number)
        if (folder / "partition").exists():
            yield from _read_number(folder.parent / "dev")
        yield from self._name_parts(number)

    def _name_parts(self, number: int) -> Iterator[str]:
        for part in self._find_folder(number).glob("*/partition"):
            yield from _read_number(part.parent / "dev")

    def _find_folder(self, number: int) -> Path:
        """What the kernel tells of a block device, in sysfs."""
        path = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
        return self._host.place(path).resolve()

    def _explain_holder(self, number: int) -> str:
        for token in (_name_number(number), *self._name_parts(number)):
            if token in self._mounts:
                return self._mounts[token]
        folder = self._find_folder(number)
        found = (*folder.glob("holders/*"), *folder.glob("*/holders/*"))
        holders = sorted({path.name for path in found})
        return f"part of {', '.join(holders)}" if holders else ""

    def _list_mounts(self) -> Iterator[tuple[str, str]]:
        """Tokens of devices that dom0 has mounted or swaps on, and how."""
        for line in self._read_lines("/proc/self/mountinfo"):
            fields = line.split()
            if len(fields) > 4:
                yield f"block:{fields[2]}", f"mounted in dom0 at {fields[4]}"
        for path in self._list_swaps():
            with suppress(OSError):
                found = self._host.place(path).stat()
                if stat.S_ISBLK(found.st_mode):
                    yield _name_number(found.st_rdev), "swap space of dom0"

    def _list_files_in_use(self) -> Iterator[tuple[tuple[int, int], str]]:
        for path in self._list_swaps():
            yield from self._number_file(path, "swap space of dom0")
        for backing in sorted(self._host.place("/sys/block").glob("loop*/loop/backing_file")):
            loop = backing.parent.parent.name
            with suppress(OSError):
                yield from self._number_file(backing.read_text().strip(), f"behind /dev/{loop}")

    def _number_file(self, path: str, held: str) -> Iterator[tuple[tuple[int, int], str]]:
        with suppress(OSError):
            found = self._host.place(path).stat()
            if stat.S_ISREG(found.st_mode):
                yield (found.st_dev, found.st_ino), held

    def _list_swaps(self) -> tuple[str, ...]:
        rows = (line.split() for line in self._read_lines("/proc/swaps"))
        return tuple(row[0] for row in rows if row and row[0].startswith("/"))

    def _read_lines(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(self._host.place(path).read_text(errors="surrogateescape").splitlines())
        except OSError:
            return ()


def _name_number(number: int) -> str:
    return f"block:{os.major(number)}:{os.minor(number)}"


def _read_number(path: Path) -> Iterator[str]:
    with suppress(OSError):
        yield f"block:{path.read_text().strip()}"


def _name_path(path: str) -> frozenset[str]:
    return frozenset((f"path:{PurePosixPath(path)}",))
