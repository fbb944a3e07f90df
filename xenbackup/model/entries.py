"""Journal entries: one type for each thing a run writes down, intents before acts.

Names ending in -ing are intents (fsynced before the act), participles are outcomes read from the
host afterwards. Field names are part of the journal's format: version 1.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from xenbackup.model.command import Process
from xenbackup.model.job import StepName
from xenbackup.model.record import DiskMark, RunStart
from xenbackup.model.run import Outcome


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=False):
    """Base of all entries; the tag is what the file shows as `event`."""

    tells: ClassVar[str] = ""

    def describe(self) -> str:
        """One line for a person who reads `show RUN`."""
        return self.tells.format(entry=self)


class RunStarted(Entry, frozen=True, kw_only=True, tag="run-started"):
    tells = "run of job {entry.start.job} for domain {entry.start.plan.domain.name} began"
    start: RunStart


class StepBegan(Entry, frozen=True, kw_only=True, tag="step-began"):
    tells = "step {entry.step} began"
    step: StepName


class StepDone(Entry, frozen=True, kw_only=True, tag="step-done"):
    tells = "step {entry.step} done"
    step: StepName


class FreezingMonitors(Entry, frozen=True, kw_only=True, tag="freezing-monitors"):
    """Before SIGSTOP: whatever happens next, somebody must wake these."""

    tells = "about to hold the guest's xl monitor so that it survives the suspend"
    monitors: tuple[Process, ...]


class MonitorsWoken(Entry, frozen=True, kw_only=True, tag="monitors-woken"):
    tells = "the guest's xl monitor runs again ({entry.alive} alive)"
    alive: int


class Pausing(Entry, frozen=True, kw_only=True, tag="pausing"):
    tells = "about to pause the guest"


class Paused(Entry, frozen=True, kw_only=True, tag="paused"):
    tells = "the guest is paused"


class Saving(Entry, frozen=True, kw_only=True, tag="saving"):
    """`stays` tells `xl save -p` (the domain stays, paused) from plain save (xl destroys it).

    `sharers` are UUIDs of other domains that can write the guest's disks already.
    """

    tells = "about to save the guest's memory to {entry.path}"
    path: str
    stays: bool
    sharers: tuple[str, ...] = ()


class Saved(Entry, frozen=True, kw_only=True, tag="saved"):
    """`monitor_log` is the guest's log as it was then: `dom0.monitor.read_log_mark`."""

    tells = "the toolstack says the memory is saved"
    monitor_log: str = ""


class ImageVerified(Entry, frozen=True, kw_only=True, tag="image-verified"):
    """The image is on stable storage and ends in its END record."""

    tells = "the memory image is complete and on disk ({entry.size_bytes} bytes)"
    path: str
    size_bytes: int


class Destroying(Entry, frozen=True, kw_only=True, tag="destroying"):
    tells = "about to destroy the saved domain: its image is verified"


class Destroyed(Entry, frozen=True, kw_only=True, tag="destroyed"):
    tells = "the saved domain is gone from the hypervisor"


class DisksAtRest(Entry, frozen=True, kw_only=True, tag="disks-at-rest"):
    """The guest stands still, or is away: from here on a disk that is written is written by others.

    The marks are the kernel's counts, which begin anew with each boot.
    """

    tells = "how much was written to its disks is noted: nobody should write them now"
    marks: tuple[DiskMark, ...]
    boot_id: str


class Restoring(Entry, frozen=True, kw_only=True, tag="restoring"):
    """`boot_id` tells, after a reboot of the host, whether what is there can be of this restore."""

    tells = "about to rebuild the guest from {entry.path}, paused"
    path: str
    unit: str
    boot_id: str = ""


class Restored(Entry, frozen=True, kw_only=True, tag="restored"):
    """`monitor_log` is the guest's log as it was then, which is of this very domain."""

    tells = "the guest is rebuilt as domain {entry.domid}, still paused"
    domid: int
    monitor_log: str = ""


class NotRestored(Entry, frozen=True, kw_only=True, tag="not-restored"):
    """Nothing of it is left, and no attempt has begun a log: a new one is of somebody else."""

    tells = "the guest could not be rebuilt"


class Booting(Entry, frozen=True, kw_only=True, tag="booting"):
    """From here on the memory image must never meet the live disks again."""

    tells = "about to boot the guest afresh"
    boot_id: str = ""


class Booted(Entry, frozen=True, kw_only=True, tag="booted"):
    """The toolstack says so, and the domain was seen to run."""

    tells = "the guest boots afresh as domain {entry.domid}"
    domid: int


class Resuming(Entry, frozen=True, kw_only=True, tag="resuming"):
    """From here on the memory image must never meet the live disks again."""

    tells = "about to let the guest run"


class ImageStale(Entry, frozen=True, kw_only=True, tag="image-stale"):
    """Somebody let the guest run: as after `resuming`, the image must not be restored."""

    tells = "the guest was seen running: its memory image does not fit its disks any more"


class Returned(Entry, frozen=True, kw_only=True, tag="returned"):
    tells = "the guest runs, its disks connected (domain {entry.domid}, away {entry.away_seconds}s)"
    domid: int
    away_seconds: float


class _OfSnapshot(Entry, frozen=True, kw_only=True):
    """A volume of LVM by group and name; a reflink copy of an image file has no group, and its
    path is the name."""

    group: str
    name: str

    @property
    def label(self) -> str:
        return f"{self.group}/{self.name}" if self.group else self.name


