"""Planning: what a job will do on this host now, with everything that validation has to say."""

from __future__ import annotations

from dataclasses import replace

from xenbackup.config.values import suggest
from xenbackup.errors import ExitCode, PlanRefused, UsageError, XenbackupError
from xenbackup.model.job import Job
from xenbackup.model.plan import Plan, RefusedDomain
from xenbackup.model.printable import show_text
from xenbackup.model.problem import Problem, Severity
from xenbackup.model.run import RunResult
from xenbackup.model.setting import Setting
from xenbackup.operations.debts import Unfinished, list_debt_problems
from xenbackup.operations.half_restored import list_restore_problems
from xenbackup.operations.house import House
from xenbackup.operations.open_runs import has_end, is_at_work
from xenbackup.operations.runs import find_unfinished
from xenbackup.operations.zones import read_host_zone
from xenbackup.planning.plan import plan_backup
from xenbackup.planning.presets import select_domains
from xenbackup.planning.validation import CODES, Check, validate

_PASSING = frozenset(
    (
        "disk-merging",
        "disk-written-by-other",
        "group-without-room",
        "guest-ending",
        "guest-migrating",
        "guest-unknown",
        "memory-not-free",
        "restore-unfinished",
        "snapshots-owed",
        "spool-too-small",
    )
)
"""Errors of a guest that other runs or the guest itself may end: worth another try later."""

_OF_THE_RUN = (Check.GUEST, Check.MONITORS)
"""Checks whose warnings are about a guest's own run, and belong into its result."""

HISTORY_LIMIT = 500
"""How many past runs an estimate is made from, at most."""


def plan_job(house: House, job: Job, only_domain: str = "") -> Plan:
    """Read the host and decide: what validation calls an error of a guest refuses that guest.

    Raises: PlanRefused when the job selects nothing on this host.
    """
    inventory = house.read_inventory(whole=True)
    plan = plan_backup(job, inventory, house.configuration, only_domain, _read_history(house))
    unfinished = find_unfinished(house)
    plan = _refuse_unfinished_domains(house, job, plan, only_domain, unfinished)
    plan = _refuse_beside_unreadable(house, plan, unfinished)
    if not plan.domains and not plan.refused:
        wanted = only_domain or ", ".join(job.domains)
        raise PlanRefused(
            f"Job {job.name} selects no domain on this host (wanted: {wanted}).",
            hint="compare `domains` and `exclude` of the job with `xl list`",
        )
    setting = Setting(
        configuration=house.configuration,
        jobs=house.jobs,
        now=house.host.now().astimezone(read_host_zone(house.host)),
        plan=plan,
    )
    problems = validate(job, inventory, setting)
    left = (
        *list_debt_problems(house, plan, unfinished),
        *list_restore_problems(house, plan, inventory),
    )
    return apply_problems(plan, (*problems, *left))


def _refuse_beside_unreadable(house: House, plan: Plan, unfinished: Unfinished) -> Plan:
    """The plan with every guest refused that is shut off, while a journal cannot be read: a run of
    ours may have left it down, and its memory with it. Its disks alone would be called good.

    One that a readable run has away comes back; it is looked at again under its lock.
    """
    unreadable = [
        run
        for run, record in unfinished
        if record is None and not has_end(house.journals_folder / f"{run}.jsonl")
    ]
    if not unreadable:
        return plan
    away = {
        record.start.plan.domain.name
        for _, record in unfinished
        if record is not None and not record.owes
    }
    down = [
        found.domain
        for found in plan.domains
        if not found.domain.exists and found.domain.name not in away
    ]
    refused = tuple(
        RefusedDomain(
            name=domain.name,
            uuid=domain.uuid,
            reason=f"it is down, and run {unreadable[0]}, whose journal cannot be read, may have "
            "left it so",
            hint="look at the guest, its disks and snapshots, and at the spool, then move that "
            "journal away; `xenbackup recover` names it",
            exit_code=ExitCode.LOCKED,
            may_pass=True,
        )
        for domain in down
    )
    domains = tuple(found for found in plan.domains if found.domain not in down)
    return replace(plan, domains=domains, refused=(*plan.refused, *refused))


