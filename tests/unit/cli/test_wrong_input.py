"""What a person reads after a mistake: one message, a hint, the right exit code, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell

USAGE = 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("rnu", "nightly"), ("no verb", "rnu", "did you mean `run`", "restore")),
        (("frobnicate",), ("no verb", "frobnicate", "the verbs are demo, init, inventory")),
        (("config", "shwo"), ("no verb", "shwo", "did you mean `show`")),
        (("destination",), ("Usage: xenbackup destination",)),
        (("run",), ("JOB", "`xenbackup run --help`")),
        (("run", "nigthly"), ('no job "nigthly"', "did you mean `nightly`")),
        (("run", "nightly", "--domain", "wbe"), ('no guest "wbe"', "did you mean `web`", "router")),
        (("run", "nightly", "--dryrun"), ("--dryrun", "--dry-run")),
        (("run", "nightly", "extra"), ("unexpected extra argument", "extra")),
        (("plan", "../etc/passwd"), ("no job", "nightly")),
        (("show", "nonsense"), ("nonsense",)),
        (("show", "2026"), ("begin with", "give more letters")),
        (("restore", "nobody@latest"), ("nobody", "router, web")),
        (("restore", "web@yesterday"), ("web@yesterday", "latest")),
        (("restore", "web@latest", "--disk", "xvda"), ("VDEV=PATH",)),
        (("restore", "web@latest", "--disk", "xvda=web.img"), ("begins with /",)),
        (("restore", "web@latest", "--image-dir", "images"), ("begins with /",)),
        (
            ("restore", "web@latest", "--volume-group", "a", "--image-dir", "/b"),
            ("contradict each other",),
        ),
        (("verify", "20990101T000000Z-aaaaaa"), ("No recovery point", "xenbackup points")),
        (("destination", "init", "lokal"), ("lokal", "local")),
        (("runs", "-n", "0"), ("-n", "x>=1")),
        (("demo",), ("leave out --simulated",)),
        (("run", "nightly", "--domain", ""), ("'--domain' is given, and empty", "variable")),
        (("restore", "web@latest", "--domain", ""), ("'--domain' is given, and empty",)),
        (("restore", "web@latest", "--volume-group", ""), ("'--volume-group' is given",)),
        (("prune", ""), ("JOB", "is given, and empty")),
        (("verify", ""), ("POINT", "is given, and empty")),
        (("check", ""), ("JOB", "is given, and empty")),
        (("points", ""), ("DOMAIN", "is given, and empty")),
        (("show", ""), ("is given, and empty",)),
    ],
)
def test_mistake_is_explained(shell: Shell, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    called = shell(*words)
    assert (USAGE, "") == (called.exit_code, called.out)
    assert "Traceback" not in called.err
    for part in parts:
        assert part in called.err


def test_no_verb_at_all_shows_the_help(shell: Shell) -> None:
    called = shell.plain()
    assert USAGE == called.exit_code
    assert "Commands:" in called.err


def test_directory_without_a_host_names_the_demo(shell: Shell, tmp_path: Path) -> None:
    called = shell.plain("--simulated", str(tmp_path / "nowhere"), "points")
    assert USAGE == called.exit_code
    assert "holds no simulated host" in called.err
    assert "xenbackup demo --directory" in called.err


def test_missing_configuration_is_named(shell: Shell, tmp_path: Path) -> None:
    called = shell("points", "--config", str(tmp_path / "none.toml"))
    assert USAGE == called.exit_code
    assert "none.toml" in called.err
    assert "`xenbackup init` writes a first configuration" in called.err


def test_all_problems_of_a_broken_job_are_told_at_once(shell: Shell) -> None:
    shell.write_job("broken", 'domains = "web"\npreset = "snapsot"\nattempts = 3\n')
    for words in (("run", "broken"), ("config", "validate")):
        called = shell(*words)
        assert USAGE == called.exit_code
        for part in ("snapsot", "did you mean `snapshot`", "attempts", "domains", "destination"):
            assert part in called.err


def test_broken_job_does_not_keep_the_others_from_running(shell: Shell) -> None:
    shell.write_job("broken", "domains = 1\n")
    called = shell("run", "nightly")
    assert 0 == called.exit_code
    assert "Warning:" in called.err
    assert "broken.toml" in called.err


def test_uninitialised_destination_ends_with_its_own_code(bare: Shell) -> None:
    called = bare("run", "nightly")
    assert 10 == called.exit_code
    assert "xenbackup destination init local" in called.err
    assert 10 == bare("points").exit_code


def test_job_that_selects_nothing_says_what_to_compare(shell: Shell) -> None:
    shell.write_job("idle", 'domains = ["mail*"]\npreset = "crash"\ndestination = "local"\n')
    called = shell("run", "idle")
    assert 1 == called.exit_code
    assert "selects no domain" in called.err
    assert "Hint:" in called.err


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "rnu"),
        ("rnu", "--json"),
        ("run", "nigthly", "--json"),
        ("run", "--bogus", "--json"),
        ("restore", "nobody@latest", "--json"),
        ("--json",),
    ],
)
def test_error_under_json_is_one_object_on_stdout(shell: Shell, words: tuple[str, ...]) -> None:
    called = shell(*words)
    assert USAGE == called.exit_code
    content = called.json
    assert {"event", "schema", "error"} == content.keys()
    assert ("error", 1) == (content["event"], content["schema"])
    error = content["error"]
    assert isinstance(error, dict)
    assert {"message", "hint", "exit_code"} == error.keys()
    assert USAGE == error["exit_code"]
    assert error["message"]


def test_json_behind_a_double_dash_is_no_option(shell: Shell) -> None:
    called = shell("run", "--", "--json")
    assert (USAGE, "") == (called.exit_code, called.out)
    assert 'no job "--json"' in called.err


def test_defect_leaves_one_sentence_and_a_file(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "memory of a guest"

    def fail(*arguments: object) -> None:
        kept = secret
        raise KeyError(f"broken {len(kept)}")

    monkeypatch.setattr("xenbackup.operations.points.list_points", fail)
    called = shell("points")
    assert (1, "") == (called.exit_code, called.out)
    assert "Traceback" not in called.err
    assert "please report it with the file" in called.err
    (log,) = (shell.directory / "var/lib/xenbackup").glob("defect-*.log")
    assert str(log) in called.err.replace("\n", " ")
    assert "Traceback" in log.read_text()
    assert secret not in log.read_text()
    assert 0o600 == log.stat().st_mode & 0o777


def test_defect_under_json_is_an_object(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("xenbackup.operations.points.list_points", fail)
    called = shell("points", "--json")
    assert 1 == called.exit_code
    assert "RuntimeError" in json.dumps(called.json["error"])
