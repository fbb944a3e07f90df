"""Global options, and the verbs that every host needs: what is read, and what a program gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from xenbackup import __version__


@pytest.mark.parametrize("after", [False, True])
def test_global_options_work_before_and_after_the_verb(shell: Shell, after: bool) -> None:
    config = str(shell.directory / "etc/xenbackup/config.toml")
    options = ["--simulated", str(shell.directory), "--json", "--config", config]
    for verb in (["points"], ["config", "show"], ["plan", "nightly"]):
        words = [*verb, *options] if after else [*options, *verb]
        called = shell.plain(*words)
        assert 0 == called.exit_code, called.err
        assert 1 == called.json["schema"]


def test_global_options_work_between_a_group_and_its_verb(shell: Shell) -> None:
    called = shell.plain("config", "--json", "show", "--simulated", str(shell.directory))
    assert 0 == called.exit_code
    assert 1 == called.json["schema"]


def test_configuration_after_the_verb_wins(shell: Shell, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("")
    other.chmod(0o600)
    (tmp_path / "jobs").mkdir()
    called = shell("--config", "/nowhere.toml", "config", "show", "--config", str(other))
    assert 0 == called.exit_code
    assert "other.toml" in called.out
    assert "There is no destination" in called.out


def test_version_and_help(shell: Shell) -> None:
    assert f"xenbackup {__version__}\n" == shell.plain("--version").out
    for words in ((), ("run",), ("restore",), ("config", "show")):
        called = shell.plain(*words, "--help")
        assert 0 == called.exit_code
        assert "Usage: xenbackup" in called.out
        assert max(len(line) for line in called.out.splitlines()) <= 80


def test_real_process_gives_the_same_answer(shell: Shell) -> None:
    called = shell.process("points", "--json")
    assert 0 == called.exit_code
    assert "" == called.err
    assert shell("points", "--json").json == called.json


def test_verbose_logs_to_stderr_alone(shell: Shell) -> None:
    called = shell.process("-v", "run", "nightly", "--json")
    assert 0 == called.exit_code
    assert "result" == called.events[-1]["event"]
    logged = [json.loads(line) for line in called.err.splitlines()]
    copied = [
        event for event in logged if (event["event"], event.get("step")) == ("step-done", "copy")
    ]
    assert ["router", "web"] == sorted(event["domain"] for event in copied)
    assert {"run", "level", "timestamp"} <= copied[0].keys()


def test_log_is_quiet_unless_asked(shell: Shell) -> None:
    assert "" == shell.process("run", "nightly", "--json").err


def test_recover_with_nothing_to_do(shell: Shell) -> None:
    called = shell("recover")
    assert (0, "Nothing to recover: every run has ended.\n") == (called.exit_code, called.out)
    assert {
        "schema": 1,
        "exit_code": 0,
        "runs": [],
        "restores": [],
        "removals": {"finished": [], "troubles": [], "silent": []},
    } == shell("recover", "--json").json


def test_destination_init_is_repeatable(bare: Shell) -> None:
    first = bare("destination", "init", "local")
    assert 0 == first.exit_code
    assert "is ready now" in first.out
    again = bare("destination", "init", "local", "--json").json
    assert ["schema", "destination", "kind", "path", "id", "fresh", "volumes", "remark"] == list(
        again
    )
    assert again["fresh"] is False


def test_config_show_and_validate(shell: Shell) -> None:
    shown = shell("config", "show")
    assert 0 == shown.exit_code
    assert re.search(
        r"^nightly +30 2 \* \* \* +checkpoint +local +\*; crash for router$", shown.out, re.M
    )
    shape = shell("config", "show", "--json").json
    assert [
        "schema",
        "path",
        "toolstack",
        "bandwidth_limit_bytes_per_second",
        "spool_path",
        "state_path",
        "destinations",
        "jobs",
        "problems",
    ] == list(shape)
    valid = shell("config", "validate")
    assert 0 == valid.exit_code
    assert "is good" in valid.out
    assert ["schema", "path", "destinations", "jobs", "problems"] == list(
        shell("config", "validate", "--json").json
    )


def test_config_needs_no_tool_of_the_host(shell: Shell) -> None:
    """It reads files alone, so it works before xl and LVM do, and makes no folder."""
    config = shell.directory / "etc/xenbackup/config.toml"
    called = shell.plain("config", "validate", "--config", str(config))
    assert 0 == called.exit_code
