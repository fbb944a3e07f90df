"""Who is recovered when: one recovery a host, nobody who is at work, guests that are down first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import WEB_UUID, build_host, build_house, find_wrongs, recover
from tests.pipeline.strikes import run_killed_at
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import Locked
from xenbackup.operations.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build_house(build_host(tmp_path / "host"))


def state_of(house: House, domain: str) -> str:
    return next(d.state.letters for d in house.toolstack.list_domains() if d.name == domain)


def test_a_guest_that_another_process_works_on_is_left_to_it(house: House) -> None:
    after = run_killed_at(house, "checkpoint", "lvcreate:end")

    with after.lock_domain(WEB_UUID, "back up web"):
        (run,) = recover(after)
        assert (True, True) == (run.healed, run.running)
        assert "p" in state_of(after, "web")

    (run,) = recover(after)
    assert (True, False) == (run.healed, run.running)
    assert [] == find_wrongs(after)


def test_of_two_recoveries_the_second_is_refused(house: House) -> None:
    after = run_killed_at(house, "checkpoint", "lvcreate:end")

    with after.lock_recovery(), pytest.raises(Locked):
        recover(after)

    assert "p" in state_of(after, "web")


def test_guests_that_are_down_come_before_what_is_only_to_be_cleared_up(house: House) -> None:
    """The first run's guest goes on already; the second one's stands still and waits."""
    between = run_killed_at(house, "checkpoint", "lvremove:begin", domain="web")
    after = run_killed_at(between, "checkpoint", "lvcreate:end", domain="thinny")
    assert "p" not in state_of(after, "web")
    assert "p" in state_of(after, "thinny")

    assert ["thinny", "web"] == [run.domain for run in recover(after)]

    assert [] == [*find_wrongs(after, "web"), *find_wrongs(after, "thinny")]


def test_an_undo_brings_the_guest_back_before_its_snapshots_go(house: House) -> None:
    """Removing a snapshot can last long, or for ever."""
    after = run_killed_at(house, "checkpoint", "lvcreate:end")
    host = after.host
    assert isinstance(host, SimulatedHost)
    told: list[str] = []
    host.on_boundary = told.append

    recover(after)

    assert told.index("xl-unpause:end") < told.index("lvremove:begin")
