"""Check: the doctor. Every check of the host, and of one job, with what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from xenbackup.errors import ExitCode, XenbackupError
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import Job
from xenbackup.model.plan import Plan
from xenbackup.model.point import MarkedPoint
from xenbackup.model.problem import Problem, Severity
from xenbackup.model.setting import Setting
from xenbackup.operations.debts import (
    find_crowded_volumes,
    make_crowd_problem,
    make_debt_problem,
)
from xenbackup.operations.half_restored import list_cut_off_restores
from xenbackup.operations.house import House
from xenbackup.operations.open_runs import is_at_work, is_followed
from xenbackup.operations.own_points import read_own
from xenbackup.operations.runs import find_unfinished
from xenbackup.operations.tellable import describe_telling, list_telling_problems
from xenbackup.operations.zones import read_host_zone
from xenbackup.planning.plan import plan_backup
from xenbackup.planning.validation import CODES, Check, make_problem, validate, validate_host
from xenbackup.planning.validation.volumes import find_pools

DOM0_NAME = "Domain-0"


class Verdict(StrEnum):
    """What a check came to; notes alone are ok."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One line of the doctor: what was looked at, which thing, and what is wrong with it."""

    check: Check
    subject: str
    problems: tuple[Problem, ...] = ()

    @property
    def verdict(self) -> Verdict:
        severities = {problem.severity for problem in self.problems}
        if Severity.ERROR in severities:
            return Verdict.FAILED
        return Verdict.WARNING if Severity.WARNING in severities else Verdict.OK


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All checks; `job` is "" when the host alone was looked at."""

    job: str
    checks: tuple[CheckResult, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        found = {result.verdict for result in self.checks}
        return next((bad for bad in (Verdict.FAILED, Verdict.WARNING) if bad in found), Verdict.OK)

    @property
    def exit_code(self) -> ExitCode:
        return {
            Verdict.OK: ExitCode.GOOD,
            Verdict.WARNING: ExitCode.WARNINGS,
            Verdict.FAILED: ExitCode.FAILED,
        }[self.verdict]


def check_house(house: House, job: Job | None = None) -> CheckReport:
    """Look at the host and all job files; with a job, at its guests and its destination too.

    A host that cannot be read is a finding, not an error. Nothing is changed.
    """
    name = job.name if job is not None else ""
    try:
        inventory = house.read_inventory(whole=True)
    except XenbackupError as error:
        problem = make_problem(
            "host-unreadable", subject="host", message=error.message, hint=error.hint
        )
        unread = CheckResult(check=Check.HOST, subject="", problems=(problem,))
        return CheckReport(job=name, checks=(unread,))
    setting = Setting(
        configuration=house.configuration,
        jobs=house.jobs,
        now=house.host.now().astimezone(read_host_zone(house.host)),
    )
    problems = [
        *_list_runs(house),
        *list_cut_off_restores(house, inventory),
        *_list_damaged(house),
        *list_telling_problems(house.configuration, house.jobs, house.host.place),
        *validate_host(inventory, setting),
    ]
    plan: Plan | None = None
    if job is not None:
        plan, found = _check_job(house, job, inventory, setting)
        problems = _join(problems, found, job)
    lines = tuple(_list_lines(house, inventory, job, plan))
    return CheckReport(job=name, checks=_sort_into(lines, problems))


def _check_job(
    house: House, job: Job, inventory: Inventory, setting: Setting
) -> tuple[Plan | None, Sequence[Problem]]:
    try:
        plan = plan_backup(job, inventory, house.configuration)
    except XenbackupError:
        # Validation says why: no such destination.
        plan = None
    return plan, validate(job, inventory, setting)


def _join(of_host: Sequence[Problem], of_job: Sequence[Problem], job: Job) -> list[Problem]:
    """The job's word counts for what both name; other jobs' destinations are left out."""
    named = {(problem.code, problem.subject) for problem in of_job}
    kept = [
        problem
        for problem in of_host
        if (problem.code, problem.subject) not in named
        and (
            CODES[problem.code].check is not Check.DESTINATION or problem.subject == job.destination
        )
    ]
    return [*kept, *of_job]


def _list_runs(house: House) -> Iterator[Problem]:
    """Runs that were cut off, or could not remove something yet.

    Those that another process is at work on are no problem.
    """
    unfinished = find_unfinished(house)
    for crowded in find_crowded_volumes(house, unfinished):
        yield make_crowd_problem(crowded, crowded.domain)
    for run_id, record in unfinished:
        if record is None:
            yield make_problem(
                "run-unfinished",
                subject=run_id,
                message=f"The journal of run {run_id} cannot be read.",
                hint=f"look at it with `xenbackup show {run_id}`",
            )
            continue
        name = record.start.plan.domain.name
        if not is_followed(record, unfinished) and is_at_work(house, record):
            continue
        if record.owes:
            yield make_debt_problem(record)
        else:
            yield make_problem(
                "run-unfinished",
                subject=run_id,
                message=f"Run {run_id} of {name} was cut off.",
                hint="`xenbackup recover`",
                domain=name,
            )


def _list_damaged(house: House) -> Iterator[Problem]:
    """Points that verification found damaged; a catalog that cannot be read is no problem of the
    host, and `status` tells of it.
    """
    marked: tuple[MarkedPoint, ...] = ()
    with suppress(XenbackupError):
        marked = read_own(house).damaged
    for found in marked:
        yield make_problem(
            "point-damaged",
            subject=found.destination,
            message=f"Point {found.point} of {found.domain} was found damaged: "
            f"{found.damage.reason}.",
            hint=f"`xenbackup verify {found.point}` reads it again",
            domain=found.domain,
        )


def _list_lines(
    house: House, inventory: Inventory, job: Job | None, plan: Plan | None
) -> Iterator[tuple[Check, str]]:
    """Every check there is, with the thing that it looks at, in the order in which it is told."""
    guests = [domain for domain in inventory.domains if domain.name != DOM0_NAME]
    running = sum(domain.exists for domain in guests)
    facts = inventory.facts
    files = len(house.jobs.jobs) + len(house.jobs.broken)
    yield Check.HOST, f"{facts.hostname}, Xen {facts.xen_version}"
    yield Check.DOM0_MEMORY, _describe_dom0(inventory)
    yield Check.MODULES, _count(len(inventory.drivers.modules), "kernel module")
    yield (
        Check.THIN_POOLS,
        ", ".join(f"{p.group}/{p.name}" for p in find_pools(inventory)) or "none",
    )
    yield Check.PCI, _count(len(inventory.pci.devices), "device")
    yield Check.JOB_FILES, _count(files, "job")
    yield Check.GUEST_FILES, _count(len(guests), "guest")
    yield Check.NAMES, _count(len(guests), "guest")
    yield Check.MONITORS, _count(running, "running guest")
    yield Check.DISKS, _count(sum(len(domain.disks) for domain in guests), "disk")
    yield Check.DRIVERS, _count(len(inventory.drivers.guests), "guest")
    yield Check.RUNS, "journals"
    yield Check.TELLING, describe_telling(house.configuration, house.jobs) or "nobody"
    for spec in house.configuration.destinations:
        if job is None or spec.name == job.destination:
            yield Check.DESTINATION, spec.name
    yield Check.SPOOL, house.configuration.spool_path
    if job is not None:
        yield Check.JOB, job.name
    if plan is not None:
        names = [found.domain.name for found in plan.domains]
        for name in dict.fromkeys((*names, *(refused.name for refused in plan.refused))):
            yield Check.GUEST, name


def _describe_dom0(inventory: Inventory) -> str:
    dom0 = inventory.resources.dom0
    return f"{dom0.current_mib} MiB" if dom0.current_mib else "not known"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _sort_into(
    lines: Sequence[tuple[Check, str]], problems: Sequence[Problem]
) -> tuple[CheckResult, ...]:
    """Each problem below its line; one whose line is not there gets a line of its own."""
    sorted_in: dict[tuple[Check, str], list[Problem]] = {line: [] for line in lines}
    subjects = dict(reversed(lines))
    for problem in problems:
        check = CODES[problem.code].check
        subject = problem.subject
        if check is Check.GUEST:
            subject = problem.domain
        elif check is not Check.DESTINATION:
            subject = subjects.get(check, subject)
        sorted_in.setdefault((check, subject), []).append(problem)
    return tuple(
        CheckResult(check=check, subject=subject, problems=tuple(found))
        for (check, subject), found in sorted_in.items()
    )
