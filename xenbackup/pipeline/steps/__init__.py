"""The steps: each one act of a run, idempotent, with its intent in the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xenbackup.model.job import StepName
from xenbackup.model.plan import PlannedStep
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps import copy, memory, pause, snapshot

Step = Callable[[RunContext, PlannedStep], None]

STEPS: Mapping[StepName, Step] = {
    StepName.SAVE: memory.save,
    StepName.SAVE_PAUSED: memory.save_paused,
    StepName.RESTORE: memory.restore,
    StepName.SYNC: pause.sync,
    StepName.PAUSE: pause.pause,
    StepName.UNPAUSE: pause.unpause,
    StepName.SNAPSHOT: snapshot.snapshot,
    StepName.REMOVE_SNAPSHOT: snapshot.remove_snapshot,
    StepName.COPY: copy.copy,
}
