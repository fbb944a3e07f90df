"""A small simulated host with configuration and jobs, built once and copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import build_host, copy_host
from tests.service.floors import Floor, make_floor
from tests.service.living import DaemonHost

CONFIGURATION = """
[destination.local]
kind = "images"
path = "/srv/backup"
"""
NIGHTLY = """
schedule = "30 2 * * *"
timezone = "UTC"
domains = ["*"]
preset = "checkpoint"
destination = "local"
"""
ON_DEMAND = """
domains = ["web"]
preset = "checkpoint"
destination = "local"
"""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two guests, web and thinny; jobs `nightly` and `on-demand`. Never changed."""
    directory = tmp_path_factory.mktemp("service") / "template"
    directory.mkdir()
    build_host(directory)
    folder = directory / "etc/xenbackup"
    (folder / "jobs").mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIGURATION)
    (folder / "jobs/nightly.toml").write_text(NIGHTLY)
    (folder / "jobs/on-demand.toml").write_text(ON_DEMAND)
    for path in (folder / "config.toml", *(folder / "jobs").iterdir()):
        path.chmod(0o600)
    return directory


@pytest.fixture
def host(template: Path, tmp_path: Path) -> Iterator[DaemonHost]:
    """A host of its own; no daemon outlives the test."""
    copy_host(template, tmp_path / "host")
    found = DaemonHost(directory=tmp_path / "host")
    yield found
    found.close()


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated host without any configuration. Never changed."""
    folder = tmp_path_factory.mktemp("pristine") / "host"
    build_host(folder).close()
    return folder


@pytest.fixture
def floor(pristine: Path, tmp_path: Path) -> Floor:
    copy_host(pristine, tmp_path / "host")
    return make_floor(tmp_path / "host")