def plan_round(house: House, job: Job, only_domain: str = "") -> Plan:
    """`plan_job`, which tells of the guests that there are when the one that is meant is none.

    Raises: UsageError then; PlanRefused when the job selects nothing at all.
    """
    try:
        return plan_job(house, job, only_domain)
    except PlanRefused as error:
        if not only_domain:
            raise
        whole = plan_job(house, job)
        names = [found.domain.name for found in whole.domains]
        names += [found.name for found in whole.refused]
        nearest = suggest(only_domain, names)
        listed = f"its guests are {', '.join(names) or 'none'}"
        raise UsageError(
            f'Job {job.name} has no guest "{show_text(only_domain)}" on this host.',
            hint=f"{nearest} {listed[0].upper()}{listed[1:]}" if nearest else listed,
        ) from error


def refuse_unknown_guest(house: House, job: Job, only_domain: str) -> None:
    """Before anything is begun for it: a guest that is none of the job's is a slip of the hand.

    Whatever else may be wrong is for the round to meet, with all that surrounds it.

    Raises: UsageError as `plan_round` does.
    """
    try:
        if select_domains(job, (only_domain,)):
            running = house.toolstack.list_domains()
            if any(found.name == only_domain for found in running):
                return
        plan_round(house, job, only_domain)
    except UsageError:
        raise
    except XenbackupError:
        return


def apply_problems(plan: Plan, problems: tuple[Problem, ...]) -> Plan:
    """The plan with every guest refused that an error is about, and the rest told.

    Warnings about a guest's own run go with it into its result. An error about the job, such as a
    missing destination, refuses no guest here: each run meets it again, before its guest is
    touched, and ends with the exit code of its cause.
    """
    first_error: dict[str, Problem] = {}
    told: dict[str, list[str]] = {}
    others: list[Problem] = []
    planned = {found.domain.name for found in plan.domains}
    for problem in problems:
        if problem.domain not in planned:
            if not problem.domain:
                others.append(problem)
        elif problem.severity is Severity.ERROR:
            first_error.setdefault(problem.domain, problem)
        elif problem.severity is Severity.WARNING and CODES[problem.code].check in _OF_THE_RUN:
            told.setdefault(problem.domain, []).append(_as_clause(problem))
        else:
            others.append(problem)
    refused = tuple(
        RefusedDomain(
            name=found.domain.name,
            uuid=found.domain.uuid,
            reason=_as_clause(first_error[found.domain.name]),
            hint=first_error[found.domain.name].hint,
            may_pass=first_error[found.domain.name].code in _PASSING,
        )
        for found in plan.domains
        if found.domain.name in first_error
    )
    domains = tuple(
        replace(found, warnings=(*found.warnings, *told.get(found.domain.name, ())))
        for found in plan.domains
        if found.domain.name not in first_error
    )
    return replace(plan, domains=domains, refused=(*plan.refused, *refused), problems=tuple(others))


def _as_clause(problem: Problem) -> str:
    """The message without the guest's name in front and the full stop: what stands in a result."""
    return problem.message.removeprefix(f"{problem.domain}: ").removesuffix(".")


def _read_history(house: House) -> tuple[RunResult, ...]:
    """Past runs, newest first; a catalog that cannot tell costs only the precision of estimates."""
    try:
        return tuple(entry.result for entry in house.catalog.list_runs(HISTORY_LIMIT))
    except XenbackupError:
        return ()


def _refuse_unfinished_domains(
    house: House, job: Job, plan: Plan, only_domain: str, unfinished: Unfinished
) -> Plan:
    """The plan with every guest refused that a run of ours left paused, or not there at all.

    Without this a guest that is down because of us would not be missed: it is not in the list of
    domains, or stands there by its file as one that somebody shut off. One whose run only owes a
    removal is its owner's again, down or not. A guest of the plan whose run a process is at work on
    may be free when its turn comes: it is looked at again under its lock.
    """
    planned = {domain_plan.domain.name for domain_plan in plan.domains}
    records = {
        record.start.plan.domain.name: record
        for _, record in unfinished
        if record is not None and not record.owes
    }
    wanted = [
        name
        for name, record in records.items()
        if only_domain in ("", name) and (name not in planned or not is_at_work(house, record))
    ]
    names = select_domains(job, wanted)
    left = {name: records[name].start for name in names}
    refused = tuple(
        RefusedDomain(
            name=name,
            uuid=left[name].plan.domain.uuid,
            reason=f"its run {left[name].run} has not ended, or was cut off",
            hint="wait for it, or if no process is at work on it: `xenbackup recover`",
            exit_code=ExitCode.LOCKED,
            may_pass=True,
        )
        for name in names
    )
    domains = tuple(found for found in plan.domains if found.domain.name not in names)
    others = tuple(known for known in plan.refused if known.name not in names)
    return replace(plan, domains=domains, refused=(*others, *refused))
