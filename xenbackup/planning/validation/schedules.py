"""Rules about time: two jobs that want one guest at the same minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from xenbackup.errors import ConfigurationError, ExitCode
from xenbackup.model.job import Job
from xenbackup.model.problem import Problem
from xenbackup.planning.presets import select_domains
from xenbackup.planning.schedule import find_due_times
from xenbackup.planning.validation.codes import make_problem
from xenbackup.planning.validation.scene import Scene

# A week has every day of the week; the eighth day holds what begins late on the seventh.
HORIZON = timedelta(days=8)


def list_due_times(job: Job, now: datetime) -> tuple[datetime, ...]:
    """When a job is due within the horizon, in UTC; () without a schedule, or for a wrong one.

    `now` is aware; its zone is that of jobs which name none.
    """
    zone = _find_zone(job, now)
    if not job.schedule or zone is None:
        return ()
    try:
        return tuple(find_due_times(job.schedule, zone, now, now + HORIZON))
    except ConfigurationError:
        return ()


def _find_zone(job: Job, now: datetime) -> tzinfo | None:
    if not job.timezone:
        return now.tzinfo
    try:
        return ZoneInfo(job.timezone)
    except (KeyError, ValueError, OSError):
        return None


def check_collisions(scene: Scene) -> Iterator[Problem]:
    """Other jobs that are due at the same minute for a guest of this job."""
    job, now = scene.job, scene.setting.now
    due = frozenset(list_due_times(job, now))
    guests = set(scene.names)
    if not due or not guests:
        return
    for other in scene.setting.jobs.jobs:
        if other.name == job.name:
            continue
        shared = sorted(select_domains(other, guests))
        if not shared:
            continue
        first = next((time for time in list_due_times(other, now) if time in due), None)
        if first is not None:
            shown = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
            yield make_problem(
                "schedule-collision",
                subject=f"{job.name}, {other.name}",
                message=(
                    f"Jobs {job.name} and {other.name} are both due at {first:%Y-%m-%d %H:%M} UTC "
                    f"for {shown}: the second run waits for the first in the daemon's queue; in "
                    f"the foreground it ends as locked (exit code {int(ExitCode.LOCKED)})."
                ),
                hint="move one of the two schedules, or take the guest out of one job",
            )
