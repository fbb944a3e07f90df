"""Threads of the daemon that cannot be had, or die: what they held is let go of all the same."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from tests.house import WEB_UUID, copy_host, make_job
from tests.service.floors import DUE_AT, Floor, order
from tests.service.living import wait_for
from xenbackup.dom0.host import Host
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import ConfigurationError, StateFailed
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.operations.house import House
from xenbackup.records.accepted_rounds import RoundFolder
from xenbackup.records.journal import list_journals
from xenbackup.service import daemon as daemons
from xenbackup.service.announcements import Announcements
from xenbackup.service.attention import Attention
from xenbackup.service.control.server import ControlServer
from xenbackup.service.daemon import Daemon
from xenbackup.service.definitions import Definitions
from xenbackup.service.ledger import RoundLedger
from xenbackup.service.queue import RunQueue
from xenbackup.service.recovery import Recovery
from xenbackup.service.rounds import DaemonRound
from xenbackup.service.scheduler import Scheduler
from xenbackup.service.workers import Workers
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.system.systemd_notify import Notifier

RUN = "20261123T023000Z-abcdef"


def refuse_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# Rounds and their runs


def test_a_due_time_that_finds_two_rounds_of_its_job_waiting_is_left_out_and_the_log_says_why(
    floor: Floor,
) -> None:
    job = make_job("checkpoint")
    for hours in range(2):
        floor.ledger.take_due(job, DUE_AT + timedelta(hours=hours))
    third = DUE_AT + timedelta(hours=2)
    with capture_logs() as entries:
        floor.ledger.take_due(job, third)
    assert [
        {
            "event": "due-time-skipped",
            "log_level": "warning",
            "job": "test",
            "due_at": third.isoformat(),
            "reason": "2 of its rounds are not done yet",
        }
    ] == [entry for entry in entries if entry["event"] == "due-time-skipped"]
    skipped = floor.house.catalog.find_claimant("test", third)
    (told,) = floor.house.catalog.list_failed_rounds(datetime.min.replace(tzinfo=UTC))
    assert (skipped, Outcome.CANCELLED) == (told.round, told.outcome)
    assert [
        "Job test was due at 2026-11-23 04:30 UTC and left out: 2 of its rounds are not done yet."
    ] == floor.remarks
    floor.run_until_ended()


def test_a_due_time_that_is_taken_or_left_out_lets_those_of_long_ago_be_forgotten(
    floor: Floor,
) -> None:
    catalog = floor.house.catalog

    def is_known(days: int) -> bool:
        return catalog.find_claimant("test", DUE_AT - timedelta(days=days)) is not None

    job = make_job("checkpoint")
    for days in (300, 180, 95):
        catalog.claim_due_time("test", DUE_AT - timedelta(days=days), RUN)
    floor.ledger.take_due(job, DUE_AT)
    wait_for(lambda: catalog.find_claimant("test", DUE_AT))
    assert [False, True, True] == [is_known(days) for days in (300, 180, 95)]
    catalog.claim_due_time("test", DUE_AT - timedelta(days=300), RUN)
    floor.ledger.take_due(job, DUE_AT + timedelta(days=1))
    floor.ledger.take_due(job, DUE_AT + timedelta(days=2))
    assert "left out" in floor.remarks[0]
    assert [False, True, True] == [is_known(days) for days in (300, 180, 95)]
    floor.run_until_ended()


def test_run_that_gets_no_thread_fails_and_its_round_ends(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor.ledger.accept(order(replace(make_job("checkpoint"), retries=0))).start()
    wait_for(floor.queue.list_waiting)
    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    floor.begin_ready()
    monkeypatch.undo()
    result = floor.run_until_ended()
    assert result is not None
    assert "No thread can be had" in result.runs[0].error
    assert () == floor.queue.list_running()


def test_round_that_gets_no_thread_is_forgotten_and_may_come_again(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    with pytest.raises(StateFailed, match="can't start new thread"):
        floor.ledger.take_due(make_job("checkpoint"), DUE_AT)
    assert () == floor.ledger.list_rounds()


def test_worker_that_falls_over_at_its_end_still_tells_its_round(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(floor.workers.board, "end", fall)
    monkeypatch.setattr(RoundFolder, "keep", fall)
    floor.ledger.accept(order()).start()
    assert floor.run_until_ended() is not None
    wait_for(lambda: not floor.attention._lives, "nobody to be waited for")


def test_round_whose_listeners_fall_over_is_forgotten(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    made = floor.ledger.accept(order())
    monkeypatch.setattr(made.audience, "conclude", fall)
    made.start()
    result = floor.run_until_ended()
    assert result is not None and Outcome.OK is result.outcome


def test_two_rounds_that_looked_at_once_do_not_both_take_the_due_time(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was set back hands a due time on again before its round has written it down."""
    catalog = type(floor.house.catalog)
    find = catalog.find_claimant
    other = "20261123T023000Z-zzzzzz"

    def be_late(self: object, job: str, due_at: datetime) -> str | None:
        found = find(floor.house.catalog, job, due_at)
        floor.house.catalog.claim_due_time(job, due_at, other)
        return found

    monkeypatch.setattr(catalog, "find_claimant", be_late)
    floor.ledger.accept(order(due_at=DUE_AT)).start()
    assert floor.run_until_ended() is None
    assert ((), ()) == floor.folder.list_rounds()
    assert () == floor.house.catalog.list_runs(10)


