"""The scheduler's threads: due times begin by themselves, clocks that are set are noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from tests.unit.test_agenda import make_job
from xenbackup.errors import StateFailed
from xenbackup.model.job import Job
from xenbackup.records.catalog import Catalog
from xenbackup.service.scheduler import Scheduler

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
PATIENCE_SECONDS = 60.0


class VirtualClock:
    """Stands still until it is set, as that of a simulated host does; or ticks, as a real one."""

    def __init__(self) -> None:
        self.moment = START
        self.ticks_since: float | None = None
        self.error: StateFailed | None = None

    def now(self) -> datetime:
        if self.error is not None:
            raise self.error
        if self.ticks_since is None:
            return self.moment
        return self.moment + timedelta(seconds=time.monotonic() - self.ticks_since)


class Night:
    """A scheduler with what it has begun, in the order it did."""

    def __init__(self, path: Path, *, look_seconds: float = 0.02) -> None:
        self.clock = VirtualClock()
        self.catalog = Catalog(path / "catalog.sqlite")
        self.begun: Queue[str] = Queue()
        self.failures_left = 0
        self.looks = threading.Semaphore(0)
        self.scheduler = self.make_scheduler(look_seconds)

    def make_scheduler(self, look_seconds: float, **changes: Any) -> Scheduler:
        return Scheduler(
            now=self.clock.now,
            monotonic=time.monotonic,
            hostname="xen1",
            zone_of=lambda job: ZoneInfo(job.timezone or "UTC"),
            memory=self.catalog,
            on_due=self.begin,
            look_seconds=look_seconds,
            on_look=self.looks.release,
            **changes,
        )

    def begin(self, job: Job, due_at: datetime) -> None:
        if self.failures_left:
            self.failures_left -= 1
            raise StateFailed("The queue is full.")
        self.begun.put(f"{job.name} {due_at:%d %H:%M}")
        self.catalog.claim_due_time(job.name, due_at, "a-round")

    def wait_for(self, *expected: str) -> None:
        actual = [self.begun.get(timeout=PATIENCE_SECONDS) for _ in expected]
        assert [*expected] == actual

    def let_it_look(self, times: int = 3) -> None:
        for _ in range(times):
            assert self.looks.acquire(timeout=PATIENCE_SECONDS)

    def drain_looks(self) -> None:
        while self.looks.acquire(blocking=False):
            pass


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    night = Night(tmp_path)
    yield night
    night.scheduler.stop()


def test_clock_set_forward_from_elsewhere_begins_what_is_due_by_then(night: Night) -> None:
    night.scheduler.start((make_job("alpha"), make_job("beta")))
    night.let_it_look()
    assert night.begun.empty()
    night.clock.moment += timedelta(hours=14, minutes=30)
    night.wait_for("alpha 21 02:30", "beta 21 02:30")
    night.clock.moment += timedelta(days=3)
    night.wait_for("alpha 24 02:30", "beta 24 02:30")
    night.drain_looks()
    night.let_it_look()
    assert night.begun.empty()


def test_apscheduler_itself_wakes_for_a_due_time_between_two_looks(tmp_path: Path) -> None:
    night = Night(tmp_path, look_seconds=3600.0)
    night.clock.moment = START + timedelta(hours=14, minutes=29, seconds=59)
    night.clock.ticks_since = time.monotonic()
    night.scheduler.start((make_job(),))
    try:
        night.wait_for("nightly 21 02:30")
    finally:
        night.scheduler.stop()
    assert [22] == [due.due_at.day for due in night.scheduler.list_due()]


def test_clock_that_stands_just_before_a_due_time_begins_nothing(night: Night) -> None:
    night.clock.moment = START + timedelta(hours=14, minutes=29, seconds=59.999)
    night.scheduler.start((make_job(),))
    night.let_it_look(40)
    assert night.begun.empty()
    night.clock.moment += timedelta(seconds=1)
    night.wait_for("nightly 21 02:30")


def test_clock_set_back_begins_no_night_twice_and_the_next_one_all_the_same(night: Night) -> None:
    night.scheduler.start((make_job(),))
    night.clock.moment = START + timedelta(hours=15)
    night.wait_for("nightly 21 02:30")
    night.drain_looks()
    with capture_logs() as logs:
        night.clock.moment -= timedelta(hours=2)
        night.let_it_look()
    assert "clock-stepped" in [entry["event"] for entry in logs]
    night.clock.moment += timedelta(hours=3)
    night.let_it_look()
    night.clock.moment += timedelta(days=1)
    night.wait_for("nightly 22 02:30")
    assert night.begun.empty()


def test_missed_night_begins_right_after_the_start(night: Night) -> None:
    night.catalog.note_schedule("nightly", "30 2 * * * UTC", START - timedelta(days=30))
    night.scheduler.start((make_job(),))
    night.wait_for("nightly 20 02:30")


def test_due_time_that_cannot_be_queued_comes_again_until_it_can(night: Night) -> None:
    night.failures_left = 3
    night.scheduler.start((make_job(),))
    night.clock.moment = START + timedelta(hours=15)
    night.wait_for("nightly 21 02:30")
    assert 0 == night.failures_left


def test_clock_that_cannot_be_read_for_a_while_costs_no_night(night: Night) -> None:
    night.scheduler.start((make_job(),))
    night.let_it_look()
    night.clock.error = StateFailed("The host is being written.")
    with capture_logs() as logs:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not logs and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "look-failed" == logs[0]["event"]
    night.clock.moment = START + timedelta(hours=15)
    night.clock.error = None
    night.wait_for("nightly 21 02:30")


def test_jobs_dropped_in_later_are_begun_and_removed_ones_are_not(night: Night) -> None:
    night.scheduler.start((make_job("old"),))
    night.scheduler.replace_jobs((make_job("new"),))
    assert ["new"] == [due.job for due in night.scheduler.list_due()]
    night.clock.moment = START + timedelta(hours=15)
    night.wait_for("new 21 02:30")
    night.scheduler.replace_jobs(())
    assert () == night.scheduler.list_due()
    night.clock.moment += timedelta(days=1)
    night.drain_looks()
    night.let_it_look()
    assert night.begun.empty()
    night.scheduler.replace_jobs((make_job("newer"),))
    night.clock.moment += timedelta(days=1)
    night.wait_for("newer 23 02:30")


def test_what_waits_is_listed_while_a_due_time_is_handed_on(night: Night) -> None:
    """`status` must never wait for a queue that itself waits for `status`."""
    listed: Queue[int] = Queue()
    begin = night.begin

    def begin_and_ask(job: Job, due_at: datetime) -> None:
        asker = threading.Thread(target=lambda: listed.put(len(night.scheduler.list_due())))
        asker.start()
        asker.join(PATIENCE_SECONDS)
        begin(job, due_at)

    night.scheduler._on_due = begin_and_ask
    night.scheduler.start((make_job(),))
    night.clock.moment = START + timedelta(hours=15)
    night.wait_for("nightly 21 02:30")
    assert 1 == listed.get(timeout=1)


def test_stopped_scheduler_leaves_no_thread_and_begins_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    night = Night(tmp_path)
    night.scheduler.start((make_job(),))
    assert before + 2 == threading.active_count()
    night.scheduler.stop()
    night.scheduler.stop()
    assert before == threading.active_count()
    night.clock.moment = START + timedelta(hours=15)
    night.scheduler.look()
    assert night.begun.empty()


def test_scheduler_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    Night(tmp_path).scheduler.stop()


def test_idle_scheduler_wakes_once_a_look_and_apscheduler_never(tmp_path: Path) -> None:
    night = Night(tmp_path)
    asked: list[datetime] = []
    find_wake_up = night.scheduler._find_wake_up

    def find_and_count(real_now: datetime) -> datetime | None:
        asked.append(real_now)
        return find_wake_up(real_now)

    night.scheduler._find_wake_up = find_and_count  # type: ignore[method-assign]
    night.scheduler.start((make_job(), make_job("other", "0 5 * * *")))
    night.let_it_look(20)
    night.scheduler.stop()
    assert 1 == len(asked)  # when it was told to sleep


def test_only_one_module_knows_apscheduler() -> None:
    import xenbackup

    package = Path(xenbackup.__file__).parent
    importers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "import apscheduler" in (text := path.read_text()) or "from apscheduler" in text
    }
    assert {"service/scheduler.py"} == importers
