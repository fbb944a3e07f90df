"""A small simulated host with configuration and jobs, built once and copied for each test."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from xenbackup.cli.main import main
from xenbackup.dom0.simulated import DiskSpec, GroupSpec, GuestSpec, SimulatedHost, create_host

MIB = 1 << 20
CONFIGURATION = """
[destination.local]
kind = "images"
path = "/srv/backup"
"""
NIGHTLY = """
description = "Every guest, every night"
schedule = "30 2 * * *"
domains = ["*"]
preset = "checkpoint"
destination = "local"

[[override]]
domains = ["router"]
preset = "crash"
"""
ON_DEMAND = """
domains = ["*"]
preset = "checkpoint"
require = "memory"
destination = "local"
"""


@dataclass(frozen=True, kw_only=True)
class Called:
    """What one call of the command line came to."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """The one object on stdout."""
        (line,) = self.out.splitlines()
        content = json.loads(line)
        assert isinstance(content, dict)
        return content

    @property
    def events(self) -> list[dict[str, object]]:
        """All lines of stdout as objects."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Calls the command line on one simulated host: in this process, or in a real one."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.host = SimulatedHost(directory)
        self._capsys = capsys

    def __call__(self, *words: str) -> Called:
        return self.plain("--simulated", str(self.directory), *words)

    def plain(self, *words: str) -> Called:
        """Without --simulated."""
        self._capsys.readouterr()
        exit_code = main(words)
        captured = self._capsys.readouterr()
        return Called(exit_code=exit_code, out=captured.out, err=captured.err)

    def process(self, *words: str) -> Called:
        """In a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "xenbackup", "--simulated", str(self.directory), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return Called(exit_code=done.returncode, out=done.stdout, err=done.stderr)

    def write_job(self, name: str, text: str) -> Path:
        path = self.directory / "etc/xenbackup/jobs" / f"{name}.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def latest_point(self, domain: str = "web") -> str:
        listed = self("points", domain, "--json").json["points"]
        assert isinstance(listed, list)
        return str(listed[-1]["point"])


def copy_host(source: Path, target: Path) -> None:
    """Sparse files stay sparse."""
    subprocess.run(["cp", "-a", "--sparse=always", str(source), str(target)], check=True)


@pytest.fixture(scope="session")
def bare_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two guests, configuration, jobs; the destination is not initialised. Never changed."""
    directory = tmp_path_factory.mktemp("cli") / "bare"
    directory.mkdir()
    create_host(
        directory,
        groups=(GroupSpec(size_bytes=128 * MIB),),
        guests=(
            GuestSpec(
                name="web",
                disks=(DiskSpec(volume="web_root"), DiskSpec(volume="web_data")),
                uuid="7b6c97b9-bc1e-4273-8175-79ad2f3505e8",
            ),
            GuestSpec(
                name="router",
                kind="hvm",
                disks=(DiskSpec(volume="router_root"),),
                uuid="5a1c0b7e-3f64-4c39-8d0b-2e6f7a9c4d21",
                pci=("0000:03:01.0",),
            ),
        ),
    )
    folder = directory / "etc" / "xenbackup"
    (folder / "jobs").mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIGURATION)
    (folder / "jobs" / "nightly.toml").write_text(NIGHTLY)
    (folder / "jobs" / "on-demand.toml").write_text(ON_DEMAND)
    for path in (folder / "config.toml", *(folder / "jobs").iterdir()):
        path.chmod(0o600)
    return directory


@pytest.fixture(scope="session")
def backed_up_host(bare_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same host after one night. Never changed."""
    directory = tmp_path_factory.mktemp("cli") / "night"
    copy_host(bare_host, directory)
    for words in (("destination", "init", "local"), ("run", "nightly")):
        assert main(["--simulated", str(directory), *words]) == 0
    return directory


@pytest.fixture
def bare(bare_host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A host of its own on which nothing has run yet."""
    copy_host(bare_host, tmp_path / "host")
    return Shell(tmp_path / "host", capsys)


@pytest.fixture
def shell(backed_up_host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A host of its own with one night's points."""
    copy_host(backed_up_host, tmp_path / "host")
    return Shell(tmp_path / "host", capsys)
