"""When the watchdog is fed, when it is not, and when it is shortened."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xenbackup.service.attention import (
    ABANDON_SECONDS,
    COMMAND_GRACE_SECONDS,
    QUIET_AWAY_SECONDS,
    QUIET_SECONDS,
    SHORTEST_WATCHDOG_SECONDS,
    Attention,
)
from xenbackup.system.systemd_notify import Notifier


@dataclass
class Manager:
    """Systemd's side of the socket, and a clock that the test sets."""

    path: Path
    now: float = 1000.0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)

    def read(self) -> list[str]:
        """What was told since the last time."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def make_attention(self, watchdog: str = "180000000") -> Attention:
        environment = {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": watchdog}
        return Attention(Notifier(environment), monotonic=lambda: self.now)

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(path=tmp_path / "notify")
    yield found
    found.close()


def test_idle_daemon_feeds_when_it_looks_and_needs_no_more(manager: Manager) -> None:
    attention = manager.make_attention()
    assert attention.feed_seconds is None
    assert attention.feed()
    assert ["WATCHDOG=1"] == manager.read()


def test_short_watchdog_is_fed_three_times_in_its_period(manager: Manager) -> None:
    assert 10.0 == manager.make_attention("30000000").feed_seconds


def test_run_without_a_sign_of_life_is_not_fed_for(manager: Manager) -> None:
    attention = manager.make_attention()
    attention.begin_run("run", 600)
    manager.now += QUIET_SECONDS - 1
    assert attention.feed()
    manager.now += 2
    assert not attention.feed()
    assert ("run",) == attention.list_stalled()
    assert ["WATCHDOG=1"] == manager.read()
    attention.show_life()
    assert attention.feed()
    attention.end_run()


def test_command_is_waited_for_until_its_own_deadline(manager: Manager) -> None:
    attention = manager.make_attention()
    attention.begin_run("run", 600)
    attention.begin_command(7200)
    manager.now += 7200 + COMMAND_GRACE_SECONDS - 1
    assert attention.feed()
    manager.now += 2
    assert not attention.feed()
    attention.end_run()


def test_watchdog_is_shortened_while_a_guest_is_away_and_only_then(manager: Manager) -> None:
    attention = manager.make_attention()
    attention.begin_run("run", 600)
    attention.change_absence(away=True)
    assert ["WATCHDOG_USEC=60000000\nWATCHDOG=1"] == manager.read()
    assert 20.0 == attention.feed_seconds
    manager.now += QUIET_AWAY_SECONDS + 1
    assert not attention.feed()
    attention.change_absence(away=False)
    assert ["WATCHDOG_USEC=180000000\nWATCHDOG=1"] == manager.read()
    attention.end_run()
    assert [] == manager.read()


def test_run_that_ends_with_its_guest_away_lengthens_the_watchdog_again(manager: Manager) -> None:
    attention = manager.make_attention()
    attention.begin_run("run", 60)
    attention.change_absence(away=True)
    short = round(SHORTEST_WATCHDOG_SECONDS * 1e6)
    assert [f"WATCHDOG_USEC={short}\nWATCHDOG=1"] == manager.read()
    attention.end_run()
    assert ["WATCHDOG_USEC=180000000\nWATCHDOG=1"] == manager.read()


def test_sign_of_life_may_come_from_a_thread_that_carries_the_context(manager: Manager) -> None:
    """A cold copy is done in a thread of its own."""
    attention = manager.make_attention()
    attention.begin_run("run", 600)
    manager.now += QUIET_SECONDS + 1
    thread = threading.Thread(target=copy_context().run, args=(attention.show_life,))
    thread.start()
    thread.join()
    assert () == attention.list_stalled()
    attention.end_run()


def test_other_threads_do_not_speak_for_a_run(manager: Manager) -> None:
    attention = manager.make_attention()
    attention.begin_run("run", 600)
    manager.now += QUIET_SECONDS + 1
    thread = threading.Thread(target=attention.show_life)
    thread.start()
    thread.join()
    assert ("run",) == attention.list_stalled()
    attention.end_run()


def test_without_a_manager_nothing_is_told_and_nothing_fails() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.tell_ready()
    assert 0.0 == notifier.watchdog_seconds
    assert Attention(notifier).feed_seconds is None


def test_what_systemd_is_told_is_spelled_as_it_reads_it(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(manager.path)})
    notifier.tell_ready()
    notifier.tell_reloading()
    notifier.tell_stopping()
    notifier.tell_status("two\nlines")
    notifier.extend_timeout(1.5)
    ready, reloading, *others = manager.read()
    assert "READY=1" == ready
    first, second = reloading.splitlines()
    assert "RELOADING=1" == first
    assert second.removeprefix("MONOTONIC_USEC=").isdigit()
    assert ["STOPPING=1", "STATUS=two lines", "EXTEND_TIMEOUT_USEC=1500000"] == others


def test_watchdog_of_another_process_is_none_of_ours() -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert 0.0 == Notifier(environment).watchdog_seconds


def test_copy_that_hangs_while_its_guest_is_away_is_first_left_behind_by_its_run(
    manager: Manager,
) -> None:
    """Killed instead, a process may keep its locks for as long as the kernel holds its thread."""
    attention = manager.make_attention()
    attention.begin_run("run", 3600)
    attention.change_absence(away=True)
    attention.begin_step(copies=True)
    manager.now += 3600 + ABANDON_SECONDS
    assert attention.feed()
    attention.begin_step(copies=False)
    manager.now += QUIET_AWAY_SECONDS + 1
    assert not attention.feed(), "what comes after the copy shows life in time, or hangs"
