"""`xenbackup status --nagios`: one line, performance data, and an exit code of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from tests.unit.cli.status_server import serve
from tests.unit.status_reports import make_bad_morning, make_report
from xenbackup.cli import status_telling
from xenbackup.errors import StateFailed
from xenbackup.model.status import Level, StatusReport


@pytest.mark.parametrize(
    ("level", "exit_code", "begin"),
    [
        (Level.OK, 0, "XENBACKUP OK - 3 guests, all as promised. | "),
        (Level.WARNING, 1, "XENBACKUP WARNING - daemon: The daemon does not run"),
        (Level.CRITICAL, 2, "XENBACKUP CRITICAL - 2 problems: offsite: /mnt/nas has not"),
    ],
)
def test_nagios_gets_its_codes(bare: Shell, level: Level, exit_code: int, begin: str) -> None:
    report = {
        Level.OK: make_report(),
        Level.WARNING: make_report(live=None),
        Level.CRITICAL: make_bad_morning(),
    }[level]
    with serve(bare.directory, report):
        called = bare("status", "--nagios")
    (line,) = called.out.splitlines()
    assert (exit_code, begin) == (called.exit_code, line[: len(begin)])


def test_nagios_gets_performance_data(bare: Shell) -> None:
    with serve(bare.directory, make_bad_morning()):
        line = bare("status", "--nagios").out.strip()
    expected = (
        "good=2 awaited=0 off=0 failing=0 late=1 never=1 unprotected=1 unknown=0 "
        "oldest_age=104400s runs=3 runs_failed=1 open_runs=1 damaged_points=0 "
        "future_points=0 "
        "'free local'=21474836480B;;;0;4294967296000"
    )
    assert expected == line.partition(" | ")[2]


def test_nagios_hears_unknown_without_a_configuration(tmp_path: Path, bare: Shell) -> None:
    (bare.directory / "etc/xenbackup/config.toml").unlink()
    called = bare("status", "--nagios")
    assert (3, "XENBACKUP UNKNOWN - ") == (called.exit_code, called.out[:20])
    assert "" == called.err


@pytest.mark.parametrize(
    "error", [StateFailed("The state is away."), RuntimeError("boom"), OSError(5, "I/O error")]
)
def test_nagios_hears_unknown_whatever_goes_wrong(
    bare: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(path: Path) -> StatusReport:
        raise error

    monkeypatch.setattr(status_telling, "ask_daemon", fail)
    called = bare("status", "--nagios")
    assert 3 == called.exit_code
    assert 1 == len(called.out.splitlines())
    assert "" == called.err


@pytest.mark.parametrize("other", ["--json", "--watch"])
def test_nagios_goes_alone(bare: Shell, other: str) -> None:
    assert 2 == bare("status", "--nagios", other).exit_code
