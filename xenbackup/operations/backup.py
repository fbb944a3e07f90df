"""Backup: one round of a job, a run for each of its domains.

`run_round` does a whole round, domain after domain. Whoever wants to decide when each run begins
opens the round (`open_round`), runs its domains, and concludes it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace

from xenbackup import __version__
from xenbackup.dom0 import health, monitor
from xenbackup.errors import ExitCode, XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.domain import HealthBaseline, Tuning
from xenbackup.model.job import DestinationKind, Job
from xenbackup.model.names import make_run_id
from xenbackup.model.plan import DomainPlan, Plan, RefusedDomain
from xenbackup.model.progress import RunWatcher
from xenbackup.model.record import RunRecord, RunStart
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.operations.debts import admit_run
from xenbackup.operations.half_restored import refuse_half_restored
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.reconciling import refresh_catalog
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.runner import run_pipeline
from xenbackup.planning.larger import enlarge_snapshots, spell_size
from xenbackup.records.journal import SUFFIX, Journal
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.spool import Spool
from xenbackup.system import durable


def run_round(
    house: House,
    job: Job,
    plan: Plan,
    watcher: RunWatcher,
    cancelled: Callable[[], str],
    *,
    round_id: str = "",
) -> RoundResult:
    """Run the plan, domain after domain; one that fails does not stop the others."""
    opened = open_round(house, job, watcher, cancelled, round_id=round_id)
    results = []
    for refused in plan.refused:
        results.append(opened.note(opened.refuse(refused)))
    for domain_plan in plan.domains:
        results.append(opened.note(opened.run_domain(domain_plan)))
    return conclude_round(opened, tuple(results))


def open_round(
    house: House,
    job: Job,
    watcher: RunWatcher,
    cancelled: Callable[[], str],
    *,
    round_id: str = "",
    limit: BandwidthLimit | None = None,
) -> Round:
    """A round whose runs are yet to come; `limit` is one that other rounds share."""
    return Round(
        house=house,
        job=job,
        round_id=round_id or make_run_id(house.host.now(), house.entropy(6)),
        watcher=watcher,
        cancelled=cancelled,
        limit=limit or house.make_limit(),
    )


def conclude_round(opened: Round, results: tuple[RunResult, ...]) -> RoundResult:
    """What all of its runs come to."""
    outcome = judge_round(results)
    return RoundResult(
        round=opened.round_id,
        job=opened.job.name,
        outcome=outcome,
        exit_code=exit_code_of(outcome, results),
        runs=results,
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
class _Attempt:
    """A run's result, and its journal folded where it came to have one."""

    result: RunResult
    record: RunRecord | None = None


