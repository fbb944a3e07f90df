"""Backup: one round of a job, a run for each of its domains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from xenbackup import __version__
from xenbackup.dom0 import health, monitor
from xenbackup.errors import ExitCode, PlanRefused, XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.domain import Tuning
from xenbackup.model.job import Job
from xenbackup.model.names import make_run_id
from xenbackup.model.plan import DomainPlan, Plan, RefusedDomain
from xenbackup.model.progress import RunWatcher
from xenbackup.model.record import RunStart
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished, refuse_unfinished
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.runner import run_pipeline
from xenbackup.planning.plan import plan_backup
from xenbackup.planning.presets import select_domains
from xenbackup.records.journal import SUFFIX, Journal
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.spool import Spool
from xenbackup.system import durable


def plan_job(house: House, job: Job, only_domain: str = "") -> Plan:
    """Read the host and decide. Raises: PlanRefused when the job selects nothing on it."""
    plan = plan_backup(job, house.read_inventory(), house.configuration, only_domain)
    plan = _refuse_unfinished_domains(house, job, plan, only_domain)
    if not plan.domains and not plan.refused:
        wanted = only_domain or ", ".join(job.domains)
        raise PlanRefused(
            f"Job {job.name} selects no domain on this host (wanted: {wanted}).",
            hint="compare `domains` and `exclude` of the job with `xl list`",
        )
    return plan


def _refuse_unfinished_domains(house: House, job: Job, plan: Plan, only_domain: str) -> Plan:
    """The plan with every guest refused that a run of ours left paused, or not there at all.

    Without this a guest that is down because of us would not be missed: it is not in the list of
    domains. Guests that are in the plan are looked at again under their lock.
    """
    planned = {domain_plan.domain.name for domain_plan in plan.domains}
    left = {
        record.start.plan.domain.name: record.start
        for _, record in find_unfinished(house)
        if record is not None
    }
    wanted = [name for name in left if name not in planned and only_domain in ("", name)]
    names = select_domains(job, wanted)
    refused = tuple(
        RefusedDomain(
            name=name,
            uuid=left[name].plan.domain.uuid,
            reason=f"its run {left[name].run} has not ended, or was cut off",
            hint="wait for it, or if no process is at work on it: `xenbackup recover`",
            exit_code=ExitCode.LOCKED,
        )
        for name in names
    )
    others = tuple(known for known in plan.refused if known.name not in names)
    return replace(plan, refused=(*others, *refused))


def run_round(
    house: House,
    job: Job,
    plan: Plan,
    watcher: RunWatcher,
    cancelled: Callable[[], str],
) -> RoundResult:
    """Run the plan, domain after domain; one that fails does not stop the others."""
    the_round = _Round(
        house=house,
        job=job,
        round_id=make_run_id(house.host.now(), house.entropy(6)),
        watcher=watcher,
        cancelled=cancelled,
        limit=house.make_limit(),
    )
    results = []
    for refused in plan.refused:
        results.append(the_round.note(the_round.refuse(refused)))
    for domain_plan in plan.domains:
        results.append(the_round.note(the_round.run_domain(domain_plan)))
    outcome = judge_round(tuple(results))
    return RoundResult(
        round=the_round.round_id,
        job=job.name,
        outcome=outcome,
        exit_code=exit_code_of(outcome, tuple(results)),
        runs=tuple(results),
    )


def judge_round(results: tuple[RunResult, ...]) -> Outcome:
    """All good is ok; a cancelled one cancels the round; some good is partial; else failed."""
    outcomes = {result.outcome for result in results}
    if outcomes <= {Outcome.OK}:
        return Outcome.OK
    if Outcome.CANCELLED in outcomes:
        return Outcome.CANCELLED
    if outcomes & {Outcome.OK, Outcome.PARTIAL}:
        return Outcome.PARTIAL
    return Outcome.FAILED


def exit_code_of(outcome: Outcome, results: tuple[RunResult, ...]) -> int:
    """The exit code of a round: that of its only cause where all runs failed for one."""
    codes = {result.exit_code for result in results if result.outcome is Outcome.FAILED}
    if outcome is Outcome.FAILED and len(codes) == 1:
        return next(iter(codes))
    return {
        Outcome.OK: ExitCode.GOOD,
        Outcome.PARTIAL: ExitCode.PARTLY,
        Outcome.FAILED: ExitCode.FAILED,
        Outcome.CANCELLED: ExitCode.INTERRUPTED,
    }[outcome]


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What all runs of a round share."""

    house: House
    job: Job
    round_id: str
    watcher: RunWatcher
    cancelled: Callable[[], str]
    limit: BandwidthLimit | None

    def make_id(self) -> str:
        return make_run_id(self.house.host.now(), self.house.entropy(6))

    def note(self, result: RunResult) -> RunResult:
        """Tell the watcher and the catalog; a catalog that fails never fails a backup."""
        with suppress(XenbackupError):
            self.house.catalog.record_run(
                result, job=self.job.name, round=self.round_id, at=self.house.host.now()
            )
        self.watcher.run_ended(result)
        return result

    def refuse(self, refused: RefusedDomain) -> RunResult:
        return RunResult(
            run=self.make_id(),
            domain=refused.name,
            uuid=refused.uuid,
            outcome=Outcome.FAILED,
            error=f"{refused.name} was not backed up: {refused.reason}.",
            hint=refused.hint,
            exit_code=refused.exit_code,
        )

    def run_domain(self, plan: DomainPlan) -> RunResult:
        """One run, from its lock to its result; raises for nothing that one domain can cause."""
        run_id = self.make_id()
        blank = RunResult(
            run=run_id,
            domain=plan.domain.name,
            uuid=plan.domain.uuid,
            outcome=Outcome.FAILED,
            preset=plan.preset,
        )
        if reason := self.cancelled():
            return replace(blank, outcome=Outcome.CANCELLED, error=f"Not begun: {reason}.")
        began = self.house.host.monotonic_seconds()
        identity = plan.domain.configured_uuid or plan.domain.name
        try:
            with self.house.lock_domain(identity, f"back up {plan.domain.name}"):
                result = self._run_locked(run_id, plan, blank)
        except XenbackupError as error:
            result = replace(blank, error=error.message, hint=error.hint, exit_code=error.exit_code)
        elapsed = self.house.host.monotonic_seconds() - began
        return replace(result, duration_seconds=round(elapsed, 3))

    def _run_locked(self, run_id: str, plan: DomainPlan, blank: RunResult) -> RunResult:
        context = self._open_context(run_id, plan)
        try:
            self.watcher.run_began(run_id, plan.domain.name, tuple(s.step for s in plan.steps))
            for message in plan.warnings:
                context.warn(f"{plan.domain.name}: {message}.")
            outcome = run_pipeline(context)
            record = context.record
            return replace(
                blank,
                outcome=outcome,
                consistency=plan.consistency.value if record.published else "",
                point=run_id if record.published else "",
                away_seconds=round(context.away_seconds, 3),
                bytes_read=record.bytes_read,
                bytes_written=record.bytes_written,
                warnings=record.warnings,
                error=record.failures[0] if record.failures else "",
                hint=record.hint,
            )
        finally:
            context.journal.close()

    def _open_context(self, run_id: str, plan: DomainPlan) -> RunContext:
        """Baseline, journal and destination of a run: nothing of the guest is touched yet.

        Raises: Locked when an earlier run of the domain was left unfinished; DestinationMissing;
        StateFailed when the spool has no room for the memory image.
        """
        house = self.house
        refuse_unfinished(house, plan.domain.name)
        destination = house.open_destination(plan.destination.name)
        destination.open()
        spool = Spool(house.host.place(house.configuration.spool_path))
        spool.open()
        if plan.memory_image_bytes:
            spool.check_room(plan.memory_image_bytes)
        durable.make_private_folder(house.journals_folder)
        boot_id = house.host.boot_id()
        exists = plan.domain.exists
        start = RunStart(
            run=run_id,
            round=self.round_id,
            job=self.job.name,
            plan=plan,
            boot_id=boot_id,
            baseline=health.take_baseline(house.host, house.toolstack, plan.domain, boot_id)
            if exists
            else None,
            tuning=house.toolstack.read_tuning(plan.domain) if exists else Tuning(),
            monitors=monitor.find_monitors(house.host, plan.domain.name) if exists else (),
            memory_image_path=f"{house.configuration.spool_path}/{run_id}.save",
            product_version=__version__,
        )
        journal = Journal(house.journals_folder / f"{run_id}{SUFFIX}", house.host.now)
        journal.create(e.RunStarted(start=start))
        return RunContext(
            host=house.host,
            toolstack=house.toolstack,
            lvm=house.lvm,
            journal=journal,
            destination=destination,
            watcher=self.watcher,
            cancelled=self.cancelled,
            limit=self.limit,
        )