def test_round_that_had_ended_when_the_stop_came_is_told_and_not_done_again(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = DaemonRound._finish

    def be_stopped(self: DaemonRound, result: RoundResult) -> None:
        finish(self, result)
        floor.stop = "the daemon is being stopped"

    monkeypatch.setattr(DaemonRound, "_finish", be_stopped)
    floor.ledger.accept(order(due_at=DUE_AT)).start()
    result = floor.run_until_ended()
    assert result is not None and Outcome.OK is result.outcome
    assert ((), ()) == floor.folder.list_rounds()


def test_round_that_is_cancelled_as_its_run_is_put_back_does_not_wait_for_the_next_attempt(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(make_job("checkpoint"), retries=3, retry_after_seconds=3600.0)
    made = floor.ledger.accept(order(job))
    put = floor.queue.put

    def cancel_first(runs: tuple[object, ...]) -> None:
        if any(run.attempts for run in runs):  # type: ignore[attr-defined]
            made.cancel("cancelled by user 0")
        put(runs)  # type: ignore[arg-type]

    def fail(*_: object) -> RunResult:
        return RunResult(
            run=RUN, domain="web", uuid="", outcome=Outcome.FAILED, error="x", may_pass=True
        )

    monkeypatch.setattr(floor.queue, "put", cancel_first)
    monkeypatch.setattr(Workers, "_attempt", fail)
    made.start()
    result = floor.run_until_ended()
    assert result is not None and Outcome.CANCELLED is result.outcome


def test_accepted_round_is_written_down_until_it_has_ended(floor: Floor) -> None:
    made = floor.ledger.accept(order(due_at=DUE_AT))
    made.start()
    wait_for(floor.queue.list_waiting)
    (kept,), wrong = floor.folder.list_rounds()
    assert (made.round_id, frozenset(), ()) == (kept.round, kept.settled, wrong)
    assert made.round_id == floor.house.catalog.find_claimant("test", DUE_AT)
    assert floor.run_until_ended() is not None
    assert ((), ()) == floor.folder.list_rounds()


def test_round_that_is_stopped_before_its_runs_is_left_for_the_next_daemon(floor: Floor) -> None:
    made = floor.ledger.accept(order(due_at=DUE_AT))
    made.start()
    wait_for(floor.queue.list_waiting)
    floor.stop = "the daemon is being stopped"
    floor.ledger.stop()
    assert floor.ledger.wait_until_ended(60.0)
    assert [(made, None)] == floor.ended
    (kept,), _ = floor.folder.list_rounds()
    assert (made.round_id, frozenset()) == (kept.round, kept.settled)


def test_second_thread_of_the_same_process_does_not_get_a_guest_that_is_in_work(
    floor: Floor,
) -> None:
    """A lock of a file belongs to who opened it: threads exclude each other as processes do."""
    job = replace(make_job("checkpoint"), retries=0)
    with floor.house.lock_domain(WEB_UUID, "back up web in another thread"):
        floor.ledger.accept(order(job)).start()
        result = floor.run_until_ended()
    assert result is not None
    assert "holds the lock" in result.runs[0].error
    assert () == list_journals(floor.house.journals_folder), "nothing was begun"


# The daemon's end


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


def make_stopping(ledger: object, queue: object) -> Daemon:
    made = Daemon.__new__(Daemon)
    made._ledger = cast(RoundLedger, ledger)
    made._queue = cast(RunQueue, queue)
    return made


def test_runs_are_waited_for_however_long_and_what_surrounds_them_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A retention at a dead server never returns: the host could not be shut down any more."""
    clock = Clock()
    running = ["web"]

    def wait(seconds: float) -> bool:
        clock.now += seconds
        if clock.now > 10_000:
            running.clear()
        return False

    ledger = SimpleNamespace(stop=lambda: None, wait_until_ended=wait, list_rounds=tuple)
    queue = SimpleNamespace(list_running=lambda: tuple(running), list_waiting=tuple)
    monkeypatch.setattr(daemons, "time", clock)
    make_stopping(ledger, queue)._await_rounds()
    late = clock.now - 10_000
    assert daemons.AFTERWARDS_SECONDS <= late <= daemons.AFTERWARDS_SECONDS + 20


def test_time_that_comes_while_the_queue_is_judged_is_not_slept_through() -> None:
    """A run is tried again at that time: looked at a moment too early, and then never."""
    judged_at = DUE_AT - timedelta(microseconds=1)
    host = SimpleNamespace(now=lambda: DUE_AT)
    waiting = (SimpleNamespace(not_before=DUE_AT),)
    queue = SimpleNamespace(
        list_waiting=lambda: waiting,
        find_next_time=lambda now: DUE_AT if now < DUE_AT else None,
    )
    made = make_stopping(None, queue)
    made._host = cast(Host, host)
    made._look_seconds = 60.0
    made._attention = cast(Attention, SimpleNamespace(feed_seconds=None))
    made._recovery = cast(Recovery, SimpleNamespace(due_in_seconds=None))
    assert 0.0 == made._find_timeout(judged_at)


def test_stop_that_stumbles_waits_for_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def fall() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == 3

    ledger = SimpleNamespace(stop=fall, wait_until_ended=wait, list_rounds=tuple)
    queue = SimpleNamespace(list_running=lambda: ("web",), list_waiting=tuple)
    made = make_stopping(ledger, queue)
    quiet = SimpleNamespace(
        tell_stopping=fall, tell_status=lambda _: None, stop=fall, close=fall, list_stalled=tuple
    )
    made._stopping = ""
    made._notifier = Notifier({})
    made._attention = cast(Attention, quiet)
    made._scheduler = cast(Scheduler, quiet)
    made._announcements = cast(Announcements, quiet)
    made._server = cast(ControlServer, quiet)
    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    made._end()
    assert 3 == len(waited)


# Definitions


def spend(host: Host, limit: BandwidthLimit, mebibytes: int) -> float:
    """Seconds that so many blocks of a mebibyte wait, by the clock of the host."""
    began = host.monotonic_seconds()
    for _ in range(mebibytes):
        limit.wait_for(1 << 20, lambda: True)
    return round(host.monotonic_seconds() - began, 1)


def test_reload_changes_the_rate_of_runs_that_are_under_way(pristine: Path, tmp_path: Path) -> None:
    """Two limits, of old runs and of new ones, would let them read at both rates at once."""
    copy_host(pristine, tmp_path / "host")
    folder = tmp_path / "host/etc/xenbackup"
    (folder / "jobs").mkdir(parents=True)
    configuration = folder / "config.toml"
    text = '[destination.local]\nkind = "images"\npath = "/srv/backup"\n'
    configuration.write_text(text)
    configuration.chmod(0o600)
    definitions = Definitions(SimulatedHost(tmp_path / "host"), None)
    host, of_old_runs = definitions.house.host, definitions.limit
    assert 0.0 == spend(host, of_old_runs, 64)
    configuration.write_text('bandwidth_limit = "1 MiB/s"\n' + text)
    definitions.reload(lambda _: None)
    assert 9.0 == pytest.approx(spend(host, of_old_runs, 10), abs=0.5)
    assert 10.0 == pytest.approx(spend(host, definitions.limit, 10), abs=0.5), "after the old ones"
    configuration.write_text(text)
    definitions.reload(lambda _: None)
    assert 0.0 == pytest.approx(spend(host, of_old_runs, 64), abs=1.5)


def test_reload_that_the_scheduler_refuses_leaves_the_old_definitions(
    pristine: Path, tmp_path: Path
) -> None:
    copy_host(pristine, tmp_path / "host")
    folder = tmp_path / "host/etc/xenbackup"
    (folder / "jobs").mkdir(parents=True)
    configuration = folder / "config.toml"
    text = '[destination.local]\nkind = "images"\npath = "/srv/backup"\n'
    configuration.write_text(text)
    configuration.chmod(0o600)
    definitions = Definitions(SimulatedHost(tmp_path / "host"), None)
    before, limit = definitions.house, definitions.limit
    configuration.write_text('bandwidth_limit = "1 MiB/s"\n' + text)

    def refuse(house: House) -> None:
        raise StateFailed("The memory cannot be read.")

    with pytest.raises(StateFailed):
        definitions.reload(refuse)
    assert before is definitions.house
    assert 0.0 == spend(definitions.house.host, limit, 64)
    assert ("The memory cannot be read.",) == definitions.problems
    configuration.write_text("nonsense")
    with pytest.raises(ConfigurationError):
        definitions.reload(lambda _: None)
    assert before is definitions.house
