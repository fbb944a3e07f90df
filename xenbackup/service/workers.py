"""Runs in threads of their own: each when its turn comes, again after a while where that may help.

A thread binds its round and guest to the log itself: what is bound elsewhere does not reach it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from xenbackup.errors import XenbackupError
from xenbackup.model.plan import DomainPlan
from xenbackup.model.run import Outcome, RunResult
from xenbackup.operations.backup import Round
from xenbackup.operations.plan import plan_job
from xenbackup.operations.run_log import LogWatcher
from xenbackup.service.attention import Attention
from xenbackup.service.board import Board, BoardWatcher, FanOut
from xenbackup.service.control.relay import RelayWatcher
from xenbackup.service.queue import QueuedRun, RunQueue, list_groups

FRESH_SECONDS = 60.0
"""A plan that is older was made of a host that may look otherwise by now."""

_log = structlog.get_logger("xenbackup.daemon")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Starts a thread for each run whose turn has come. `explain_stop` is why the daemon stops."""

    queue: RunQueue
    board: Board
    attention: Attention
    explain_stop: Callable[[], str]

    def begin(self, queued: QueuedRun) -> None:
        """A run that `queue` has handed out. Where no thread can be had it fails, and may pass."""
        queued.round.has_begun = True
        self.board.begin(queued)
        try:
            threading.Thread(
                target=self._work, args=(queued,), name=f"run {queued.domain}", daemon=True
            ).start()
        except RuntimeError as error:
            _log.error("run-not-begun", domain=queued.domain, error=str(error))
            opened = queued.round.opened
            failed = _blank(queued, opened, f"No thread can be had for it: {error}.")
            self._conclude(queued, opened, replace(failed, may_pass=True))

    def _work(self, queued: QueuedRun) -> None:
        the_round = queued.round
        opened = the_round.opened
        result = _blank(queued, opened, "The run ended in a way that no run should.")
        structlog.contextvars.bind_contextvars(
            round=the_round.round_id, job=the_round.job.name, domain=queued.domain
        )
        self.attention.begin_run(f"{the_round.round_id} {queued.domain}", _bound_of(queued))
        try:
            opened = replace(
                opened,
                watcher=FanOut(
                    LogWatcher(),
                    BoardWatcher(self.board, self.attention, queued),
                    relayed=RelayWatcher(the_round.emit),
                ),
                cancelled=lambda: self._explain_cancel(queued),
            )
            result = self._attempt(queued, opened)
        except Exception as error:  # noqa: BLE001 - a defect in one run must not end the others
            _log.exception("run-defect")
            text = f"This is a defect of xenbackup: {type(error).__name__}: {error}"
            result = replace(result, error=text)
        finally:
            try:
                self._conclude(queued, opened, result)
            finally:
                self.attention.end_run()

    def _conclude(self, queued: QueuedRun, opened: Round, result: RunResult) -> None:
        """Whatever of this fails: the round waits for its result, or for another attempt."""
        with suppress(Exception):
            opened.note(result)
        again = False
        try:
            self.board.end(queued)
            self.queue.finish(queued)
            again = self._may_try_again(queued, result)
            if again:
                self._put_back(queued)
        except Exception:  # noqa: BLE001 - logged; without a result the round would never end
            _log.exception("run-defect")
            again = False
        if not again:
            queued.round.settle(queued.domain, result)

    def _explain_cancel(self, queued: QueuedRun) -> str:
        return queued.cancelling or queued.round.cancelling or self.explain_stop()

    def _attempt(self, queued: QueuedRun, opened: Round) -> RunResult:
        if reason := opened.cancelled():
            blank = _blank(queued, opened, f"Not begun: {reason}.")
            return replace(blank, outcome=Outcome.CANCELLED)
        try:
            plan = self._freshen(queued, opened)
        except XenbackupError as error:
            blank = _blank(queued, opened, error.message)
            return replace(
                blank, hint=error.hint, exit_code=error.exit_code, may_pass=error.may_pass
            )
        return plan if isinstance(plan, RunResult) else opened.run_domain(plan)

    def _freshen(self, queued: QueuedRun, opened: Round) -> DomainPlan | RunResult:
        """The guest's plan, made anew unless it was made just now; or its refusal."""
        house = opened.house
        age = house.host.monotonic_seconds() - queued.planned_at
        if queued.plan is not None and age <= FRESH_SECONDS:
            return queued.plan
        fresh = plan_job(house, opened.job, only_domain=queued.domain)
        queued.planned_at = house.host.monotonic_seconds()
        for found in fresh.domains:
            if found.domain.name == queued.domain:
                queued.plan, queued.groups = found, list_groups(found)
                return found
        return opened.refuse(fresh.refused[0])

    def _may_try_again(self, queued: QueuedRun, result: RunResult) -> bool:
        if result.outcome is not Outcome.FAILED or not result.may_pass:
            return False
        return queued.attempts < queued.round.job.retries and not self._explain_cancel(queued)

    def _put_back(self, queued: QueuedRun) -> None:
        """Let it wait: each time twice as long."""
        job = queued.round.job
        until = queued.wait_out(job.retry_after_seconds * 2**queued.attempts)
        queued.attempts += 1
        queued.run_id, queued.plan = "", None
        _log.info("run-postponed", until=until.isoformat(), attempt=queued.attempts)
        self.queue.put((queued,))
        if self._explain_cancel(queued):
            # Cancelled since it was looked at: nobody else would take it out before its time.
            queued.round.withdraw()


def _bound_of(queued: QueuedRun) -> float:
    plan = queued.plan
    return plan.max_away_seconds if plan is not None else queued.round.job.max_away_seconds


def _blank(queued: QueuedRun, opened: Round, error: str) -> RunResult:
    """A run that never came to its journal."""
    return RunResult(
        run=opened.make_id(),
        domain=queued.domain,
        uuid=queued.plan.domain.uuid if queued.plan is not None else "",
        outcome=Outcome.FAILED,
        error=error,
    )
