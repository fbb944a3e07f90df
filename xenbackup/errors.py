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
    `may_pass`: the same again, a while later and with nobody's help, may well succeed.
    """

    exit_code: ExitCode = ExitCode.FAILED
    may_pass: bool = False

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

    may_pass = True


class UnexpectedOutput(XenbackupError):
    """A tool printed something that we do not know how to read; never guessed at."""


class DomainChanged(XenbackupError):
    """The domain is not the one of the run's start (gone, re-created, renamed, rebooted itself)."""

    may_pass = True


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


class SnapshotsOwed(XenbackupError):
    """Earlier runs of the guest could not remove their snapshots: another would be one too many."""

    may_pass = True


class DisksHalfRestored(XenbackupError):
    """A restore has begun to write a guest's disks and not finished: no backup is made of them."""

    may_pass = True


class NotOurs(XenbackupError):
    """Refused: a volume, domain or folder that does not carry our mark would have been touched."""


class CopyFailed(XenbackupError):
    """Reading the source or writing the destination failed, at a named offset."""


class CopyCancelled(CopyFailed):
    """The copy was told to stop, by a person or by a deadline."""


class DestinationMissing(XenbackupError):
    """The destination is not there, not mounted, or not marked as ours."""

    exit_code = ExitCode.DESTINATION_MISSING
    may_pass = True


class DestinationFailed(XenbackupError):
    """The destination is there but refused a write, is full, or holds what it must not."""


class StateFailed(XenbackupError):
    """A file of our own (journal, catalog, lock, spool, settings) could not be read or written."""


class RoomMissing(StateFailed):
    """The spool has too little room just now: runs that are under way give theirs back."""

    may_pass = True


class PointNotFound(UsageError):
    """No recovery point, or more than one, answers to the name given."""


class PointDamaged(XenbackupError):
    """A recovery point's bytes are not those that its manifest promises."""


class RestoreRefused(XenbackupError):
    """A restore would overwrite, or meet, something it must not; nothing was touched."""


class Locked(XenbackupError):
    """Another process of ours holds the lock on the domain, the destination slot or the host."""

    exit_code = ExitCode.LOCKED
    may_pass = True


class JournalDamaged(XenbackupError):
    """A journal cannot be read as one: recovery leaves its run alone and says so."""

    exit_code = ExitCode.RECOVERY_INCOMPLETE


class TimeLimitPassed(XenbackupError):
    """A run took longer than its job allows; what was begun has been undone."""


class Interrupted(XenbackupError):
    """A person or the system asked us to stop; what was begun has been undone."""

    exit_code = ExitCode.INTERRUPTED


class DaemonAbsent(XenbackupError):
    """No daemon serves this host: there is no control socket, or nobody behind it."""


class DaemonSilent(XenbackupError):
    """The daemon is there but does not answer in time; what it works on is not known."""


class DaemonGone(XenbackupError):
    """The daemon ended the connection before it had told the end of what was asked."""


class FrameRefused(XenbackupError):
    """What came over the control socket is no message of its protocol."""


class RequestRefused(XenbackupError):
    """The daemon refused or failed what was asked; message, hint and exit code are its own."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = ExitCode.FAILED) -> None:
        super().__init__(message, hint=hint)
        codes = {code.value for code in ExitCode}
        self.exit_code = ExitCode(exit_code) if exit_code in codes else ExitCode.FAILED


class NameRefused(UsageError, ValueError):
    """A name that nothing can bear, or that would pass for an option or a path."""


class HookFailed(XenbackupError):
    """A command around a round refused, failed or took too long.

    `may_pass`: its `before` said that it may be tried again later (exit code 75).
    """

    def __init__(self, message: str, *, hint: str = "", may_pass: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.may_pass = may_pass


class TellingFailed(XenbackupError):
    """A message did not reach whom it was for; the backups it tells of are untouched by that."""

    def __init__(self, message: str, *, hint: str = "", may_pass: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.may_pass = may_pass
