"""How long a run will take, and how long its guest will be away: from past runs, else from rates.

An estimate is for choosing and for telling; nothing is refused for it but a `cold` copy that cannot
end within `max_away`, and that only with a warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from xenbackup.model.job import StepName
from xenbackup.model.plan import DomainPlan, Estimate
from xenbackup.model.run import Outcome, RunResult

ASSUMED_BYTES_PER_SECOND = 100 << 20
"""What a spinning disk gives; always said beside the number."""
SNAPSHOT_SECONDS = 0.3
"""One `lvcreate -s` or `lvremove` on hardware takes 0.1-0.3 s."""
ACT_SECONDS = 0.1
RUNS_LIMIT = 5
MINIMUM_BYTES_FOR_RATE = 16 << 20
"""A run that read less says more of commands than of disks."""

_AWAY_FROM = (StepName.SAVE, StepName.SAVE_PAUSED, StepName.PAUSE)
_AWAY_UNTIL = (StepName.RESTORE, StepName.UNPAUSE)


def estimate_run(plan: DomainPlan, history: Iterable[RunResult]) -> Estimate:
    """From the last good runs of this guest by this preset; without any, from a rate.

    `history` is newest first. The rate is that of this host's own good runs where there are some.
    """
    good = [run for run in history if run.outcome is Outcome.OK]
    same = [run for run in good if run.domain == plan.domain.name and run.preset == plan.preset][
        :RUNS_LIMIT
    ]
    if same:
        return Estimate(
            away_seconds=median(run.away_seconds for run in same),
            total_seconds=median(run.duration_seconds for run in same),
            basis=f"{len(same)} past run{'s' if len(same) > 1 else ''}",
        )
    rate = _learn_rate(good)
    basis = "this host's past runs" if rate else "an assumed 100 MiB/s"
    away, total = _walk_steps(plan, rate or ASSUMED_BYTES_PER_SECOND)
    return Estimate(away_seconds=away, total_seconds=total, basis=basis)


def _learn_rate(runs: Iterable[RunResult]) -> float:
    """Bytes a second that this host's runs read, waiting included; 0 when none tells."""
    rates = [
        run.bytes_read / run.duration_seconds
        for run in runs
        if run.duration_seconds > 0 and run.bytes_read >= MINIMUM_BYTES_FOR_RATE
    ]
    return median(rates[: 2 * RUNS_LIMIT]) if rates else 0.0


def _walk_steps(plan: DomainPlan, bytes_per_second: float) -> tuple[float, float]:
    """Seconds away and seconds in all, step by step."""
    memory = plan.memory_image_bytes / bytes_per_second
    disks = sum(disk.size_bytes for disk in plan.disks) / bytes_per_second
    snapshots = SNAPSHOT_SECONDS * len(plan.disks)
    lasting = {
        StepName.SAVE: memory,
        StepName.SAVE_PAUSED: memory,
        StepName.RESTORE: memory,
        StepName.COPY: disks + memory,
        StepName.SNAPSHOT: snapshots,
        StepName.REMOVE_SNAPSHOT: snapshots,
    }
    away = total = 0.0
    is_away = False
    for planned in plan.steps:
        is_away = is_away or planned.step in _AWAY_FROM
        seconds = lasting.get(planned.step, ACT_SECONDS)
        total += seconds
        if is_away:
            away += seconds
        if planned.step in _AWAY_UNTIL:
            is_away = False
    return round(away, 3), round(total, 3)
