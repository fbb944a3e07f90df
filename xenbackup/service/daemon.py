"""The daemon, put together: recovery, jobs, control socket, scheduler, and a stop that is clean.

The main thread sleeps until something wants it: a signal, a run whose turn may have come. Due times
come from the scheduler's thread, requests from the control server's, runs are threads of their own.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import time
from datetime import datetime
from pathlib import Path
from types import FrameType

import structlog

from xenbackup import __version__
from xenbackup.bootstrap import open_house_to_recover
from xenbackup.dom0.host import Host
from xenbackup.errors import ConfigurationError, ExitCode, Locked, XenbackupError
from xenbackup.model.live import LiveStatus
from xenbackup.model.run import Outcome, RoundResult
from xenbackup.operations.house import House
from xenbackup.operations.zones import find_zone, read_host_zone
from xenbackup.service.announcements import Announcements
from xenbackup.service.attention import Attention
from xenbackup.service.board import Board
from xenbackup.service.control.server import ControlServer
from xenbackup.service.definitions import Definitions
from xenbackup.service.ledger import RoundLedger
from xenbackup.service.pages import Pages
from xenbackup.service.queue import RunQueue
from xenbackup.service.recovery import Recovery, extend_timeout
from xenbackup.service.requests import RequestDesk
from xenbackup.service.rounds import DaemonRound
from xenbackup.service.scheduler import Scheduler
from xenbackup.service.wake import Wake
from xenbackup.service.watched_host import WatchedHost
from xenbackup.service.workers import Workers
from xenbackup.system import durable
from xenbackup.system.memory import bound_arenas, give_memory_back
from xenbackup.system.systemd_notify import Notifier

SOCKET_PATH = "/run/xenbackup/control.sock"
LOCK_FILE = "daemon.lock"
LOOK_SECONDS = 60.0
SIMULATED_LOOK_SECONDS = 1.0
"""How often the clock is compared; a simulated one jumps when somebody tells it to."""

BUSY_SECONDS = 600.0
"""How long the main thread may be busy with one thing and still count as alive."""

AFTERWARDS_SECONDS = 120.0
"""How long a daemon that stops waits for hooks, plans and retention, once no run is under way."""

HANDOVER_SECONDS = 60.0
"""How long a daemon that systemd starts waits for another one to be gone."""

_STOP_POLL_SECONDS = 5.0
_HANDOVER_POLL_SECONDS = 1.0

_log = structlog.get_logger("xenbackup.daemon")


def run_daemon(
    host: Host, configuration_path: Path | None, *, pages: Pages, look_seconds: float
) -> int:
    """Be the daemon of this host until a signal stops it; returns the exit code.

    With a configuration that is broken it brings guests back, and ends.

    Raises: Locked when there is one already; ConfigurationError; CommandFailed when no toolstack
    answers; StateFailed.
    """
    faulthandler.enable()
    bound_arenas()
    notifier = Notifier()
    attention = Attention(notifier)
    watched = WatchedHost(host, attention)
    try:
        definitions = Definitions(watched, configuration_path)
    except ConfigurationError:
        house, _ = open_house_to_recover(watched, configuration_path)
        Recovery(lambda: house, notifier, attention).recover_first()
        raise
    state = durable.make_private_folder(definitions.house.state_folder)
    _wait_for_turn(state / LOCK_FILE, notifier)
    with durable.FileLock(state / LOCK_FILE, "run the daemon"):
        daemon = Daemon(definitions, notifier, attention, pages, look_seconds)
        return daemon.live()


def _wait_for_turn(lock: Path, notifier: Notifier) -> None:
    """Where systemd starts us, wait a while until nobody holds the lock; a person is told at once.

    A process that was killed keeps its lock for as long as the kernel holds one of its threads, at
    a file server that is gone for instance. So the service waits, and is started again until it
    gets it: nobody else would see that moment.
    """
    until = time.monotonic() + HANDOVER_SECONDS
    while notifier.is_heard and time.monotonic() < until:
        try:
            with durable.FileLock(lock, "run the daemon"):
                return
        except Locked as error:
            notifier.tell_status(f"Waiting for another daemon to end. {error.message}")
        time.sleep(_HANDOVER_POLL_SECONDS)


class Daemon:
    """One life of the daemon, from its lock to its end."""

    def __init__(
        self,
        definitions: Definitions,
        notifier: Notifier,
        attention: Attention,
        pages: Pages,
        look_seconds: float,
    ) -> None:
        self._definitions = definitions
        self._notifier = notifier
        self._attention = attention
        self._look_seconds = look_seconds
        self._host = definitions.house.host
        self._since = self._host.now()
        self._stopping = ""
        self._wants_reload = False
        self._refused = ""
        self._busy_since: float | None = time.monotonic()
        self._wake = Wake()
        self._queue = RunQueue(self._wake.call)
        self._board = Board(self._host.now)
        self._recovery = Recovery(
            lambda: definitions.house,
            notifier,
            attention,
            list_own=lambda: {active.run for active in self._board.list_active()},
            on_change=self._wake.call,
            explain_stop=self._explain_stop,
        )
        self._workers = Workers(
            queue=self._queue,
            board=self._board,
            attention=attention,
            explain_stop=self._explain_stop,
        )
        self._announcements = Announcements(
            definitions, self.describe, simulated=look_seconds < LOOK_SECONDS
        )
        self._ledger = RoundLedger(
            definitions=definitions,
            queue=self._queue,
            board=self._board,
            look_seconds=look_seconds,
            explain_stop=self._explain_stop,
            on_begin=self._round_began,
            keep_result=lambda ended, result: self._announcements.keep_result(ended.job, result),
            on_end=self._round_ended,
            remark=self._announcements.remark,
            tell_loss=self._announcements.tell_loss,
        )
        self._scheduler = Scheduler(
            now=self._host.now,
            monotonic=time.monotonic,
            hostname=socket.gethostname(),
            zone_of=lambda job: find_zone(self._host, job),
            memory=definitions.house.catalog,
            on_due=self._ledger.take_due,
            look_seconds=look_seconds,
            on_look=self._look,
        )
        desk = RequestDesk(
            definitions=definitions,
            ledger=self._ledger,
            queue=self._queue,
            pages=pages,
            reload=self._reload,
            describe=self.describe,
            list_guests=self._announcements.list_guests,
        )
        self._server = ControlServer(self._host.place(SOCKET_PATH), handle=desk.answer)

    def live(self) -> int:
        """Recover, serve, stop. Raises: StateFailed when the socket cannot be made; Locked."""
        self._take_signals()
        _log.info("daemon-began", version=__version__, pid=os.getpid())
        self._announcements.adapt()
        for problem in self._definitions.problems:
            _log.error("configuration-problem", problem=problem)
            self._announcements.tell_loss(problem)
        self._recovery.recover_first()
        for message in self._recovery.messages:
            self._announcements.tell_loss(message)
        try:
            if not self._stopping:
                self._begin()
                self._serve()
        finally:
            self._end()
        _log.info("daemon-ended")
        return int(ExitCode.GOOD)

    def describe(self) -> LiveStatus:
        """How the daemon is just now."""
        return LiveStatus(
            pid=os.getpid(),
            version=__version__,
            since=self._since,
            stopping=self._stopping,
            configuration_problems=self._definitions.problems,
            recovery=self._recovery.messages,
            telling_problems=self._announcements.problems,
            active=self._board.list_active(),
            waiting=self._ledger.list_waiting(),
            due=self._scheduler.list_due(),
        )

    # The main thread

    def _begin(self) -> None:
        """Raises: StateFailed and others, of which somebody has been told."""
        try:
            self._begin_work()
        except Exception as error:
            self._announcements.tell_no_start(error)
            raise
        self._announcements.release()
        self._notifier.tell_ready()
        self._notifier.tell_status(self._summarise())
        give_memory_back()
        _log.info("daemon-ready", jobs=[job.name for job in self._definitions.house.jobs.jobs])

    def _begin_work(self) -> None:
        self._host.place(SOCKET_PATH).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._server.start()
        self._announcements.resume()
        self._ledger.resume()
        jobs = self._definitions.house.jobs
        self._scheduler.start(jobs.jobs, broken={file.name for file in jobs.broken})

    def _serve(self) -> None:
        while not self._stopping:
            judged_at = self._begin_ready()
            if self._wants_reload:
                self._wants_reload = False
                self._reload_quietly()
            self._recovery.look()
            self._busy_since = None
            self._wake.wait(self._find_timeout(judged_at))
            self._busy_since = time.monotonic()
            if self._attention.feed_seconds is not None:
                self._attention.feed()

    def _begin_ready(self) -> datetime:
        """Begin the runs whose turn it is; returns the time that it was judged by."""
        house = self._definitions.house
        now = house.host.now()
        if self._queue.list_waiting():
            now = now.astimezone(read_host_zone(house.host))
            for queued in self._queue.take_ready(house.configuration.limits, now):
                self._workers.begin(queued)
            for queued in self._queue.list_waiting():
                queued.round.audience.tell_waiting(queued.domain, queued.reason)
        return now

    def _find_timeout(self, judged_at: datetime) -> float | None:
        """Until the main thread has something to do by itself; None: until it is called.

        Times are compared with the one that was judged by: what has come since would be waited for
        by nobody.
        """
        times = [self._attention.feed_seconds, self._recovery.due_in_seconds]
        if self._queue.list_waiting():
            moment = self._queue.find_next_time(judged_at)
            if moment is not None:
                left = (moment - self._host.now()).total_seconds()
                times.append(min(max(left, 0.0), self._look_seconds))
        return min((found for found in times if found is not None), default=None)

    def _end(self) -> None:
        """Guests first: runs undo what they began, and are waited for however long that takes."""
        self._stopping = self._stopping or "the daemon ends"
        self._notifier.tell_stopping()
        self._notifier.tell_status("Stopping: what was begun is being undone, the guests first.")
        with extend_timeout(self._notifier, lambda: not self._attention.list_stalled()):
            for act in (
                self._scheduler.stop,
                self._await_rounds,
                self._announcements.close,
                self._stop_server,
            ):
                try:
                    act()
                except Exception:  # noqa: BLE001 - logged; runs are waited for whatever fails
                    _log.exception("stop-defect")

    def _await_rounds(self) -> None:
        """Until all have ended. What surrounds runs (a retention at a dead server, say) is not
        waited for like runs: nothing of a guest depends on it, and the next daemon goes on there.
        """
        idle_since: float | None = None
        while True:
            try:
                self._ledger.stop()
            except Exception:  # noqa: BLE001 - logged; it is tried again
                _log.exception("stop-defect")
            if self._ledger.wait_until_ended(_STOP_POLL_SECONDS):
                return
            if self._queue.list_running() or self._queue.list_waiting():
                idle_since = None
                continue
            now = time.monotonic()
            idle_since = now if idle_since is None else idle_since
            if now - idle_since >= AFTERWARDS_SECONDS:
                left = [known.round_id for known in self._ledger.list_rounds()]
                _log.warning("rounds-left-behind", rounds=left)
                return

    def _stop_server(self) -> None:
        self._server.stop(message="The daemon was stopped.", exit_code=ExitCode.INTERRUPTED)

    # Signals

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGHUP, self._note_hangup)
        self._wake.watch_signals()

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        """The first one is the reason; a second one changes nothing."""
        self._stopping = self._stopping or "the daemon is being stopped"

    def _note_hangup(self, number: int, frame: FrameType | None) -> None:
        self._wants_reload = True

    def _explain_stop(self) -> str:
        return self._stopping

    # Other threads

    def _look(self) -> None:
        """Once a minute, in the scheduler's thread: so that an idle daemon wakes up for no more."""
        busy_since = self._busy_since
        if busy_since is None or time.monotonic() - busy_since < BUSY_SECONDS:
            self._attention.feed()
        if self._definitions.have_changed():
            self._wants_reload = True
            self._wake.call()
        elif any(waiting.not_before for waiting in self._queue.list_waiting()):
            self._wake.call()

    def _reload(self) -> None:
        """Raises: ConfigurationError and others; then the old definitions stand."""
        self._notifier.tell_reloading()
        try:
            self._definitions.reload(self._take_house)
            self._refused = ""
            self._ledger.resume_put_off()
        finally:
            self._notifier.tell_ready()
            self._notifier.tell_status(self._summarise())

    def _reload_quietly(self) -> None:
        try:
            self._reload()
        except XenbackupError as error:
            self._note_refusal(error.message)
        except Exception:  # noqa: BLE001 - logged; the old definitions stand
            _log.exception("reload-defect")
            self._note_refusal("see the log.")

    def _note_refusal(self, reason: str) -> None:
        """Once: what may pass is tried again every minute."""
        if reason != self._refused:
            self._refused = reason
            _log.error("reload-refused", error=reason)
            self._announcements.remark(f"The configuration was not taken over: {reason}")

    def _take_house(self, house: House) -> None:
        self._scheduler.replace_jobs(house.jobs.jobs)
        self._announcements.adapt()

    def _summarise(self) -> str:
        jobs = len(self._definitions.house.jobs.jobs)
        text = f"{jobs} jobs"
        if self._definitions.problems:
            text += f"; {len(self._definitions.problems)} problems in the configuration"
        return text

    def _round_began(self, begun: DaemonRound) -> None:
        self._announcements.tell_beginning(begun.job, begun.round_id)
        self._notifier.tell_status(f"Round {begun.round_id} of job {begun.job.name} is under way")

    def _round_ended(self, ended: DaemonRound, result: RoundResult | None) -> None:
        """`result` is None for a round that did not take place, or goes on in another life."""
        self._notifier.tell_status(self._summarise())
        if not self._board.list_active():
            give_memory_back()
        if result is None:
            return
        self._announcements.tell_end(ended.job, result)
        if any(run.outcome is not Outcome.OK for run in result.runs):
            self._recovery.arm()
            self._wake.call()
