"""The setting of a validation: what is configured, what the time is, what was planned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from xenbackup.model.job import Configuration, JobSet
from xenbackup.model.plan import Plan

SPOOL_RESERVE_BYTES = 64 << 20
"""Room left on the spool's disk beyond what the memory images need."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a validation knows beside the host's inventory.

    `now` is an aware time in the host's own zone: schedules of jobs without a zone are meant by
    it. `plan` is the plan of the job that is validated, where the caller has one already; None
    makes validation plan by itself. `parallel_runs` is how many guests may be backed up at once.
    """

    configuration: Configuration
    now: datetime
    jobs: JobSet = field(default_factory=JobSet)
    plan: Plan | None = None
    parallel_runs: int = 1
