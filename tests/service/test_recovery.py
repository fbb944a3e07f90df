"""Recovery as the daemon does it: before anything else, and again while something is left."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.house import build_house
from tests.pipeline.strikes import run_killed_at
from tests.service.living import DaemonHost, wait_for
from tests.unit.restore_house import RestoreWatcher, Site
from xenbackup.errors import Interrupted, Locked, StateFailed
from xenbackup.operations.house import House
from xenbackup.operations.recover import RecoveredRun
from xenbackup.operations.removals import FinishedRemovals
from xenbackup.operations.restore import restore_point
from xenbackup.service import recovery as recoveries
from xenbackup.service.attention import Attention
from xenbackup.service.recovery import FIRST_RETRY_SECONDS, Recovery
from xenbackup.system.systemd_notify import Notifier

RUN = "20261123T023000Z-abcdef"
LEFT = RecoveredRun(run=RUN, domain="web", healed=False, running=False, messages=("Too bad.",))
ELSEWHERE = replace(LEFT, healed=True, running=True)


def refuse_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_guests_of_a_dead_daemon_are_back_before_the_next_one_is_ready(host: DaemonHost) -> None:
    """Both were cut off while paused: one stumbling block must not be the other's."""
    for domain in ("thinny", "web"):
        run_killed_at(build_house(host.host), "checkpoint", "lvcreate:end", domain=domain)
    daemon = host.start()
    events = [found["event"] for found in daemon.read_log()]
    assert 2 == events[: events.index("daemon-ready")].count("run-recovered")
    assert [] == host.find_wrongs()


def test_a_removal_that_was_cut_off_is_finished_by_the_time_the_next_daemon_is_ready(
    host: DaemonHost,
) -> None:
    assert 0 == host.call("run", "on-demand").returncode
    (point,) = build_house(host.host).catalog.list_points()
    home = host.directory / "srv/backup/web"
    (home / point.point).rename(home / f".deleting-{point.point}")
    daemon = host.start()
    events = [found["event"] for found in daemon.read_log()]
    assert 1 == events[: events.index("daemon-ready")].count("removal-finished")
    assert not (home / f".deleting-{point.point}").exists()
    assert () == build_house(host.host).catalog.list_points()


@dataclass
class Recoverer:
    """What `recover_runs` does next, and how often it was called; `woken` counts wake-ups."""

    act: Callable[[], tuple[RecoveredRun, ...]] = tuple
    calls: int = 0
    woken: int = 0
    removals: FinishedRemovals = field(default_factory=FinishedRemovals)

    def recover(self, house: object, watcher: object) -> tuple[RecoveredRun, ...]:
        self.calls += 1
        return self.act()

    def wake(self) -> None:
        self.woken += 1

    def was_woken(self, times: int) -> bool:
        return self.woken >= times


@pytest.fixture
def recoverer(monkeypatch: pytest.MonkeyPatch) -> Recoverer:
    found = Recoverer()
    monkeypatch.setattr(recoveries, "recover_runs", found.recover)
    monkeypatch.setattr(recoveries, "finish_removals", lambda house: found.removals)
    return found


def make_recovery(
    recoverer: Recoverer, tmp_path: Path, *, house: House | None = None, **options: object
) -> Recovery:
    found = house or cast(House, SimpleNamespace(state_folder=tmp_path))
    notifier = Notifier({})
    return Recovery(
        lambda: found,
        notifier,
        Attention(notifier),
        on_change=recoverer.wake,
        **options,  # type: ignore[arg-type]
    )


def let_time_come(recovery: Recovery) -> None:
    recovery._next_at = time.monotonic()


def test_recovery_that_left_something_wakes_whoever_sleeps_until_the_next(
    recoverer: Recoverer, tmp_path: Path
) -> None:
    """While it is at work there is no next time: without a wake-up nobody would ever come back."""
    recoverer.act = lambda: (LEFT,)
    recovery = make_recovery(recoverer, tmp_path)
    recovery.recover_first()
    for number in range(1, 4):
        let_time_come(recovery)
        recovery.look()
        wait_for(partial(recoverer.was_woken, number), "the wake-up")
        due = recovery.due_in_seconds
        assert due is not None and due > FIRST_RETRY_SECONDS
    assert 4 == recoverer.calls
    assert "Too bad." in recovery.messages[0]


def recover_and_read(recovery: Recovery) -> tuple[str, ...]:
    recovery.recover_first()
    return recovery.messages


def test_a_removal_that_cannot_be_finished_is_told_and_tried_again(
    recoverer: Recoverer, tmp_path: Path
) -> None:
    recovery = make_recovery(recoverer, tmp_path)
    recoverer.removals = FinishedRemovals(troubles=("local: notes.txt is no part of a point",))
    assert (
        "A removal was not finished: local: notes.txt is no part of a point.",
    ) == recover_and_read(recovery)
    assert recovery.due_in_seconds is not None
    recoverer.removals = FinishedRemovals(points=(RUN,), silent=("nas",))
    assert () == recover_and_read(recovery)


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), KeyError("x"), StateFailed("Full.")]
)
def test_recovery_that_falls_over_is_tried_again(
    recoverer: Recoverer, tmp_path: Path, error: Exception
) -> None:
    def fall() -> tuple[RecoveredRun, ...]:
        raise error

    recoverer.act = fall
    recovery = make_recovery(recoverer, tmp_path)
    recovery.recover_first()
    assert recovery.messages[0].startswith("The recovery failed: ")
    let_time_come(recovery)
    recovery.look()
    wait_for(lambda: recoverer.woken)
    assert recovery.due_in_seconds
    recoverer.act = tuple
    let_time_come(recovery)
    recovery.look()
    wait_for(lambda: recoverer.woken == 2)
    assert () == recovery.messages
    assert recovery.due_in_seconds is None


