"""`xenbackup status --watch`: told again and again, until somebody has seen enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.status_reports import make_report
from xenbackup.cli import status_telling
from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import Output
from xenbackup.cli.status_telling import watch_status
from xenbackup.errors import UsageError
from xenbackup.model.status import StatusReport


class Sleeper:
    """Lets so many looks pass, then presses Ctrl-C."""

    def __init__(self, looks: int, act: Callable[[int], None] = lambda look: None) -> None:
        self.left = looks
        self.looks = 0
        self._act = act

    def __call__(self, seconds: float) -> None:
        assert seconds == status_telling.WATCH_SECONDS
        self.looks += 1
        self._act(self.looks)
        if self.looks >= self.left:
            raise KeyboardInterrupt


def watch(invocation: Invocation, read: Callable[[], StatusReport], sleeper: Sleeper) -> int:
    return watch_status(invocation, read, sleeper)


def test_watching_tells_again_until_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation(output=Output())
    assert 0 == watch(invocation, make_report, Sleeper(3))
    out = capsys.readouterr().out
    assert 3 == out.count("3 guests have a good point")
    assert "\x1b" not in out


def test_watching_for_a_program_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation(output=Output(), json=True)
    assert 0 == watch(invocation, make_report, Sleeper(2))
    lines = capsys.readouterr().out.splitlines()
    assert [1, 1] == [json.loads(line)["schema"] for line in lines]


def test_watching_clears_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_telling, "is_terminal", lambda stream: True)
    monkeypatch.setenv("TERM", "xterm")
    told: list[str] = []
    invocation = Invocation(output=Output())
    monkeypatch.setattr(invocation.output, "say", told.append)
    watch(invocation, make_report, Sleeper(2))
    assert ["\x1b[H\x1b[2J"] * 2 == [text[:7] for text in told]


def test_watching_goes_on_while_the_daemon_is_restarted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = iter((make_report(), None, replace(make_report(), host="xen2")))

    def read() -> StatusReport:
        answer = next(answers)
        if answer is None:
            raise UsageError("No daemon just now.")
        return answer

    assert 0 == watch(Invocation(output=Output()), read, Sleeper(3))
    captured = capsys.readouterr()
    assert "No daemon just now. What is shown may be old." in captured.err
    assert "xen2  2026-11-22" in captured.out


def test_watching_does_not_begin_with_an_error() -> None:
    def read() -> StatusReport:
        raise UsageError("There is no configuration.")

    with pytest.raises(UsageError, match="no configuration"):
        watch(Invocation(output=Output()), read, Sleeper(1))


def test_watching_ends_when_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    invocation = Invocation(output=Output())
    sleeper = Sleeper(5, lambda look: invocation.output._silent.add("stdout"))
    assert 0 == watch(invocation, make_report, sleeper)
    assert 1 == sleeper.looks
