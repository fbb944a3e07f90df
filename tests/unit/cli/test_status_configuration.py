"""`status --config FILE` beside a daemon: the file counts, and the daemon says what it is at."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import Shell
from tests.unit.cli.status_server import serve
from tests.unit.status_reports import make_report


def test_a_configuration_that_is_named_counts_also_where_a_daemon_runs(
    shell: Shell, tmp_path: Path
) -> None:
    with serve(shell.directory, make_report()):
        missing = shell("--config", str(tmp_path / "absent.toml"), "status", "--json")
        named = shell("--config", str(shell.directory / "etc/xenbackup/config.toml"), "status")
    assert (2, 0) == (missing.exit_code, named.exit_code)
    assert "absent.toml does not exist" in missing.out
    # Its guests are those of this host, and the daemon's process is that of the one that was asked.
    assert "router" in named.out
    assert "process 812" in named.out
