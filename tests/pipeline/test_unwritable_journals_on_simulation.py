"""Journals that cannot be written, tools that stumble once: the guest comes back all the same."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house import Watcher, back_up, build_house, copy_host, find_wrongs, recover
from tests.pipeline.strikes import run_killed_at
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import CommandFailed, StateFailed
from xenbackup.model import entries as e
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.domain import Domain
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import guest
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.undo import undo_run
from xenbackup.records.journal import RESERVE_BYTES, list_journals, read_journal
from xenbackup.system import durable

LINES = 70
"""No run of these tests writes as many."""


@dataclass
class Disk:
    """The disk of the journals: from the `nth` line on it takes the half of each, then nothing."""

    nth: int
    lines: int = 0
    full: bool = True

    def append(self, descriptor: int, content: bytes) -> None:
        self.lines += 1
        if self.full and self.lines >= self.nth:
            os.write(descriptor, content[: len(content) // 2])
            raise StateFailed(f"Cannot append: {os.strerror(errno.ENOSPC)}.")
        os.write(descriptor, content)
        os.fsync(descriptor)


def find_guest(house: House) -> Domain | None:
    return next((found for found in house.toolstack.list_domains() if found.name == "web"), None)


@pytest.mark.parametrize("preset", ["crash", "checkpoint", "snapshot", "cold"])
def test_guest_is_up_whenever_the_disk_of_the_journals_fills_up(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    monkeypatch.setattr(guest, "POLL_SECONDS", 20.0)
    for nth in range(2, LINES):
        directory = tmp_path / f"host-{nth}"
        copy_host(pristine, directory)
        house = build_house(SimulatedHost(directory))
        disk = Disk(nth=nth)
        monkeypatch.setattr(durable, "append_durably", disk.append)
        result = back_up(house, preset).runs[0]
        if disk.lines < nth:
            return
        found = find_guest(house)
        assert found is not None and found.state.alive, f"line {nth}: {found}, {result.error}"
        left = [v.name for v in house.lvm.list_volumes() if "xenbackup" in v.tags]
        assert [] == left, f"line {nth}"
        recovered = recover(house)
        assert [False] == [run.healed for run in recovered], f"line {nth}: its end is not told"
        disk.full = False
        assert [True] == [run.healed for run in recover(house)], f"line {nth}"
        assert ((), []) == (find_unfinished(house), find_wrongs(house)), f"line {nth}"
    raise AssertionError("no run ended before the disk was full")


def test_line_behind_a_failed_one_leaves_a_journal_that_can_be_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has room again a moment later: half a line in the middle would be damage."""
    disk = Disk(nth=6)
    monkeypatch.setattr(durable, "append_durably", disk.append)
    watcher = Watcher()
    monkeypatch.setattr(watcher, "rescue_began", lambda *_: setattr(disk, "full", False))
    result = back_up(house, "checkpoint", watcher=watcher).runs[0]
    assert "No space left" in result.error
    recover(house)
    assert [] == find_wrongs(house)
    (path,) = list_journals(house.journals_folder)
    assert isinstance(read_journal(path)[-1].entry, e.RunEnded)


def test_room_for_the_rest_of_a_journal_is_set_aside_before_the_guest_is_touched(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []

    def refuse(descriptor: int, offset: int, size_bytes: int) -> None:
        calls.append((os.fstat(descriptor).st_size - offset, size_bytes))
        raise StateFailed("Cannot set room aside: No space left on device.")

    monkeypatch.setattr(durable, "reserve_room", refuse)
    result = back_up(house, "checkpoint").runs[0]
    assert "Cannot set room aside" in result.error
    assert [(0, RESERVE_BYTES)] == calls
    assert () == list_journals(house.journals_folder), "nothing was begun"


@pytest.mark.parametrize("act", ["append_durably", "reserve_room", "sync_folder"])
def test_journal_that_could_not_begin_keeps_no_later_run_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """A disk that was full for one night must not end all backups until a person comes."""
    done = getattr(durable, act)

    def refuse(*arguments: object) -> None:
        if act == "sync_folder" and arguments != (house.journals_folder,):
            done(*arguments)
            return
        raise StateFailed("Cannot write it: No space left on device.")

    with monkeypatch.context() as patched:
        patched.setattr(durable, act, refuse)
        (run,) = back_up(house, "crash").runs
        assert "No space left" in run.error
    assert [] == list(house.journals_folder.iterdir())
    (run,) = back_up(house, "crash").runs
    assert (Outcome.OK, "") == (run.outcome, run.error)


def test_tool_that_stumbles_once_in_a_rescue_does_not_leave_the_guest_paused(
    house: House, host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = host.run
    left = [0]

    def stumble(command: Command) -> CommandResult:
        if command.argv[0] == "lvcreate":
            left[0] = 3
            raise CommandFailed("Cannot start lvcreate: Cannot allocate memory.")
        if left[0]:
            left[0] -= 1
            if left[0] == 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            raise CommandFailed(f"Cannot start {command.argv[0]}: Cannot allocate memory.")
        return run(command)

    monkeypatch.setattr(host, "run", stumble)
    result = back_up(house, "crash").runs[0]
    assert "Cannot start lvcreate" in result.error
    found = find_guest(house)
    assert found is not None and found.state.alive
    assert [] == find_wrongs(house)


def test_run_that_cannot_be_recovered_keeps_no_other_guest_waiting(
    house: House, host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both guests are down, and the journal of the first makes recovery fall over."""
    run_killed_at(house, "checkpoint", "lvcreate:end", domain="thinny")
    second = build_house(host)
    run_killed_at(second, "checkpoint", "lvcreate:end", domain="web")
    third = build_house(host)
    first = list_journals(third.journals_folder)[0].stem

    def fall(context: RunContext) -> bool:
        if context.run_id == first:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return undo_run(context)

    monkeypatch.setattr("xenbackup.operations.recover.undo_run", fall)
    recovered = recover(third)
    assert [("thinny", False), ("web", True)] == [(run.domain, run.healed) for run in recovered]
    assert "Too many open files" in recovered[0].messages[0]
    monkeypatch.setattr("xenbackup.operations.recover.undo_run", undo_run)
    assert [True] == [run.healed for run in recover(build_house(host))]
    assert [] == [*find_wrongs(third, "web"), *find_wrongs(third, "thinny")]
