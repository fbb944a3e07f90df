"""Rounds and runs for tests of what is told about them."""

from __future__ import annotations

from datetime import UTC, datetime

from xenbackup.model.run import Outcome, RoundResult, RunResult

NOW = datetime(2026, 11, 23, 3, 10, tzinfo=UTC)


def make_run(domain: str, error: str = "", **changes: object) -> RunResult:
    """A good run, or a failed one with its error."""
    facts: dict[str, object] = {
        "run": f"20261123-0230-{domain}",
        "domain": domain,
        "uuid": "",
        "outcome": Outcome.FAILED if error else Outcome.OK,
        "preset": "checkpoint",
        "consistency": "" if error else "memory",
        "point": "" if error else f"20261123-0230-{domain}",
        "away_seconds": 8.0,
        "bytes_read": 20 << 30,
        "bytes_written": 12 << 30,
        "duration_seconds": 250.0,
        "error": error,
    }
    return RunResult(**{**facts, **changes})  # type: ignore[arg-type]


def make_round(*runs: RunResult, job: str = "nightly", **changes: object) -> RoundResult:
    outcomes = {run.outcome for run in runs}
    outcome = Outcome.OK
    if outcomes - {Outcome.OK}:
        outcome = Outcome.PARTIAL if Outcome.OK in outcomes else Outcome.FAILED
    facts: dict[str, object] = {
        "round": f"20261123-0230-{job}",
        "job": job,
        "outcome": outcome,
        "exit_code": 0 if outcome is Outcome.OK else 1,
        "runs": runs,
    }
    return RoundResult(**{**facts, **changes})  # type: ignore[arg-type]
