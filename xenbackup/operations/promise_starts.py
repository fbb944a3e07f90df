"""Since when each job promises its guests a point: what the catalog notes, and what outlives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from xenbackup.model.job import Job, JobSet
from xenbackup.model.point import PointSummary
from xenbackup.planning.counted_points import is_ahead
from xenbackup.planning.presets import select_domains
from xenbackup.planning.promises import find_start


def find_starts(
    jobs: JobSet,
    noted: Mapping[str, datetime],
    points: Sequence[PointSummary],
    now: datetime,
) -> dict[str, datetime]:
    """By the jobs' names; a job of which nothing is known is left out.

    `noted` is since when the catalog knows their schedules. A file cannot have been written after
    `now`: the host's clock is behind, or was ahead.
    """
    written = {name: min(at, now) for name, at in jobs.written}
    known = {job.name for job in jobs.jobs} | {file.name for file in jobs.broken}
    past = [point for point in points if not is_ahead(point.created_at, now)]
    starts = {
        job.name: find_start(
            noted.get(job.name), written.get(job.name), _find_oldest(job, past, known)
        )
        for job in jobs.jobs
    }
    return {name: start for name, start in starts.items() if start is not None}


def _find_oldest(job: Job, points: Sequence[PointSummary], known: set[str]) -> datetime | None:
    """Of the points that count for the job: its own, and those of jobs that are no more."""
    return min(
        (
            point.created_at
            for point in points
            if (point.job == job.name or point.job not in known)
            and select_domains(job, (point.domain,))
        ),
        default=None,
    )
