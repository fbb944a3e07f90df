"""The runner: a plan becomes steps, steps become journal lines, a failure becomes an undo."""

from __future__ import annotations

from xenbackup.errors import Interrupted, XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.record import RunRecord
from xenbackup.model.run import Outcome
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps import STEPS
from xenbackup.pipeline.undo import discard_memory_image, undo_run


def run_pipeline(context: RunContext) -> Outcome:
    """Run every step of the plan; on any failure undo what was begun, guest first.

    The journal must be created already. Returns how the run ended; why is in the record.
    A failure that is not one of ours (a defect) is undone the same way, then raised.
    """
    try:
        for planned in context.plan.steps:
            context.check_cancelled()
            context.watcher.step_began(context.run_id, planned.step)
            context.journal.write(e.StepBegan(step=planned.step))
            STEPS[planned.step](context, planned)
            context.journal.write(e.StepDone(step=planned.step))
            context.watcher.step_done(context.run_id, planned.step)
    except XenbackupError as error:
        return _undo(context, error)
    except Exception as error:
        _undo(context, XenbackupError(f"{type(error).__name__}: {error}"))
        raise
    discard_memory_image(context)
    return _end(context, _judge(context.record))


def _undo(context: RunContext, error: XenbackupError) -> Outcome:
    context.failure = error
    # Whatever failed may be the journal itself: the guest comes back all the same.
    context.journal.go_on_unwritten()
    context.journal.write(e.Failed(message=error.message, hint=error.hint))
    stopped = isinstance(error, Interrupted) or bool(context.cancelled())
    context.watcher.rescue_began(context.run_id, error.message)
    clean = _try_undo(context)
    outcome = Outcome.CANCELLED if stopped and clean else Outcome.FAILED
    if not clean:
        return outcome
    return _end(context, outcome)


def _try_undo(context: RunContext) -> bool:
    """False when recovery must come back to it: then the journal stays open."""
    try:
        return undo_run(context)
    except XenbackupError as error:
        context.journal.write(e.Failed(message=error.message, hint=error.hint))
        return False


def _judge(record: RunRecord) -> Outcome:
    """All steps done: good, unless a snapshot is still owed."""
    owed = any(not made.removed for made in record.snapshots)
    return Outcome.PARTIAL if owed else Outcome.OK


def _end(context: RunContext, outcome: Outcome) -> Outcome:
    """Close the journal's story, unless something of ours is still left for recovery to clear."""
    if all(made.removed for made in context.record.snapshots):
        context.journal.write(e.RunEnded(outcome=outcome))
    return outcome
