"""Every code of a problem: how bad it is, which check it belongs to, what it means.

docs/problems.md tells the same at more length; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from xenbackup.model.problem import Problem, Severity


class Check(StrEnum):
    """What `check` looks at, line by line. `DESTINATION` has a line for each, so has `GUEST`."""

    HOST = "host"
    JOB_FILES = "job-files"
    GUEST_FILES = "guest-files"
    NAMES = "names"
    DOM0_MEMORY = "dom0-memory"
    MODULES = "modules"
    THIN_POOLS = "thin-pools"
    DISKS = "disks"
    PCI = "pci"
    DRIVERS = "drivers"
    MONITORS = "monitors"
    RUNS = "runs"
    TELLING = "telling"
    DESTINATION = "destination"
    SPOOL = "spool"
    JOB = "job"
    GUEST = "guest"


@dataclass(frozen=True, kw_only=True)
class Code:
    """A kind of problem; `meaning` is one line, as in the document."""

    code: str
    severity: Severity
    check: Check
    meaning: str


_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

_ROWS: tuple[tuple[Check, Severity, Mapping[str, str]], ...] = (
    (
        Check.HOST,
        _ERROR,
        {
            "host-unreadable": "A tool of the host failed, or printed what cannot be read.",
        },
    ),
    (
        Check.HOST,
        _WARNING,
        {
            "inventory-incomplete": "A part of the host could not be read.",
            "bus-missing": "systemd rules, but there is no system bus to ask it for units.",
        },
    ),
    (
        Check.JOB_FILES,
        _ERROR,
        {
            "job-file-broken": "A job's file has mistakes; its job does not run.",
        },
    ),
    (
        Check.GUEST_FILES,
        _WARNING,
        {
            "guest-file-broken": "A guest's configuration file cannot be read.",
        },
    ),
    (
        Check.NAMES,
        _WARNING,
        {
            "name-clash": "Two different guests bear the same name.",
            "uuid-differs": "A guest runs with another UUID than its file gives it.",
        },
    ),
    (
        Check.DOM0_MEMORY,
        _WARNING,
        {
            "dom0-mem-missing": "`dom0_mem` is not on Xen's command line.",
            "dom0-mem-no-size": "`dom0_mem` gives dom0 no amount that can be read.",
            "dom0-mem-small": "`dom0_mem` promises dom0 less than it needs.",
            "dom0-mem-linux": "`dom0_mem` is on Linux's command line, where it does nothing.",
            "dom0-memory-low": "dom0 has less memory now than it needs.",
        },
    ),
    (
        Check.MODULES,
        _WARNING,
        {
            "backend-module-missing": "dom0's block back-end is not in this kernel.",
        },
    ),
    (
        Check.THIN_POOLS,
        _ERROR,
        {
            "thin-pool-full": "A thin pool is full, or as good as full.",
        },
    ),
    (
        Check.THIN_POOLS,
        _WARNING,
        {
            "thin-pool-filling": "A thin pool is nearly full.",
        },
    ),
    (
        Check.DISKS,
        _WARNING,
        {
            "disk-shared": "Two guests can write the same storage.",
            "disk-held-in-dom0": "dom0 itself uses a guest's disk.",
        },
    ),
    (
        Check.PCI,
        _WARNING,
        {
            "pci-conflict": "A PCI device cannot go where a guest wants it.",
            "pciback-late": "pciback is loaded too late to hide devices from dom0.",
        },
    ),
    (
        Check.PCI,
        _NOTE,
        {
            "pci-shared": "Two guests are configured for one PCI device, and do not both run.",
            "pciback-unknown": "Whether pciback is loaded early could not be found out.",
        },
    ),
    (
        Check.DRIVERS,
        _WARNING,
        {
            "driver-finding": "A guest's configuration breaks a rule of its drivers.",
        },
    ),
    (
        Check.MONITORS,
        _WARNING,
        {
            "guest-without-monitor": "No process of the toolstack watches a running guest.",
        },
    ),
    (
        Check.RUNS,
        _ERROR,
        {
            "run-unfinished": "A run of a guest has not ended, or was cut off.",
            "restore-unfinished": "A guest's disk is half written by a restore.",
            "snapshots-owed": "A volume has two snapshots that could not be removed.",
        },
    ),
    (
        Check.RUNS,
        _WARNING,
        {
            "debt-owed": "Something of a run could not be removed yet.",
        },
    ),
    (
        Check.TELLING,
        _ERROR,
        {
            "hook-unfit": "The program of a hook is not there, or not to be trusted.",
        },
    ),
    (
        Check.TELLING,
        _WARNING,
        {
            "sendmail-missing": "Mail is configured, but the host cannot send any.",
            "apprise-missing": "Apprise is configured, but not installed.",
            "metrics-folder-missing": "The folder for the metrics' textfile is not there.",
        },
    ),
    (
        Check.DESTINATION,
        _ERROR,
        {
            "destination-unknown": "A job names a destination that is not configured.",
            "destination-missing": "A destination's folder or group is not there.",
            "destination-not-mounted": "The folder is there, but nothing is mounted on it.",
            "destination-not-marked": "A destination was never made ready for us.",
            "destination-unusable": "A destination cannot be looked at or written.",
        },
    ),
    (
        Check.DESTINATION,
        _WARNING,
        {
            "destination-too-small": "A destination may have no room for the next points.",
            "point-damaged": "A point was found damaged when it was verified.",
        },
    ),
    (
        Check.SPOOL,
        _ERROR,
        {
            "spool-unusable": "The spool cannot be used.",
        },
    ),
    (
        Check.SPOOL,
        _WARNING,
        {
            "spool-tight": "The spool cannot hold all memory images of one moment.",
        },
    ),
    (
        Check.JOB,
        _ERROR,
        {
            "selection-empty": "A job selects no guest of this host.",
        },
    ),
    (
        Check.JOB,
        _WARNING,
        {
            "pattern-idle": "A pattern of a job matches no guest.",
            "excluded-disk-unknown": "An entry of `exclude_disks` matches no disk.",
            "schedule-collision": "Two jobs want the same guest at the same minute.",
            "group-tight": "A volume group has hardly more room than the snapshots take.",
        },
    ),
    (
        Check.GUEST,
        _ERROR,
        {
            "name-unfit": "A guest's name cannot be given to a command.",
            "guest-unknown": "A guest is being built or torn down.",
            "guest-runs": "A pipeline for shut off guests meets a running one.",
            "guest-migrating": "A guest is on its way from one host to another.",
            "guest-ending": "A guest is shutting down, suspended or crashed.",
            "memory-of-paused-guest": "A paused guest cannot answer a save.",
            "consistency-too-low": "A pipeline gives less than the job requires.",
            "no-save-paused": "The toolstack cannot leave a saved guest paused.",
            "memory-with-passthrough": "Memory of a guest with a PCI device cannot be saved.",
            "memory-with-vnuma": "Memory of a guest with virtual NUMA nodes cannot be saved.",
            "memory-not-savable": "A guest's memory cannot be saved for another reason.",
            "memory-not-free": "Memory for a guest's return is not free now.",
            "guest-without-disks": "A guest has no disk to back up.",
            "disk-left-out-of-memory": "A writable disk is left out while memory is taken.",
            "disk-served-elsewhere": "A disk is served by another domain than dom0.",
            "disk-absent": "What stands behind a disk does not exist.",
            "disk-unreadable": "What stands behind a disk cannot be read.",
            "disk-no-snapshot": "A disk that is no logical volume has no snapshot.",
            "network-disk-no-snapshot": "A disk on the network has no snapshot here.",
            "image-file-no-snapshot": "An image file has no snapshot here.",
            "image-not-flushed": "Tables of an image file may be in QEMU's memory alone.",
            "disk-written-by-other": "A shut off guest's disk is written by one that runs.",
            "disk-merging": "A snapshot is being merged into a disk.",
            "disk-is-snapshot": "A disk is itself a snapshot.",
            "disk-locked": "LVM is moving a disk to another place.",
            "disk-inactive": "The logical volume of a disk is not active.",
            "disk-incomplete": "A disk lies on physical volumes that are missing.",
            "group-ambiguous": "Two volume groups bear the same name.",
            "group-incomplete": "A volume group lacks physical volumes.",
            "group-without-room": "A volume group has no room for a guest's snapshots.",
            "module-missing": "The kernel lacks what the snapshots need.",
            "spool-too-small": "The spool has no room for a guest's memory image.",
            "slot-missing": "No prepared volume awaits a disk.",
            "slot-ambiguous": "Several prepared volumes await one disk.",
            "slot-not-marked": "The volume for a disk is not marked as a destination.",
            "slot-too-small": "The volume prepared for a disk is smaller than the disk.",
            "place-on-guest": "A place that we write to is served by the guest itself.",
            "no-preset-fits": "Preset `auto` finds no preset that a guest can be backed up with.",
            "guest-refused": "A guest cannot be backed up for another reason.",
        },
    ),
    (
        Check.GUEST,
        _WARNING,
        {
            "guest-paused": "A guest is paused, and not by us.",
            "memory-may-be-taken": "A saved guest's memory may be gone when it returns.",
            "suspend-not-offered": "A guest's kernel does not offer to be suspended.",
            "image-on-another": "An image file is no disk without another file.",
            "image-unchecked": "The toolstack destroys a guest before its image is checked.",
        },
    ),
)

CODES: Mapping[str, Code] = MappingProxyType(
    {
        code: Code(code=code, severity=severity, check=check, meaning=meaning)
        for check, severity, meanings in _ROWS
        for code, meaning in meanings.items()
    }
)


def make_problem(
    code: str, *, subject: str, message: str, hint: str = "", domain: str = ""
) -> Problem:
    """A problem with the severity of its code. Raises: KeyError for a code that is in no table."""
    return Problem(
        severity=CODES[code].severity,
        code=code,
        subject=subject,
        message=message,
        hint=hint,
        domain=domain,
    )