class Snapshotting(_OfSnapshot, frozen=True, kw_only=True, tag="snapshotting"):
    tells = "about to snapshot {entry.vdev} as {entry.label}"
    vdev: str
    origin_uuid: str


class Snapshotted(_OfSnapshot, frozen=True, kw_only=True, tag="snapshotted"):
    """`lv_uuid` is `file:DEVICE:INODE` for a reflink copy."""

    tells = "snapshot {entry.label} of {entry.vdev} exists ({entry.size_bytes} bytes)"
    vdev: str
    lv_uuid: str
    size_bytes: int


class ExtendingSnapshot(_OfSnapshot, frozen=True, kw_only=True, tag="extending-snapshot"):
    tells = "about to extend snapshot {entry.label} by {entry.add_bytes} bytes: {entry.reason}"
    lv_uuid: str
    add_bytes: int
    reason: str


class SnapshotExtended(_OfSnapshot, frozen=True, kw_only=True, tag="snapshot-extended"):
    tells = "snapshot {entry.label} has room for {entry.size_bytes} bytes now"
    size_bytes: int


class SnapshotTooSmall(_OfSnapshot, frozen=True, kw_only=True, tag="snapshot-too-small"):
    """It overflowed, or would have: the run fails, and may be tried again with a larger one."""

    tells = "snapshot {entry.label} of {entry.vdev} is too small with {entry.size_bytes} bytes"
    vdev: str
    size_bytes: int


class RemovingSnapshot(_OfSnapshot, frozen=True, kw_only=True, tag="removing-snapshot"):
    tells = "about to remove snapshot {entry.label}"
    lv_uuid: str


class SnapshotRemoved(_OfSnapshot, frozen=True, kw_only=True, tag="snapshot-removed"):
    tells = "snapshot {entry.label} is gone"


class Staging(Entry, frozen=True, kw_only=True, tag="staging"):
    tells = "about to fill recovery point {entry.point} in destination {entry.destination}"
    destination: str
    point: str


class DiskCopied(Entry, frozen=True, kw_only=True, tag="disk-copied"):
    tells = (
        "{entry.vdev} copied: {entry.bytes_read} bytes read, {entry.bytes_written} bytes written"
    )
    vdev: str
    bytes_read: int
    bytes_written: int
    digest: str


class MemoryCopied(Entry, frozen=True, kw_only=True, tag="memory-copied"):
    tells = "memory image copied: {entry.bytes_read} bytes"
    bytes_read: int
    digest: str


class Published(Entry, frozen=True, kw_only=True, tag="published"):
    tells = "recovery point {entry.point} is complete and published"
    point: str


class PartialDiscarded(Entry, frozen=True, kw_only=True, tag="partial-discarded"):
    tells = "the unfinished recovery point is removed"


class ImageDiscarded(Entry, frozen=True, kw_only=True, tag="image-discarded"):
    tells = "the memory image in the spool is removed"


class Warned(Entry, frozen=True, kw_only=True, tag="warned"):
    tells = "warning: {entry.message}"
    message: str


class Failed(Entry, frozen=True, kw_only=True, tag="failed"):
    tells = "failed: {entry.message}"
    message: str
    hint: str


class RecoveryBegan(Entry, frozen=True, kw_only=True, tag="recovery-began"):
    """Another process took over a run that was cut off, or that still owes something."""

    owes: bool
    rebooted: bool

    def describe(self) -> str:
        after = ", after the host had rebooted" if self.rebooted else ""
        if self.owes:
            return f"`xenbackup recover` came back for what is owed{after}"
        return f"the run was cut off here; `xenbackup recover` took over{after}"


class RescueBegan(Entry, frozen=True, kw_only=True, tag="rescue-began"):
    """An act of undo or recovery, with the reason that the table gave for it."""

    tells = "rescue: looked at the guest: {entry.reason}. Next: {entry.action}"
    action: str
    reason: str


class HandsOff(Entry, frozen=True, kw_only=True, tag="hands-off"):
    tells = "hands off the guest: {entry.reason}"
    reason: str


class DebtIncurred(Entry, frozen=True, kw_only=True, tag="debt"):
    tells = "owed: {entry.message}"
    message: str


class RunEnded(Entry, frozen=True, kw_only=True, tag="run-ended"):
    tells = "run ended: {entry.outcome}"
    outcome: Outcome


AnyEntry = (
    RunStarted
    | StepBegan
    | StepDone
    | FreezingMonitors
    | MonitorsWoken
    | Pausing
    | Paused
    | Saving
    | Saved
    | ImageVerified
    | Destroying
    | Destroyed
    | DisksAtRest
    | Restoring
    | Restored
    | NotRestored
    | Booted
    | Booting
    | Resuming
    | ImageStale
    | Returned
    | Snapshotting
    | Snapshotted
    | ExtendingSnapshot
    | SnapshotExtended
    | SnapshotTooSmall
    | RemovingSnapshot
    | SnapshotRemoved
    | Staging
    | DiskCopied
    | MemoryCopied
    | Published
    | PartialDiscarded
    | ImageDiscarded
    | Warned
    | Failed
    | RecoveryBegan
    | RescueBegan
    | HandsOff
    | DebtIncurred
    | RunEnded
)
