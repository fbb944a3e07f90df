"""Rounds of the daemon: each in a thread that plans it, lets its runs wait, and concludes it.

A scheduled round is exactly one for its due time, whatever is killed when: its file is written
first, then the due time is taken in the catalog, and the file goes when the round has ended. A
daemon that finds such a file goes on with that round, under its id, where it was left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import structlog

from xenbackup.errors import Interrupted, Locked, StateFailed, XenbackupError
from xenbackup.model.job import Job
from xenbackup.model.live import Origin
from xenbackup.model.plan import Plan, RefusedDomain
from xenbackup.model.progress import SilentWatcher
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.operations.backup import Round, conclude_round, open_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_round
from xenbackup.operations.recover import settle_debts
from xenbackup.operations.round import describe_failure, finish_round, prepare_round
from xenbackup.planning.beginnings import find_memory
from xenbackup.records.accepted_rounds import AcceptedRound, RoundFolder
from xenbackup.service.audience import Audience
from xenbackup.service.control.events import Event
from xenbackup.service.queue import QueuedRun, RunQueue, list_groups
from xenbackup.storage.bandwidth import BandwidthLimit

_log = structlog.get_logger("xenbackup.daemon")

HISTORY_LIMIT = 500

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RoundOrder:
    """What is to be done: a job, for one guest when named, for a due time when scheduled.

    `accepted` is the file of a round that an earlier daemon left.
    """

    job: Job
    origin: Origin
    domain: str = ""
    due_at: datetime | None = None
    accepted: AcceptedRound | None = None


@dataclass(frozen=True, kw_only=True)
class RoundServices:
    """What rounds need of the daemon. `explain_stop` is why it stops, "" while it does not;
    `look_seconds` how often the host's clock is looked at by whoever waits for a time.
    """

    queue: RunQueue
    folder: RoundFolder
    limit: BandwidthLimit | None
    look_seconds: float
    explain_stop: Callable[[], str]
    on_begin: Callable[[DaemonRound], None]
    keep_result: Callable[[DaemonRound, RoundResult], None]
    on_end: Callable[[DaemonRound, RoundResult | None], None]
    remark: Callable[[str], None]


class DaemonRound:
    """One round from its acceptance to its end, in a thread of its own. It keeps the house that it
    was accepted in, whatever is reloaded meanwhile. `has_begun`: a run of it has, or it came to
    nothing before any.
    """

    def __init__(
        self, services: RoundServices, house: House, order: RoundOrder, round_id: str
    ) -> None:
        self.house = house
        self.job = order.job
        self.origin = order.origin
        self.domain = order.domain
        self.round_id = round_id
        self.accepted_at = house.host.now()
        self.cancelling = ""
        self.has_begun = False
        self.phase = "its plan is being made"
        self.audience = Audience(round_id, order.job.name)
        self._services = services
        self._order = order
        self._changed = threading.Condition()
        self._keeping = threading.Lock()
        self._results: dict[str, RunResult] = {}
        self._expected = 0
        self._left: bool | None = None
        self._settled: set[str] = set(order.accepted.settled) if order.accepted else set()
        self.opened: Round = open_round(
            house,
            order.job,
            SilentWatcher(),
            self.explain_cancel,
            round_id=round_id,
            limit=services.limit,
        )

    def start(self) -> None:
        """Raises: StateFailed when no thread can be had; the round has then ended."""
        thread = threading.Thread(target=self._go, name=f"round {self.job.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._services.on_end(self, None)
            raise StateFailed(
                f"The round of job {self.job.name} cannot begin: {error}.",
                hint="the host has too many processes, or too little memory",
            ) from error

    def explain_cancel(self) -> str:
        """Why this round must stop; "" to go on."""
        return self.cancelling or self._services.explain_stop()

    def cancel(self, reason: str) -> None:
        """Stop it: what waits does not begin, what is under way is undone."""
        self.cancelling = self.cancelling or reason
        self.withdraw()

    def withdraw(self) -> None:
        """Settle everything of this round that waits as cancelled."""
        reason = self.explain_cancel()
        # A run of its own that was cancelled while it waited for another attempt goes, too.
        for queued in self._services.queue.withdraw(
            lambda found: found.round is self and bool(reason or found.cancelling)
        ):
            result = RunResult(
                run=self.opened.make_id(),
                domain=queued.domain,
                uuid=queued.plan.domain.uuid if queued.plan else "",
                outcome=Outcome.CANCELLED,
                error=f"Not begun: {reason or queued.cancelling}.",
            )
            with suppress(Exception):  # it was withdrawn: without a result nobody waits in vain
                self.opened.note(result)
            self.settle(queued.domain, result)
        with self._changed:
            self._changed.notify_all()

    def would_do(self, order: RoundOrder) -> bool:
        """Whether whoever gives this order gets all of it from this round, which still waits."""
        wanted = (order.origin, order.job, order.domain)
        waits = not self.has_begun and not self.explain_cancel()
        return waits and wanted == (self.origin, self.job, self.domain)

    def emit(self, event: Event) -> None:
        self.audience.emit(event)

    def settle(self, domain: str, result: RunResult) -> None:
        """A guest's run has ended for good. Called from its worker's thread."""
        stopped = result.outcome is Outcome.CANCELLED and self._is_left_for_later()
        try:
            if not stopped:
                # Before the result is known: with the last one the round ends, and its file goes.
                self._keep(domain)
        except Exception:  # noqa: BLE001 - logged; a round without this result would never end
            _log.exception("round-defect")
        finally:
            self.has_begun = True
            with self._changed:
                self._results[domain] = result
                self._changed.notify_all()

    # The thread

    def _go(self) -> None:
        structlog.contextvars.bind_contextvars(round=self.round_id, job=self.job.name)
        result: RoundResult | None = None
        error: XenbackupError | None = None
        try:
            if self._claim():
                result, error = self._run_whole()
        except XenbackupError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001 - a defect in one round must not end the daemon
            _log.exception("round-defect")
            error = XenbackupError(f"This is a defect of xenbackup: {caught}")
        finally:
            self._end(result, error)

    def _claim(self) -> bool:
        """Take the due time, so that it is run once; an on-demand round needs none.

        The file comes first: a daemon that dies in between leaves one that takes it later.
        """
        due_at = self._order.due_at
        if due_at is None:
            return True
        catalog = self.house.catalog
        try:
            if catalog.find_claimant(self.job.name, due_at) not in (None, self.round_id):
                return False
            self._keep()
            keep = find_memory(self.job)
            if not catalog.claim_due_time(self.job.name, due_at, self.round_id, keep=keep):
                return catalog.find_claimant(self.job.name, due_at) == self.round_id
        except XenbackupError as error:
            # Whoever cannot write this down backs up all the same: once too often beats never.
            _log.error("due-time-not-noted", due_at=due_at.isoformat(), error=str(error))
        _log.info("due-time-taken", due_at=due_at.isoformat())
        return True

    def _run_whole(self) -> tuple[RoundResult | None, XenbackupError | None]:
        """Hook, debts, plan, runs, conclusion. Raises: XenbackupError before any run."""
        self._services.on_begin(self)
        _log.info("round-began", origin=self.origin.value)
        try:
            self._try_until_passed(lambda: prepare_round(self.job, self.round_id))
            plan = self._try_until_passed(self._make_plan)
        except XenbackupError as error:
            cancelled = bool(self.explain_cancel())
            failed = describe_failure(self.job, self.round_id, error, cancelled=cancelled)
            self._conclude(failed)
            return failed, error
        self.audience.tell_plan(plan)
        self._enqueue(plan)
        self._await_results()
        with self._changed:
            results = (*self._find_earlier(), *self._results.values())
        result = conclude_round(self.opened, results)
        self._conclude(result)
        return result, None

    def _conclude(self, result: RoundResult) -> None:
        """Once decided it stays so: a stop that comes later finds the hooks called."""
        self.has_begun = True
        self._left = self._decide_leaving(result)
        if not self._left:
            self._finish(result)

    def _finish(self, result: RoundResult) -> None:
        self.phase = "its hooks and its retention are at work"
        for message in finish_round(self.house, self.job, result):
            _log.warning("round-warned", message=message)
            self.audience.note(message)
            self._services.remark(message)

    def _try_until_passed(self, act: Callable[[], T]) -> T:
        """Do it, again where that may help: as often as a run would be tried.

        Raises: XenbackupError, what the last attempt met; Interrupted when the round is cancelled.
        """
        attempt = 0
        while True:
            if reason := self.explain_cancel():
                raise Interrupted(f"The round of job {self.job.name} was not begun: {reason}.")
            try:
                return act()
            except XenbackupError as error:
                if not error.may_pass or attempt >= self.job.retries:
                    raise
                _log.warning("round-postponed", error=str(error))
                wait_seconds = self.job.retry_after_seconds * 2**attempt
                minutes = max(round(wait_seconds / 60), 1)
                self.phase = f"tried again {minutes} min after it failed: {error.message}"
                self._wait_out(wait_seconds)
            attempt += 1

    def _make_plan(self) -> Plan:
        """Debts first: what they left would be in the way of their guests' next runs."""
        self.phase = "its plan is being made"
        for settled in settle_debts(self.house, SilentWatcher()):
            _log.info("debt-settled", run=settled.run, healed=settled.healed)
        return plan_round(self.house, self.job, self.domain)

    def _wait_out(self, seconds: float) -> None:
        """In the host's time, which jumps on a simulated one; a cancel ends it."""
        host = self.house.host
        until = host.monotonic_seconds() + seconds
        while (left := until - host.monotonic_seconds()) > 0 and not self.explain_cancel():
            with self._changed:
                self._changed.wait(min(left, self._services.look_seconds))

    def _enqueue(self, plan: Plan) -> None:
        """Every guest that was not settled by an earlier daemon."""
        house, now = self.house, self.house.host.now()
        planned_at = house.host.monotonic_seconds()
        waiting = [
            QueuedRun(
                round=self,
                domain=found.domain.name,
                identity=found.domain.configured_uuid or found.domain.name,
                destination=found.destination.name,
                groups=list_groups(found),
                since=now,
                plan=found,
                planned_at=planned_at,
            )
            for found in plan.domains
            if found.domain.name not in self._settled
        ]
        refused = [found for found in plan.refused if found.name not in self._settled]
        waiting += [self._queue_refused(found, now) for found in refused if found.may_pass]
        final = [found for found in refused if not found.may_pass]
        with self._changed:
            self._expected = len({found.domain for found in waiting} | {f.name for f in final})
        for found in final:
            result = self.opened.note(self.opened.refuse(found))
            self.audience.tell_end(result)
            self.settle(found.name, result)
        self.phase = ""
        self._services.queue.put(waiting)
        if self.explain_cancel():
            self.withdraw()

    def _queue_refused(self, refused: RefusedDomain, now: datetime) -> QueuedRun:
        """A guest that another run has just now, perhaps: planned when its turn comes."""
        known = self._services.queue.find_planned(refused.name)
        return QueuedRun(
            round=self,
            domain=refused.name,
            identity=known.identity if known else refused.uuid or refused.name,
            destination=self.job.destination,
            # Else it would begin beside whatever is at work in its volume group.
            groups=known.groups if known else frozenset(),
            since=now,
        )

    def _await_results(self) -> None:
        with self._changed:
            while len(self._results) < self._expected:
                self._changed.wait()

    def _find_earlier(self) -> tuple[RunResult, ...]:
        """What runs of this round came to under an earlier daemon."""
        accepted = self._order.accepted
        if accepted is None or not accepted.settled:
            return ()
        with suppress(XenbackupError):
            entries = self.house.catalog.list_runs(HISTORY_LIMIT)
            last = {
                entry.result.domain: entry.result
                for entry in reversed(entries)
                if entry.round == self.round_id
            }
            return tuple(last[name] for name in sorted(accepted.settled) if name in last)
        return ()

    # What outlives the daemon

    def _is_left_for_later(self) -> bool:
        """The daemon stops: its next life goes on with what the schedule asked for."""
        return bool(
            self._services.explain_stop() and not self.cancelling and self.origin is Origin.SCHEDULE
        )

    def _decide_leaving(self, result: RoundResult | None) -> bool:
        """Whether the next daemon goes on with this round, so that nothing is concluded here."""
        return self._is_left_for_later() and not self._is_done(result)

    def _keep(self, domain: str = "") -> None:
        """Write down where the round is, with one more guest that is settled."""
        if self._order.due_at is None:
            return
        kept = self._order.accepted or AcceptedRound(
            round=self.round_id, job=self.job.name, due_at=self._order.due_at
        )
        with self._keeping:
            self._settled |= {domain} if domain else set()
            try:
                self._services.folder.keep(replace(kept, settled=frozenset(self._settled)))
            except XenbackupError as error:
                _log.error("round-not-noted", error=str(error))

    def _end(self, result: RoundResult | None, error: XenbackupError | None) -> None:
        left = self._decide_leaving(result) if self._left is None else self._left
        if result is None and error is not None:
            result = describe_failure(self.job, self.round_id, error)
        try:
            if result is not None and not left:
                self._services.keep_result(self, result)
        except Exception:  # noqa: BLE001 - logged; one that nobody forgets keeps us from stopping
            _log.exception("round-defect")
        try:
            if self._order.due_at is not None and not left:
                self._services.folder.remove(self.round_id)
        except (XenbackupError, OSError) as failure:
            _log.error("round-not-removed", error=str(failure))
        try:
            self._tell_end(result, error, left=left)
        except Exception:  # noqa: BLE001 - logged; one that nobody forgets keeps us from stopping
            _log.exception("round-defect")
        self._services.on_end(self, None if left else result)

    def _is_done(self, result: RoundResult | None) -> bool:
        """The daemon was told to stop when everything had been done: nothing is left for later."""
        if result is None or result.error:
            return False
        return all(run.outcome is not Outcome.CANCELLED for run in result.runs)

    def _tell_end(
        self, result: RoundResult | None, error: XenbackupError | None, *, left: bool
    ) -> None:
        if result is not None and not result.error:
            _log.info("round-ended", outcome=result.outcome.value, left_for_later=left)
            self.audience.conclude(result)
        elif error is not None:
            _log.error("round-failed", error=error.message, hint=error.hint)
            self.audience.fail(error)
        else:
            self.audience.fail(Locked("This due time was taken by another round."))
