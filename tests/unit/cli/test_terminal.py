"""On a terminal: bars and colour; NO_COLOR and pipes get neither."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell

pytestmark = pytest.mark.slow

COLUMNS = 80
ESCAPE = "\x1b"


def run_on_terminal(shell: Shell, *words: str, **environment: str) -> str:
    """All that a terminal of 80 columns gets from a call that succeeds, both streams."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    child = subprocess.Popen(
        [sys.executable, "-m", "xenbackup", "--simulated", str(shell.directory), *words],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**kept, "TERM": "xterm", **environment},
        cwd=Path(__file__).parents[3],
    )
    os.close(follower)
    pieces = []
    # Reading fails with EIO once the last writer has closed its end.
    while True:
        try:
            pieces.append(os.read(leader, 65536))
        except OSError:
            break
        if not pieces[-1]:
            break
    os.close(leader)
    assert 0 == child.wait(timeout=60)
    return b"".join(pieces).decode()


def test_run_draws_bars_and_colours(shell: Shell) -> None:
    text = run_on_terminal(shell, "run", "nightly")
    assert "\rweb: saving memory" in text
    assert "\rweb: xvda" in text
    assert f"{ESCAPE}[32mok" in text


def test_bars_leave_nothing_behind(shell: Shell) -> None:
    """Each line of the end result stands alone: what a bar drew was wiped before it."""
    for line in run_on_terminal(shell, "run", "nightly").split("\r\n"):
        shown = line.split("\r")[-1]
        assert "░" not in shown
        assert "█" not in shown


def test_no_color_is_respected_and_bars_stay(shell: Shell) -> None:
    text = run_on_terminal(shell, "run", "nightly", NO_COLOR="1")
    assert ESCAPE not in text
    assert "\rweb: saving memory" in text


def test_no_line_is_wider_than_the_terminal(shell: Shell) -> None:
    for words in (("run", "nightly"), ("points",), ("runs",), ("plan", "nightly"), ("verify",)):
        for line in run_on_terminal(shell, *words, NO_COLOR="1").splitlines():
            assert len(line) <= COLUMNS, line


def test_pipes_get_neither_bars_nor_colour(shell: Shell) -> None:
    called = shell.process("run", "nightly")
    assert ESCAPE not in called.out + called.err
    assert "\r" not in called.out + called.err


def test_verbose_replaces_the_bar_by_the_log(shell: Shell) -> None:
    text = run_on_terminal(shell, "run", "nightly", "-v", NO_COLOR="1")
    assert "\rweb: saving memory" not in text
    assert "web: save-paused, " not in text
    assert "step-done" in text
    assert "step=save-paused" in text


def test_json_on_a_terminal_is_json_alone(shell: Shell) -> None:
    text = run_on_terminal(shell, "run", "nightly", "--json")
    assert all(line.startswith("{") for line in text.splitlines())
