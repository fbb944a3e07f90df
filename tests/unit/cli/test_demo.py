"""The demo: its story holds, it leaves what it promises, and it keeps its hands off the rest."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Called, Shell, copy_host
from xenbackup.cli.demo.building import JOBS, shipped_files
from xenbackup.cli.main import main
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.faults import read_faults
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.toolstack import open_toolstack

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LIMIT_BYTES = 300 << 20


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Called]:
    """The demo's directory after it was told once, and what it said."""
    import contextlib
    import io

    directory = tmp_path_factory.mktemp("demo") / "host"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exit_code = main(["demo", "--directory", str(directory)])
    return directory, Called(exit_code=exit_code, out=out.getvalue(), err=err.getvalue())


@pytest.fixture
def kept(told: tuple[Path, Called], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A copy of the demo's directory: it works as another host."""
    copy_host(told[0], tmp_path / "copy")
    return Shell(tmp_path / "copy", capsys)


def test_every_step_is_as_told(told: tuple[Path, Called]) -> None:
    called = told[1]
    assert 0 == called.exit_code, called.err
    assert "[NO]" not in called.out
    assert called.out.count("[ok]") >= 12
    assert "Traceback" not in called.err


def test_story_shows_what_a_night_is_about(told: tuple[Path, Called]) -> None:
    out = " ".join(told[1].out.split())
    for part in (
        "PCI device 0000:03:01.0 is passed through to it",
        "Job nightly: ok, 3 of 3 guests.",
        "web will be brought back where it was, with its memory, and run on.",
        "web counts on from its own past",
        "filled up",
        "Job too-small: failed, 0 of 1 guests.",
    ):
        assert part in out
    assert re.search(r"^router +ok +crash ", told[1].out, re.M)


def test_kept_host_holds_what_it_promises(told: tuple[Path, Called]) -> None:
    directory = told[0]
    host = SimulatedHost(directory)
    domains = open_toolstack(host).list_domains()
    assert {"web", "db", "router"} == {domain.name for domain in domains if domain.state.alive}
    assert {} == read_oracle(host).corruptions
    assert [] == [lv.name for lv in Lvm(host).list_volumes() if lv.tags]
    assert [] == list(read_faults(directory))
    entries = [path.lstat() for path in directory.rglob("*")]
    odd = (stat.S_ISSOCK, stat.S_ISFIFO, stat.S_ISLNK)
    assert not any(is_odd(entry.st_mode) for entry in entries for is_odd in odd)
    assert LIMIT_BYTES >= sum(entry.st_blocks * 512 for entry in entries)
    jobs = {path.name for path in (directory / "etc/xenbackup/jobs").iterdir()}
    assert {f"{name}.toml" for name in JOBS} == jobs
    assert [] == processes_below(directory)


def processes_below(directory: Path) -> list[str]:
    """Processes other than this one that have the directory open, or in their arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            words = (process / "cmdline").read_bytes()
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if str(directory).encode() in words or any(str(directory) in link for link in links):
            found.append(process.name)
    return found


def test_kept_host_goes_on(kept: Shell) -> None:
    assert 0 == kept("config", "validate").exit_code
    assert 0 == kept("run", "nightly").exit_code
    assert 3 == kept("run", "weekly-cold").exit_code
    assert 3 == kept("plan", "on-demand").exit_code
    assert 0 == kept("verify").exit_code
    restored = kept("restore", "db@latest", "--domain", "db2", "--volume-group", "xenvols")
    assert 0 == restored.exit_code, restored.err
    assert {} == read_oracle(kept.host).corruptions


def test_demo_as_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["demo", "--directory", str(tmp_path / "new"), "--json"])
    captured = capsys.readouterr()
    shape = json.loads(captured.out)
    assert ["schema", "exit_code", "directory", "checks"] == list(shape)
    assert "" == captured.err
    assert all(check["good"] for check in shape["checks"])


def test_demo_refuses_a_directory_that_is_not_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_text("keep me")
    assert 2 == main(["demo", "--directory", str(tmp_path)])
    assert "is not empty" in capsys.readouterr().err
    assert ["precious"] == [path.name for path in tmp_path.iterdir()]
    assert 2 == main(["demo", "--directory", str(tmp_path / "precious")])
    assert "is not a directory" in capsys.readouterr().err


def test_demo_without_directory_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert 0 == main(["demo"])
    assert [] == list(tmp_path.iterdir())


def test_demo_fails_when_a_step_is_not_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A nightly job that leaves out a guest: the demo must notice, and say so."""
    monkeypatch.setattr(
        "xenbackup.cli.demo.building._OVERRIDE", '[[override]]\ndomains = []\npreset = "crash"\n'
    )
    assert 1 == main(["demo", "--directory", str(tmp_path / "new")])
    captured = capsys.readouterr()
    assert "[NO] every guest is backed up" in captured.out
    assert "does not hold" in captured.err


def test_packaged_jobs_and_configuration_are_the_shipped_ones() -> None:
    shipped = shipped_files()
    for name in JOBS:
        expected = (ROOT / "jobs" / f"{name}.toml").read_bytes()
        assert expected == (shipped / "jobs" / f"{name}.toml").read_bytes()
    assert set(JOBS) == {path.stem for path in (ROOT / "jobs").glob("*.toml")}
    expected = (ROOT / "docs/examples/config.toml").read_bytes()
    assert expected == (shipped / "config.toml").read_bytes()
