"""Settings that all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from xenbackup.operations import probing
from xenbackup.system.log import configure_logging

# A busy machine is no failure: nothing is judged by the clock.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def log_as_programs_do() -> Iterator[None]:
    """Warnings on stderr, whatever ran before: unconfigured, structlog prints all on stdout."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logging()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def wait_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no disk that hangs; tests of such disks have deadlines of their own."""
    for probe in (probing.PROBE, probing.PLACES_PROBE):
        monkeypatch.setattr(probe, "deadline_seconds", 120.0)
