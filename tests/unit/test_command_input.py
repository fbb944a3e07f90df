"""What a command gets besides its arguments: an environment of its own, and something to read."""

from __future__ import annotations

import pytest

from xenbackup.model.command import Command, CommandResult
from xenbackup.system.command import SEARCH_PATH, SystemCommands


def run(
    script: str, *, stdin: bytes = b"", environment: tuple[tuple[str, str], ...] = ()
) -> CommandResult:
    command = Command(
        argv=("sh", "-c", script), timeout_seconds=60, stdin=stdin, environment=environment
    )
    return SystemCommands().run(command)


def test_input_is_read_whole_and_ends() -> None:
    content = b"line\n" * 100_000

    assert content.decode() == run("cat", stdin=content).stdout


def test_command_that_reads_nothing_of_its_input_does_not_hold_us_up() -> None:
    assert 3 == run("exit 3", stdin=b"x" * (1 << 22)).exit_code


def test_command_without_input_finds_none() -> None:
    assert "0\n" == run("wc -c").stdout


def test_environment_is_added_to_the_little_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENBACKUP_OF_THE_PARENT", "x")

    lines = run("env", environment=(("A", "b $(id) \u00fc"), ("LC_ALL", "C.UTF-8"))).stdout

    assert "A=b $(id) \u00fc\n" in lines
    assert "LC_ALL=C.UTF-8\n" in lines
    assert f"PATH={SEARCH_PATH}\n" in lines
    assert "PARENT" not in lines


def test_input_of_one_command_is_not_seen_by_another() -> None:
    """Both are started from one process, each with a descriptor of its own."""
    assert "0\n" == run("ls -l /proc/self/fd | grep -c memfd; true").stdout
    assert "first" == run("cat", stdin=b"first").stdout
    assert "second" == run("cat", stdin=b"second").stdout