def test_recovery_that_was_locked_for_a_while_is_not_put_off_for_an_hour(
    recoverer: Recoverer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recoveries, "_POLL_SECONDS", 0.0)

    def act() -> tuple[RecoveredRun, ...]:
        if recoverer.calls < 20:
            raise Locked("Another one.")
        return (LEFT,)

    recoverer.act = act
    recovery = make_recovery(recoverer, tmp_path)
    recovery.recover_first()
    assert recovery.due_in_seconds == pytest.approx(FIRST_RETRY_SECONDS, abs=30)


def test_daemon_that_is_stopped_waits_for_no_other_recovery(
    recoverer: Recoverer, tmp_path: Path
) -> None:
    def act() -> tuple[RecoveredRun, ...]:
        raise Locked("Another one.")

    recoverer.act = act
    make_recovery(recoverer, tmp_path, explain_stop=lambda: "stopped").recover_first()
    assert 1 == recoverer.calls


def test_run_of_another_process_is_looked_at_until_it_has_ended(
    recoverer: Recoverer, tmp_path: Path
) -> None:
    """It may be killed: then nobody but us would bring its guest back before the next night."""
    recoverer.act = lambda: (ELSEWHERE,)
    recovery = make_recovery(recoverer, tmp_path)
    recovery.recover_first()
    assert () == recovery.messages, "nothing is left, as far as anybody knows"
    assert recovery.due_in_seconds is not None
    recoverer.act = tuple
    let_time_come(recovery)
    recovery.look()
    wait_for(lambda: recoverer.woken)
    assert recovery.due_in_seconds is None


def test_restore_that_is_at_work_is_told_of_only_once_it_was_cut_off(
    recoverer: Recoverer, tmp_path: Path
) -> None:
    site = Site(tmp_path / "host")
    point = site.back_up("crash")
    site.lose()
    watcher = RestoreWatcher()
    with pytest.raises(Interrupted):
        cut = partial(watcher.acts.count, "restore xvdb")
        plan = site.plan(point)
        restore_point(site.house, plan, watcher, lambda: "a kill" if cut() else "")
    recovery = make_recovery(recoverer, tmp_path, house=site.house)
    with site.house.lock_domain("web", "restore web"):
        recovery.recover_first()
        assert () == recovery.messages
        due = recovery.due_in_seconds
        assert due is not None and due <= FIRST_RETRY_SECONDS
    let_time_come(recovery)
    recovery.look()
    wait_for(lambda: recoverer.woken)
    told = " ".join(recovery.messages)
    assert "of web did not end: its disks hold neither the old nor the new" in told


def test_runs_of_our_own_that_are_under_way_are_no_reason_to_look_again(
    recoverer: Recoverer, tmp_path: Path
) -> None:
    recoverer.act = lambda: (ELSEWHERE,)
    recovery = make_recovery(recoverer, tmp_path, list_own=lambda: {RUN})
    recovery.recover_first()
    assert recovery.due_in_seconds is None


def test_what_is_left_while_a_recovery_is_at_work_is_looked_at_after_it(
    recoverer: Recoverer, tmp_path: Path
) -> None:
    recoverer.act = lambda: (LEFT,)
    recovery = make_recovery(recoverer, tmp_path)
    recovery.recover_first()

    def act() -> tuple[RecoveredRun, ...]:
        recovery.arm()
        return ()

    recoverer.act = act
    let_time_come(recovery)
    recovery.look()
    wait_for(lambda: recoverer.woken)
    assert recovery.due_in_seconds


def test_thread_that_recovery_does_not_get_puts_it_off(
    recoverer: Recoverer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovery = make_recovery(recoverer, tmp_path)
    recovery.arm()
    let_time_come(recovery)
    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    recovery.look()
    assert recovery.due_in_seconds
    assert 0 == recoverer.calls


def test_recovery_that_is_stuck_is_stalled(recoverer: Recoverer, tmp_path: Path) -> None:
    """Systemd is asked for more time no longer, and ends what hangs."""
    seen: list[tuple[str, ...]] = []
    now = [0.0]
    notifier = Notifier({})
    attention = Attention(notifier, monotonic=lambda: now[0])

    def act() -> tuple[RecoveredRun, ...]:
        now[0] += 10_000.0
        seen.append(attention.list_stalled())
        return ()

    recoverer.act = act
    house = cast(House, SimpleNamespace(state_folder=tmp_path))
    Recovery(lambda: house, notifier, attention).recover_first()
    assert [("recovery",)] == seen
    assert () == attention.list_stalled()
