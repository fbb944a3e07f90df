"""Verb `check`: the doctor, for a person, for programs, and for Nagios."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.nagios import NagiosCode, tell_nagios
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.page import Page
from xenbackup.cli.problem_text import report_problem, shape_problem
from xenbackup.cli.text import Colour, cut_text
from xenbackup.cli.verb import Verb
from xenbackup.errors import UsageError, XenbackupError
from xenbackup.model.printable import show_text
from xenbackup.model.problem import Severity

if TYPE_CHECKING:
    from xenbackup.operations.check import CheckReport, CheckResult

_COLOURS = {"ok": Colour.GREEN, "warning": Colour.YELLOW, "failed": Colour.RED}
_RESULT_WIDTH = max(len(verdict) for verdict in _COLOURS)
_CHECK_WIDTH = len("guest-files:")


@click.command(cls=Verb, short_help="Look for problems of the host, and of a job.")
@click.argument("job", metavar="[JOB]", required=False, default="")
@click.option("--nagios", is_flag=True, help="One line, and the exit codes of a Nagios plugin.")
@click.pass_obj
def check(invocation: Invocation, job: str, nagios: bool) -> int:
    """Look for problems of the host, its destinations and all job files; with JOB, of its guests.

    Nothing is changed.
    """
    if nagios:
        if invocation.json:
            raise UsageError(
                "--nagios and --json exclude each other.", hint="leave one of them out"
            )
        return _check_for_nagios(invocation, job)
    report = _check(invocation, job)
    if invocation.json:
        invocation.output.emit(
            {
                "schema": SCHEMA,
                "exit_code": int(report.exit_code),
                "job": report.job,
                "checks": [_shape_result(result) for result in report.checks],
            }
        )
    else:
        invocation.output.say(report_checks(report, invocation.page))
    return int(report.exit_code)


def _check(invocation: Invocation, job: str) -> CheckReport:
    """Raises: UsageError, ConfigurationError for a job that is not there, or broken."""
    from xenbackup.operations.check import check_house

    house = invocation.open_house()
    return check_house(house, house.find_job(job) if job else None)


def _shape_result(result: CheckResult) -> dict[str, object]:
    return {
        "check": result.check.value,
        "result": result.verdict.value,
        "subject": result.subject,
        "problems": [shape_problem(problem) for problem in result.problems],
    }


def report_checks(report: CheckReport, page: Page) -> str:
    """One line for each check, its problems below it, a sentence for the whole."""
    parts = []
    for result in report.checks:
        parts.append(_report_line(result, page))
        parts += [
            report_problem(problem, page, indent=_RESULT_WIDTH + 2) for problem in result.problems
        ]
    return "\n".join([*parts, "", _sum_up(report, page)])


def _report_line(result: CheckResult, page: Page) -> str:
    verdict = result.verdict.value
    text = f"{result.check.value:<{_CHECK_WIDTH}} {show_text(result.subject)}".rstrip()
    room = max(page.width - _RESULT_WIDTH - 2, _CHECK_WIDTH)
    marked = page.painter.paint(f"{verdict:<{_RESULT_WIDTH}}", _COLOURS[verdict])
    return f"{marked}  {cut_text(text, room, ellipsis=page.ellipsis)}"


def _sum_up(report: CheckReport, page: Page) -> str:
    counts = _count_problems(report)
    if not any(counts.values()):
        return f"All {len(report.checks)} checks are good."
    found = ", ".join(
        f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items() if count
    )
    return page.note(f"{len(report.checks)} checks: {found}. docs/problems.md explains each code.")


def _count_problems(report: CheckReport) -> dict[str, int]:
    severities = [problem.severity for result in report.checks for problem in result.problems]
    return {severity.value: severities.count(severity) for severity in Severity}


def _check_for_nagios(invocation: Invocation, job: str) -> int:
    """Whatever keeps us from looking is UNKNOWN: a monitor must never take it for good."""
    try:
        report = _check(invocation, job)
    except XenbackupError as error:
        return tell_nagios(invocation, NagiosCode.UNKNOWN, error.message)
    code = {
        "ok": NagiosCode.OK,
        "warning": NagiosCode.WARNING,
        "failed": NagiosCode.CRITICAL,
    }[report.verdict.value]
    worst = {NagiosCode.WARNING: Severity.WARNING, NagiosCode.CRITICAL: Severity.ERROR}.get(code)
    told = [
        problem.message
        for result in report.checks
        for problem in result.problems
        if problem.severity is worst
    ]
    text = " ".join(told) or f"All {len(report.checks)} checks are good."
    if len(told) > 1:
        text = f"{len(told)} problems: {text}"
    return tell_nagios(invocation, code, text)
