"""A host whose /proc, /sys and /dev are laid out by the test; running a command is a failure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tests import builders
from tests.unit.restore_world import make_volume
from xenbackup.dom0.guest_configuration import ConfigurationFile, parse_configuration
from xenbackup.dom0.host import Host
from xenbackup.errors import CopyFailed
from xenbackup.inventory.disks import read_backings
from xenbackup.inventory.host_storage import HostStorage, Node, NodeKind, look_at_path
from xenbackup.model.backing import DiskBacking
from xenbackup.model.domain import Disk, Domain, DomainState, GuestKind
from xenbackup.model.volume import LogicalVolume
from xenbackup.system.block_device import BlockDevice

DEVICE_BYTES = 4096
__all__ = ["DEVICE_BYTES", "Tree", "make_volume", "shut_off"]


@dataclass
class _Device:
    """An opened device of the tree: only its size is ever asked for."""

    path: str
    size_bytes: int = DEVICE_BYTES
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@dataclass
class Tree:
    """A host below `root`; `numbers` are its block devices, by path."""

    root: Path
    numbers: dict[str, tuple[int, int]] = field(default_factory=dict)
    volumes: list[LogicalVolume] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    opened: list[str] = field(default_factory=list)
    reflinks: dict[str, bool | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        whole = Path(path)
        return whole if whole.is_relative_to(self.root) else self.root / path.lstrip("/")

    def open_volume(self, path: str, *, writable: bool = False) -> BlockDevice:
        assert not writable, "an inventory writes nothing"
        self.opened.append(path)
        if path in self.unreadable:
            raise CopyFailed(f"Cannot open {path}: Input/output error.")
        if path in self.numbers:
            return cast("BlockDevice", _Device(path))
        return cast("BlockDevice", _Device(path, self.place(path).stat().st_size))

    def run(self, command: object) -> None:
        raise AssertionError(f"a command was run: {command}")

    @property
    def host(self) -> Host:
        return cast("Host", self)

    def put(self, path: str, content: str | bytes = "") -> Path:
        place = self.place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        return place

    def add_device(self, name: str, major: int, minor: int, *, at: str = "", **files: str) -> None:
        """A block device `/dev/NAME` with its folder in sysfs; `files` by name, `__` for `/`."""
        folder = at or f"/sys/devices/{name}"
        self.numbers[f"/dev/{name}"] = (major, minor)
        self.put(f"{folder}/dev", f"{major}:{minor}\n")
        for file, content in files.items():
            self.put(f"{folder}/{file.replace('__', '/')}", content)
        link = self.place(f"/sys/dev/block/{major}:{minor}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.place(folder))
        block = self.place(f"/sys/block/{name}")
        block.parent.mkdir(parents=True, exist_ok=True)
        block.symlink_to(self.place(folder))

    def add_volume(self, name: str, minor: int, **fields: Any) -> LogicalVolume:
        volume = make_volume(name, f"{name}-uuid", **fields)
        self.volumes.append(volume)
        self.numbers[volume.path] = (253, minor)
        self.add_device(f"dm-{minor}", 253, minor, dm__uuid=f"LVM-{name}")
        return volume

    def look(self, path: str) -> Node:
        if path in self.numbers:
            return Node(kind=NodeKind.BLOCK, number=os.makedev(*self.numbers[path]))
        return look_at_path(self.place(path))

    @property
    def storage(self) -> HostStorage:
        """Reads anew, as each inventory does."""
        return HostStorage(self.host, self.volumes, self.look)

    def read(self, *disks: Disk, domain: Domain | None = None, text: str = "") -> list[DiskBacking]:
        """The backings of a running guest's disks, `text` being its configuration file."""
        guest = replace(domain or builders.make_domain(), disks=disks)
        files: tuple[ConfigurationFile, ...] = ()
        if text:
            parsed = parse_configuration(text, "web.cfg")
            files = (ConfigurationFile(path="/etc/xen/web.cfg", configuration=parsed),)
        return list(
            read_backings(
                self.host,
                (guest,),
                self.volumes,
                configurations=files,
                storage=self.storage,
                read_reflink=self._read_reflink,
            )
        )

    def resolve(self, text: str, *, running: bool = False) -> DiskBacking:
        """The backing of one entry of `disk = [ … ]` in a guest's file."""
        configuration = f'name = "web"\ndisk = [ {text!r} ]\n'
        disks = parse_configuration(configuration, "web.cfg").disks
        domain = builders.make_domain() if running else shut_off()
        (backing,) = self.read(*disks, domain=domain, text=configuration)
        return backing

    def _read_reflink(self, folder: Path) -> bool | None:
        self.asked.append(str(folder))
        inside = folder.relative_to(self.root).as_posix()
        return self.reflinks.get("/" if inside == "." else f"/{inside}")


def shut_off(name: str = "web", kind: GuestKind = GuestKind.PV) -> Domain:
    return Domain(
        name=name,
        domid=-1,
        uuid="",
        kind=kind,
        state=DomainState(letters=""),
        memory_mib=512,
        vcpus=1,
    )
