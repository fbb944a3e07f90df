"""Streams that break: a reader that leaves stops nothing, a full disk is not passed over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from xenbackup.cli.output import Output


def run_into(
    shell: Shell, words: tuple[str, ...], stdout: int, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xenbackup", "--simulated", str(shell.directory), *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, **environment},
    )


def open_broken_pipe() -> int:
    read_end, write_end = os.pipe()
    os.close(read_end)
    return write_end


@pytest.mark.parametrize("words", [("run", "nightly"), ("run", "nightly", "--json"), ("points",)])
def test_reader_that_left_neither_stops_nor_fails_a_verb(
    shell: Shell, words: tuple[str, ...]
) -> None:
    before = len(shell("runs", "--json").json["runs"])  # type: ignore[arg-type]
    pipe = open_broken_pipe()
    done = run_into(shell, words, pipe)
    os.close(pipe)
    assert 0 == done.returncode
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
    expected = before + (2 if words[0] == "run" else 0)
    assert expected == len(shell("runs", "--json").json["runs"])  # type: ignore[arg-type]


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_stream_that_the_caller_closed_is_no_failure_and_its_number_nobody_elses(
    shell: Shell, closing: str
) -> None:
    script = (
        "import os, sys; from xenbackup.cli.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code or (90 if os.open('/', os.O_RDONLY) < 3 else 0))"
    )
    words = ["--simulated", str(shell.directory), "points"]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_interrupt_while_the_program_is_still_being_read_is_a_sentence() -> None:
    script = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("xenbackup.cli.") and name != "xenbackup.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from xenbackup.cli.main import main
sys.exit(main(["points"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100
    )
    assert (130, "", "Error: Interrupted.\n") == (done.returncode, done.stdout, done.stderr)


def test_result_that_could_not_be_written_is_a_failure(shell: Shell) -> None:
    with Path("/dev/full").open("w") as full:
        done = run_into(shell, ("points",), full.fileno())
    assert 1 == done.returncode
    assert "Cannot write the result: No space left on device." in done.stderr


def test_terminal_without_utf8_gets_escapes_instead_of_an_error(shell: Shell) -> None:
    shell.write_job(
        "odd", 'description = "x"\ndomains = ["wéb*"]\npreset = "crash"\ndestination = "local"\n'
    )
    done = run_into(
        shell, ("config", "show"), subprocess.PIPE, PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert r"w\xe9b*" in done.stdout


def test_closed_stream_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    stdout, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115, PTH123
    try:
        sys.stdout.close()
        output.say("nobody hears this")
    finally:
        sys.stdout = stdout
    assert "" == output.failure
