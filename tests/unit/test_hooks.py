"""Hooks: what they learn, what they may veto, and what none of their misdeeds can do."""

from __future__ import annotations

import os
import select
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.rounds import make_round, make_run
from xenbackup.errors import HookFailed
from xenbackup.model.job import Hooks, Job, PipelineSpec
from xenbackup.model.run import Outcome
from xenbackup.operations.hooks import describe_round, run_after, run_before
from xenbackup.system.command import SystemCommands

COMMANDS = SystemCommands(grace_seconds=0.5)
PATIENCE_SECONDS = 60.0


def make_hook(folder: Path, body: str, name: str = "hook") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def make_job(timeout_seconds: float = 60.0, **hooks: tuple[str, ...]) -> Job:
    return Job(
        name="nightly",
        pipeline=PipelineSpec(preset="crash"),
        destination="local",
        domains=("*",),
        hooks=Hooks(timeout_seconds=timeout_seconds, **hooks),
    )


def fail_before(job: Job) -> HookFailed:
    with pytest.raises(HookFailed) as caught:
        run_before(job, "round-1", run=COMMANDS.run)
    return caught.value


def test_before_that_is_content_lets_the_round_begin(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    hook = make_hook(tmp_path, f'env > "{seen}"; printf "%s|" "$@" >> "{seen}"')

    run_before(make_job(before=(hook, "a b", "$(id)", "")), "round-1", run=COMMANDS.run)

    lines = seen.read_text().splitlines()
    assert {
        "XENBACKUP_HOOK=before",
        "XENBACKUP_JOB=nightly",
        "XENBACKUP_DESTINATION=local",
        "XENBACKUP_ROUND=round-1",
    } <= set(lines)
    assert "a b|$(id)||" == lines[-1]


def test_hook_gets_nothing_of_our_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    seen = tmp_path / "seen"
    hook = make_hook(tmp_path, f'env > "{seen}"')

    run_before(make_job(before=(hook,)), "round-1", run=COMMANDS.run)

    assert "SECRET" not in seen.read_text()


def test_job_without_hooks_runs_nothing() -> None:
    def refuse(command: object) -> object:
        raise AssertionError(command)

    run_before(make_job(), "round-1", run=refuse)  # type: ignore[arg-type]
    assert run_after(make_job(), make_round(), run=refuse) is None  # type: ignore[arg-type]


def test_before_vetoes_by_its_exit_code_and_its_last_words_are_quoted(tmp_path: Path) -> None:
    hook = make_hook(tmp_path, "echo first >&2; echo 'the \033[31mmoon is wrong' >&2; exit 3")

    error = fail_before(make_job(before=(hook,)))

    assert (
        f"The hook `before` of job nightly, {hook}, ended with exit code 3: "
        "the \\x1b[31mmoon is wrong." == error.message
    )
    assert not error.may_pass


def test_before_may_ask_to_be_tried_again_later(tmp_path: Path) -> None:
    assert fail_before(make_job(before=(make_hook(tmp_path, "exit 75"),))).may_pass


def is_ending(pid: int) -> bool:
    """It is gone, or goes: a signal that has been sent takes its time on a busy machine."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE_SECONDS)[0])
    finally:
        os.close(descriptor)


def test_hook_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    hook = make_hook(tmp_path, f'trap "" TERM\nsleep 1000 &\necho $! > "{pid_file}"\nwait; wait')

    error = fail_before(make_job(timeout_seconds=3.0, before=(hook,)))

    assert f"{hook}, was not done after 3 s and was ended." in error.message
    assert is_ending(int(pid_file.read_text()))


def test_hook_that_prints_binary_garbage_without_end_harms_nothing(tmp_path: Path) -> None:
    hook = make_hook(
        tmp_path, "head -c 20000000 /dev/urandom; head -c 100000 /dev/urandom >&2; exit 1"
    )

    error = fail_before(make_job(before=(hook,)))

    assert error.message.isprintable()
    assert len(error.message) < 1000


def test_after_follows_a_good_round_and_failed_any_other(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    job = make_job(
        after=(make_hook(tmp_path, f'echo good >> "{seen}"', "a"),),
        failed=(make_hook(tmp_path, f'echo "$XENBACKUP_OUTCOME" >> "{seen}"', "f"),),
    )

    for result in (
        make_round(make_run("web")),
        make_round(make_run("web"), make_run("db", "No.")),
        make_round(outcome=Outcome.CANCELLED),
    ):
        assert run_after(job, result, run=COMMANDS.run) is None

    assert ["good", "partial", "cancelled"] == seen.read_text().splitlines()


def test_after_that_fails_is_told_and_raises_nothing(tmp_path: Path) -> None:
    job = make_job(after=(make_hook(tmp_path, "exit 7"),))

    error = run_after(job, make_round(make_run("web")), run=COMMANDS.run)

    assert error is not None
    assert "The hook `after` of job nightly" in error.message
    assert "exit code 7" in error.message


def test_round_is_described_with_one_entry_a_line(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    job = make_job(failed=(make_hook(tmp_path, f'printf %s "$XENBACKUP_ERROR" > "{seen}"'),))
    result = make_round(
        make_run("web"),
        make_run("db", "Disk\nfull; $(reboot) \x00`x`"),
        make_run("evil\nname", "No."),
    )

    told = dict(describe_round(result))
    run_after(job, result, run=COMMANDS.run)

    assert "web" == told["XENBACKUP_GOOD"]
    assert "db\nevil\\nname" == told["XENBACKUP_FAILED"]
    assert "db: Disk\\nfull; $(reboot) \\x00`x`\nevil\\nname: No." == seen.read_text()


def test_guest_that_was_backed_up_and_owes_is_good_and_partial_and_no_failure() -> None:
    run = make_run("web")
    owing = replace(run, outcome=Outcome.PARTIAL, warnings=("Slow.", "A snapshot is owed."))
    told = dict(describe_round(make_round(owing, make_run("db"), outcome=Outcome.PARTIAL)))
    assert "web\ndb" == told["XENBACKUP_GOOD"]
    assert "" == told["XENBACKUP_FAILED"]
    assert "web" == told["XENBACKUP_PARTIAL"]
    assert "web: A snapshot is owed." == told["XENBACKUP_ERROR"]


def test_very_many_guests_fit_into_an_environment(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    job = make_job(failed=(make_hook(tmp_path, f'echo "$XENBACKUP_FAILED" | wc -l > "{seen}"'),))
    result = make_round(*(make_run(f"guest-{n}" + "x" * 100, "e" * 9000) for n in range(3000)))

    assert run_after(job, result, run=COMMANDS.run) is None
    assert 100 < int(seen.read_text()) < 3000


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "is not there: No such file or directory."),
        (lambda path: path.chmod(0o777), "may be written by everybody."),
        (lambda path: path.chmod(0o644), "cannot be started: "),
        (lambda path: path.write_text("#!/no/such/interpreter\n"), "cannot be started: "),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder, expected a file."),
    ],
)
def test_hook_that_cannot_be_run_or_trusted_vetoes(
    tmp_path: Path, spoil: object, reason: str
) -> None:
    path = Path(make_hook(tmp_path, "exit 0"))
    spoil(path)  # type: ignore[operator]

    error = fail_before(make_job(before=(str(path),)))

    assert reason in error.message
    assert error.hint
