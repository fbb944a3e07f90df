"""Verb `recover`: what was left unfinished is finished or undone, the guest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.page import Page, style_outcome
from xenbackup.cli.stopping import StopRequest
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.model.restore import RestoreMark
    from xenbackup.operations.recover import RecoveredRun
    from xenbackup.operations.removals import FinishedRemovals

_NO_STOPPING = "recovery goes on to its end: a guest is not left half-way."


@click.command(cls=Verb, short_help="Finish or undo what was cut off.")
@click.option("--no-removals", is_flag=True, help="Leave destinations alone: guests wait (boot).")
@click.pass_obj
def recover(invocation: Invocation, no_removals: bool) -> int:
    """Finish or undo every run that was cut off (a kill, a power cut), the guest first.

    Removals of points that were cut off are finished too, where the destination is there. Harmless
    at any time: runs that are alive in another process are left alone. A configuration
    that is broken keeps no guest down: what lies at destinations then waits until it is mended.
    """
    from xenbackup.cli.watching import PersonWatcher
    from xenbackup.model.progress import SilentWatcher
    from xenbackup.operations.half_restored import is_restoring
    from xenbackup.operations.recover import recover_runs
    from xenbackup.operations.removals import FinishedRemovals, finish_removals
    from xenbackup.operations.restore import list_incomplete_restores, settle_restores

    house = invocation.open_house_to_recover()
    watcher = (
        SilentWatcher()
        if invocation.json
        else PersonWatcher(
            invocation.output, invocation.margin, house.host.monotonic_seconds, draws=False
        )
    )
    with StopRequest(_NO_STOPPING):
        recovered = recover_runs(house, watcher)
        removals = FinishedRemovals() if no_removals else finish_removals(house)
    settle_restores(house)
    restores = tuple(
        mark for mark in list_incomplete_restores(house) if not is_restoring(house, mark)
    )
    healed = all(run.healed for run in recovered) and not restores and not removals.troubles
    exit_code = int(ExitCode.GOOD if healed else ExitCode.RECOVERY_INCOMPLETE)
    if invocation.json:
        invocation.output.emit(_shape(recovered, restores, removals, exit_code))
    else:
        invocation.output.say(_report(recovered, restores, removals, invocation.page))
    return exit_code


def _judge(run: RecoveredRun) -> str:
    if run.running:
        return "at work"
    return "healed" if run.healed else "left over"


def _report(
    recovered: tuple[RecoveredRun, ...],
    restores: tuple[RestoreMark, ...],
    removals: FinishedRemovals,
    page: Page,
) -> str:
    if not (recovered or restores or removals.points or removals.troubles):
        return "Nothing to recover: every run has ended."
    parts = []
    if recovered:
        rows = [(run.run, run.domain or "-", style_outcome(_judge(run))) for run in recovered]
        parts.append(page.table(("RUN", "DOMAIN", "RESULT"), rows))
    notes = [
        page.note(show_text(message), mark=f"{run.run}:")
        for run in recovered
        for message in run.messages
    ]
    notes += [
        page.note(
            f"the restore {mark.restore} of {show_text(mark.domain)} did not end: "
            f"{mark.condition}.",
            mark="Left over:",
        )
        for mark in restores
    ]
    notes += [
        page.note(f"point {point}, whose removal had been cut off.", mark="Removed:")
        for point in removals.points
    ]
    notes += [
        page.note(f"a removal was not finished: {show_text(why)}.", mark="Left over:")
        for why in removals.troubles
    ]
    if any(not run.healed for run in recovered):
        notes.append(
            page.note(
                "`xenbackup show RUN` tells the story of a run; `xenbackup recover` tries again.",
                mark="Hint:",
            )
        )
    return "\n".join([*parts, *([""] if parts and notes else []), *notes])


def _shape(
    recovered: tuple[RecoveredRun, ...],
    restores: tuple[RestoreMark, ...],
    removals: FinishedRemovals,
    exit_code: int,
) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "exit_code": exit_code,
        "runs": [
            {
                "run": run.run,
                "domain": run.domain,
                "healed": run.healed,
                "running": run.running,
                "messages": list(run.messages),
            }
            for run in recovered
        ],
        "restores": [
            {
                "restore": mark.restore,
                "point": mark.point,
                "domain": mark.domain,
                "phase": mark.phase.value,
                "condition": mark.condition,
                "disks": [target.vdev for target in mark.targets],
            }
            for mark in restores
        ],
        "removals": {
            "finished": list(removals.points),
            "troubles": list(removals.troubles),
            "silent": list(removals.silent),
        },
    }
