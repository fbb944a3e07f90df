"""The undo at its edges: looks that fail, acts that fail in other ways than ours, no journal."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.house import Watcher, back_up, build_host, build_house, find_wrongs, recover
from tests.pipeline.acts import open_context, told
from tests.pipeline.strikes import at_moment, call, set_fault
from tests.pipeline.test_kills_on_simulation import Killed
from xenbackup.dom0.memory_image import compose_memory_image
from xenbackup.dom0.simulated import FaultKind, SimulatedHost
from xenbackup.errors import CommandFailed, StateFailed
from xenbackup.model import entries as e
from xenbackup.model.rescue import Decision, RescueAction, World
from xenbackup.operations.house import House
from xenbackup.pipeline import guest, undo
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.observing import observe_world
from xenbackup.records.journal import read_journal
from xenbackup.system import durable


def fail_looks(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> list[float]:
    """So many looks at the world fail; returns the host's time at each."""
    observe = observe_world
    looks: list[float] = []

    def look(context: RunContext, attempts: tuple[RescueAction, ...]) -> World:
        looks.append(context.host.monotonic_seconds())
        if len(looks) <= times:
            raise error
        return observe(context, attempts)

    monkeypatch.setattr(undo, "observe_world", look)
    return looks


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CommandFailed("xl list failed.", hint="look at it"), "xl list failed."),
        (OSError("proc is gone"), "proc is gone"),
    ],
)
def test_look_that_failed_is_tried_again_and_the_guest_comes_back(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    context = open_context(house)
    guest.pause_guest(context)
    fail_looks(monkeypatch, error, 2)
    assert undo.settle_guest(context)
    assert (words, words) == context.record.failures
    assert [] == find_wrongs(house)


def test_looks_that_go_on_failing_leave_the_guest_to_a_person(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context(house)
    looks = fail_looks(monkeypatch, CommandFailed("xl list failed."), 99)
    assert not undo.settle_guest(context)
    assert undo.LOOKS_LIMIT + 1 == len(looks)
    waits = [round(after - before, 6) for before, after in itertools.pairwise(looks)]
    assert sorted(waits) == waits, "each wait is at least as long as the one before"
    assert ["web needs a person: xl list failed."] == told(context)


def test_act_that_fails_by_the_system_is_told_and_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context(house)
    guest.pause_guest(context)
    perform = undo.perform
    acts: list[RescueAction] = []

    def act(context: RunContext, decision: Decision) -> None:
        acts.append(decision.action)
        if len(acts) == 1:
            raise OSError("the spool is gone")
        perform(context, decision)

    monkeypatch.setattr(undo, "perform", act)
    assert undo.settle_guest(context)
    assert [RescueAction.UNPAUSE] * 2 == acts[:2]
    assert ("the spool is gone",) == context.record.failures
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("undoing", [False, True])
def test_guest_is_let_run_without_its_mark_only_once_its_image_is_gone(
    house: House, monkeypatch: pytest.MonkeyPatch, undoing: bool
) -> None:
    """Whoever comes later must not restore an image of before the guest ran."""
    context = open_context(house)
    context.memory_image.write_bytes(b"image")
    if undoing:
        context.journal.go_on_unwritten()

    def refuse(_descriptor: int, _content: bytes) -> None:
        raise StateFailed("Cannot append to the journal: No space left on device.")

    with monkeypatch.context() as full:
        full.setattr(durable, "append_durably", refuse)
        if undoing:
            context.mark_image_stale(e.Resuming())
        else:
            with pytest.raises(StateFailed):
                context.mark_image_stale(e.Resuming())
    assert undoing != context.memory_image.exists()
    assert undoing == context.record.resuming
    assert 1 == len(read_journal(context.journal.path))
    assert isinstance(context.watcher, Watcher)


# Images that must not come back


def test_guest_that_a_second_save_let_go_on_is_not_brought_back_once_its_owner_ends_it(
    tmp_path: Path,
) -> None:
    """An xl that destroys what it saves: nothing but the mark tells that the guest ran since."""
    host = build_host(tmp_path / "old", xen_version=(4, 3))
    house = build_house(host)
    set_fault(house, FaultKind.KILL_MIDDLE, "xl", "save", boundary="written", times=1)

    def die() -> None:
        raise Killed

    at_moment(host, "xl-save:end", die)
    with pytest.raises(Killed):
        back_up(house, "snapshot")
    host.on_boundary = None
    host.sleep(5.0)
    call(host, "xl", "destroy", "web")
    (run,) = recover(build_house(host))
    assert run.healed, run.messages
    assert "vanished after it was let run" in " ".join(run.messages)
    assert [] == find_wrongs(house, runs=False)


def test_image_of_another_domain_brings_nobody_back(house: House, host: SimulatedHost) -> None:
    """The guest boots afresh: at worst it loses its memory, and never becomes another one."""
    context = open_context(house, "snapshot")
    path = context.record.start.memory_image_path
    other = "11111111-bc1e-4273-8175-79ad2f3505e8"
    image = compose_memory_image(f'{{"c_info": {{"name": "web", "uuid": "{other}"}}}}', b"ram")
    for entry in (
        e.Saving(path=path, stays=True),
        e.ImageVerified(path=path, size_bytes=len(image)),
        e.Destroying(),
    ):
        context.journal.write(entry)
    call(host, "xl", "destroy", "web")
    context.memory_image.write_bytes(image)
    assert undo.settle_guest(context)
    assert not context.record.restore_begun
    assert ["web was booted afresh: its memory image could not be used."] == told(context)
