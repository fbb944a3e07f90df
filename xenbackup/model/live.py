"""What the daemon is at just now: runs under way, runs that wait, and what is due next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Origin(StrEnum):
    """Who asked for a round; on demand goes before the schedule."""

    DEMAND = "demand"
    SCHEDULE = "schedule"


@dataclass(frozen=True, kw_only=True)
class ActiveRun:
    """A run under way. `run` is "" until its journal begins.

    `what` is the amount it moves (a disk, `memory image`, `saving memory`), "" when it moves none;
    `away_since` is None while its guest runs.
    """

    run: str
    round: str
    job: str
    domain: str
    origin: Origin
    began_at: datetime
    step: str = ""
    what: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: float = 0.0
    away_since: datetime | None = None
    cancelling: str = ""


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """A run that waits its turn, and why in words; `not_before` when it waits for a time."""

    round: str
    job: str
    domain: str
    origin: Origin
    since: datetime
    reason: str
    not_before: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DueTime:
    """When a job is due next; `begins_at` is later by the host's jitter or the job's window."""

    job: str
    due_at: datetime
    begins_at: datetime


@dataclass(frozen=True, kw_only=True)
class LiveStatus:
    """The daemon as it is.

    `configuration_problems` are those of the last reload, kept until they are mended. `recovery`
    says what the recovery at its start left undone, `telling_problems` which messages and metrics
    could not be told when last tried; () when nothing.
    """

    pid: int
    version: str
    since: datetime
    stopping: str = ""
    configuration_problems: tuple[str, ...] = ()
    recovery: tuple[str, ...] = ()
    telling_problems: tuple[str, ...] = ()
    active: tuple[ActiveRun, ...] = ()
    waiting: tuple[WaitingRun, ...] = ()
    due: tuple[DueTime, ...] = ()
