"""What those who watch a run receive: JSON lines with a bounded rate, lines for a person."""

from __future__ import annotations

import json

import pytest

from xenbackup.cli.output import Output
from xenbackup.cli.page import Page
from xenbackup.cli.watching import PROGRESS_SECONDS, PersonWatcher, ProgramWatcher
from xenbackup.model.job import StepName
from xenbackup.model.run import Outcome, RunResult

RUN = "20261122T023000Z-k3f9qa"


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def read_events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_progress_for_programs_is_told_twice_a_second_and_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    watcher = ProgramWatcher(Output(), clock)
    for done in range(101):
        watcher.amount_done(RUN, "xvda", done, 100)
        clock.seconds += PROGRESS_SECONDS / 8
    told = [event["bytes_done"] for event in read_events(capsys)]
    assert [*range(0, 100, 8), 100] == told


def test_progress_of_each_thing_is_told_from_its_beginning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watcher = ProgramWatcher(Output(), Clock())
    watcher.amount_done(RUN, "xvda", 1, 9)
    watcher.amount_done(RUN, "xvdb", 2, 9)
    assert [
        {"event": "progress", "run": RUN, "what": "xvda", "bytes_done": 1, "bytes_total": 9},
        {"event": "progress", "run": RUN, "what": "xvdb", "bytes_done": 2, "bytes_total": 9},
    ] == read_events(capsys)


def test_events_have_the_promised_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = ProgramWatcher(Output(), Clock())
    watcher.run_began(RUN, "web", (StepName.SAVE, StepName.COPY))
    watcher.step_began(RUN, StepName.SAVE)
    watcher.step_done(RUN, StepName.SAVE)
    watcher.warned(RUN, "odd")
    watcher.rescue_began(RUN, "it broke")
    watcher.run_ended(
        RunResult(run=RUN, domain="web", uuid="u", outcome=Outcome.FAILED, error="e", hint="h")
    )
    assert [
        {"event": "run-began", "run": RUN, "domain": "web", "steps": ["save", "copy"]},
        {"event": "step-began", "run": RUN, "step": "save"},
        {"event": "step-done", "run": RUN, "step": "save"},
        {"event": "warning", "run": RUN, "message": "odd"},
        {"event": "rescue", "run": RUN, "reason": "it broke"},
        {
            "event": "run-ended",
            "run": RUN,
            "domain": "web",
            "uuid": "u",
            "outcome": "failed",
            "preset": "",
            "consistency": "",
            "point": "",
            "away_seconds": 0.0,
            "bytes_read": 0,
            "bytes_written": 0,
            "duration_seconds": 0.0,
            "warnings": [],
            "error": "e",
            "hint": "h",
        },
    ] == read_events(capsys)


def test_person_reads_steps_with_their_time_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    watcher = PersonWatcher(Output(), Page(), clock, draws=False)
    watcher.run_began(RUN, "web", (StepName.SAVE,))
    watcher.step_began(RUN, StepName.SAVE)
    clock.seconds += 65
    watcher.amount_done(RUN, "saving memory", 1, 2)
    watcher.step_done(RUN, StepName.SAVE)
    watcher.rescue_began(RUN, "It broke.")
    captured = capsys.readouterr()
    assert "" == captured.out
    assert [
        "web: save, 1 min 05 s",
        "web: being undone, the guest first. It broke.",
    ] == captured.err.splitlines()


def test_steps_of_two_guests_at_once_have_each_its_own_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock, other = Clock(), "20261122T023000Z-m2xw7d"
    watcher = PersonWatcher(Output(), Page(), clock, draws=False)
    watcher.run_began(RUN, "web", (StepName.COPY,))
    watcher.run_began(other, "db", (StepName.SYNC,))
    watcher.step_began(RUN, StepName.COPY)
    clock.seconds += 60
    watcher.step_began(other, StepName.SYNC)
    clock.seconds += 2
    watcher.step_done(other, StepName.SYNC)
    watcher.step_done(RUN, StepName.COPY)
    expected = ["db: sync, 2.0 s", "web: copy, 1 min 02 s"]
    assert expected == capsys.readouterr().err.splitlines()


def test_name_with_control_characters_cannot_forge_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watcher = PersonWatcher(Output(), Page(), Clock(), draws=False)
    watcher.run_began(RUN, "web\nroot: ok\x1b[2J", (StepName.SAVE,))
    watcher.step_began(RUN, StepName.SAVE)
    watcher.step_done(RUN, StepName.SAVE)
    assert [r"web\nroot: ok\x1b[2J: save, 0.00 s"] == capsys.readouterr().err.splitlines()
