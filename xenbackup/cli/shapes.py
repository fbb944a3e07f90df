"""What `--json` prints: the shapes that programs rely on. A key here is a promise, schema 1."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from xenbackup.cli.output import SCHEMA
from xenbackup.cli.problem_text import shape_problem

if TYPE_CHECKING:
    from xenbackup.model.plan import DomainPlan, Estimate, Plan
    from xenbackup.model.run import RoundResult, RunResult

Shape = dict[str, object]


def shape_time(moment: datetime) -> str:
    """ISO 8601 in UTC, to the second: `2026-11-22T02:30:00Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def shape_run(result: RunResult) -> Shape:
    """One run of a round; `error` and `hint` are there when it did not go well."""
    shape: Shape = {
        "run": result.run,
        "domain": result.domain,
        "uuid": result.uuid,
        "outcome": result.outcome.value,
        "preset": result.preset,
        "consistency": result.consistency,
        "point": result.point,
        "away_seconds": result.away_seconds,
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "duration_seconds": result.duration_seconds,
        "warnings": list(result.warnings),
    }
    if result.error:
        shape["error"] = result.error
        shape["hint"] = result.hint
    return shape


def shape_round(result: RoundResult) -> Shape:
    """The last line of `run --json`."""
    return {
        "event": "result",
        "schema": SCHEMA,
        "round": result.round,
        "job": result.job,
        "outcome": result.outcome.value,
        "exit_code": int(result.exit_code),
        "runs": [shape_run(run) for run in result.runs],
    }


def shape_plan(plan: Plan, exit_code: int) -> Shape:
    """What `plan` and `run --dry-run` print."""
    return {
        "schema": SCHEMA,
        "job": plan.job,
        "exit_code": int(exit_code),
        "domains": [_shape_domain_plan(domain) for domain in plan.domains],
        "refused": [
            {
                "domain": refused.name,
                "uuid": refused.uuid,
                "reason": refused.reason,
                "hint": refused.hint,
            }
            for refused in plan.refused
        ],
        "idle_patterns": list(plan.idle_patterns),
        "problems": [shape_problem(problem) for problem in plan.problems],
    }


def _shape_estimate(estimate: Estimate | None) -> Shape | None:
    if estimate is None:
        return None
    return {
        "away_seconds": estimate.away_seconds,
        "total_seconds": estimate.total_seconds,
        "basis": estimate.basis,
    }


def _shape_domain_plan(plan: DomainPlan) -> Shape:
    return {
        "domain": plan.domain.name,
        "uuid": plan.domain.uuid,
        "preset": plan.preset,
        "steps": [planned.step.value for planned in plan.steps],
        "consistency": plan.consistency.value,
        "reason": plan.reason,
        "destination": plan.destination.name,
        "bytes_to_read": plan.bytes_to_read,
        "memory_image_bytes": plan.memory_image_bytes,
        "snapshot_bytes": plan.snapshot_bytes,
        "max_away_seconds": plan.max_away_seconds,
        "estimate": _shape_estimate(plan.estimate),
        "candidates": [
            {
                "preset": candidate.preset,
                "chosen": candidate.chosen,
                "reason": candidate.reason,
                "estimate": _shape_estimate(candidate.estimate),
            }
            for candidate in plan.candidates
        ],
        "disks": [
            {
                "vdev": disk.vdev,
                "path": disk.path,
                "kind": disk.kind.value,
                "size_bytes": disk.size_bytes,
                "snapshot": disk.snapshot.value,
                "snapshot_size_bytes": disk.snapshot_size_bytes,
            }
            for disk in plan.disks
        ],
        "excluded_disks": [
            {"vdev": disk.vdev, "reason": disk.reason} for disk in plan.excluded_disks
        ],
        "warnings": list(plan.warnings),
    }
