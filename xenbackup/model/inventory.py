"""What a host holds, read once before a decision: the value that planning decides from."""

from __future__ import annotations

from dataclasses import dataclass, field

from xenbackup.model.backing import DiskBacking
from xenbackup.model.devices import DriverInventory, PciInventory
from xenbackup.model.domain import Domain
from xenbackup.model.resources import Resources
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.model.xen import XenFacts


@dataclass(frozen=True, kw_only=True)
class PlaceSight:
    """A place that we write to: a destination, or the spool (`kind` "spool", `name` "").

    `present` means the folder or group is there, `marked` that it was prepared for us (always true
    of the spool, which we make ourselves). `free_bytes` is what can still be written. `device` and
    `mount_source` tell what serves it (`block:8:1`, `nas:/export`), `tokens` all identities of the
    storage below it, so that a destination on a guest's own disk is found. `problem` says why it
    cannot be used ("" when it can).
    """

    name: str
    kind: str
    path: str
    present: bool = True
    marked: bool = True
    free_bytes: int = 0
    total_bytes: int = 0
    mount_point: str = ""
    mount_source: str = ""
    tokens: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class BrokenConfiguration:
    """A guest's configuration file that cannot be read as literals: its guest is unknown to us."""

    path: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class NameClash:
    """Configuration files that describe one name, and not one guest by its uuid."""

    guest: str
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All that is known of a host: domains (running, and shut off ones from their configuration),
    volumes, groups, what stands behind each disk, devices, resources, and the places we write to.

    `monitored` are the names of running guests whose toolstack process is alive; `no_suspend` those
    of running guests whose kernel lists what it obeys, without suspend. `bus_missing` says that
    systemd rules and has no system bus over which it could be asked for units.
    """

    facts: XenFacts
    can_save_paused: bool
    domains: tuple[Domain, ...]
    volumes: tuple[LogicalVolume, ...]
    groups: tuple[VolumeGroup, ...]
    backings: tuple[DiskBacking, ...] = ()
    pci: PciInventory = field(default_factory=PciInventory)
    resources: Resources = field(default_factory=Resources)
    drivers: DriverInventory = field(default_factory=DriverInventory)
    places: tuple[PlaceSight, ...] = ()
    monitored: frozenset[str] = frozenset()
    no_suspend: frozenset[str] = frozenset()
    broken_configurations: tuple[BrokenConfiguration, ...] = ()
    clashes: tuple[NameClash, ...] = ()
    bus_missing: bool = False

    def find_volume(self, path: str) -> LogicalVolume | None:
        """The logical volume that a device path names, in either of its two spellings."""
        return next((lv for lv in self.volumes if path in (lv.path, lv.dm_path)), None)

    def find_volume_by_uuid(self, uuid: str) -> LogicalVolume | None:
        return next((lv for lv in self.volumes if uuid and lv.uuid == uuid), None)

    def find_group(self, name: str) -> VolumeGroup | None:
        return next((group for group in self.groups if group.name == name), None)

    def find_domain(self, name: str) -> Domain | None:
        return next((domain for domain in self.domains if domain.name == name), None)

    def find_backing(self, domain: str, vdev: str) -> DiskBacking | None:
        return next((b for b in self.backings if (b.domain, b.vdev) == (domain, vdev)), None)

    def find_place(self, name: str) -> PlaceSight | None:
        """A destination by its name; the spool is ""."""
        return next((place for place in self.places if place.name == name), None)
