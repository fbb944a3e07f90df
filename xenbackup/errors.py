"""The one tree of errors: what went wrong, with which thing, why, and what to do next.

Every error that a person may meet derives from `XenbackupError`. Each class carries the exit code
that the command line ends with; `docs/operating.md` tabulates them and a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line ends with; scripts rely on the numbers."""

    GOOD = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    WARNINGS = 4
    DESTINATION_MISSING = 10
    LOCKED = 11
    KEY = 12
    RECOVERY_INCOMPLETE = 13
    INTERRUPTED = 130


class XenbackupError(Exception):
    """Base of all errors meant for a person.

    `message` says what, which and why in one sentence; `hint` says what to do next (may be "").
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message


class UsageError(XenbackupError):
    """The command line asked for something that does not exist or does not fit."""

    exit_code = ExitCode.USAGE


class ConfigurationError(XenbackupError):
    """One or several problems in configuration or job files; all of them, not the first only."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[str, ...], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class PlanRefused(XenbackupError):
    """A job cannot run on this host as things stand: nothing was touched."""


class CommandFailed(XenbackupError):
    """A tool of the host ended with an exit code that means failure, or could not be started."""


class CommandTimedOut(CommandFailed):
    """A tool of the host passed its deadline; its process group was ended."""


class UnexpectedOutput(XenbackupError):
    """A tool printed something that we do not know how to read; never guessed at."""


class DomainChanged(XenbackupError):
    """The domain is not the one of the run's start (gone, re-created, renamed, rebooted itself)."""


class DomainUnhealthy(XenbackupError):
    """The domain exists but is not what healthy means: paused, suspended, disks disconnected, …"""


class AwayTooLong(XenbackupError):
    """The guest was away for longer than its job allows: the run gave up and brought it back."""


class SaveFailed(XenbackupError):
    """The guest's memory could not be saved, or the image does not hold what it must."""


class RestoreFailed(XenbackupError):
    """A saved guest could not be brought back by the step that should have."""


class SnapshotFailed(XenbackupError):
    """A snapshot could not be made, or is not what it must be."""


class SnapshotOverflowed(SnapshotFailed):
    """A snapshot filled up before the last read; what was read through it is worthless."""


class NotOurs(XenbackupError):
    """Refused: a volume, domain or folder that does not carry our mark would have been touched."""


class CopyFailed(XenbackupError):
    """Reading the source or writing the destination failed, at a named offset."""


class CopyCancelled(CopyFailed):
    """The copy was told to stop, by a person or by a deadline."""


class DestinationMissing(XenbackupError):
    """The destination is not there, not mounted, or not marked as ours."""

    exit_code = ExitCode.DESTINATION_MISSING


class DestinationFailed(XenbackupError):
    """The destination is there but refused a write, is full, or holds what it must not."""


class StateFailed(XenbackupError):
    """A file of our own (journal, catalog, lock, spool, settings) could not be read or written."""


class PointNotFound(UsageError):
    """No recovery point, or more than one, answers to the name given."""


class PointDamaged(XenbackupError):
    """A recovery point's bytes are not those that its manifest promises."""


class RestoreRefused(XenbackupError):
    """A restore would overwrite, or meet, something it must not; nothing was touched."""


class Locked(XenbackupError):
    """Another process of ours holds the lock on the domain, the destination slot or the host."""

    exit_code = ExitCode.LOCKED


class JournalDamaged(XenbackupError):
    """A journal cannot be read as one: recovery leaves its run alone and says so."""

    exit_code = ExitCode.RECOVERY_INCOMPLETE


class Interrupted(XenbackupError):
    """A person or the system asked us to stop; what was begun has been undone."""

    exit_code = ExitCode.INTERRUPTED
