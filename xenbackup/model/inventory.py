"""What a host holds, read once before a decision: the value that planning decides from."""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.model.domain import Domain
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.model.xen import XenFacts


@dataclass(frozen=True, kw_only=True)
class DiskSource:
    """What lies behind one disk target: the size of it in bytes, and whether it is a plain file.

    `problem` says why it could not be looked at ("" when it could).
    """

    target: str
    size_bytes: int
    regular_file: bool
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Domains (running, and shut off ones known from configuration), volumes, groups, sources."""

    facts: XenFacts
    can_save_paused: bool
    domains: tuple[Domain, ...]
    volumes: tuple[LogicalVolume, ...]
    groups: tuple[VolumeGroup, ...]
    sources: tuple[DiskSource, ...]

    def find_volume(self, path: str) -> LogicalVolume | None:
        """The logical volume that a device path names, in either of its two spellings."""
        return next((lv for lv in self.volumes if path in (lv.path, lv.dm_path)), None)

    def find_group(self, name: str) -> VolumeGroup | None:
        return next((group for group in self.groups if group.name == name), None)

    def find_source(self, target: str) -> DiskSource | None:
        return next((source for source in self.sources if source.target == target), None)
