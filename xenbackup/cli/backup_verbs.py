"""Verbs `plan` and `run`: what a job will do, and doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.stopping import StopRequest
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode
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

    Where the service runs, it does the work, and this shows how it goes: Ctrl-C stops looking,
    `xenbackup cancel` stops the run. Otherwise the work is done here: what earlier runs could not
    remove is tried again first, and Ctrl-C stops it: what was begun is undone, the guest first.
    """
    if not dry_run:
        from xenbackup.cli.attaching import run_in_daemon

        answer = run_in_daemon(invocation, job, domain)
        if answer is not None:
            return answer
    from xenbackup.config import choose_job

    house = invocation.open_house()
    chosen = choose_job(house.jobs, job)
    if dry_run:
        return _show_plan(invocation, _plan(house, chosen, domain))
    _warn_of_broken_files(invocation, house)
    return _run_here(invocation, house, chosen, domain)


def _run_here(invocation: Invocation, house: House, job: Job, domain: str) -> int:
    """A round in the foreground, with all that surrounds it."""
    from xenbackup.cli import reports
    from xenbackup.errors import XenbackupError
    from xenbackup.model.names import make_run_id
    from xenbackup.operations.backup import run_round
    from xenbackup.operations.plan import refuse_unknown_guest
    from xenbackup.operations.round import describe_failure, finish_round, prepare_round

    if domain:
        refuse_unknown_guest(house, job, domain)
    round_id = make_run_id(house.host.now(), house.entropy(6))
    with StopRequest(_STOPPING) as stop:
        try:
            prepare_round(job, round_id)
            _settle_debts(invocation, house)
            planned = _plan(house, job, domain)
        except XenbackupError as error:
            finish_round(house, job, describe_failure(job, round_id, error))
            raise
        if not invocation.json:
            invocation.output.say(reports.report_plan(planned, invocation.page))
            invocation.output.say()
        watcher = _choose_watcher(invocation, house, planned)
        result = run_round(house, job, planned, watcher, stop.reason, round_id=round_id)
        told = finish_round(house, job, result)
    for message in told:
        invocation.warn(message)
    return reports.tell_result(result, invocation)


def _plan(house: House, job: Job, domain: str) -> Plan:
    """Raises: UsageError naming the guests that there are, PlanRefused when there are none."""
    from xenbackup.operations.plan import plan_round

    return plan_round(house, job, domain)


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
    from xenbackup.cli.watching import PersonWatcher, ProgramWatcher
    from xenbackup.operations.run_log import LogWatcher

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
