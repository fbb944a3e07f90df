"""Between a run's watcher and events: the daemon tells a run's course, a client plays it again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from xenbackup.errors import FrameRefused
from xenbackup.model.job import StepName
from xenbackup.model.progress import RunWatcher
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.service.control.events import (
    AbsenceBegan,
    AbsenceEnded,
    AmountDone,
    Event,
    RescueBegan,
    ResultTold,
    RunBegan,
    RunEnded,
    RunFacts,
    StepBegan,
    StepDone,
    Warned,
    clip,
)

# Together they keep one run's facts well below a frame.
WARNINGS_LIMIT = 50
_WARNING_LETTERS = 1000


class RelayWatcher:
    """A watcher that gives an event for every call; `emit` must return quickly."""

    def __init__(self, emit: Callable[[Event], object]) -> None:
        self._emit = emit

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        self._emit(RunBegan(run=run_id, domain=domain, steps=tuple(step.value for step in steps)))

    def step_began(self, run_id: str, step: StepName) -> None:
        self._emit(StepBegan(run=run_id, step=step.value))

    def step_done(self, run_id: str, step: StepName) -> None:
        self._emit(StepDone(run=run_id, step=step.value))

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        self._emit(AmountDone(run=run_id, what=what, done=done, total=total))

    def absence_began(self, run_id: str) -> None:
        self._emit(AbsenceBegan(run=run_id))

    def absence_ended(self, run_id: str) -> None:
        self._emit(AbsenceEnded(run=run_id))

    def rescue_began(self, run_id: str, reason: str) -> None:
        self._emit(RescueBegan(run=run_id, reason=clip(reason)))

    def warned(self, run_id: str, message: str) -> None:
        self._emit(Warned(run=run_id, message=clip(message)))

    def run_ended(self, result: RunResult) -> None:
        self._emit(RunEnded(result=facts_of(result)))


def replay(event: Event, watcher: RunWatcher) -> bool:
    """Make the call of the watcher that this event stands for; False when it stands for none.

    Raises: FrameRefused for a step that there is not.
    """
    if isinstance(event, RunBegan):
        steps = tuple(_find_step(step) for step in event.steps)
        watcher.run_began(event.run, event.domain, steps)
    elif isinstance(event, StepBegan):
        watcher.step_began(event.run, _find_step(event.step))
    elif isinstance(event, StepDone):
        watcher.step_done(event.run, _find_step(event.step))
    elif isinstance(event, AmountDone):
        watcher.amount_done(event.run, event.what, event.done, event.total)
    elif isinstance(event, AbsenceBegan):
        watcher.absence_began(event.run)
    elif isinstance(event, AbsenceEnded):
        watcher.absence_ended(event.run)
    elif isinstance(event, RescueBegan):
        watcher.rescue_began(event.run, event.reason)
    elif isinstance(event, Warned):
        watcher.warned(event.run, event.message)
    elif isinstance(event, RunEnded):
        watcher.run_ended(result_of(event.result))
    else:
        return False
    return True


def facts_of(result: RunResult) -> RunFacts:
    """A run's result for the wire; what is far too long for a message is cut, and says so."""
    warnings = [clip(text, _WARNING_LETTERS) for text in result.warnings[:WARNINGS_LIMIT]]
    left_out = len(result.warnings) - len(warnings)
    if left_out:
        warnings.append(f"{left_out} more warnings are in the journal of run {result.run}")
    return RunFacts(
        run=result.run,
        domain=result.domain,
        uuid=result.uuid,
        outcome=result.outcome.value,
        preset=result.preset,
        consistency=result.consistency,
        point=result.point,
        away_seconds=result.away_seconds,
        bytes_read=result.bytes_read,
        bytes_written=result.bytes_written,
        duration_seconds=result.duration_seconds,
        warnings=tuple(warnings),
        error=clip(result.error),
        hint=clip(result.hint),
        exit_code=int(result.exit_code),
        may_pass=result.may_pass,
    )


def result_of(facts: RunFacts) -> RunResult:
    """The result that the facts tell of."""
    fields = msgspec.structs.asdict(facts)
    return RunResult(**{**fields, "outcome": Outcome(facts.outcome)})


def tell_round(result: RoundResult, *, limit_bytes: int) -> tuple[ResultTold, ...]:
    """A round's result in as many parts as it needs to keep each one near `limit_bytes`."""
    parts: list[list[RunFacts]] = [[]]
    size_bytes = 0
    for facts in map(facts_of, result.runs):
        # Room for the worst spelling: every letter of a text as six bytes.
        added = 6 * sum(map(len, (*facts.warnings, facts.error, facts.hint, facts.domain))) + 1000
        if parts[-1] and size_bytes + added > limit_bytes:
            parts.append([])
            size_bytes = 0
        parts[-1].append(facts)
        size_bytes += added
    return tuple(
        ResultTold(
            round=result.round,
            job=result.job,
            outcome=result.outcome.value,
            exit_code=int(result.exit_code),
            runs=tuple(part),
            error=clip(result.error),
            hint=clip(result.hint),
            more=number < len(parts),
        )
        for number, part in enumerate(parts, start=1)
    )


def round_of(told: ResultTold) -> RoundResult:
    """The round that a whole result tells of."""
    return RoundResult(
        round=told.round,
        job=told.job,
        outcome=Outcome(told.outcome),
        exit_code=told.exit_code,
        runs=tuple(result_of(facts) for facts in told.runs),
        error=told.error,
        hint=told.hint,
    )


def _find_step(name: str) -> StepName:
    try:
        return StepName(name)
    except ValueError as error:
        raise FrameRefused(f"The daemon tells of a step {name!r} that there is not.") from error
