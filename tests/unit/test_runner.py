"""The runner by itself: order of steps and journal lines, what a failure sets off, how it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from tests import builders as b
from tests.house import Watcher
from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.errors import CopyFailed, Interrupted, XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.job import StepName
from xenbackup.model.plan import PlannedStep
from xenbackup.model.run import Outcome
from xenbackup.pipeline import runner
from xenbackup.pipeline.context import RunContext
from xenbackup.records.journal import Journal, read_journal
from xenbackup.storage.destination import Destination

NOW = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
STEPS = (StepName.PAUSE, StepName.SNAPSHOT, StepName.UNPAUSE)
MADE = e.Snapshotting(vdev="xvda", group="xenvols", name="xb-1-xvda", origin_uuid=b.LV_UUID)
OTHER = e.Snapshotting(vdev="xvdb", group="xenvols", name="xb-1-xvdb", origin_uuid=b.LV_UUID)


@dataclass
class Done(Watcher):
    """Notes the end of steps as well."""

    done: list[StepName] = field(default_factory=list)

    def step_done(self, run_id: str, step: StepName) -> None:
        self.done.append(step)


@dataclass
class Stage:
    """A run on no host at all: `acts` are what its steps do, `told` what happened in order."""

    context: RunContext
    watcher: Done
    path: Path
    acts: dict[StepName, Callable[[], None]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    clean: bool = True
    stop: str = ""
    broken: XenbackupError | None = None

    def act(self, context: RunContext, planned: PlannedStep) -> None:
        assert context is self.context
        self.told.append(planned.step.value)
        self.acts.get(planned.step, lambda: None)()

    def discard(self, context: RunContext) -> None:
        assert context is self.context
        self.told.append("discard image")

    def undo(self, context: RunContext) -> bool:
        assert context.failure is not None
        if self.broken is not None:
            raise self.broken
        self.told.append(f"undo {context.failure.message}")
        return self.clean

    def entries(self) -> list[e.AnyEntry]:
        """What was written after the beginning."""
        return [line.entry for line in read_journal(self.path)][1:]

    def run(self) -> Outcome:
        return runner.run_pipeline(self.context)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    path = tmp_path / f"{b.RUN}.jsonl"
    journal = Journal(path, lambda: NOW)
    start = b.make_start("crash")
    plan = replace(start.plan, steps=tuple(PlannedStep(step=step) for step in STEPS))
    journal.create(e.RunStarted(start=replace(start, plan=plan)))
    watcher = Done()
    nothing = object()
    context = RunContext(
        host=cast(Host, nothing),
        toolstack=cast(Toolstack, nothing),
        lvm=cast(Lvm, nothing),
        destination=cast(Destination, nothing),
        journal=journal,
        watcher=watcher,
        cancelled=lambda: made.stop,
    )
    made = Stage(context=context, watcher=watcher, path=path)
    monkeypatch.setattr(runner, "STEPS", dict.fromkeys(STEPS, made.act))
    monkeypatch.setattr(runner, "undo_run", made.undo)
    monkeypatch.setattr(runner, "discard_memory_image", made.discard)
    return made


def fail(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def test_steps_run_in_the_order_of_the_plan_each_between_its_two_lines(stage: Stage) -> None:
    seen: list[list[e.AnyEntry]] = []
    stage.acts[StepName.SNAPSHOT] = lambda: seen.append(stage.entries())
    assert Outcome.OK == stage.run()
    assert ["pause", "snapshot", "unpause", "discard image"] == stage.told
    lines = [line for s in STEPS for line in (e.StepBegan(step=s), e.StepDone(step=s))]
    assert [lines[:3]] == seen, "the intent is on disk before the act, its outcome after"
    assert [*lines, e.RunEnded(outcome=Outcome.OK)] == stage.entries()
    assert list(STEPS) == stage.watcher.steps == stage.watcher.done
    assert stage.context.failure is None


def test_failed_step_is_told_then_undone_and_no_later_step_begins(stage: Stage) -> None:
    error = CopyFailed("The disk is gone.", hint="look at it")
    stage.acts[StepName.SNAPSHOT] = fail(error)
    assert Outcome.FAILED == stage.run()
    assert ["pause", "snapshot", "undo The disk is gone."] == stage.told
    assert error is stage.context.failure
    assert [
        e.StepBegan(step=StepName.SNAPSHOT),
        e.Failed(message="The disk is gone.", hint="look at it"),
        e.RunEnded(outcome=Outcome.FAILED),
    ] == stage.entries()[2:]
    assert ["The disk is gone."] == stage.watcher.rescues
    assert [StepName.PAUSE] == stage.watcher.done


def test_run_whose_undo_left_something_stays_open_for_recovery(stage: Stage) -> None:
    stage.acts[StepName.PAUSE] = fail(CopyFailed("x"))
    stage.clean = False
    assert Outcome.FAILED == stage.run()
    assert e.Failed(message="x", hint="") == stage.entries()[-1]


@pytest.mark.parametrize("clean", [True, False])
def test_stop_between_two_steps_begins_no_other(stage: Stage, clean: bool) -> None:
    """Cancelled only where nothing is left: an undo that failed is a failure."""

    def stop() -> None:
        stage.stop = "asked to"

    stage.acts[StepName.PAUSE] = stop
    stage.clean = clean
    assert (Outcome.CANCELLED if clean else Outcome.FAILED) == stage.run()
    assert ["pause", "undo The run of web was stopped: asked to."] == stage.told
    ended = [entry for entry in stage.entries() if isinstance(entry, e.RunEnded)]
    assert ([e.RunEnded(outcome=Outcome.CANCELLED)] if clean else []) == ended


def test_step_that_was_interrupted_counts_as_cancelled(stage: Stage) -> None:
    stage.acts[StepName.PAUSE] = fail(Interrupted("stopped"))
    assert Outcome.CANCELLED == stage.run()


def test_error_after_somebody_asked_to_stop_counts_as_cancelled(stage: Stage) -> None:
    def stop() -> None:
        stage.stop = "asked to"
        raise CopyFailed("stopped in the middle of a block")

    stage.acts[StepName.PAUSE] = stop
    assert Outcome.CANCELLED == stage.run()


def test_defect_is_undone_like_a_failure_and_then_raised(stage: Stage) -> None:
    stage.acts[StepName.SNAPSHOT] = fail(ValueError("no such thing"))
    with pytest.raises(ValueError, match="no such thing"):
        stage.run()
    assert ["pause", "snapshot", "undo ValueError: no such thing"] == stage.told
    assert type(stage.context.failure) is XenbackupError
    assert [
        e.Failed(message="ValueError: no such thing", hint=""),
        e.RunEnded(outcome=Outcome.FAILED),
    ] == stage.entries()[3:]


def test_end_of_the_process_is_no_failure_to_undo(stage: Stage) -> None:
    """Recovery does that, in a process that is not being ended."""
    stage.acts[StepName.PAUSE] = fail(SystemExit(143))
    with pytest.raises(SystemExit):
        stage.run()
    assert ["pause"] == stage.told
    assert [e.StepBegan(step=StepName.PAUSE)] == stage.entries()


@pytest.mark.parametrize(
    ("removed", "outcome"), [((), Outcome.PARTIAL), (("xb-1-xvda", "xb-1-xvdb"), Outcome.OK)]
)
def test_good_run_that_owes_a_snapshot_is_partial_and_stays_open(
    stage: Stage, removed: tuple[str, ...], outcome: Outcome
) -> None:
    def snapshot() -> None:
        stage.context.journal.write(MADE)
        stage.context.journal.write(OTHER)
        for name in removed:
            stage.context.journal.write(e.SnapshotRemoved(group="xenvols", name=name))

    stage.acts[StepName.SNAPSHOT] = snapshot
    assert outcome == stage.run()
    ended = [entry for entry in stage.entries() if isinstance(entry, e.RunEnded)]
    assert ([e.RunEnded(outcome=outcome)] if removed else []) == ended


def test_one_snapshot_owed_of_two_is_enough_to_stay_open(stage: Stage) -> None:
    def snapshot() -> None:
        stage.context.journal.write(MADE)
        stage.context.journal.write(OTHER)
        stage.context.journal.write(e.SnapshotRemoved(group="xenvols", name="xb-1-xvda"))

    stage.acts[StepName.SNAPSHOT] = snapshot
    assert Outcome.PARTIAL == stage.run()
    assert e.StepDone(step=StepName.UNPAUSE) == stage.entries()[-1]


def test_failed_run_that_owes_a_snapshot_stays_open(stage: Stage) -> None:
    def snapshot() -> None:
        stage.context.journal.write(MADE)
        raise CopyFailed("x")

    stage.acts[StepName.SNAPSHOT] = snapshot
    assert Outcome.FAILED == stage.run()
    assert e.Failed(message="x", hint="") == stage.entries()[-1]


def test_undo_that_fails_itself_leaves_the_run_open_and_says_why(stage: Stage) -> None:
    stage.acts[StepName.PAUSE] = fail(Interrupted("stopped"))
    stage.broken = CopyFailed("The host answers nothing.", hint="look at it")
    assert Outcome.FAILED == stage.run()
    assert [
        e.Failed(message="stopped", hint=""),
        e.Failed(message="The host answers nothing.", hint="look at it"),
    ] == stage.entries()[1:]


def test_journal_that_cannot_be_written_does_not_keep_the_undo_from_its_work(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    stage.acts[StepName.PAUSE] = lambda: monkeypatch.setattr(os, "fsync", refuse)
    assert Outcome.FAILED == stage.run()
    assert stage.told[-1].startswith("undo Cannot append to")
    assert stage.context.journal.unwritten, "what came after is known not to be on disk"
