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
    from datetime import datetime

    from xenbackup.cli.history import KnownRun
    from xenbackup.operations.house import House
    from xenbackup.operations.points import FoundPoint
    from xenbackup.records.catalog_rows import FailedRound

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
    """List the runs, newest last, those that were cut off among them.

    A round that failed before any guest's turn came stands among them, without a domain.
    """
    from xenbackup.cli.history import list_history
    from xenbackup.cli.unbegun import list_failed_rounds, shape_failed_round

    house = invocation.open_house()
    found, failed = list_history(house, number), list_failed_rounds(house, number)
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "runs": [known.shape() for known in found],
                "rounds": [shape_failed_round(known) for known in failed],
            }
        )
    elif found or failed:
        _report_runs(invocation, found, failed, number, house.host.now())
    else:
        invocation.output.say("There are no runs yet.")
    return int(ExitCode.GOOD)


def _report_runs(
    invocation: Invocation,
    found: tuple[KnownRun, ...],
    failed: tuple[FailedRound, ...],
    number: int,
    now: datetime,
) -> None:
    """The newest of both in one table, and below it what somebody should do about them."""
    from xenbackup.cli.unbegun import list_last_failures, tell_failed_round
    from xenbackup.model.run import DEBT_HINT

    lines = [
        (known.run, known.domain, known.job, known.outcome, known.at, known.away_seconds)
        for known in found
    ]
    lines += [
        (known.round, "-", known.job, known.outcome.value, known.ended_at, 0.0) for known in failed
    ]
    rows = [
        (
            name,
            domain,
            job,
            style_outcome(outcome),
            format_age(at, now=now) if at else "-",
            format_duration(away_seconds) if away_seconds else "-",
        )
        for name, domain, job, outcome, at, away_seconds in sorted(lines, key=lambda line: line[0])[
            -number:
        ]
    ]
    headers = ("RUN", "DOMAIN", "JOB", "OUTCOME", "WHEN", "AWAY")
    page, output = invocation.page, invocation.output
    output.say(page.table(headers, rows, "lllllr"))
    for known in found:
        if known.owes:
            text = f"{known.run} owes: {show_text(known.owes)}"
            output.say("\n" + page.note(text, mark="Owed:"))
    for came_to_nothing in list_last_failures(failed, found):
        output.say("\n" + tell_failed_round(came_to_nothing, page))
    if any(known.owes for known in found):
        note = f"{DEBT_HINT}; the next run of the guest tries again too."
        output.say("\n" + page.note(note, mark="Hint:"))
    if any(known.unfinished and not known.owes for known in found):
        note = "a run was cut off or is under way: `xenbackup recover` finishes what was cut off."
        output.say("\n" + page.note(note, mark="Hint:"))


@click.command(cls=Verb, short_help="Tell the story of a run, and what is in its recovery point.")
@click.argument("name", metavar="RUN|POINT|ROUND")
@click.pass_obj
def show(invocation: Invocation, name: str) -> int:
    """Tell the story of a run, and what is in the recovery point that it left.

    A point bears its run's id; a unique beginning of it will do, and so will DOMAIN@latest. Of a
    round that failed before any guest's turn came, tell why.
    """
    from xenbackup.cli.point_facts import report_point, shape_point
    from xenbackup.cli.story import find_story

    house = invocation.open_house()
    point, trouble = _look_for_point(house, name)
    story = find_story(house, point.point if point else name)
    if point is None and story is None:
        return _show_unbegun(invocation, house, name, trouble)
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "run": story.shape() if story else None,
                "point": shape_point(house, point) if point else None,
                "round": None,
            }
        )
        return int(ExitCode.GOOD)
    page, now = invocation.page, house.host.now()
    parts = []
    if story is not None:
        damaged = point is not None and point.summary.damage is not None
        parts.append(story.report(page, now, damaged=damaged))
    if point is not None:
        parts.append(report_point(house, point, page, now))
    elif trouble is not None and not isinstance(trouble, PointNotFound):
        parts.append(page.note(trouble.message))
    invocation.output.say("\n\n".join(parts))
    return int(ExitCode.GOOD)


def _show_unbegun(
    invocation: Invocation, house: House, name: str, trouble: XenbackupError | None
) -> int:
    """What the catalog alone knows. Raises: UsageError, which names the runs of a round that has
    some, or why there is no point of that name.
    """
    from xenbackup.cli import unbegun

    failed = unbegun.find_failed_round(house, name)
    recorded = None if failed else unbegun.find_recorded_run(house, name)
    page, now = invocation.page, house.host.now()
    if failed is None and recorded is None:
        unbegun.refuse_round_with_runs(house, name)
        raise trouble or UsageError(f'No run or recovery point is called "{show_text(name)}".')
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "run": unbegun.shape_recorded_run(recorded) if recorded else None,
                "point": None,
                "round": unbegun.shape_failed_round(failed) if failed else None,
            }
        )
    elif failed is not None:
        invocation.output.say(unbegun.report_failed_round(failed, page, now))
    elif recorded is not None:
        invocation.output.say(unbegun.report_recorded_run(recorded, page, now))
    return int(ExitCode.GOOD)


def _look_for_point(house: House, name: str) -> tuple[FoundPoint | None, XenbackupError | None]:
    """The point of that name; or None and why: a run may be there all the same."""
    from xenbackup.operations.points import find_point

    try:
        return find_point(house, name), None
    except XenbackupError as error:
        return None, error
