"""Rounds that somebody asks for: the same twice is one that waits, and there is an end to them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.house import make_job
from tests.service.floors import DUE_AT, Floor, order
from tests.service.living import DaemonHost, Strike, wait_for
from xenbackup.errors import ExitCode, Interrupted, Locked
from xenbackup.model.job import Limits
from xenbackup.model.plan import RefusedDomain
from xenbackup.model.run import Outcome
from xenbackup.operations.plan import plan_round
from xenbackup.service import ledger as ledgers
from xenbackup.service import rounds
from xenbackup.service.control.client import ControlClient
from xenbackup.service.control.events import Attached
from xenbackup.service.control.protocol import RunRequest
from xenbackup.service.rounds import RoundOrder


def join(floor: Floor, wanted: RoundOrder) -> tuple[str, bool]:
    found, joined = floor.ledger.join_or_accept(wanted)
    return found.round_id, joined


def test_same_round_that_waits_is_joined_until_it_begins(floor: Floor) -> None:
    first, joined = floor.ledger.join_or_accept(order())
    assert not joined
    assert (first.round_id, True) == join(floor, order())
    first.start()
    wait_for(floor.queue.list_waiting)
    assert (first.round_id, True) == join(floor, order())
    floor.begin_ready()
    second, joined = floor.ledger.join_or_accept(order())
    assert (False, False) == (joined, second is first)
    assert (second.round_id, True) == join(floor, order())
    second.start()
    floor.run_until_ended()
    assert [Outcome.OK, Outcome.OK] == [result.outcome for _, result in floor.ended if result]


def test_round_of_another_guest_job_definition_or_origin_is_another_round(floor: Floor) -> None:
    first, _ = join(floor, order())
    others = [
        replace(order(), domain="web"),
        order(make_job("snapshot")),
        order(replace(make_job("checkpoint"), name="other")),
    ]
    found = [join(floor, other) for other in others]
    assert [False, False, False] == [joined for _, joined in found]
    assert 4 == len({first, *(name for name, _ in found)})
    floor.ledger.accept(order(due_at=DUE_AT))
    assert (first, True) == join(floor, order())


def test_scheduled_round_that_waits_is_not_joined(floor: Floor) -> None:
    """It may wait long for its turn, and goes on after a restart, which who asks cannot see."""
    scheduled = floor.ledger.accept(order(due_at=DUE_AT))
    found, joined = join(floor, order())
    assert not joined
    assert scheduled.round_id != found


def test_cancelled_round_is_not_joined(floor: Floor) -> None:
    first, _ = floor.ledger.join_or_accept(order())
    first.cancel("cancelled by user 0")
    assert not join(floor, order())[1]


def test_run_of_a_guest_that_another_one_has_waits_for_its_volume_group_too(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its plan cannot be made while it is away, so where its disks lie is known from that other."""
    first, _ = floor.ledger.join_or_accept(order())
    first.start()
    wait_for(floor.queue.list_waiting)
    (under_way,) = floor.queue.take_ready(Limits(), floor.house.host.now())
    assert under_way.groups
    left = RefusedDomain(
        name=under_way.domain, uuid="", reason="its run has not ended", may_pass=True
    )
    empty = replace(plan_round(floor.house, first.job, ""), domains=(), refused=(left,))
    monkeypatch.setattr(rounds, "plan_round", lambda *_: empty)
    second, _ = floor.ledger.join_or_accept(order())
    second.start()
    (waiting,) = wait_for(floor.queue.list_waiting)
    assert (under_way.identity, under_way.groups) == (waiting.identity, waiting.groups)
    second.cancel("seen")
    floor.workers.begin(under_way)
    floor.run_until_ended()


def test_too_many_rounds_are_refused_in_words_and_the_same_is_still_joined(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "MOST_ASKED_FOR", 2)
    first, _ = join(floor, replace(order(), domain="web"))
    join(floor, replace(order(), domain="db"))
    with pytest.raises(Locked, match="2 that were asked for wait") as caught:
        floor.ledger.join_or_accept(order())
    assert "xenbackup cancel" in caught.value.hint
    assert (first, True) == join(floor, replace(order(), domain="web"))
    floor.ledger.accept(order(due_at=DUE_AT))


def test_daemon_that_stops_takes_no_round(floor: Floor) -> None:
    floor.stop = "the daemon is being stopped"
    with pytest.raises(Interrupted):
        floor.ledger.join_or_accept(order())


def test_many_who_ask_for_the_same_wait_for_one_round(host: DaemonHost) -> None:
    daemon = host.start(Strike(boundary="lvcreate:begin", holds=True))
    first = host.begin_call("run", "on-demand")
    host.wait_until_reached()
    rounds = []
    for _ in range(10):
        with ControlClient.connect(daemon.socket_path) as client:
            for event in client.request(RunRequest(job="on-demand")):
                if isinstance(event, Attached):
                    rounds.append(event.round)
                    break
    assert (10, 1) == (len(rounds), len(set(rounds)))
    call = host.begin_call("run", "on-demand")
    daemon.wait_for_event("round-joined", round=rounds[0])
    wait_for(lambda: 10 <= len(daemon.find_events("round-joined")))
    host.let_go()
    _, told = call.communicate()
    first.communicate()
    assert ExitCode.GOOD == call.returncode, told
    assert f"Round {rounds[0]}, the same, waits already" in " ".join(told.split())
    wait_for(lambda: 2 == len(daemon.find_events("round-ended")))
    assert 2 == len({entry.round for entry in host.list_runs()})
