"""Restores: what a person asks for, what was decided, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import Manifest, StoredDisk
from xenbackup.model.recorded_guest import RecordedGuest


@dataclass(frozen=True, kw_only=True)
class DiskPlacement:
    """`--disk VDEV=PATH`: one disk goes to a target of its own."""

    vdev: str
    path: str


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """What a person asks for; all empty restores every disk to where it came from.

    `domain` is a new name ("" keeps the old one); paths are absolute paths of the host. At most one
    of `volume_group` and `image_folder` is set. `overwrite` allows targets that are neither the
    point's own nor made by us. `whole` writes every block, equal or not.
    """

    domain: str = ""
    volume_group: str = ""
    image_folder: str = ""
    disks: tuple[DiskPlacement, ...] = ()
    memory: bool = False
    start: bool = False
    overwrite: bool = False
    whole: bool = False


class TargetAct(StrEnum):
    """What a restore does to a target."""

    CREATE_VOLUME = "create volume"
    CREATE_FILE = "create file"
    CONTINUE = "continue"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, kw_only=True)
class RestoreTarget:
    """Where one disk goes. `capacity_bytes` is what the target holds, or will after its creation.

    `group` and `lv_name` are "" unless it is a logical volume, `lv_uuid` "" until that exists;
    `inode` is that of an existing file, `pool` the thin pool that a new volume is made in;
    `stale_chunks` says that the pool of a thin one does not zero its chunks (`model/volume.py`).
    CONTINUE is a target that an interrupted restore of ours had made.
    """

    disk: StoredDisk
    path: str
    kind: VolumeKind
    act: TargetAct
    capacity_bytes: int
    group: str = ""
    lv_name: str = ""
    lv_uuid: str = ""
    inode: int = 0
    pool: str = ""
    stale_chunks: bool = False

    @property
    def live(self) -> bool:
        """It holds somebody's bytes: the image is read and proved before one of them is written."""
        return self.act is TargetAct.OVERWRITE


@dataclass(frozen=True, kw_only=True)
class RestorePlan:
    """A restore decided: nothing has been touched yet.

    `restore` is its id (time-ordered, as a run's), that of the interrupted restore when it
    completes one. `domain` and `uuid` are what the guest will have. `memory_path` and
    `configuration_path` are paths of the host: the image that is resumed (in the spool when its
    header must be rewritten), and the xl.cfg that is written ("" when none can be).
    `guest` is the guest as recorded, but for what a new name changes; `configuration_json` says the
    same in libxl's words, or else `configuration_file` is the guest's own file as it was (at most
    one is not ""). `configuration_text` is the xl.cfg, with the new name, uuid and disks.
    `half_built_domid` is a domain that the interrupted restore left paused, to be destroyed first.
    """

    restore: str
    destination: str
    manifest: Manifest
    domain: str
    uuid: str
    targets: tuple[RestoreTarget, ...]
    memory: bool
    start: bool
    whole: bool
    rewrites_memory: bool = False
    memory_path: str = ""
    guest: RecordedGuest = field(default_factory=RecordedGuest)
    configuration_json: str = ""
    configuration_file: str = ""
    configuration_text: str = ""
    configuration_path: str = ""
    options: RestoreOptions = RestoreOptions()
    half_built_domid: int | None = None
    completes: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def in_place(self) -> bool:
        """The guest keeps its name and uuid."""
        return self.domain == self.manifest.domain

    @property
    def bytes_to_write(self) -> int:
        """Upper bound: what is equal already is not written."""
        return sum(target.disk.size_bytes for target in self.targets)


class GuestOutcome(StrEnum):
    """What a restore left of the guest."""

    NOT_STARTED = "not started"
    PAUSED = "paused"
    RUNNING = "running"


@dataclass(frozen=True, kw_only=True)
class RestoredDisk:
    """One disk brought back; `same_bytes` were right already and stayed unwritten."""

    vdev: str
    path: str
    act: TargetAct
    size_bytes: int
    bytes_written: int
    same_bytes: int


@dataclass(frozen=True, kw_only=True)
class RestoreResult:
    """What came of a restore that ended well; every other end is an error."""

    restore: str
    point: str
    destination: str
    domain: str
    uuid: str
    disks: tuple[RestoredDisk, ...]
    guest: GuestOutcome
    domid: int | None = None
    memory: bool = False
    configuration_path: str = ""
    bytes_read: int = 0
    bytes_written: int = 0
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


class RestorePhase(StrEnum):
    """How far a restore has come; each is marked durably before its first act.

    From RESUMING on, the guest may have run: a memory image never again meets these disks as they
    are, only disks restored anew.
    """

    WRITING = "writing"
    REBUILDING = "rebuilding"
    RESUMING = "resuming"


@dataclass(frozen=True, kw_only=True)
class MarkedTarget:
    """A target as the mark of an unfinished restore names it; `created` says that we made it.

    `lv_uuid`, or the number of the file (`inode`), is the identity it had when we last saw it.
    `folder_inode` is that of a file's folder: where another one is in its place, a file system is
    not mounted, and nobody knows what became of the file.
    """

    vdev: str
    path: str
    kind: VolumeKind
    created: bool
    group: str = ""
    lv_name: str = ""
    lv_uuid: str = ""
    inode: int = 0
    capacity_bytes: int = 0
    folder_inode: int = 0


@dataclass(frozen=True, kw_only=True)
class RestoreMark:
    """A restore that has begun and not ended: its targets hold neither the old nor the new.

    `domid` is the guest that was built whole, paused, of that boot: only to be let run any more.
    """

    restore: str
    point: str
    destination: str
    source_domain: str
    domain: str
    uuid: str
    boot_id: str
    phase: RestorePhase
    targets: tuple[MarkedTarget, ...]
    domid: int | None = None

    @property
    def condition(self) -> str:
        """What it left behind, and what helps, as a clause for a person."""
        again = f"`xenbackup restore {self.point}` with the options of then completes it"
        if self.phase is RestorePhase.WRITING:
            return f"its disks hold neither the old nor the new; {again}"
        if self.phase is RestorePhase.REBUILDING:
            return f"its disks are whole, but the guest was not built; {again}"
        return (
            "its disks are whole, and the guest was about to run: look at `xl list`, unpause it "
            f"where it is paused; where it is not there, {again}"
        )


class RestoreWatcher(Protocol):
    """Receives the course of a restore. Called from its own thread; must return quickly."""

    def restore_began(self, plan: RestorePlan) -> None: ...

    def act_began(self, what: str) -> None:
        """`what`: `verify xvda`, `restore xvda`, `restore memory`, `build`, `start`."""

    def amount_done(self, what: str, done: int, total: int) -> None:
        """`what` as in `act_began`; amounts are bytes."""

    def warned(self, message: str) -> None: ...

    def restore_ended(self, result: RestoreResult) -> None: ...


class SilentRestoreWatcher:
    """Watches nothing: for callers that only want the result."""

    def restore_began(self, plan: RestorePlan) -> None:
        """Nothing to tell."""

    def act_began(self, what: str) -> None:
        """Nothing to tell."""

    def amount_done(self, what: str, done: int, total: int) -> None:
        """Nothing to tell."""

    def warned(self, message: str) -> None:
        """Nothing to tell."""

    def restore_ended(self, result: RestoreResult) -> None:
        """Nothing to tell."""
