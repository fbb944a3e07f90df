"""Real signals to a real process: what was begun is undone, the guest first, and said so."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.signals import no_signal_ignored
from tests.unit.cli.conftest import Called, Shell
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.model.volume import TAG_OURS

pytestmark = pytest.mark.slow

INTERRUPTED = 130


def call_with_signals(
    shell: Shell,
    boundary: str,
    signals: tuple[signal.Signals, ...],
    *words: str,
    under: tuple[str, ...] = (),
) -> Called:
    """Run the call until it stands at the boundary, send the signals, and let it go on."""
    reached_end, reached = os.pipe()
    go, go_end = os.pipe()
    with no_signal_ignored():
        child = subprocess.Popen(
            [
                *under,
                sys.executable,
                "-m",
                "tests.unit.cli.held_call",
                str(shell.directory),
                boundary,
                str(reached),
                str(go),
                *words,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(reached, go),
        )
    os.close(reached)
    os.close(go)
    try:
        assert b"!" == os.read(reached_end, 1), "the call ended before the boundary"
        for number in signals:
            child.send_signal(number)
        # A killed child may be gone before it could read this.
        with contextlib.suppress(BrokenPipeError):
            os.write(go_end, b"!")
        out, err = child.communicate(timeout=100)
    finally:
        child.kill()
        child.communicate()
        os.close(reached_end)
        os.close(go_end)
    return Called(exit_code=child.returncode, out=out, err=err)


def assert_nothing_is_left(shell: Shell) -> None:
    domains = open_toolstack(shell.host).list_domains()
    assert {"web", "router"} == {domain.name for domain in domains if domain.state.alive}
    assert [] == [lv.name for lv in Lvm(shell.host).list_volumes() if TAG_OURS in lv.tags]
    assert {} == read_oracle(shell.host).corruptions
    assert 0 == shell("recover").exit_code


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGINT, "Interrupted by Ctrl-C"),
        (signal.SIGTERM, "Asked to stop"),
        (signal.SIGHUP, "Its terminal went away"),
    ],
)
@pytest.mark.parametrize("boundary", ["xl-save:begin", "lvcreate:begin", "lvremove:begin"])
def test_signal_in_a_run_undoes_it_guest_first_and_says_so(
    shell: Shell, number: signal.Signals, reason: str, boundary: str
) -> None:
    called = call_with_signals(shell, boundary, (number,), "run", "nightly")
    assert INTERRUPTED == called.exit_code
    assert f"{reason}: what was begun is being undone, the guest first." in called.err
    assert "Traceback" not in called.err
    assert "cancelled" in called.out
    assert_nothing_is_left(shell)


def test_second_signal_repeats_the_message_and_changes_nothing(shell: Shell) -> None:
    twice = (signal.SIGINT, signal.SIGTERM)
    called = call_with_signals(shell, "lvcreate:begin", twice, "run", "nightly")
    assert INTERRUPTED == called.exit_code
    assert 2 == called.err.count("what was begun is being undone")
    assert_nothing_is_left(shell)


def test_interrupted_run_ends_its_json_with_the_cancelled_result(shell: Shell) -> None:
    called = call_with_signals(
        shell, "lvcreate:begin", (signal.SIGINT,), "run", "nightly", "--json"
    )
    assert INTERRUPTED == called.exit_code
    result = json.loads(called.out.splitlines()[-1])
    assert ("result", "cancelled", INTERRUPTED) == (
        result["event"],
        result["outcome"],
        result["exit_code"],
    )
    assert ["cancelled", "cancelled"] == [run["outcome"] for run in result["runs"]]
    assert ["", ""] == [run["point"] for run in result["runs"]]


def test_run_under_nohup_outlives_its_terminal(shell: Shell) -> None:
    called = call_with_signals(
        shell, "lvcreate:begin", (signal.SIGHUP,), "run", "nightly", under=("nohup",)
    )
    assert 0 == called.exit_code


def test_interrupt_of_a_look_is_a_sentence_and_claims_nothing(shell: Shell) -> None:
    called = call_with_signals(shell, "xl-list:begin", (signal.SIGINT,), "plan", "nightly")
    assert (INTERRUPTED, "") == (called.exit_code, called.out)
    told, hint = called.err.strip().splitlines()
    assert "Error: Interrupted." == told
    assert "`xenbackup recover`" in hint


def test_recovery_goes_on_to_its_end(shell: Shell) -> None:
    """Killed in the middle of a snapshot; the recovery is interrupted and recovers all the same."""
    killed = call_with_signals(shell, "lvcreate:end", (signal.SIGKILL,), "run", "nightly")
    assert -signal.SIGKILL == killed.exit_code
    called = call_with_signals(shell, "lvremove:begin", (signal.SIGINT,), "recover")
    assert 0 == called.exit_code
    assert "recovery goes on to its end" in called.err
    assert "healed" in called.out
    assert_nothing_is_left(shell)


def test_interrupted_restore_says_how_it_is_completed(shell: Shell) -> None:
    toolstack = open_toolstack(shell.host)
    (web,) = [domain for domain in toolstack.list_domains() if domain.name == "web"]
    toolstack.destroy(web.domid)
    shell.host.sleep(5)
    called = call_with_signals(shell, "lvs:begin", (signal.SIGINT,), "restore", "web@latest")
    assert INTERRUPTED == called.exit_code
    assert "the same restore again completes them" in called.err
    assert "Traceback" not in called.err
    again = shell("restore", "web@latest", "--start")
    assert 0 == again.exit_code, again.err
    assert_nothing_is_left(shell)
