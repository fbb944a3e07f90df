"""Clocks and zones that somebody sets while something waits for its time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.house import make_job
from tests.service.floors import Floor, order
from tests.service.living import DaemonHost, wait_for
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.state import NANOSECONDS
from xenbackup.model.run import Outcome, RunResult
from xenbackup.service.queue import QueuedRun
from xenbackup.service.workers import Workers

RUN = "20261123T023000Z-abcdef"
HOUR = 3600.0
DAYS_400 = 400 * 24 * HOUR


def step_clock(floor: Floor, seconds: float) -> None:
    host = floor.house.host
    assert isinstance(host, SimulatedHost)
    with host.machine() as machine:
        machine.state.wall_offset_ns += round(seconds * NANOSECONDS)
        machine.commit()


@pytest.fixture
def postponed(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> QueuedRun:
    """A run that failed, and waits ten minutes for its second attempt, which will do."""
    results = iter([Outcome.FAILED, Outcome.OK])

    def attempt(self: Workers, queued: QueuedRun, _: object) -> RunResult:
        return RunResult(
            run=RUN, domain="web", uuid="", outcome=next(results), error="x", may_pass=True
        )

    monkeypatch.setattr(Workers, "_attempt", attempt)
    job = replace(make_job("checkpoint"), retries=1, retry_after_seconds=600.0)
    floor.ledger.accept(order(job)).start()
    wait_for(floor.queue.list_waiting)
    floor.begin_ready()
    (found,) = wait_for(lambda: [run for run in floor.queue.list_waiting() if run.attempts])
    return found


@pytest.mark.parametrize("seconds", [DAYS_400, -DAYS_400, -HOUR])
def test_wait_for_another_attempt_is_as_long_as_it_is_wherever_the_clock_is_set(
    floor: Floor, postponed: QueuedRun, seconds: float
) -> None:
    step_clock(floor, seconds)
    floor.begin_ready()
    (waiting,) = floor.queue.list_waiting()
    now = floor.house.host.now()
    assert waiting.not_before is not None
    assert timedelta(minutes=9) < waiting.not_before - now <= timedelta(minutes=10)
    assert f"the next is at {waiting.not_before:%H:%M}" in waiting.reason or (
        waiting.not_before.date() != now.date()
    )
    floor.house.host.sleep(601.0)
    result = floor.run_until_ended()
    assert result is not None and Outcome.OK is result.outcome


def test_time_of_another_attempt_is_told_the_same_while_nobody_sets_the_clock(
    floor: Floor, postponed: QueuedRun
) -> None:
    told = postponed.not_before
    floor.house.host.sleep(300.0)
    floor.begin_ready()
    assert told == postponed.not_before


def test_host_s_zone_that_is_changed_under_a_running_daemon_moves_its_due_times(
    host: DaemonHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    job = host.directory / "etc/xenbackup/jobs/nightly.toml"
    job.write_text(job.read_text().replace('timezone = "UTC"\n', ""))
    zone = host.directory / "etc/localtime"
    shutil.copy("/usr/share/zoneinfo/UTC", zone)
    daemon = host.start()

    def find_due_hour() -> int:
        return daemon.read_status().due[0].due_at.hour

    assert 2 == find_due_hour()
    replacement = Path(f"{zone}.new")
    shutil.copy("/usr/share/zoneinfo/America/New_York", replacement)
    replacement.rename(zone)
    wait_for(lambda: find_due_hour() in (6, 7))
    assert "nightly" == daemon.wait_for_event("zone-changed")["job"]
