"""Pages that the daemon renders for those who may look but cannot read the state themselves."""

from __future__ import annotations

import re

import pytest

from tests.service.living import DaemonHost
from xenbackup.cli.invocation import Invocation
from xenbackup.cli.main import main

LOOKS = (
    ("runs",),
    ("points",),
    ("points", "web"),
    ("show", "web@latest"),
    ("check",),
    ("plan", "nightly"),
    ("inventory",),
    ("inventory", "disks"),
    ("show", "nothing-of-that-name"),
    ("points", "--json"),
    ("runs", "--json"),
    ("plan", "nightly", "--json"),
    ("plan", "nigthly", "--json"),
)


def forget_ages(text: str) -> str:
    """Between two looks the clock goes on, guests write, and columns grow with their numbers."""
    return re.sub(r"[ -]+", " ", re.sub(r"just now|[\d.]+ m?s ago|[\d.]+%", "…", text))


def test_stranger_gets_the_pages_that_root_gets(
    host: DaemonHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.start()
    assert 0 == host.call("run", "nightly").returncode

    def look(words: tuple[str, ...]) -> tuple[int, str, str]:
        exit_code = main(["--simulated", str(host.directory), *words])
        captured = capsys.readouterr()
        return exit_code, forget_ages(captured.out), captured.err

    own = [look(words) for words in LOOKS]
    monkeypatch.setattr(Invocation, "is_stranger", property(lambda _: True))
    monkeypatch.setattr(Invocation, "open_house", None)
    rendered = [look(words) for words in LOOKS]
    for words, expected, actual in zip(LOOKS, own, rendered, strict=True):
        assert expected == actual, words


def test_verb_of_a_group_is_no_page_of_the_daemon_though_it_bears_the_name_of_one(
    host: DaemonHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Invocation, "is_stranger", property(lambda _: True))
    exit_code = main(["--simulated", str(host.directory), "config", "show"])
    captured = capsys.readouterr()
    assert (0, "") == (exit_code, captured.err)
    assert "nightly" in captured.out


def test_stranger_without_a_daemon_looks_for_himself(
    host: DaemonHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Invocation, "is_stranger", property(lambda _: True))
    assert 0 == main(["--simulated", str(host.directory), "plan", "nightly"])
    assert "checkpoint" in capsys.readouterr().out
