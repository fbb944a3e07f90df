"""What recovery sees of the world, and the acts it can choose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xenbackup.model.command import Process
from xenbackup.model.domain import DiskConnection, Domain


class ImageState(StrEnum):
    """The memory image in the spool: ends in its END record, does not, or is not there."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    MISSING = "missing"


class RescueAction(StrEnum):
    """One act that brings a guest nearer to running with its disks connected."""

    RESUME_DEVICES = "resume suspended devices"
    END_SURVIVORS = "wait for commands of ours that live on"
    KILL_SURVIVORS = "kill commands of ours that heed no SIGTERM"
    CLEAR_SUSPEND_REQUEST = "clear the suspend request"
    WAKE_MONITORS = "wake the monitor"
    WAIT_FOR_DEATH = "wait for the dying domain to vanish"
    UNPAUSE = "unpause"
    CANCEL_SUSPEND = "resume the suspended guest by a save that continues"
    SAVE_AND_RESTORE = "save the guest whose devices are gone, then restore it"
    DESTROY_HALF_BUILT = "destroy the half-built domain"
    DESTROY_SAVED = "finish destroying the saved domain"
    RESTORE = "restore the memory image"
    BOOT = "boot the guest afresh"
    CONFIRM_RETURN = "confirm that the guest runs with its disks connected"
    HANDS_OFF = "leave the guest alone"
    GIVE_UP = "leave the guest to a person"
    NOTHING = "nothing to do"


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true of one run's domain now, read from the host just before deciding.

    `domain` is the one with the run's UUID; `namesake` another with its name; `intruder` one that
    was started since the save, whatever it is called, and writes its disks. `connections` are
    the domain's disks in xenstore. `suspended_devices` lie under the domain's disks.
    `survivors` are commands of this run that outlived their caller. `attempts` are the acts that
    this recovery has begun already, so that nothing is tried without end. `held_by_xendomains`
    says that a save file of the domain's name waits for xendomains, newer than what this run knows
    of the guest; `older_save_file` that one is there which is not. `unpause_fails`: the last one
    was refused by the toolstack, so that nobody else need have paused the guest.
    `written_disks` are those that were written since they were noted to be at rest.
    `started_since` says that somebody created a domain of its name since its save.
    `others_monitor`: a process that is not of this run watches the domain, since this run began.
    """

    boot_id: str
    domain: Domain | None
    namesake: Domain | None
    connections: tuple[DiskConnection, ...]
    suspended_devices: tuple[str, ...]
    suspend_requested: bool
    image: ImageState
    stopped_monitors: tuple[Process, ...]
    survivors: tuple[Process, ...]
    held_by_xendomains: bool
    attempts: tuple[RescueAction, ...]
    unpause_fails: bool = False
    intruder: Domain | None = None
    older_save_file: bool = False
    others_monitor: bool = False
    written_disks: tuple[str, ...] = ()
    started_since: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    """An act and the reason for it, in words for the journal and the person."""

    action: RescueAction
    reason: str
