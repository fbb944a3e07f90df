"""What `plan` and `run` tell a person: the plan before, the result after, troubles with hints."""

from __future__ import annotations

from xenbackup.cli.output import Output
from xenbackup.cli.page import Page, style_outcome
from xenbackup.cli.text import Colour, format_duration, format_size
from xenbackup.model.job import StepName
from xenbackup.model.plan import DomainPlan, Plan
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome, RoundResult, RunResult

# What a spinning disk gives: for foretelling an absence, always printed beside the number.
ASSUMED_BYTES_PER_SECOND = 100 << 20


def report_plan(plan: Plan, page: Page) -> str:
    """The plan as a table, with what is left out and why below."""
    parts = []
    if plan.domains:
        rows = [
            (
                found.domain.name,
                found.preset,
                found.consistency.value,
                ", ".join(disk.vdev for disk in found.disks),
                _foretell_reading(found),
                found.destination.name,
            )
            for found in plan.domains
        ]
        headers = ("DOMAIN", "PRESET", "CONSISTENCY", "DISKS", "TO READ", "DESTINATION")
        parts.append(page.table(headers, rows, "llllr"))
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
    if plan.idle_patterns:
        patterns = ", ".join(f'"{show_text(pattern)}"' for pattern in plan.idle_patterns)
        notes.append(
            page.note(
                f"no guest on this host matches {patterns}.", mark="Warning:", colour=Colour.YELLOW
            )
        )
    return "\n".join([*parts, *([""] if parts and notes else []), *notes])


def _foretell_reading(plan: DomainPlan) -> str:
    """Disks are read whole; a memory image is at most as large as it is reckoned."""
    size = format_size(plan.bytes_to_read)
    return f"up to {size}" if plan.memory_image_bytes else size


def _list_notes(plan: DomainPlan, page: Page) -> list[str]:
    name = show_text(plan.domain.name)
    notes = []
    if not plan.reason.endswith("of the job"):
        notes.append(page.note(f"{name}: {show_text(plan.reason)}."))
    if plan.has_step(StepName.SAVE) and copies_before_restore(plan):
        away = format_duration(plan.bytes_to_read / ASSUMED_BYTES_PER_SECOND)
        notes.append(
            page.note(
                f"{name}: away for the whole copy, about {away} at 100 MiB/s; "
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
    """The result as a table, the recovery points below, a line for the whole."""
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
    good = sum(run.outcome is Outcome.OK for run in result.runs)
    parts += ["", f"Job {result.job}: {result.outcome.value}, {good} of {len(result.runs)} guests."]
    return "\n".join(parts)


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
