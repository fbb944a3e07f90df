"""Verb `prune`: recovery points that retention lets go, with the reason for each one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.page import Page
from xenbackup.cli.point_verbs import shape_summary
from xenbackup.cli.text import Cell, Colour, Styled, format_size
from xenbackup.cli.verb import Verb
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.operations.prune import JudgedPoint, PruneReport

_HEADERS = ("POINT", "DOMAIN", "STORED", "WHY")
_COLOURS = {
    "kept": None,
    "goes": Colour.YELLOW,
    "removed": Colour.YELLOW,
    "busy": Colour.BOLD,
    "failed": Colour.RED,
}


@click.command(cls=Verb, short_help="Remove the recovery points that need not be kept.")
@click.argument("job", metavar="[JOB]", default="")
@click.option("--dry-run", is_flag=True, help="Tell what would become of every point; stop there.")
@click.pass_obj
def prune(invocation: Invocation, job: str, dry_run: bool) -> int:
    """Remove the recovery points that the [retention] of their jobs lets go; of JOB alone if named.

    The last good point of a guest is never removed, nor a pinned one, nor anything from a
    destination that is not there. What is recorded of runs of long ago goes too: their
    journals, and their rows in the catalog (`keep` of [journals]).
    """
    from xenbackup.operations.prune import prune_points

    house = invocation.open_house()
    wanted = house.find_job(job) if job else None
    report = prune_points(house, job=wanted, dry_run=dry_run)
    if invocation.json:
        invocation.output.emit(_shape(report))
    else:
        invocation.output.say(_render(report, invocation.page))
        for place in report.absent:
            invocation.warn(place.reason)
            if place.hint:
                invocation.output.remark(invocation.margin.note(place.hint, mark="Hint:"))
    return int(report.exit_code)


def _render(report: PruneReport, page: Page) -> str:
    shown = [found for found in report.points if report.dry_run or found.fate != "kept"]
    parts = []
    if shown:
        rows = [
            (
                found.point.point,
                found.point.domain,
                format_size(found.point.stored_bytes),
                _tell_why(found),
            )
            for found in shown
        ]
        parts += [page.table(_HEADERS, rows, "llrl"), ""]
    parts += [page.note(_summarise(report)), *_list_notes(report, page)]
    return "\n".join(parts)


def _tell_why(found: JudgedPoint) -> Cell:
    text = f"{found.fate}: {found.reason}"
    colour = _COLOURS[found.fate.value]
    return Styled(show_text(text), colour) if colour else show_text(text)


def _summarise(report: PruneReport) -> str:
    """What was done in one sentence, and what stays."""
    counts = Counter(found.fate.value for found in report.points)
    gone = counts["goes"] + counts["removed"]
    freed = format_size(report.freed_bytes)
    stay = f"{counts['kept']} kept"
    stay += f", {counts['busy']} in use" if counts["busy"] else ""
    stay += f", {counts['failed']} not removed" if counts["failed"] else ""
    if not report.points:
        owner = f"Job {report.job} has" if report.job else "There are"
        where = " that could be looked into" if report.absent else ""
        text = f"{owner} no recovery points{where}."
    elif not gone:
        text = f"Nothing {'would go' if report.dry_run else 'was removed'}; {stay}."
    elif report.dry_run:
        text = f"{gone} would go and free {freed}; {stay}."
    else:
        text = f"{gone} removed, {freed} freed; {stay}."
    if report.journals:
        done = "would go too" if report.dry_run else "removed"
        plural = "" if len(report.journals) == 1 else "s"
        text += f" {len(report.journals)} old journal{plural} {done}."
    if forgotten := _count_forgotten(report):
        text += f" {forgotten} {'would be forgotten' if report.dry_run else 'forgotten'}."
    return text


def _count_forgotten(report: PruneReport) -> str:
    """`3 old runs, 1 old round`; "" when the catalog forgot nothing."""
    counts = (("run", len(report.forgotten.runs)), ("failed round", len(report.forgotten.rounds)))
    return ", ".join(
        f"{number} old {what}{'' if number == 1 else 's'}" for what, number in counts if number
    )


def _list_notes(report: PruneReport, page: Page) -> list[str]:
    notes = [
        page.note(f"{point}: an interrupted removal was finished.", mark="Finished:")
        for point in report.finished
    ]
    notes += [
        page.note(
            f"{found.point} of {show_text(found.domain)} in {found.destination} is kept, and "
            f"stands for no other: {show_text(found.reason)}",
            mark="Damaged:",
            colour=Colour.RED,
        )
        for found in report.damaged
    ]
    notes += [
        page.note(
            show_text(" ".join((found.trouble, found.hint and f"Hint: {found.hint}.")).strip()),
            mark=f"{found.point.point}:",
            colour=_COLOURS[found.fate.value],
        )
        for found in report.points
        if found.trouble
    ]
    notes += [
        page.note(show_text(text), mark="Trouble:", colour=Colour.RED) for text in report.troubles
    ]
    return [*([""] if notes else []), *notes]


def _shape(report: PruneReport) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "exit_code": int(report.exit_code),
        "job": report.job,
        "dry_run": report.dry_run,
        "freed_bytes": report.freed_bytes,
        "points": [
            {
                **shape_summary(found.point),
                "fate": found.fate.value,
                "reason": found.reason,
                "trouble": found.trouble,
                "hint": found.hint,
            }
            for found in report.points
        ],
        "damaged": [
            {
                "point": found.point,
                "destination": found.destination,
                "domain": found.domain,
                "reason": found.reason,
            }
            for found in report.damaged
        ],
        "finished": list(report.finished),
        "troubles": list(report.troubles),
        "absent": [
            {"destination": place.name, "reason": place.reason, "hint": place.hint}
            for place in report.absent
        ],
        "journals": list(report.journals),
        "forgotten_runs": list(report.forgotten.runs),
        "forgotten_rounds": list(report.forgotten.rounds),
    }
