"""What a restore sees of the host before it decides: targets, who uses them, and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.model.command import Process
from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore import RestoreMark
from xenbackup.model.volume import LogicalVolume


@dataclass(frozen=True, kw_only=True)
class PathSight:
    """What a path stands for. `tokens` name it (`lv:UUID`, `block:MAJOR:MINOR`,
    `file:DEVICE:INODE`, `path:TEXT`), so that two spellings of one device share a token;
    `relatives` name the disk that it is a partition of, and its own partitions.

    `kind` is None for what can never be a target (`problem` says why), and for what does not exist.
    `held` says what dom0 itself does with it ("" nothing). `inside` names a place of ours that it
    lies in. `folder_exists` and `folder_free_bytes` are those of the folder it is, or would be, in.
    """

    path: str
    exists: bool
    kind: VolumeKind | None = None
    tokens: frozenset[str] = frozenset()
    relatives: frozenset[str] = frozenset()
    size_bytes: int = 0
    inode: int = 0
    volume: LogicalVolume | None = None
    held: str = ""
    inside: str = ""
    folder_exists: bool = False
    folder_free_bytes: int = 0
    problem: str = ""

    def overlaps(self, other: PathSight) -> bool:
        """One is the other, or a part of it; two partitions of one disk are neither."""
        return bool(self.tokens & (other.tokens | other.relatives) or self.relatives & other.tokens)


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """A disk of some domain, running or shut off, with what its target stands for."""

    domain: Domain
    vdev: str
    writable: bool
    sight: PathSight


@dataclass(frozen=True, kw_only=True)
class RestoreSight:
    """The host as a restore finds it.

    `living` has the uuid that the restored guest will have, even if nameless. `half_built` is a
    domain that an interrupted restore of the same point and name left, paused and never let run.
    `survivors` are commands of the interrupted restore that still work. `missing_files` are files
    that the guest's configuration needs and the host lacks. `pci_slots` are the host's PCI devices;
    None when they were not looked at, or could not be.
    """

    inventory: Inventory
    paths: tuple[PathSight, ...]
    uses: tuple[DiskUse, ...]
    marks: tuple[RestoreMark, ...]
    boot_id: str
    cpu_model: str
    spool_free_bytes: int
    living: Domain | None = None
    half_built: Domain | None = None
    survivors: tuple[Process, ...] = ()
    missing_files: tuple[str, ...] = ()
    pci_slots: tuple[str, ...] | None = None

    def find_path(self, path: str) -> PathSight:
        """Raises: KeyError for a path that was not looked at: a defect of the caller."""
        for sight in self.paths:
            if sight.path == path:
                return sight
        raise KeyError(path)

    def find_users(self, sight: PathSight) -> tuple[DiskUse, ...]:
        """Every domain's disk that stands for the same device or file, or for a part of it.

        A half-built domain of our own is none: it goes before anything is written.
        """
        half_built = self.half_built.domid if self.half_built is not None else None
        return tuple(
            use for use in self.uses if use.sight.overlaps(sight) and use.domain.domid != half_built
        )

    def is_half_built_user(self, sight: PathSight) -> bool:
        """The half-built domain is why the path is held open."""
        return self.half_built is not None and any(
            use.sight.overlaps(sight)
            for use in self.uses
            if use.domain.domid == self.half_built.domid
        )
