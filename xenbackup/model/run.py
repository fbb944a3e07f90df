"""Rounds and runs: one execution of a job, and its part for one domain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DEBT_HINT = "end what holds it open, then `xenbackup recover`"
"""What to do about what a run owes, wherever it is told."""


class Outcome(StrEnum):
    """How a run or a round ended. A fallback with a warning is `ok`."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What became of one domain in a round; `away_seconds` is measured, suspend to return.

    `exit_code` is what a command ends with when this run is the only one and has failed.
    `may_pass`: it failed for a reason that may be gone a while later, and left nothing undone.
    """

    run: str
    domain: str
    uuid: str
    outcome: Outcome
    preset: str = ""
    consistency: str = ""
    point: str = ""
    away_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    exit_code: int = 1
    may_pass: bool = False


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """One execution of a job over its domains.

    `error` is there when the round failed as a whole, before any run: its plan, or its `before`.
    """

    round: str
    job: str
    outcome: Outcome
    exit_code: int
    runs: tuple[RunResult, ...]
    error: str = ""
    hint: str = ""
