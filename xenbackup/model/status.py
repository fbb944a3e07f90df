"""The state of a house at one look: what a person wants to know in the morning, as values.

The daemon sends a report over its socket as JSON (`encode_report`), the command line reads it back
(`decode_report`). Times are aware, in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from xenbackup.model.live import DueTime, LiveStatus
from xenbackup.model.point import MarkedPoint
from xenbackup.model.run import Outcome


class Level(StrEnum):
    """How bad something is; `rank` orders them."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {Level.OK: 0, Level.WARNING: 1, Level.CRITICAL: 2}


class DomainVerdict(StrEnum):
    """How a guest stands with a job.

    `awaited` is a guest of a job so new that its first point is not due yet; `off` one that is shut
    off, which its job leaves out; `unknown` one of which nothing can be said because the catalog of
    points was lost.
    """

    GOOD = "good"
    AWAITED = "awaited"
    OFF = "off"
    FAILING = "failing"
    LATE = "late"
    NEVER = "never"
    UNPROTECTED = "unprotected"
    UNKNOWN = "unknown"


class RunState(StrEnum):
    """How a run stands whose journal has no end."""

    AT_WORK = "at work"
    CUT_OFF = "cut off"
    OWES = "owes"
    UNREADABLE = "unreadable"


class PlaceState(StrEnum):
    """What was found at a destination's place; `unmarked` is a folder without our mark."""

    PRESENT = "present"
    MISSING = "missing"
    UNMARKED = "unmarked"
    SILENT = "silent"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class KnownGuest:
    """A guest of the host: running, or known from its configuration file alone."""

    name: str
    running: bool


@dataclass(frozen=True, kw_only=True)
class GuestList:
    """The guests of the host; `problem` is why they could not be listed, "" when they were."""

    guests: tuple[KnownGuest, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """An ended run, as short as a page wants it. `error` is "" for one that went well."""

    run: str
    round: str
    job: str
    domain: str
    outcome: Outcome
    ended_at: datetime
    point: str = ""
    away_seconds: float = 0.0
    duration_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class RoundStatus:
    """A round of which a run ended lately, or that failed as a whole before any run.

    `outcome` is that of the last run of each guest: one that was tried again counts as it ended.
    `error` says why there is no run, "" where there are some. `under_way` while the daemon has not
    done with it.
    """

    round: str
    job: str
    began_at: datetime
    ended_at: datetime
    outcome: Outcome
    runs: tuple[EndedRun, ...] = ()
    error: str = ""
    hint: str = ""
    under_way: bool = False


@dataclass(frozen=True, kw_only=True)
class DomainStatus:
    """A guest and a job that covers it; `job` is "" for one that no job covers.

    `point` is the last good one, "" for none; `points` counts the good ones, `damaged` those that a
    verification found damaged, `future` others whose time is yet to come. `promised_since` is the
    time since which there has to be a point, None when nothing is promised (yet). `last_run` is the
    newest that ended, of this job. `running` is None where the guests could not be listed.
    """

    domain: str
    job: str
    verdict: DomainVerdict
    level: Level
    running: bool | None = None
    points: int = 0
    damaged: int = 0
    future: int = 0
    point: str = ""
    point_at: datetime | None = None
    consistency: str = ""
    destination: str = ""
    promised_since: datetime | None = None
    last_run: EndedRun | None = None


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run whose journal has no end. `owes` is what it could not remove yet, in words."""

    run: str
    state: RunState
    job: str = ""
    domain: str = ""
    began_at: datetime | None = None
    step: str = ""
    owes: str = ""


@dataclass(frozen=True, kw_only=True)
class DestinationStatus:
    """A destination, the room in it, and when it will be full.

    Room is None where it cannot be told (prepared volumes, a place that is not there). `points`
    (the good ones), `damaged`, `foreign` and `stored_bytes` (of all) are those of the catalog;
    `foreign` counts points that another host made of its guests, which are in no other count here.
    `growth_bytes_per_day` is the mean of the next week, `full_in_days` None when it will not be
    full within `horizon_days` or nobody can tell.
    """

    name: str
    kind: str
    path: str
    state: PlaceState
    problem: str = ""
    free_bytes: int | None = None
    total_bytes: int | None = None
    points: int = 0
    damaged: int = 0
    foreign: int = 0
    stored_bytes: int = 0
    growth_bytes_per_day: float | None = None
    full_in_days: int | None = None
    horizon_days: int = 0


@dataclass(frozen=True, kw_only=True)
class FuturePoint:
    """A point whose time is yet to come: a clock was wrong when it was made, or is now."""

    point: str
    destination: str
    domain: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class BrokenJob:
    """A job file that cannot be taken; `job` is the name it would have."""

    job: str
    path: str
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that wants a person's eye: what, which, why, and what to do."""

    level: Level
    code: str
    subject: str
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class StatusReport:
    """The house at one look.

    `live` is None when no daemon answered; `daemon_problem` says why where one is there all the
    same. `level` is the worst of `findings`, which come worst first. `rounds` are those with a run
    that ended after `since`; `runs_left_out` counts older ones of them that are not listed. `gone`
    are guests with points that the host does not know any more. `damaged` are the newest points
    that a verification found damaged; `damaged_left_out` counts older ones that are not listed;
    `future` and `future_left_out` are the same of points from the future. `guests_problem` and
    `catalog_problem` say why that part could not be read, "" when it was. `unreadable_rounds` are
    files of scheduled rounds that the daemon cannot go on with, and why.
    """

    host: str
    version: str
    now: datetime
    since: datetime
    level: Level
    findings: tuple[Finding, ...] = ()
    live: LiveStatus | None = None
    daemon_problem: str = ""
    domains: tuple[DomainStatus, ...] = ()
    gone: tuple[str, ...] = ()
    rounds: tuple[RoundStatus, ...] = ()
    runs_left_out: int = 0
    open_runs: tuple[OpenRun, ...] = ()
    due: tuple[DueTime, ...] = ()
    destinations: tuple[DestinationStatus, ...] = ()
    damaged: tuple[MarkedPoint, ...] = ()
    damaged_left_out: int = 0
    future: tuple[FuturePoint, ...] = ()
    future_left_out: int = 0
    broken_jobs: tuple[BrokenJob, ...] = ()
    guests_problem: str = ""
    catalog_problem: str = ""
    unreadable_rounds: tuple[str, ...] = ()


def encode_report(report: StatusReport) -> bytes:
    """The report as JSON. Bytes in names that are no UTF-8, which JSON cannot carry, are escaped as
    Python spells them (`\\udcff`).
    """
    return msgspec.json.encode(_escape_surrogates(msgspec.to_builtins(report)))


def decode_report(content: bytes) -> StatusReport:
    """The report that `encode_report` made. Raises: ValueError for anything else."""
    try:
        return msgspec.json.decode(content, type=StatusReport, strict=True)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _escape_surrogates(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _escape_surrogates(found) for key, found in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escape_surrogates(found) for found in value]
    return value
