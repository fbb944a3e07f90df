"""What a run's journal amounts to: the evidence that undo and recovery decide from."""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.model.command import Process
from xenbackup.model.domain import HealthBaseline, Tuning
from xenbackup.model.plan import DomainPlan
from xenbackup.model.run import Outcome


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """The first line of every journal: all that recovery needs to know of the beginning.

    `plan` is whole: the domain as it was, its disks and their volumes, the destination.
    `baseline` is None for a domain that was shut off.
    """

    run: str
    round: str
    job: str
    plan: DomainPlan
    boot_id: str
    baseline: HealthBaseline | None
    tuning: Tuning
    monitors: tuple[Process, ...]
    memory_image_path: str
    product_version: str


@dataclass(frozen=True, kw_only=True)
class DiskMark:
    """How much had been written to a disk when the guest stood still: `Host.read_write_mark`."""

    vdev: str
    mark: str


@dataclass(frozen=True, kw_only=True)
class SnapshotRecord:
    """One snapshot of the run: intended (no `lv_uuid` yet), made, or removed.

    `size_bytes` is its room for what the guest overwrites, 0 while it is only intended. One from
    `before_save` holds what the guest overwrote before it was saved anew, too.
    """

    vdev: str
    group: str
    name: str
    origin_uuid: str
    lv_uuid: str = ""
    size_bytes: int = 0
    before_save: bool = False
    removed: bool = False

    @property
    def label(self) -> str:
        """`GROUP/NAME`; the path alone for a reflink copy."""
        return f"{self.group}/{self.name}" if self.group else self.name


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The journal of one run, folded. Fields follow the journal, in its order.

    `rebuilding_boot_id` is the boot of the host in which the last restore or fresh boot was begun.
    `restored_domid` is None until a restore has been seen to succeed; `returned_domid` until the
    guest has been seen healthy. `save_destroys` marks a save after which the toolstack itself
    destroys the domain (xm, and xl up to 4.3). `too_small` are disks whose snapshots filled up, or
    would have. `debts` are what could not be removed yet, in words. `sharers` are UUIDs of
    other domains that could write its disks before its save, and so are nobody who came since.
    `known_logs` tell which file the guest's log was after the save, and after restores of ours: ""
    where a journal of an earlier version does not say. `restore_under_way` is true while the
    last restore may have begun a log that is not known.
    `at_rest` are marks of disks that nobody writes, read in the boot `at_rest_boot_id`. `hint` goes
    with the first of `failures`.
    """

    start: RunStart
    step: str = ""
    monitors_frozen: tuple[Process, ...] = ()
    pause_begun: bool = False
    save_begun: bool = False
    save_finished: bool = False
    known_logs: tuple[str, ...] = ()
    save_destroys: bool = False
    image_verified: bool = False
    image_size_bytes: int = 0
    image_discarded: bool = False
    sharers: tuple[str, ...] = ()
    destroy_begun: bool = False
    destroyed: bool = False
    at_rest: tuple[DiskMark, ...] = ()
    at_rest_boot_id: str = ""
    restore_begun: bool = False
    restore_under_way: bool = False
    restored_domid: int | None = None
    boot_begun: bool = False
    booted: bool = False
    rebuilding_boot_id: str = ""
    resuming: bool = False
    returned_domid: int | None = None
    hands_off: str = ""
    snapshots: tuple[SnapshotRecord, ...] = ()
    too_small: tuple[str, ...] = ()
    staged: bool = False
    published: bool = False
    partial_discarded: bool = False
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    hint: str = ""
    debts: tuple[str, ...] = ()
    away_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    ended: Outcome | None = None

    @property
    def why_failed(self) -> str:
        """The first thing that went wrong, "" for a run that did not fail. A run whose process died
        could not say anything: recovery ended it.
        """
        if self.failures or self.ended is not Outcome.FAILED:
            return self.failures[0] if self.failures else ""
        return "It was cut off in the middle, and recovery has undone what it had begun."

    @property
    def returned(self) -> bool:
        return self.returned_domid is not None

    @property
    def guest_touched(self) -> bool:
        """Something was begun that can leave the guest less than running."""
        return self.pause_begun or self.save_begun or self.restore_begun or self.boot_begun

    @property
    def guest_settled(self) -> bool:
        """The guest needs nothing of us any more, whatever it does."""
        return self.returned or bool(self.hands_off) or not self.guest_touched

    @property
    def owes(self) -> bool:
        """All is done but for what could not be removed yet: recovery comes back for that."""
        return self.ended is None and bool(self.debts) and self.guest_settled
