"""Ctrl-C while the service does the work: what is said is no more than what is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from xenbackup.cli.attaching import run_in_daemon
from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import Output
from xenbackup.service.control import client
from xenbackup.service.control.events import Attached, Event

ROUND = "20261122T023000Z-k3f9qa"
INTERRUPTED = 130


class InterruptedClient:
    """Tells what it was given, then somebody presses Ctrl-C."""

    def __init__(self, *events: Event) -> None:
        self._events = events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def request(self, _: object) -> Iterator[Event]:
        yield from self._events
        raise KeyboardInterrupt


def follow(monkeypatch: pytest.MonkeyPatch, *events: Event) -> int | None:
    answer = InterruptedClient(*events)
    monkeypatch.setattr(client, "has_socket", lambda _: True)
    monkeypatch.setattr(client.ControlClient, "connect", lambda _: answer)
    return run_in_daemon(Invocation(output=Output(), simulated=Path("/none")), "nightly", "")


def test_detaching_names_the_round_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert INTERRUPTED == follow(monkeypatch, Attached(round=ROUND, job="nightly"))
    told = capsys.readouterr().err
    assert "the service goes on with job nightly" in told
    assert f"`xenbackup cancel {ROUND}` stops it" in told


def test_detaching_before_the_first_answer_claims_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert INTERRUPTED == follow(monkeypatch)
    told = capsys.readouterr().err
    assert "it may run job nightly, or not" in told
    assert "goes on" not in told
    assert "ROUND" not in told
