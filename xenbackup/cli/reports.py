"""What `plan` and `run` tell a person: the plan before, the result after, troubles with hints."""

from __future__ import annotations

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import Output
from xenbackup.cli.page import Page, style_outcome
from xenbackup.cli.problem_text import report_problem
from xenbackup.cli.shapes import shape_round
from xenbackup.cli.text import Colour, format_duration, format_size
from xenbackup.model.job import StepName
from xenbackup.model.plan import DomainPlan, Plan
from xenbackup.model.printable import show_text
from xenbackup.model.problem import Problem, Severity
from xenbackup.model.run import Outcome, RoundResult, RunResult

_NO_TIME = "-"


def report_plan(plan: Plan, page: Page, *, details: bool = False) -> str:
    """The plan as a table, with what is left out and why below.

    With `details` come the volumes with their snapshots, and what `auto` chose among.
    """
    parts = []
    if plan.domains:
        headers = ("DOMAIN", "PRESET", "CONSISTENCY", "TO READ", "AWAY", "TOTAL", "DESTINATION")
        rows = [
            (
                found.domain.name,
                found.preset,
                found.consistency.value,
                _foretell_reading(found),
                format_duration(found.estimate.away_seconds) if found.estimate else _NO_TIME,
                format_duration(found.estimate.total_seconds) if found.estimate else _NO_TIME,
                found.destination.name,
            )
            for found in plan.domains
        ]
        parts.append(page.table(headers, rows, "lllrrrl"))
    if details and plan.domains:
        parts += ["", _tabulate_disks(plan, page)]
        if any(found.candidates for found in plan.domains):
            parts += ["", _tabulate_candidates(plan, page)]
        parts += ["", *_tell_bases(plan, page)]
    notes = [note for found in plan.domains for note in _list_notes(found, page)]
    notes += [
        page.note(
            f"{show_text(refused.name)} will not be backed up: {show_text(refused.reason)}.",
            mark="Refused:",
            colour=Colour.RED,
        )
        + (f"\n{page.note(show_text(refused.hint), mark='         Hint:')}" if refused.hint else "")
        for refused in plan.refused
    ]
    notes += [report_problem(problem, page) for problem in _choose_problems(plan)]
    if plan.idle_patterns:
        patterns = ", ".join(f'"{show_text(pattern)}"' for pattern in plan.idle_patterns)
        notes.append(
            page.note(
                f"no guest on this host matches {patterns}.", mark="Warning:", colour=Colour.YELLOW
            )
        )
    return "\n".join([*parts, *([""] if parts and notes else []), *notes])


def _choose_problems(plan: Plan) -> list[Problem]:
    """What is worth a line before a run; idle patterns have one of their own."""
    return [
        problem
        for problem in plan.problems
        if problem.severity is not Severity.NOTE and problem.code != "pattern-idle"
    ]


def _tabulate_disks(plan: Plan, page: Page) -> str:
    """Each disk with its volume, and what its snapshot will take from the volume group."""
    rows = []
    for found in plan.domains:
        for disk in found.disks:
            volume = f"{disk.group}/{disk.lv_name}" if disk.group else disk.path
            room = format_size(disk.snapshot_size_bytes) if disk.snapshot_size_bytes else _NO_TIME
            rows.append(
                (
                    found.domain.name,
                    disk.vdev,
                    volume,
                    format_size(disk.size_bytes),
                    disk.snapshot.value,
                    room,
                )
            )
    headers = ("DOMAIN", "DISK", "VOLUME", "SIZE", "SNAPSHOT", "TAKES")
    return page.table(headers, rows, "lllrlr")


def _tabulate_candidates(plan: Plan, page: Page) -> str:
    """What `auto` looked at for each guest: the one it took first, then the others and why not."""
    rows = []
    for found in plan.domains:
        for candidate in sorted(found.candidates, key=lambda entry: not entry.chosen):
            away = candidate.estimate.away_seconds if candidate.estimate else None
            rows.append(
                (
                    found.domain.name,
                    candidate.preset,
                    _NO_TIME if away is None else format_duration(away),
                    ("taken: " if candidate.chosen else "not: ") + candidate.reason,
                )
            )
    return page.table(("DOMAIN", "AUTO", "AWAY", "WHY"), rows, "llrl")


