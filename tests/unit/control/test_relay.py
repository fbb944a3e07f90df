"""A run of the daemon is shown as one of the client's own: the same calls, the same results."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.control.conftest import RUN, make_round, make_run
from xenbackup.cli.output import Output
from xenbackup.cli.watching import ProgramWatcher
from xenbackup.errors import FrameRefused
from xenbackup.model.job import StepName
from xenbackup.model.progress import RunWatcher
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.service.control.events import (
    End,
    Event,
    Noted,
    ResultTold,
    RunFacts,
    StepBegan,
    decode_event,
    encode_event,
)
from xenbackup.service.control.frames import PIECE_BYTES
from xenbackup.service.control.relay import (
    WARNINGS_LIMIT,
    RelayWatcher,
    facts_of,
    replay,
    result_of,
    round_of,
    tell_round,
)


class Listener:
    """Writes down each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        self.calls.append(("run_began", run_id, domain, steps))

    def step_began(self, run_id: str, step: StepName) -> None:
        self.calls.append(("step_began", run_id, step))

    def step_done(self, run_id: str, step: StepName) -> None:
        self.calls.append(("step_done", run_id, step))

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        self.calls.append(("amount_done", run_id, what, done, total))

    def absence_began(self, run_id: str) -> None:
        self.calls.append(("absence_began", run_id))

    def absence_ended(self, run_id: str) -> None:
        self.calls.append(("absence_ended", run_id))

    def rescue_began(self, run_id: str, reason: str) -> None:
        self.calls.append(("rescue_began", run_id, reason))

    def warned(self, run_id: str, message: str) -> None:
        self.calls.append(("warned", run_id, message))

    def run_ended(self, result: RunResult) -> None:
        self.calls.append(("run_ended", result))


FAILED = make_run(
    outcome=Outcome.FAILED,
    preset="checkpoint",
    consistency="memory",
    point=RUN,
    away_seconds=1.5,
    bytes_read=1 << 40,
    bytes_written=1,
    duration_seconds=99.25,
    warnings=("one", "two"),
    error="why",
    hint="what next",
    exit_code=10,
    may_pass=True,
)


def play(watcher: RunWatcher) -> None:
    watcher.run_began(RUN, "web", (StepName.SAVE_PAUSED, StepName.COPY))
    watcher.step_began(RUN, StepName.SAVE_PAUSED)
    watcher.absence_began(RUN)
    watcher.amount_done(RUN, "saving memory", 1, 1 << 33)
    watcher.step_done(RUN, StepName.SAVE_PAUSED)
    watcher.absence_ended(RUN)
    watcher.warned(RUN, "a line\nand another")
    watcher.rescue_began(RUN, "no room")
    watcher.run_ended(FAILED)


def test_every_call_of_a_watcher_arrives_as_it_was_made() -> None:
    direct, played = Listener(), Listener()
    play(direct)

    def carry(event: Event) -> None:
        assert replay(decode_event(encode_event(event)), played)

    play(RelayWatcher(carry))
    assert direct.calls == played.calls
    calls = {name for name, _ in inspect.getmembers(RunWatcher, inspect.isfunction)}
    assert {name for name in calls if not name.startswith("_")} == {
        str(name) for name, *_ in direct.calls
    }


def test_program_reads_the_same_lines_of_a_run_of_the_daemon(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read_lines() -> list[str]:
        """Without those of the log, which bear the time."""
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]

    play(ProgramWatcher(Output(), clock=lambda: 0.0))
    expected = read_lines()
    watcher = ProgramWatcher(Output(), clock=lambda: 0.0)
    play(RelayWatcher(lambda event: replay(decode_event(encode_event(event)), watcher)))
    assert expected
    assert expected == read_lines()


def test_other_events_are_no_calls() -> None:
    listener = Listener()
    assert not replay(Noted(text="x"), listener)
    assert not replay(End(), listener)
    assert [] == listener.calls


def test_step_that_there_is_not_is_refused() -> None:
    with pytest.raises(FrameRefused, match="'teleport'"):
        replay(StepBegan(run=RUN, step="teleport"), Listener())


def test_facts_of_a_run_are_those_of_the_model() -> None:
    assert [found.name for found in fields(RunResult)] == list(RunFacts.__struct_fields__)
    assert FAILED == result_of(facts_of(FAILED))


@given(st.integers(0, 40), st.integers(1, 20_000))
def test_round_comes_in_parts_and_is_whole_again(runs: int, limit_bytes: int) -> None:
    result = make_round(*(make_run(number, error="x" * number) for number in range(runs)))
    parts = tell_round(result, limit_bytes=limit_bytes)
    assert [True] * (len(parts) - 1) + [False] == [part.more for part in parts]
    assert result.runs == tuple(run for part in parts for run in round_of(part).runs)
    if len(parts) == 1:
        assert result == round_of(parts[0])


def test_round_that_failed_before_any_run_says_why() -> None:
    result = replace(make_round(), outcome=Outcome.FAILED, exit_code=1, error="why", hint="what")
    (part,) = tell_round(result, limit_bytes=1000)
    assert result == round_of(part)
    assert [found.name for found in fields(RoundResult)] == [
        name for name in ResultTold.__struct_fields__ if name not in ("version", "more")
    ]


def test_longest_run_still_fits_into_a_frame() -> None:
    wordy = make_run(warnings=("\x1b" * 9000,) * 9000, error="\x1b" * 90_000, hint="\x1b" * 90_000)
    (part,) = tell_round(make_round(wordy), limit_bytes=PIECE_BYTES // 2)
    assert len(encode_event(part)) < PIECE_BYTES
    warnings = part.runs[0].warnings
    assert WARNINGS_LIMIT + 1 == len(warnings)
    assert f"{9000 - WARNINGS_LIMIT} more warnings are in the journal of run {RUN}" == warnings[-1]
