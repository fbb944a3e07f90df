"""Who follows a round: clients of the socket, told from its threads, each from its beginning."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from xenbackup.errors import XenbackupError
from xenbackup.model.plan import Plan
from xenbackup.model.run import RoundResult, RunResult
from xenbackup.service.control.events import (
    AmountDone,
    Attached,
    Event,
    Noted,
    PlanTold,
    Queued,
    RunEnded,
)
from xenbackup.service.control.relay import facts_of
from xenbackup.service.control.stream import Stream

HISTORY_LIMIT = 2000
"""Events that a late follower is told; the oldest of a very long round are forgotten."""

TellPlan = Callable[[Plan], str]


class Audience:
    """The followers of one round. Every method may be called from any thread."""

    def __init__(self, round_id: str, job: str) -> None:
        self._round = round_id
        self._job = job
        self._lock = threading.Lock()
        self._streams: list[tuple[Stream, TellPlan]] = []
        self._history: deque[Event] = deque(maxlen=HISTORY_LIMIT)
        self._plan: Plan | None = None
        self._reasons: dict[str, str] = {}
        self._ending: Callable[[Stream], None] | None = None

    def follow(self, stream: Stream, tell_plan: TellPlan) -> None:
        """Tell this one too, all that was told before first. `tell_plan` makes it a page."""
        with self._lock:
            stream.send(Attached(round=self._round, job=self._job))
            if self._plan is not None:
                self._send_plan(stream, tell_plan, self._plan)
            for event in self._history:
                stream.send(event)
            if self._ending is not None:
                self._ending(stream)
            else:
                self._streams.append((stream, tell_plan))

    def emit(self, event: Event) -> None:
        with self._lock:
            if not isinstance(event, AmountDone):
                self._history.append(event)
            self._streams = [found for found in self._streams if found[0].send(event)]

    def note(self, text: str) -> None:
        self.emit(Noted(text=text))

    def tell_plan(self, plan: Plan) -> None:
        with self._lock:
            self._plan = plan
            for stream, tell_plan in self._streams:
                self._send_plan(stream, tell_plan, plan)

    def tell_waiting(self, domain: str, reason: str) -> None:
        """Why a run waits, whenever that has changed."""
        if self._reasons.get(domain) == reason:
            return
        self._reasons[domain] = reason
        if reason:
            self.emit(Queued(round=self._round, job=self._job, domain=domain, reason=reason))

    def tell_end(self, result: RunResult) -> None:
        """Of a run that never began."""
        self.emit(RunEnded(result=facts_of(result)))

    def conclude(self, result: RoundResult) -> None:
        """The round is over."""

        def end(stream: Stream) -> None:
            stream.send_result(result)
            stream.end(int(result.exit_code))

        self._end(end)

    def fail(self, error: XenbackupError) -> None:
        """The round came to nothing."""
        self._end(lambda stream: stream.fail(error))

    def _end(self, ending: Callable[[Stream], None]) -> None:
        with self._lock:
            self._ending = ending
            streams, self._streams = self._streams, []
        for stream, _ in streams:
            ending(stream)

    def _send_plan(self, stream: Stream, tell_plan: TellPlan, plan: Plan) -> None:
        told = tuple(
            f"{found.domain.name}: {text}." for found in plan.domains for text in found.warnings
        )
        stream.send(PlanTold(job=self._job, text=tell_plan(plan), told=told))