def _tell_bases(plan: Plan, page: Page) -> list[str]:
    """Where the times come from, each basis once."""
    bases: dict[str, list[str]] = {}
    for found in plan.domains:
        if found.estimate:
            bases.setdefault(found.estimate.basis, []).append(show_text(found.domain.name))
    return [
        page.note(f"Times of {', '.join(names)} are reckoned from {basis}.")
        for basis, names in bases.items()
    ]


def _foretell_reading(plan: DomainPlan) -> str:
    """Disks are read whole; a memory image is at most as large as it is reckoned."""
    size = format_size(plan.bytes_to_read)
    return f"up to {size}" if plan.memory_image_bytes else size


def _list_notes(plan: DomainPlan, page: Page) -> list[str]:
    name = show_text(plan.domain.name)
    notes = []
    if not plan.reason.endswith(("of the job", "consistency or better")):
        notes.append(page.note(f"{name}: {show_text(plan.reason)}."))
    if plan.has_step(StepName.SAVE) and copies_before_restore(plan):
        away = format_duration(plan.estimate.away_seconds) if plan.estimate else "long"
        notes.append(
            page.note(
                f"{name}: away for the whole copy, about {away}; "
                f"max_away is {format_duration(plan.max_away_seconds)}."
            )
        )
    notes += [
        page.note(f"{name}: disk {show_text(disk.vdev)} is left out: {disk.reason}.")
        for disk in plan.excluded_disks
    ]
    notes += [
        page.note(f"{name}: {show_text(message)}.", mark="Warning:", colour=Colour.YELLOW)
        for message in plan.warnings
    ]
    return notes


def copies_before_restore(plan: DomainPlan) -> bool:
    """The guest comes back only after its disks are copied."""
    order = [planned.step for planned in plan.steps]
    return StepName.RESTORE in order and order.index(StepName.COPY) < order.index(StepName.RESTORE)


def report_round(result: RoundResult, page: Page) -> str:
    """The result as a table, the recovery points below, a line for the whole.

    A `partial` run left a good point: its guest counts.
    """
    rows = [
        (
            run.domain,
            style_outcome(run.outcome.value),
            run.consistency or "-",
            format_duration(run.away_seconds) if run.consistency or run.away_seconds else "-",
            format_size(run.bytes_read),
            format_size(run.bytes_written),
            format_duration(run.duration_seconds),
        )
        for run in result.runs
    ]
    headers = ("DOMAIN", "OUTCOME", "CONSISTENCY", "AWAY", "READ", "WRITTEN", "DURATION")
    parts = [page.table(headers, rows, "lllrrrr")]
    points = [(run.domain, run.point) for run in result.runs if run.point]
    if points:
        parts += ["", page.table(("DOMAIN", "RECOVERY POINT"), points)]
    good = sum(run.outcome in (Outcome.OK, Outcome.PARTIAL) for run in result.runs)
    undone = sorted({run.domain for run in result.runs if run.outcome is Outcome.PARTIAL})
    told = f"Job {result.job}: {result.outcome.value}, {good} of {len(result.runs)} guests."
    if undone:
        told += f" Backed up, with something left undone: {show_text(', '.join(undone))}."
    parts += ["", page.note(told)]
    return "\n".join(parts)


def tell_result(result: RoundResult, invocation: Invocation) -> int:
    """The end of `run`, for a person or a program; returns the exit code."""
    if invocation.json:
        invocation.output.emit(shape_round(result))
        return int(result.exit_code)
    invocation.output.say()
    invocation.output.say(report_round(result, invocation.page))
    tell_troubles(result, invocation.output, invocation.margin)
    return int(result.exit_code)


def tell_troubles(result: RoundResult, output: Output, page: Page) -> None:
    """Warnings and errors of every run, with their hints, on stderr."""
    for run in result.runs:
        for message in run.warnings:
            output.remark(page.note(show_text(message), mark="Warning:", colour=Colour.YELLOW))
        if run.error:
            tell_error(run, output, page)


def tell_error(run: RunResult, output: Output, page: Page) -> None:
    mark = "Stopped:" if run.outcome is Outcome.CANCELLED else "Error:"
    text = f"{show_text(run.domain)}: {show_text(run.error)}"
    output.remark(page.note(text, mark=mark, colour=Colour.RED))
    if run.hint:
        output.remark(page.note(show_text(run.hint), mark="Hint:"))
