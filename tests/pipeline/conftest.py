"""The small simulated host of `tests/house.py`, for tests that want no other: made once, copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import build_host, build_house, copy_host
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.operations.house import House
from xenbackup.pipeline import guest


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "host"
    build_host(folder).close()
    return folder


@pytest.fixture
def host(pristine: Path, tmp_path: Path) -> SimulatedHost:
    copy_host(pristine, tmp_path / "host")
    return SimulatedHost(tmp_path / "host")


@pytest.fixture
def house(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> House:
    """Patient: whatever waits for minutes of the host's time looks only now and then."""
    monkeypatch.setattr(guest, "POLL_SECONDS", 20.0)
    return build_house(host)
