"""Who may begin, who waits and why: limits hold, nobody starves, each that waits has a reason."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.job import Limits
from xenbackup.model.live import Origin
from xenbackup.planning.queueing import (
    PATIENCE,
    RunningItem,
    WaitingItem,
    decide_queue,
    find_next_time,
)

NOW = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
GUESTS = ("web", "db", "router", "mail")


def make_item(key: str, domain: str = "web", **changes: object) -> WaitingItem:
    values: dict[str, object] = {
        "key": key,
        "domain": domain,
        "identity": domain,
        "origin": Origin.SCHEDULE,
        "since": NOW,
        "destination": "local",
    }
    return WaitingItem(**{**values, **changes})  # type: ignore[arg-type]


def make_running(run: str, domain: str, **changes: object) -> RunningItem:
    values: dict[str, object] = {
        "run": run,
        "domain": domain,
        "identity": domain,
        "destination": "local",
    }
    return RunningItem(**{**values, **changes})  # type: ignore[arg-type]


groups = st.frozensets(st.sampled_from(["vg0", "vg1", "vg2"]), max_size=2)
items = st.lists(
    st.builds(
        make_item,
        key=st.uuids().map(str),
        domain=st.sampled_from(GUESTS),
        origin=st.sampled_from(Origin),
        since=st.integers(0, 7200).map(lambda seconds: NOW - timedelta(seconds=seconds)),
        destination=st.sampled_from(["local", "standby"]),
        groups=groups,
        not_before=st.none() | st.integers(-60, 60).map(lambda m: NOW + timedelta(minutes=m)),
    ),
    max_size=12,
    unique_by=lambda item: item.key,
)
running_items = st.lists(
    st.builds(
        make_running,
        run=st.uuids().map(str),
        domain=st.sampled_from(GUESTS),
        destination=st.sampled_from(["local", "standby"]),
        groups=groups,
    ),
    max_size=3,
    unique_by=lambda item: item.identity,
)
limits = st.builds(
    Limits,
    runs=st.integers(1, 4),
    runs_per_group=st.integers(1, 3),
    runs_per_destination=st.integers(1, 3),
)


@given(items, running_items, limits)
def test_no_limit_is_passed_by_what_begins(
    waiting: list[WaitingItem], running: list[RunningItem], bounds: Limits
) -> None:
    decision = decide_queue(waiting, running, bounds, NOW)
    begun = [item for item in waiting if item.key in decision.begin]
    both: list[WaitingItem | RunningItem] = [*running, *begun]
    in_groups = Counter(group for item in both for group in item.groups)
    at = Counter(item.destination for item in both)
    if begun:
        assert len(running) + len(begun) <= bounds.runs
    for item in begun:
        assert at[item.destination] <= bounds.runs_per_destination
        assert all(in_groups[group] <= bounds.runs_per_group for group in item.groups)
        assert item.not_before is None or item.not_before <= NOW
    guests = [item.identity for item in both]
    assert len(set(guests)) == len(guests)


@given(items, running_items, limits)
def test_everything_that_waits_has_a_reason_and_nothing_else_has(
    waiting: list[WaitingItem], running: list[RunningItem], bounds: Limits
) -> None:
    decision = decide_queue(waiting, running, bounds, NOW)
    assert {item.key for item in waiting} == {*decision.begin, *decision.reasons}
    assert not set(decision.begin) & decision.reasons.keys()
    assert all(decision.reasons.values())


@given(items, limits)
def test_with_nothing_running_the_first_in_line_begins(
    waiting: list[WaitingItem], bounds: Limits
) -> None:
    ready = [item for item in waiting if item.not_before is None or item.not_before <= NOW]
    decision = decide_queue(waiting, (), bounds, NOW)
    assert bool(ready) == bool(decision.begin)


@given(items, limits, st.randoms(use_true_random=False))
def test_everything_begins_in_the_end_whatever_ends_first(
    waiting: list[WaitingItem], bounds: Limits, chance: Random
) -> None:
    left, now = list(waiting), NOW
    running: list[RunningItem] = []
    for _ in range(100):
        decision = decide_queue(left, running, bounds, now)
        for key in decision.begin:
            item = next(found for found in left if found.key == key)
            left.remove(item)
            running.append(make_running(key, item.identity, groups=item.groups))
        if not left:
            return
        if running:
            running.remove(chance.choice(running))
        now += timedelta(minutes=10)
    raise AssertionError(f"{len(left)} still wait")


def test_a_run_that_needs_two_groups_is_not_overtaken_for_ever() -> None:
    """Younger runs of one group each would keep it waiting, if they could take the other."""
    both = make_item("both", "web", groups=frozenset({"vg0", "vg1"}))
    younger = make_item("y", "db", groups=frozenset({"vg1"}), since=NOW + timedelta(seconds=1))
    running = [make_running("r1", "mail", groups=frozenset({"vg0"}))]
    decision = decide_queue([younger, both], running, Limits(runs=4, runs_per_destination=4), NOW)
    assert () == decision.begin
    assert "waits for the volume group vg0: 1 of 1 run" == decision.reasons["both"]
    assert "waits for the volume group vg1: an older run comes first" == decision.reasons["y"]


def test_on_demand_goes_before_the_schedule_whatever_their_age() -> None:
    old = make_item("old", "web", since=NOW - timedelta(hours=1))
    asked = make_item("asked", "db", origin=Origin.DEMAND)
    decision = decide_queue([old, asked], (), Limits(runs=1), NOW)
    assert ("asked",) == decision.begin
    assert {"old": "waits for its turn: 1 of 1 run"} == decision.reasons


def test_a_schedule_that_waited_long_goes_by_age() -> None:
    old = make_item("old", "web", since=NOW - PATIENCE)
    asked = make_item("asked", "db", origin=Origin.DEMAND)
    assert ("old",) == decide_queue([old, asked], (), Limits(runs=1), NOW).begin


def test_a_guest_that_is_being_backed_up_is_named_with_its_run() -> None:
    running = [make_running("20261122T023000Z-k3f9qa", "web")]
    decision = decide_queue([make_item("next")], running, Limits(), NOW)
    assert {
        "next": "guest web is being backed up by run 20261122T023000Z-k3f9qa"
    } == decision.reasons


def test_a_full_destination_is_named_with_its_numbers() -> None:
    running = [make_running("r1", "db"), make_running("r2", "mail")]
    decision = decide_queue([make_item("next")], running, Limits(runs=9), NOW)
    assert {"next": "waits for the destination local: 2 of 2 runs"} == decision.reasons


TOLD = "its last try failed; the next is at 02:35"


def test_what_waits_for_a_time_says_so_and_keeps_no_place() -> None:
    later = NOW + timedelta(minutes=5)
    waits = make_item("waits", "web", not_before=later, since=NOW - timedelta(hours=1))
    decision = decide_queue([waits, make_item("goes", "db")], (), Limits(runs=1), NOW)
    assert (("goes",), {"waits": TOLD}) == (decision.begin, decision.reasons)
    assert later == find_next_time([waits], NOW)
    assert find_next_time([waits], later) is None


def test_of_two_runs_of_one_guest_the_older_goes_first() -> None:
    older = make_item("older", since=NOW - timedelta(minutes=1))
    decision = decide_queue([make_item("younger"), older], (), Limits(runs=9), NOW)
    assert ("older",) == decision.begin
    assert {"younger": "guest web is about to be backed up"} == decision.reasons
