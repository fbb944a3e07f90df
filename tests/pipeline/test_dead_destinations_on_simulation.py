"""A destination that the kernel never returns from must not keep a guest away (row 34)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.house import back_up, find_wrongs, recover
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import CopyCancelled, DestinationFailed
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import abandoning, undo
from xenbackup.storage import staging
from xenbackup.storage.images import ImagesDestination
from xenbackup.system.block_device import BlockFile

DEADLINE_SECONDS = 20.0


class Server:
    """A mount whose server died: whoever writes there waits, until it answers again."""

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host
        self.answers = threading.Event()
        self.writers: list[threading.Thread] = []

    def hold(self) -> None:
        if self.answers.is_set():
            return
        self.writers.append(threading.current_thread())
        self._host.sleep(3600.0)
        assert self.answers.wait(DEADLINE_SECONDS), "never answered"

    def answer(self) -> None:
        self.answers.set()
        for thread in self.writers:
            thread.join(DEADLINE_SECONDS)


@pytest.fixture
def server(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(abandoning, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(abandoning, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(undo, "DISCARD_SECONDS", 0.05)
    server = Server(host)
    yield server
    server.answer()


@pytest.fixture
def dead_writes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Held(BlockFile):
        def write_at(self, offset: int, content: memoryview) -> None:
            server.hold()
            super().write_at(offset, content)

    monkeypatch.setattr(staging, "BlockFile", Held)


@pytest.mark.usefixtures("dead_writes")
def test_row_34_guest_comes_back_though_a_write_never_returns(house: House, server: Server) -> None:
    (run,) = back_up(house, "cold").runs
    assert Outcome.FAILED is run.outcome
    assert "does not answer" in run.error and "max_away" in run.error
    assert not server.answers.is_set()
    (unfinished,) = find_unfinished(house)
    record = unfinished[1]
    assert record is not None and record.returned and record.owes


@pytest.mark.usefixtures("dead_writes")
def test_row_34_copy_that_wakes_up_too_late_reads_and_writes_nothing_more(
    house: House, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(house, "cold")
    (path,) = house.journals_folder.iterdir()
    before = path.read_bytes()
    server.answer()
    assert before == path.read_bytes()
    monkeypatch.setattr(undo, "DISCARD_SECONDS", DEADLINE_SECONDS)
    (healed,) = recover(house)
    assert healed.healed, healed.messages
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


def test_row_34_recovery_waits_for_a_dead_destination_no_longer_than_its_bound(
    house: House, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    discard = ImagesDestination.discard_partial

    def hold(self: ImagesDestination, point_id: str) -> bool:
        server.hold()
        return discard(self, point_id)

    monkeypatch.setattr(ImagesDestination, "discard_partial", hold)
    with monkeypatch.context() as failing:
        failing.setattr(staging, "copy_blocks", _fail)
        (run,) = back_up(house, "cold").runs
    assert Outcome.FAILED is run.outcome
    (again,) = recover(house)
    assert not again.healed
    assert "does not answer" in " ".join(again.messages)
    server.answer()
    monkeypatch.setattr(undo, "DISCARD_SECONDS", DEADLINE_SECONDS)
    (healed,) = recover(house)
    assert healed.healed, healed.messages
    assert [] == find_wrongs(house)


def _fail(*arguments: object, **options: object) -> None:
    raise DestinationFailed("Input/output error")


def test_row_34_guest_comes_back_where_no_thread_can_be_had(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of a guest that is away cannot begin then."""
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", _refuse_thread)
        (run,) = back_up(house, "cold").runs
    assert Outcome.FAILED is run.outcome
    assert "no thread can be had" in run.error
    assert [] == find_wrongs(house)
    assert () == find_unfinished(house)


def _refuse_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_fence_that_is_down_lets_nothing_pass() -> None:
    fence = abandoning.Fence()
    with fence.passing():
        assert "" == fence.explain()
    fence.lower()
    with pytest.raises(CopyCancelled, match="too late"), fence.passing():
        raise AssertionError("passed")


def test_what_an_act_raises_comes_out_where_it_is_waited_for() -> None:
    class Killed(BaseException):
        pass

    def act() -> None:
        raise Killed

    with pytest.raises(Killed):
        abandoning.run_bounded("local", act, DEADLINE_SECONDS)
