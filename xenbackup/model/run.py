"""Rounds and runs: one execution of a job, and its part for one domain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a run or a round ended. A fallback with a warning is `ok`."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What became of one domain in a round; `away_seconds` is measured, suspend to return."""

    run: str
    domain: str
    uuid: str
    outcome: Outcome
    preset: str
    consistency: str
    point: str
    away_seconds: float
    bytes_read: int
    bytes_written: int
    duration_seconds: float
    warnings: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """One execution of a job over its domains."""

    round: str
    job: str
    outcome: Outcome
    exit_code: int
    runs: tuple[RunResult, ...]
