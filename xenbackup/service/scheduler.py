"""The scheduler: hands each due time on when it begins, whatever the clock does meanwhile.

APScheduler sleeps until the next due time begins; nothing is kept in it but that. Its sleep follows
the clock as it was when it fell asleep, so a thread of our own compares the clocks every
`look_seconds` and looks for what is due by then: a step of the clock is noticed as soon as that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from xenbackup.errors import XenbackupError
from xenbackup.model.job import Job
from xenbackup.model.live import DueTime
from xenbackup.service.agenda import Agenda, DueMemory

_log = structlog.get_logger(__name__)

_SHORTEST_SLEEP = timedelta(seconds=0.5)
"""A clock that stands still, or is slewed, must not make us turn in circles."""

_STEP_SECONDS = 5.0
"""From here on a difference between the clocks is told of as a step; less is a busy machine."""


class Scheduler:
    """Calls `on_due(job, due_at)` once for each due time, in a thread of its own.

    `now` is the host's clock, which may be simulated; `monotonic` the real one that never steps.
    `on_due` only puts the due time into a queue. When it raises an XenbackupError the due time
    comes again at the next look; when it returns, never again in this process, and after a restart
    only if nobody has claimed it in the `memory`. `on_look` is called after every look at the
    clock. Whoever calls `start`, `replace_jobs` or `stop` must hold no lock that these two need.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        hostname: str,
        zone_of: Callable[[Job], ZoneInfo],
        memory: DueMemory,
        on_due: Callable[[Job, datetime], None],
        look_seconds: float,
        on_look: Callable[[], None] | None = None,
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._on_due = on_due
        self._on_look = on_look
        self._look_seconds = look_seconds
        self._agenda = Agenda(memory=memory, hostname=hostname, zone_of=zone_of)
        # Guards the agenda, and keeps two threads from handing on the same due time.
        self._turn = threading.Lock()
        self._armed_for: datetime | None = None
        self._clocks: tuple[datetime, float] | None = None
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_clock, name="clock-watch")
        # Callbacks run in the scheduler's own thread: they only fill a queue, and a pool would
        # bring APScheduler's `max_instances`, which drops what it should keep waiting.
        self._sleeper = BackgroundScheduler(
            timezone=UTC,
            daemon=False,
            executors={"default": DebugExecutor()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self, jobs: tuple[Job, ...], *, broken: Collection[str] = ()) -> None:
        """Begin; what was missed while nobody looked is made up for at once. `broken` are jobs that
        are there and cannot be read: they may come yet, and have missed what they missed.

        Raises: StateFailed when the memory cannot be read; then nothing was begun.
        """
        with self._turn:
            self._agenda.replace_jobs(jobs, self._now(), broken=broken)
            self._notice_step()
        self._sleeper.start()
        self._arm()
        self._watch.start()

    def replace_jobs(self, jobs: tuple[Job, ...]) -> None:
        """Take these jobs from now on; what is already due stays due.

        Raises: StateFailed; then the jobs are those of before.
        """
        with self._turn:
            self._agenda.replace_jobs(jobs, self._now())
        self._arm()

    def list_due(self) -> tuple[DueTime, ...]:
        """The next due time of each job, the first to begin first; from any thread."""
        return self._agenda.list_due()

    def look(self) -> None:
        """Compare the clocks, and hand on what begins now. A second look at once does nothing."""
        with self._turn:
            self._notice_step()
            now = self._now()
            for job, due in self._agenda.find_ready(now):
                if self._stopping.is_set():
                    return
                try:
                    self._on_due(job, due.due_at)
                except XenbackupError as error:
                    _log.error(
                        "due-time-not-queued",
                        job=job.name,
                        due_at=due.due_at.isoformat(),
                        error=str(error),
                        hint=error.hint,
                    )
                    continue
                self._agenda.settle(due, self._now())

    def stop(self) -> None:
        """Hand on nothing more, and end both threads. A second time does nothing."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._sleeper.running:
            self._sleeper.shutdown(wait=False)
        if self._watch.is_alive():
            self._watch.join()

    def _watch_clock(self) -> None:
        while not self._stopping.wait(self._look_seconds):
            self._look_alive()
            due = self._agenda.list_due()
            if due and due[0].begins_at != self._armed_for:
                self._arm()

    def _look_alive(self) -> None:
        try:
            self.look()
            if self._on_look is not None:
                self._on_look()
        except XenbackupError as error:
            # A host whose clock cannot be read, say: the thread must live to see it mended.
            _log.error("look-failed", error=str(error), hint=error.hint)
        except Exception:  # noqa: BLE001 - logged; the watchdog was not fed by this look
            _log.exception("look-defect")

    def _begin_due(self) -> None:
        """What APScheduler calls, holding its lock: so nothing here may wait for who wants that."""
        try:
            self.look()
        except XenbackupError as error:
            _log.error("look-failed", error=str(error), hint=error.hint)

    def _notice_step(self) -> None:
        """Say that the clock was set, since due times come earlier or later then."""
        before = self._clocks
        now, ticks = self._clocks = (self._now(), self._monotonic())
        if before is None:
            return
        step_seconds = (now - before[0]).total_seconds() - (ticks - before[1])
        if abs(step_seconds) > _STEP_SECONDS:
            _log.info("clock-stepped", seconds=round(step_seconds, 1), now=now.isoformat())
            self._armed_for = None  # APScheduler sleeps by the clock as it was

    def _arm(self) -> None:
        """Let APScheduler sleep until what begins next; never called with our own lock held."""
        if self._sleeper.running and not self._stopping.is_set():
            self._sleeper.add_job(
                self._begin_due, _Beginnings(self._find_wake_up), id="due", replace_existing=True
            )

    def _find_wake_up(self, real_now: datetime) -> datetime | None:
        """When it is time by the real clock, which APScheduler sleeps by; None for never."""
        due = self._agenda.list_due()
        if not due:
            self._armed_for = None
            return None
        self._armed_for = due[0].begins_at
        try:
            left = due[0].begins_at - self._now()
        except XenbackupError as error:
            _log.error("clock-unreadable", error=str(error), hint=error.hint)
            left = timedelta(seconds=self._look_seconds)
        return real_now + max(left, _SHORTEST_SLEEP)


class _Beginnings(BaseTrigger):  # type: ignore[misc]
    """APScheduler's view of the agenda: the one moment at which something begins next.

    Its own cron trigger skips nights around clock changes; cron is `planning.schedule`'s concern.
    """

    def __init__(self, find_wake_up: Callable[[datetime], datetime | None]) -> None:
        self._find_wake_up = find_wake_up

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Always later than `now`, else APScheduler would count up missed ones without end."""
        return self._find_wake_up(now)
