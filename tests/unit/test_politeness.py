"""Only the thread that copies stands back, with what it starts for that; commands never do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from xenbackup.model.command import Command
from xenbackup.model.job import IoClass, Politeness
from xenbackup.system.command import SystemCommands
from xenbackup.system.politeness import read_priorities, stand_back

T = TypeVar("T")
Priorities = tuple[int, int]

POLITE = Politeness(nice=7, io_class=IoClass.BEST_EFFORT, io_level=6)
BEST_EFFORT_6 = 2 << 13 | 6


def in_thread(act: Callable[[], T]) -> T:
    """A thread of its own: whoever may not put itself forward again keeps this process as it is."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(act()))
    thread.start()
    thread.join()
    return found[0]


def test_the_thread_stands_back_and_threads_that_it_starts_with_it() -> None:
    def act() -> tuple[Priorities, Priorities]:
        with stand_back(POLITE):
            return read_priorities(), in_thread(read_priorities)

    own, started = in_thread(act)
    assert ((7, BEST_EFFORT_6), 7) == (own, started[0])


def test_other_threads_do_not_stand_back() -> None:
    before = read_priorities()

    def act() -> None:
        with stand_back(POLITE):
            assert before == others()

    def others() -> object:
        answers.wait(30)
        return seen[0]

    seen: list[object] = []
    answers = threading.Event()
    thread = threading.Thread(target=act)
    thread.start()
    seen.append(read_priorities())
    answers.set()
    thread.join()
    assert before == read_priorities()


def test_afterwards_all_is_as_before_where_the_system_allows_it() -> None:
    def act() -> tuple[Priorities, Priorities]:
        before = read_priorities()
        with stand_back(POLITE):
            pass
        return before, read_priorities()

    before, after = in_thread(act)
    assert before == after, "this test needs CAP_SYS_NICE: run it as root"


def test_commands_started_meanwhile_put_themselves_forward() -> None:
    def act() -> str:
        with stand_back(POLITE):
            return SystemCommands().run(Command(argv=("nice",), timeout_seconds=30)).stdout

    assert "0\n" == in_thread(act), "this test needs CAP_SYS_NICE: run it as root"


def test_none_changes_nothing() -> None:
    def act() -> bool:
        before = read_priorities()
        with stand_back(None):
            return before == read_priorities()

    assert in_thread(act)


def test_io_class_none_leaves_the_io_priority_alone() -> None:
    def act() -> bool:
        _, before = read_priorities()
        with stand_back(Politeness(nice=3, io_class=IoClass.NONE)):
            return (3, before) == read_priorities()

    assert in_thread(act)


def test_refusal_is_told_once_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("xenbackup.system.politeness._told", set())
    monkeypatch.setattr("xenbackup.system.politeness.os.setpriority", refuse)
    for _ in range(3):
        with stand_back(Politeness(io_class=IoClass.NONE)):
            pass
    assert ["politeness-refused"] == [record.message for record in caplog.records]
