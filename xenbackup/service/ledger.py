"""The rounds of the daemon: accepted ones until they end, and those that an earlier one left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from xenbackup.errors import Interrupted, Locked, XenbackupError
from xenbackup.model.job import Job
from xenbackup.model.live import Origin, WaitingRun
from xenbackup.model.names import make_run_id
from xenbackup.model.run import RoundResult
from xenbackup.operations.round import describe_failure, note_failed_round
from xenbackup.planning.beginnings import find_memory
from xenbackup.records.accepted_rounds import AcceptedRound, RoundFolder
from xenbackup.service.board import Board
from xenbackup.service.definitions import Definitions
from xenbackup.service.queue import QueuedRun, RunQueue
from xenbackup.service.rounds import DaemonRound, RoundOrder, RoundServices

RESUMES_LIMIT = 3
"""A round that several daemons died of is not gone on with for ever."""

MOST_ASKED_FOR = 100
"""Rounds on demand that wait or are under way: each has a thread, and its place in `status`."""

_WAITING_ROUNDS = 2

_log = structlog.get_logger("xenbackup.daemon")


class RoundLedger:
    """Accepts rounds and knows them until they end. Every method may be called from any thread.

    `explain_stop` is why the daemon stops; `keep_result` writes down what a round came to, before
    its file goes, and `on_end` hears of every round that has ended; `remark` hears of what somebody
    should look at, `tell_loss` of nights that jobs did not get.
    """

    def __init__(
        self,
        *,
        definitions: Definitions,
        queue: RunQueue,
        board: Board,
        look_seconds: float,
        explain_stop: Callable[[], str],
        on_begin: Callable[[DaemonRound], None],
        keep_result: Callable[[DaemonRound, RoundResult], None],
        on_end: Callable[[DaemonRound, RoundResult | None], None],
        remark: Callable[[str], None],
        tell_loss: Callable[[str], None],
    ) -> None:
        self._definitions = definitions
        self._queue = queue
        self._board = board
        self._look_seconds = look_seconds
        self._explain_stop = explain_stop
        self._on_begin = on_begin
        self._keep_result = keep_result
        self._on_end = on_end
        self._remark = remark
        self._tell_loss = tell_loss
        self._folder = RoundFolder(definitions.house.rounds_folder)
        self._rounds: dict[str, DaemonRound] = {}
        self._put_off: dict[str, AcceptedRound] = {}
        self._changed = threading.Condition()

    def accept(self, order: RoundOrder) -> DaemonRound:
        """A round for the order, not yet started. Raises: Interrupted when the daemon stops."""
        made = self._make_round(order)
        with self._changed:
            self._add(made)
        return made

    def join_or_accept(self, order: RoundOrder) -> tuple[DaemonRound, bool]:
        """A round for an order of somebody's, and whether it is one that waits already: whoever
        asks twice for the same gets it once. One that is accepted is not yet started.

        Raises: Interrupted when the daemon stops; Locked when too many have been asked for.
        """
        made = self._make_round(order)
        with self._changed:
            for known in self._rounds.values():
                if known.would_do(order):
                    return known, True
            asked_for = [n for n in self._rounds.values() if n.origin is Origin.DEMAND]
            if len(asked_for) >= MOST_ASKED_FOR:
                raise Locked(
                    f"No more rounds are taken: {len(asked_for)} that were asked for wait or are "
                    "under way.",
                    hint="`xenbackup status` lists them, `xenbackup cancel ROUND` ends one",
                )
            self._add(made)
        return made, False

    def _make_round(self, order: RoundOrder) -> DaemonRound:
        house = self._definitions.house
        services = RoundServices(
            queue=self._queue,
            folder=self._folder,
            limit=self._definitions.limit,
            look_seconds=self._look_seconds,
            explain_stop=self._explain_stop,
            on_begin=self._on_begin,
            keep_result=self._keep_result,
            on_end=self._forget,
            remark=self._remark,
        )
        accepted = order.accepted
        round_id = accepted.round if accepted else make_run_id(house.host.now(), house.entropy(6))
        return DaemonRound(services, house, order, round_id)

    def _add(self, made: DaemonRound) -> None:
        """With the lock held. Raises: Interrupted when the daemon stops."""
        if reason := self._explain_stop():
            raise Interrupted(f"No round is begun: {reason}.", hint="try again in a moment")
        self._rounds[made.round_id] = made

    def take_due(self, job: Job, due_at: datetime) -> None:
        """A due time has come. One that finds two rounds of its job still waiting adds no third.

        Raises: Interrupted when the daemon stops; XenbackupError when it cannot be written down.
        """
        active = [
            known
            for known in self.list_rounds()
            if known.origin is Origin.SCHEDULE and known.job.name == job.name
        ]
        if len(active) >= _WAITING_ROUNDS:
            house = self._definitions.house
            skipped = make_run_id(house.host.now(), house.entropy(6))
            house.catalog.claim_due_time(job.name, due_at, skipped, keep=find_memory(job))
            reason = f"{len(active)} of its rounds are not done yet"
            _log.warning("due-time-skipped", job=job.name, due_at=due_at.isoformat(), reason=reason)
            told = f"left out: {reason}."
            self._tell_loss(f"Job {job.name} was due at {due_at:%Y-%m-%d %H:%M} UTC and {told}")
            error = Interrupted(f"Due at {due_at:%Y-%m-%d %H:%M} UTC and {told}")
            note_failed_round(house, describe_failure(job, skipped, error, cancelled=True))
            return
        self.accept(RoundOrder(job=job, origin=Origin.SCHEDULE, due_at=due_at)).start()

    def resume(self) -> None:
        """Go on with what an earlier daemon accepted and did not end."""
        try:
            rounds, wrong = self._folder.list_rounds()
        except XenbackupError as error:
            _log.error("rounds-unreadable", error=str(error))
            return
        for text in wrong:
            _log.error("round-unreadable", reason=text)
            self._tell_loss(f"{text.rstrip('.')}. What it was of that round is not known any more.")
        for accepted in rounds:
            self._resume(accepted)

    def resume_put_off(self) -> None:
        """Go on with rounds whose job was broken when the daemon started, and is good now."""
        with self._changed:
            rounds, self._put_off = tuple(self._put_off.values()), {}
        for accepted in rounds:
            self._resume(accepted)

    def _resume(self, accepted: AcceptedRound) -> None:
        jobs = self._definitions.house.jobs
        if jobs.is_broken(accepted.job):
            with self._changed:
                self._put_off[accepted.round] = accepted
            _log.error("round-put-off", round=accepted.round, job=accepted.job)
            self._tell_loss(
                f"Round {accepted.round} of job {accepted.job} waits: its job's file is broken, or "
                "the folder of jobs cannot be read."
            )
            return
        job = jobs.find_job(accepted.job)
        if job is None:
            self._give_up(accepted, job, "its job is not there any more")
        elif reason := self._explain_giving_up(accepted, job):
            self._give_up(accepted, job, reason)
        else:
            self._go_on(accepted, job)

    def _explain_giving_up(self, accepted: AcceptedRound, job: Job) -> str:
        """Why a round of an earlier daemon is not gone on with; "" when it is."""
        if accepted.resumed >= RESUMES_LIMIT:
            return f"{RESUMES_LIMIT} daemons ended in the middle of it"
        age = self._definitions.house.host.now() - accepted.due_at
        if age > timedelta(seconds=job.catch_up_seconds):
            return "it was due longer ago than `catch_up` allows"
        return ""

    def _give_up(self, accepted: AcceptedRound, job: Job | None, reason: str) -> None:
        _log.error("round-given-up", round=accepted.round, job=accepted.job, reason=reason)
        told = f"Round {accepted.round} of job {accepted.job} was given up: {reason}."
        self._tell_loss(told)
        if job is not None:
            failure = describe_failure(job, accepted.round, XenbackupError(told))
            note_failed_round(self._definitions.house, failure)
        try:
            self._folder.remove(accepted.round)
        except XenbackupError as error:
            _log.error("round-not-noted", round=accepted.round, error=str(error))

    def _go_on(self, accepted: AcceptedRound, job: Job) -> None:
        again = replace(accepted, resumed=accepted.resumed + 1)
        try:
            self._folder.keep(again)
        except XenbackupError as error:
            # Whoever cannot write this down backs up all the same.
            _log.error("round-not-noted", round=accepted.round, error=str(error))
        order = RoundOrder(job=job, origin=Origin.SCHEDULE, due_at=accepted.due_at, accepted=again)
        try:
            self.accept(order).start()
        except XenbackupError as error:
            _log.error("round-not-resumed", round=accepted.round, error=str(error))
            return
        _log.info("round-resumed", round=accepted.round, job=job.name)

    def list_rounds(self) -> tuple[DaemonRound, ...]:
        """Rounds that have not ended, the oldest first."""
        with self._changed:
            return tuple(self._rounds.values())

    def list_waiting(self) -> tuple[WaitingRun, ...]:
        """What waits and why; a round that is not planned yet waits as one."""
        planning = [
            WaitingRun(
                round=known.round_id,
                job=known.job.name,
                domain=known.domain,
                origin=known.origin,
                since=known.accepted_at,
                reason=known.phase,
            )
            for known in self.list_rounds()
            if known.phase
        ]
        queued = [
            WaitingRun(
                round=run.round.round_id,
                job=run.round.job.name,
                domain=run.domain,
                origin=run.round.origin,
                since=run.since,
                reason=run.reason or "is about to begin",
                not_before=run.not_before,
            )
            for run in self._queue.list_waiting()
        ]
        return (*planning, *queued)

    def note_cancel(self, queued: QueuedRun, reason: str) -> None:
        self._board.change(queued.key, cancelling=reason)

    def stop(self) -> None:
        """Let nothing wait any more; what is under way stops by itself."""
        for known in self.list_rounds():
            known.withdraw()

    def wait_until_ended(self, seconds: float) -> bool:
        """Whether all rounds have ended within that time."""
        until = time.monotonic() + seconds
        with self._changed:
            while self._rounds:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _forget(self, ended: DaemonRound, result: RoundResult | None) -> None:
        try:
            self._on_end(ended, result)
        finally:
            with self._changed:
                self._rounds.pop(ended.round_id, None)
                self._changed.notify_all()
