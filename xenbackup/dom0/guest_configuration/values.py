"""What a guest's configuration file says, and what was written as one: this room's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from xenbackup.model.domain import Disk, GuestKind

ConfigurationValue: TypeAlias = "str | int | tuple[ConfigurationValue, ...]"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One key with its final value, after later assignments and `+=`.

    `text` is a string's content or a number as it was typed ("" for a list): xl keeps every number
    as text until it needs one, so `name = 0755` names a guest `0755`. `line` is where it was last
    assigned.
    """

    key: str
    value: ConfigurationValue
    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class NetworkInterface:
    """One entry of `vif`; empty where the entry does not say. `kind` is `vif` or `ioemu`, `name`
    what dom0 calls it (`vifname`).
    """

    mac: str = ""
    bridge: str = ""
    model: str = ""
    kind: str = ""
    script: str = ""
    ip: str = ""
    backend: str = ""
    name: str = ""
    specification: str = ""


@dataclass(frozen=True, kw_only=True)
class Video:
    """How a guest shows pictures; no effect on a backup.

    `adapter` is the emulated card (`cirrus`, `stdvga`, `qxl`, `none`, "" when not said),
    `frame_buffers` the entries of `vfb` (paravirtual) as written.
    """

    adapter: str = ""
    frame_buffers: tuple[str, ...] = ()
    vnc: bool = False
    sdl: bool = False
    spice: bool = False
    memory_mib: int = 0


@dataclass(frozen=True, kw_only=True)
class GuestConfiguration:
    """A guest as one configuration file describes it.

    Numbers are 0 and texts "" where the file does not say, and the toolstack's own default counts;
    `vcpus`, `maximum_vcpus` and `maximum_memory_mib` follow xl's rules instead (one processor, the
    maxima as large as what they bound). `disk_specifications` runs parallel to `disks` and keeps
    what a `Disk` has no place for (`tap:`, `discard`, …). `pci_devices` are ids like
    `0000:03:01.0`; `pci_specifications` keeps their options.
    """

    name: str
    kind: GuestKind
    source: str
    uuid: str = ""
    memory_mib: int = 0
    maximum_memory_mib: int = 0
    vcpus: int = 1
    maximum_vcpus: int = 1
    disks: tuple[Disk, ...] = ()
    disk_specifications: tuple[str, ...] = ()
    pci_devices: tuple[str, ...] = ()
    pci_specifications: tuple[str, ...] = ()
    network_interfaces: tuple[NetworkInterface, ...] = ()
    video: Video = Video()
    on_poweroff: str = ""
    on_reboot: str = ""
    on_crash: str = ""
    on_watchdog: str = ""
    on_soft_reset: str = ""
    settings: tuple[Setting, ...] = ()

    def find_setting(self, key: str) -> Setting | None:
        return next((setting for setting in self.settings if setting.key == key), None)


@dataclass(frozen=True, kw_only=True)
class ConfigurationFile:
    """One real file below /etc/xen that describes a guest, or should.

    `path` is where it was found first, `also_at` the other names of the same file (symbolic and
    hard links), `real_path` where it really lies on its host. Exactly one of `configuration` and
    `problem` is set, and `text` (whole, as read) with the former. `autostart` is true when one of
    its names lies in /etc/xen/auto.
    """

    path: str
    real_path: str = ""
    also_at: tuple[str, ...] = ()
    autostart: bool = False
    configuration: GuestConfiguration | None = None
    problem: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class ComposedConfiguration:
    """A configuration file for `xl create`, and what could not be said in it.

    Each entry of `unwritten` names a field and the reason: `c_info.xsdata: no key …`.
    """

    text: str
    unwritten: tuple[str, ...] = ()

    @property
    def content(self) -> bytes:
        """The bytes of the file: names that were not UTF-8 come out as they went in."""
        return self.text.encode("utf-8", "surrogateescape")