class _TimeLimit:
    """How long a run may take; what it said once it says for good."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._began = monotonic()
        self._reason = ""

    def explain(self) -> str:
        """Why there is no time left, "" while there is."""
        if self._seconds and not self._reason and self._monotonic() - self._began > self._seconds:
            self._reason = f"it took longer than its time limit of {self._seconds:.0f}s"
        return self._reason


@dataclass(frozen=True, kw_only=True)
class Round:
    """What all runs of a round share. Runs of different domains may be driven by several threads;
    `replace` gives one a watcher and a `cancelled` of its own.
    """

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
            may_pass=refused.may_pass,
        )

    def run_domain(self, plan: DomainPlan) -> RunResult:
        """A domain's run; one whose snapshots were too small is tried once more, with larger ones.

        The first then stays what it was, a failed run of the catalog; the other's result counts.
        Raises for nothing that one domain can cause.
        """
        attempt = self._attempt(plan)
        failed = attempt.record
        if failed is None or not failed.too_small or failed.ended is not Outcome.FAILED:
            return attempt.result
        larger, why_not = self._plan_larger(failed)
        if larger is None:
            told = f"It was not tried again with larger snapshots: {why_not}."
            self.watcher.warned(attempt.result.run, told)
            return replace(attempt.result, warnings=(*attempt.result.warnings, told))
        self.note(attempt.result)
        return self._attempt(larger).result

    def _plan_larger(self, failed: RunRecord) -> tuple[DomainPlan | None, str]:
        """The guest planned anew, for it may have another domid by now; or why it is not."""
        name = failed.start.plan.domain.name
        if reason := self.cancelled():
            return None, reason
        try:
            fresh = plan_job(self.house, self.job, only_domain=name)
            groups = self.house.lvm.list_groups()
        except XenbackupError as error:
            return None, error.message.removesuffix(".")
        plan = next((found for found in fresh.domains if found.domain.name == name), None)
        if plan is None:
            return None, next((r.reason for r in fresh.refused), "the guest is not there any more")
        larger = enlarge_snapshots(plan, failed, groups)
        if larger is None:
            return None, "there is no room for them"
        told = (
            f"run {failed.start.run} failed, its snapshots were too small; tried again with "
            f"{spell_size(larger)}"
        )
        return replace(larger, warnings=(*larger.warnings, told)), ""

    def _attempt(self, plan: DomainPlan) -> _Attempt:
        """One run, from its lock to its result."""
        run_id = self.make_id()
        blank = RunResult(
            run=run_id,
            domain=plan.domain.name,
            uuid=plan.domain.uuid,
            outcome=Outcome.FAILED,
            preset=plan.preset,
        )
        if reason := self.cancelled():
            return _Attempt(
                result=replace(blank, outcome=Outcome.CANCELLED, error=f"Not begun: {reason}.")
            )
        began = self.house.host.monotonic_seconds()
        identity = plan.domain.configured_uuid or plan.domain.name
        try:
            with self.house.lock_domain(identity, f"back up {plan.domain.name}"):
                attempt = self._run_locked(run_id, plan, blank)
        except XenbackupError as error:
            attempt = _Attempt(
                result=replace(
                    blank,
                    error=error.message,
                    hint=error.hint,
                    exit_code=error.exit_code,
                    may_pass=error.may_pass,
                )
            )
        elapsed = self.house.host.monotonic_seconds() - began
        result = replace(attempt.result, duration_seconds=round(elapsed, 3))
        return replace(attempt, result=result)

    def _run_locked(self, run_id: str, plan: DomainPlan, blank: RunResult) -> _Attempt:
        with ExitStack() as held:
            owed = admit_run(self.house, plan)
            refuse_half_restored(self.house, plan)
            context = self._open_context(run_id, plan, held)
            self.watcher.run_began(run_id, plan.domain.name, tuple(s.step for s in plan.steps))
            for message in plan.warnings:
                context.warn(f"{plan.domain.name}: {message}.")
            for message in owed:
                context.warn(message)
            outcome = run_pipeline(context)
            record = context.record
            unlisted = self._list_point(context) if record.published else ()
            if plan.destination.kind is DestinationKind.VOLUME:
                # Whatever came of it: its volumes may not hold any more what they held before.
                refresh_catalog(self.house, plan.destination.name)
            failure = context.failure if outcome is Outcome.FAILED else None
            result = replace(
                blank,
                outcome=outcome,
                consistency=plan.consistency.value if record.published else "",
                point=run_id if record.published else "",
                away_seconds=round(context.away_seconds, 3),
                bytes_read=record.bytes_read,
                bytes_written=record.bytes_written,
                warnings=(*record.warnings, *unlisted),
                error=record.failures[0] if record.failures else "",
                hint=record.hint,
                may_pass=failure is not None and failure.may_pass and record.ended is not None,
            )
            return _Attempt(result=result, record=record)

    def _list_point(self, context: RunContext) -> tuple[str, ...]:
        """Tell the catalog of the point at once; the next listing heals what fails here.

        The journal has ended by now: the warning is for the result and whoever watches.
        """
        run_id = context.run_id
        try:
            with closing(self.house.open_destination(context.destination.name)) as store:
                self.house.catalog.record_point(store.summarise_point(run_id))
        except XenbackupError as error:
            message = f"Point {run_id} is whole, but not in the catalog yet: {error.message}"
            self.watcher.warned(run_id, message)
            return (message,)
        return ()

    def _open_context(self, run_id: str, plan: DomainPlan, held: ExitStack) -> RunContext:
        """Baseline, journal and destination of a run: nothing of the guest is touched yet.

        What is opened here is let go of with `held`.

        Raises: DestinationMissing, DestinationFailed; RoomMissing when the spool has no room for
        the memory image; PlanRefused when the guest has a disk that the plan knows nothing of.
        """
        house = self.house
        destination = house.open_destination(plan.destination.name)
        held.callback(destination.close)
        destination.open()
        destination.check_writable()
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
            baseline=self._take_baseline(plan, boot_id) if exists else None,
            tuning=house.toolstack.read_tuning(plan.domain) if exists else Tuning(),
            monitors=monitor.find_monitors(house.host, plan.domain.name) if exists else (),
            memory_image_path=f"{house.configuration.spool_path}/{run_id}.save",
            product_version=__version__,
        )
        journal = Journal(house.journals_folder / f"{run_id}{SUFFIX}", house.host.now)
        journal.create(e.RunStarted(start=start))
        held.callback(journal.close)
        return RunContext(
            host=house.host,
            toolstack=house.toolstack,
            lvm=house.lvm,
            journal=journal,
            destination=destination,
            watcher=self.watcher,
            cancelled=self.cancelled,
            overdue=_TimeLimit(self.job.time_limit_seconds, house.host.monotonic_seconds).explain,
            limit=self.limit,
            politeness=house.configuration.politeness,
        )

    def _take_baseline(self, plan: DomainPlan, boot_id: str) -> HealthBaseline:
        house = self.house
        baseline = health.take_baseline(house.host, house.toolstack, plan.domain, boot_id)
        health.refuse_unlisted_disks(house.toolstack, plan.domain, baseline)
        return baseline
