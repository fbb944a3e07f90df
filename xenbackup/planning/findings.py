"""What of a status report wants a person's eye, worst first, and so how bad the whole is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from xenbackup.model.run import DEBT_HINT, Outcome
from xenbackup.model.status import (
    DestinationStatus,
    DomainStatus,
    DomainVerdict,
    Finding,
    Level,
    OpenRun,
    PlaceState,
    RoundStatus,
    RunState,
    StatusReport,
)

if TYPE_CHECKING:
    from xenbackup.model.job import Job

_INLINE_HINT = " Hint: "
"""Where a problem of the configuration has its hint: each of several needs its own."""

_KIND_VOLUME = "volume"
POINT_DAMAGED = "point-damaged"
POINT_FROM_THE_FUTURE = "point-from-the-future"
FULL_SOON_DAYS = 7
"""A destination that will be full within so many days is a warning."""
# From two of them on, so that 29 hours are not a day.
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def judge_report(report: StatusReport, jobs: tuple[Job, ...]) -> StatusReport:
    """The report with its findings, worst first, and their level. `jobs` are those that run.

    Among those that are equally bad, what may be the cause of others comes before them.
    """
    findings = tuple(
        sorted(_find(report, jobs), key=lambda finding: finding.level.rank, reverse=True)
    )
    level = findings[0].level if findings else Level.OK
    return replace(report, findings=findings, level=level)


def describe_span(earlier: datetime, later: datetime) -> str:
    """How long it is from one to the other, coarsely: `3 d`, `29 h`, `90 min`, `12 s`."""
    seconds = max(int((later - earlier).total_seconds()), 0)
    length, unit = next((pair for pair in _UNITS if seconds >= 2 * pair[0]), (1, "s"))
    return f"{seconds // length} {unit}"


def _find(report: StatusReport, jobs: tuple[Job, ...]) -> Iterator[Finding]:
    for place in report.destinations:
        yield from _describe_place(place)
    yield from _describe_daemon(report, jobs)
    for run in report.open_runs:
        yield from _describe_open_run(run)
    yield from _describe_damaged(report)
    yield from _describe_future(report)
    yield from _describe_rounds(report.rounds)
    absent = {place.name for place in report.destinations if place.state is not PlaceState.PRESENT}
    lost = {job.name: job.destination for job in jobs if job.destination in absent}
    for status in report.domains:
        if status.level is not Level.OK and status.verdict is not DomainVerdict.UNKNOWN:
            yield _describe_domain(status, report.now, lost)
    for broken in report.broken_jobs:
        yield Finding(
            level=Level.WARNING,
            code="job-broken",
            subject=broken.job,
            message=f"Job {broken.job or broken.path} cannot be taken: {broken.problems[0]}"
            if broken.problems
            else f"Job {broken.job or broken.path} cannot be taken.",
            hint="`xenbackup config validate` names all problems",
        )
    for text in report.unreadable_rounds:
        yield Finding(
            level=Level.WARNING,
            code="round-unreadable",
            subject="rounds",
            message=f"{text.rstrip('.')}. What it was of that round is not known any more.",
            hint="see with `xenbackup runs` if its guests were backed up, then remove the file",
        )
    if report.guests_problem:
        yield Finding(
            level=Level.WARNING,
            code="guests-unlisted",
            subject="guests",
            message=f"Unprotected guests cannot be told: {report.guests_problem}",
            hint="`xenbackup inventory` shows whether the toolstack answers",
        )
    if report.catalog_problem:
        problem, _, hint = report.catalog_problem.partition(_INLINE_HINT)
        yield Finding(
            level=Level.WARNING,
            code="catalog-incomplete",
            subject="catalog",
            message=problem,
            hint=hint or "`xenbackup points` reads all destinations again",
        )


def _describe_damaged(report: StatusReport) -> Iterator[Finding]:
    """Points that a verification found damaged, until they are gone or found good."""
    for marked in report.damaged:
        found_at = marked.damage.found_at
        when = f" {describe_span(found_at, report.now)} ago" if found_at is not None else ""
        yield Finding(
            level=Level.CRITICAL,
            code=POINT_DAMAGED,
            subject=marked.domain,
            message=f"Point {marked.point} in {marked.destination} was found damaged{when}: "
            f"{marked.damage.reason.removesuffix('.')}.",
            hint=f"`xenbackup verify {marked.point}` reads it again; until it is good, restore "
            f"from another of `xenbackup points {marked.domain}`",
        )
    if report.damaged_left_out:
        yield Finding(
            level=Level.CRITICAL,
            code=POINT_DAMAGED,
            subject="points",
            message=f"{report.damaged_left_out} older points were found damaged too.",
            hint="`xenbackup points` lists them all",
        )


def _describe_future(report: StatusReport) -> Iterator[Finding]:
    """Points whose time is yet to come, until it has, or they are gone."""
    for ahead in report.future:
        yield Finding(
            level=Level.WARNING,
            code=POINT_FROM_THE_FUTURE,
            subject=ahead.domain,
            message=f"Point {ahead.point} in {ahead.destination} is of "
            f"{ahead.created_at:%Y-%m-%d %H:%M} UTC, {describe_span(report.now, ahead.created_at)} "
            "from now, so it counts for nothing: a clock is wrong, or was.",
            hint="see that `date` is right; a point that a wrong clock made stays until its folder "
            f"is removed by hand (`xenbackup show {ahead.point}` says where it lies)",
        )
    if report.future_left_out:
        yield Finding(
            level=Level.WARNING,
            code=POINT_FROM_THE_FUTURE,
            subject="points",
            message=f"{report.future_left_out} more points are from the future.",
            hint="`xenbackup points` lists them all",
        )


def _describe_rounds(rounds: tuple[RoundStatus, ...]) -> Iterator[Finding]:
    """Of each job the newest round, where that came to nothing before any run."""
    newest = {told.job: told for told in sorted(rounds, key=lambda told: told.ended_at)}
    for told in newest.values():
        if told.error and told.outcome is Outcome.FAILED and not told.under_way:
            yield Finding(
                level=Level.WARNING,
                code="round-failed",
                subject=told.job,
                message=f"Its last round failed before any guest's turn came: {told.error}",
                hint=told.hint or f"`xenbackup plan {told.job}`",
            )


def _describe_domain(status: DomainStatus, now: datetime, lost: Mapping[str, str]) -> Finding:
    """`lost` are the destinations, by job, that are not there: a finding tells of each already."""
    run = status.last_run
    why, hint = "", f"`xenbackup run {status.job}`" if status.job else ""
    if run is not None and run.outcome is Outcome.FAILED:
        why = f" The last run failed: {run.error or 'why, it could not say any more.'}"
        hint = run.hint or f"`xenbackup show {run.run}`"
        place = lost.get(run.job, "")
        if place and run.error.startswith(f"Destination {place}"):
            why, hint = f" The last run failed for want of destination {place}.", ""
    if status.verdict is DomainVerdict.UNPROTECTED:
        message, hint = "No job covers it.", "add it to `domains` of a job"
    elif status.point_at is None and (status.damaged or status.future):
        message = f"It has no good point by job {status.job}: {_tell_no_good(status)}.{why}"
    elif status.verdict is DomainVerdict.NEVER or status.point_at is None:
        message = f"It never had a good point by job {status.job}.{why}"
    elif status.verdict is DomainVerdict.LATE and status.promised_since is not None:
        message = (
            f"Its last good point is {describe_span(status.point_at, now)} old; job {status.job} "
            f"promised one {describe_span(status.promised_since, now)} ago.{why}"
        )
    else:
        age = describe_span(status.point_at, now)
        message = f"Its last good point is {age} old, still as promised.{why}"
    return Finding(
        level=status.level,
        code=f"guest-{status.verdict}",
        subject=status.domain,
        message=message,
        hint=hint,
    )


def _tell_no_good(status: DomainStatus) -> str:
    """What keeps each of its points from being a good one."""
    damaged, future = status.damaged, status.future
    if damaged and future:
        return (
            f"{damaged} {'were' if damaged > 1 else 'was'} found damaged, "
            f"{future} {'are' if future > 1 else 'is'} from the future"
        )
    if damaged:
        return f"{f'all {damaged} were' if damaged > 1 else 'its only one was'} found damaged"
    return f"{f'all {future} are' if future > 1 else 'its only one is'} from the future"


def _describe_open_run(run: OpenRun) -> Iterator[Finding]:
    named = f"Run {run.run}" + (f" of {run.domain}" if run.domain else "")
    if run.state is RunState.CUT_OFF:
        yield Finding(
            level=Level.CRITICAL,
            code="run-unfinished",
            subject=run.domain or run.run,
            message=f"{named} was cut off.",
            hint="`xenbackup recover` finishes or undoes it; so does the daemon when it starts",
        )
    elif run.state is RunState.UNREADABLE:
        yield Finding(
            level=Level.CRITICAL,
            code="run-unfinished",
            subject=run.run,
            message=f"The journal of run {run.run} cannot be read.",
            hint=f"look at it with `xenbackup show {run.run}`",
        )
    elif run.state is RunState.OWES:
        yield Finding(
            level=Level.WARNING,
            code="debt-owed",
            subject=run.domain or run.run,
            message=f"{named} owes: {run.owes}",
            hint=DEBT_HINT,
        )


def _describe_place(place: DestinationStatus) -> Iterator[Finding]:
    if place.state is not PlaceState.PRESENT:
        yield Finding(
            level=Level.CRITICAL,
            code=f"destination-{place.state}",
            subject=place.name,
            message=place.problem or f"It is {place.state}.",
            hint=_hint_at_place(place),
        )
    elif place.problem:
        yield Finding(
            level=Level.CRITICAL,
            code="destination-read-only",
            subject=place.name,
            message=place.problem,
            hint="look at `dmesg` for the reason, then remount it",
        )
    days = place.full_in_days
    if days is not None and days < FULL_SOON_DAYS:
        yield Finding(
            level=Level.CRITICAL if days == 0 else Level.WARNING,
            code="destination-full-soon",
            subject=place.name,
            message="The next points do not fit any more, as it looks."
            if days == 0
            else f"It will be full in {days} day{'s' if days > 1 else ''}, as it looks.",
            hint="make room, keep fewer points (`[retention]`), or use a larger disk",
        )


def _hint_at_place(place: DestinationStatus) -> str:
    if place.state not in (PlaceState.MISSING, PlaceState.UNMARKED):
        return ""
    if place.kind == _KIND_VOLUME:
        return "attach its disk; `vgs` lists the groups that are there"
    return f"mount its disk; for a new destination: `xenbackup destination init {place.name}`"


def _describe_daemon(report: StatusReport, jobs: tuple[Job, ...]) -> Iterator[Finding]:
    live = report.live
    if report.daemon_problem:
        yield Finding(
            level=Level.CRITICAL,
            code="daemon-silent",
            subject="daemon",
            message=report.daemon_problem,
            hint="`systemctl status xenbackup` shows what it is at, `systemctl restart xenbackup` "
            "starts it again",
        )
    elif live is None and any(job.schedule for job in jobs):
        yield Finding(
            level=Level.WARNING,
            code="daemon-absent",
            subject="daemon",
            message="The daemon does not run: nothing happens by schedule.",
            hint="`systemctl enable --now xenbackup`",
        )
    if live is None:
        return
    for text in live.recovery:
        yield Finding(
            level=Level.CRITICAL,
            code="recovery-incomplete",
            subject="recovery",
            message=f"Recovery left something: {text}",
            hint="`xenbackup recover`",
        )
    for text in live.configuration_problems:
        problem, _, hint = text.partition(_INLINE_HINT)
        yield Finding(
            level=Level.WARNING,
            code="reload-refused",
            subject="configuration",
            message=f"Not taken over, the old definitions stay: {problem}",
            hint=_join(hint, "once mended it is taken over within a minute"),
        )
    for text in live.telling_problems:
        problem, _, hint = text.partition(_INLINE_HINT)
        yield Finding(
            level=Level.WARNING,
            code="telling-failed",
            subject="telling",
            message=problem,
            hint=_join(hint, "the next message, or writing of the metrics, tries again"),
        )
    if live.stopping:
        yield Finding(
            level=Level.WARNING,
            code="daemon-stopping",
            subject="daemon",
            message=f"The daemon is stopping: {live.stopping}",
        )


def _join(hint: str, more: str) -> str:
    """Two hints as one; the first may be a sentence, or missing."""
    return "; ".join(text for text in (hint.rstrip("."), more) if text)
