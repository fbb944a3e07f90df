"""Verbs `runs` and `show`: what was done, and the story of one run and its recovery point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.page import style_outcome
from xenbackup.cli.text import format_age, format_duration
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode, PointNotFound, UsageError, XenbackupError
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.operations.house import House
    from xenbackup.operations.points import FoundPoint

_DEFAULT_COUNT = 30


@click.command(cls=Verb, short_help="List the runs.")
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1),
    default=_DEFAULT_COUNT,
    show_default=True,
    metavar="N",
    help="Show the newest N.",
)
@click.pass_obj
def runs(invocation: Invocation, number: int) -> int:
    """List the runs, newest last, those that were cut off among them."""
    from xenbackup.cli.history import list_history

    house = invocation.open_house()
    found = list_history(house, number)
    if invocation.json:
        invocation.output.emit({"schema": SCHEMA, "runs": [known.shape() for known in found]})
        return int(ExitCode.GOOD)
    if not found:
        invocation.output.say("There are no runs yet.")
        return int(ExitCode.GOOD)
    now = house.host.now()
    rows = [
        (
            known.run,
            known.domain,
            known.job,
            style_outcome(known.outcome),
            format_age(known.at, now=now) if known.at else "-",
            format_duration(known.away_seconds) if known.away_seconds else "-",
        )
        for known in found
    ]
    headers = ("RUN", "DOMAIN", "JOB", "OUTCOME", "WHEN", "AWAY")
    invocation.output.say(invocation.page.table(headers, rows, "lllllr"))
    for known in found:
        if known.owes:
            text = f"{known.run} owes: {show_text(known.owes)}"
            invocation.output.say("\n" + invocation.page.note(text, mark="Owed:"))
    if any(known.unfinished for known in found):
        note = "a run was cut off or is under way: `xenbackup recover` finishes what was cut off."
        invocation.output.say("\n" + invocation.page.note(note, mark="Hint:"))
    return int(ExitCode.GOOD)


@click.command(cls=Verb, short_help="Tell the story of a run, and what is in its recovery point.")
@click.argument("name", metavar="RUN|POINT")
@click.pass_obj
def show(invocation: Invocation, name: str) -> int:
    """Tell the story of a run, and what is in the recovery point that it left.

    A point bears its run's id; a unique beginning of it will do, and so will DOMAIN@latest.
    """
    from xenbackup.cli.point_facts import report_point, shape_point
    from xenbackup.cli.story import find_story

    house = invocation.open_house()
    point, trouble = _look_for_point(house, name)
    story = find_story(house, point.point if point else name)
    if point is None and story is None:
        raise trouble or UsageError(f'No run or recovery point is called "{show_text(name)}".')
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "run": story.shape() if story else None,
                "point": shape_point(house, point) if point else None,
            }
        )
        return int(ExitCode.GOOD)
    page, now = invocation.page, house.host.now()
    parts = []
    if story is not None:
        parts.append(story.report(page, now))
    if point is not None:
        parts.append(report_point(house, point, page, now))
    elif trouble is not None and not isinstance(trouble, PointNotFound):
        parts.append(page.note(trouble.message))
    invocation.output.say("\n\n".join(parts))
    return int(ExitCode.GOOD)


def _look_for_point(house: House, name: str) -> tuple[FoundPoint | None, XenbackupError | None]:
    """The point of that name; or None and why: a run may be there all the same."""
    from xenbackup.operations.points import find_point

    try:
        return find_point(house, name), None
    except XenbackupError as error:
        return None, error
