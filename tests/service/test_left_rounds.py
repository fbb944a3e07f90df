"""Rounds that a stop leaves for the next daemon: concluded once, by the one that ends them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.house import make_job
from tests.service.floors import DUE_AT, Floor, order
from tests.service.living import wait_for
from xenbackup.errors import HookFailed
from xenbackup.model.run import Outcome, RoundResult
from xenbackup.records.accepted_rounds import RoundFolder
from xenbackup.service import rounds

STOP = "the daemon is being stopped"


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> list[RoundResult]:
    """What hooks and retention were called with."""
    found: list[RoundResult] = []

    def finish(house: object, job: object, result: RoundResult) -> tuple[str, ...]:
        found.append(result)
        return ()

    monkeypatch.setattr(rounds, "finish_round", finish)
    return found


def test_stop_before_the_runs_calls_no_hook(floor: Floor, finished: list[RoundResult]) -> None:
    floor.ledger.accept(order(due_at=DUE_AT)).start()
    wait_for(floor.queue.list_waiting)
    floor.stop = STOP
    floor.ledger.stop()
    assert floor.ledger.wait_until_ended(60.0)
    assert [] == finished
    assert 1 == len(floor.folder.list_rounds()[0])


def test_stop_while_its_before_hook_asked_to_wait_calls_no_hook(
    floor: Floor, finished: list[RoundResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise HookFailed("It is busy.", may_pass=True)

    monkeypatch.setattr(rounds, "prepare_round", refuse)
    made = floor.ledger.accept(order(due_at=DUE_AT))
    made.start()
    wait_for(lambda: made.phase.startswith("tried again"))
    floor.stop = STOP
    floor.ledger.stop()
    assert floor.ledger.wait_until_ended(60.0)
    assert [] == finished
    assert [(made, None)] == floor.ended
    assert 1 == len(floor.folder.list_rounds()[0])


def test_round_that_was_asked_for_is_over_when_the_daemon_stops_and_its_hook_is_called(
    floor: Floor, finished: list[RoundResult]
) -> None:
    floor.ledger.accept(order()).start()
    wait_for(floor.queue.list_waiting)
    floor.stop = STOP
    floor.ledger.stop()
    assert floor.ledger.wait_until_ended(60.0)
    assert [Outcome.CANCELLED] == [result.outcome for result in finished]


def test_round_whose_failure_was_concluded_before_the_stop_is_not_done_again(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hook has heard of the failure: with the next daemon it would hear of it twice."""

    def refuse(*_: object) -> None:
        raise HookFailed("No.")

    def stop(*_: object) -> tuple[str, ...]:
        floor.stop = STOP
        return ()

    monkeypatch.setattr(rounds, "prepare_round", refuse)
    monkeypatch.setattr(rounds, "finish_round", stop)
    floor.ledger.accept(order(replace(make_job("checkpoint"), retries=0), due_at=DUE_AT)).start()
    result = floor.run_until_ended()
    assert result is not None and "No." == result.error
    assert ((), ()) == floor.folder.list_rounds()


def test_outcome_is_written_down_before_the_round_s_file_goes_and_not_of_one_that_is_left(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, a daemon leaves one of the two."""
    order_of_acts: list[str] = []
    remove = RoundFolder.remove

    def note_removal(self: RoundFolder, round_id: str) -> None:
        order_of_acts.append(f"removed after {len(floor.kept)}")
        remove(self, round_id)

    monkeypatch.setattr(RoundFolder, "remove", note_removal)
    floor.ledger.accept(order(due_at=DUE_AT)).start()
    result = floor.run_until_ended()
    assert ["removed after 1"] == order_of_acts
    assert [result] == floor.kept
    floor.ledger.accept(order(due_at=DUE_AT.replace(day=24))).start()
    wait_for(floor.queue.list_waiting)
    floor.stop = STOP
    floor.ledger.stop()
    assert floor.ledger.wait_until_ended(60.0)
    assert 1 == len(floor.kept)
