"""Verbs `plan` and `run`: what a job will do, and doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.stopping import StopRequest
from xenbackup.cli.verb import Verb, suggest_among
from xenbackup.errors import ExitCode, PlanRefused, UsageError
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.model.job import Job
    from xenbackup.model.plan import Plan
    from xenbackup.model.progress import RunWatcher
    from xenbackup.operations.house import House

_STOPPING = (
    "what was begun is being undone, the guest first. This takes as long as it must; "
    "asking again changes nothing."
)


@click.command(cls=Verb, short_help="Show what a job would do now, and why.")
@click.argument("job", metavar="JOB")
@click.pass_obj
def plan(invocation: Invocation, job: str) -> int:
    """Show what JOB would do now, guest by guest, and why; touch nothing."""
    from xenbackup.config import choose_job

    house = invocation.open_house()
    chosen = choose_job(house.jobs, job)
    return _show_plan(invocation, _plan(house, chosen, ""))


@click.command(cls=Verb, short_help="Run a job now.")
@click.argument("job", metavar="JOB")
@click.option("--domain", metavar="D", default="", help="Back up this one guest of the job.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop there, as `plan` does.")
@click.pass_obj
def run(invocation: Invocation, job: str, domain: str, dry_run: bool) -> int:
    """Run JOB now: one round over its guests, each one undone if it fails.

    What earlier runs could not remove is tried again first. Ctrl-C stops it: what was begun is
    undone, the guest first.
    """
    from xenbackup.cli import reports
    from xenbackup.cli.shapes import shape_round
    from xenbackup.config import choose_job
    from xenbackup.operations.backup import run_round

    house = invocation.open_house()
    chosen = choose_job(house.jobs, job)
    if dry_run:
        return _show_plan(invocation, _plan(house, chosen, domain))
    _warn_of_broken_files(invocation, house)
    with StopRequest(_STOPPING) as stop:
        _settle_debts(invocation, house)
        planned = _plan(house, chosen, domain)
        if not invocation.json:
            invocation.output.say(reports.report_plan(planned, invocation.page))
            invocation.output.say()
        watcher = _choose_watcher(invocation, house, planned)
        result = run_round(house, chosen, planned, watcher, stop.reason)
    if invocation.json:
        invocation.output.emit(shape_round(result))
    else:
        invocation.output.say()
        invocation.output.say(reports.report_round(result, invocation.page))
        reports.tell_troubles(result, invocation.output, invocation.margin)
    return int(result.exit_code)


def _plan(house: House, job: Job, domain: str) -> Plan:
    """Raises: UsageError naming the guests that there are, PlanRefused when there are none."""
    from xenbackup.operations.plan import plan_job

    try:
        return plan_job(house, job, domain)
    except PlanRefused as error:
        if not domain:
            raise
        whole = plan_job(house, job)
        names = [found.domain.name for found in whole.domains]
        names += [found.name for found in whole.refused]
        raise UsageError(
            f'Job {job.name} has no guest "{show_text(domain)}" on this host.',
            hint=suggest_among(domain, names, "its guests are"),
        ) from error


def _show_plan(invocation: Invocation, planned: Plan) -> int:
    from xenbackup.cli import reports
    from xenbackup.cli.shapes import shape_plan
    from xenbackup.model.problem import Severity

    exit_code = ExitCode.GOOD
    if planned.refused:
        exit_code = ExitCode.PARTLY if planned.domains else ExitCode.FAILED
    errors = {found.code for found in planned.problems if found.severity is Severity.ERROR}
    if errors:
        missing = errors & {"destination-missing", "destination-not-mounted"}
        exit_code = ExitCode.DESTINATION_MISSING if missing else ExitCode.FAILED
    if invocation.json:
        invocation.output.emit(shape_plan(planned, exit_code))
    else:
        invocation.output.say(reports.report_plan(planned, invocation.page, details=True))
    return int(exit_code)


def _warn_of_broken_files(invocation: Invocation, house: House) -> None:
    for problem in house.jobs.problems:
        invocation.warn(problem)


def _settle_debts(invocation: Invocation, house: House) -> None:
    """What an earlier run could not remove would be in the way of its guest's next one."""
    from xenbackup.model.progress import SilentWatcher
    from xenbackup.operations.recover import settle_debts

    for settled in settle_debts(house, SilentWatcher()):
        if settled.healed and not settled.running:
            text = f"what run {settled.run} of {show_text(settled.domain)} owed is removed."
            invocation.output.remark(invocation.margin.note(text, mark="Note:"))


def _choose_watcher(invocation: Invocation, house: House, planned: Plan) -> RunWatcher:
    from xenbackup.cli.watching import LogWatcher, PersonWatcher, ProgramWatcher

    if invocation.json:
        return ProgramWatcher(invocation.output)
    if invocation.verbosity:
        return LogWatcher()
    return PersonWatcher(
        invocation.output,
        invocation.margin,
        house.host.monotonic_seconds,
        draws=invocation.person_on_stderr,
        told=[
            f"{found.domain.name}: {text}." for found in planned.domains for text in found.warnings
        ],
    )
