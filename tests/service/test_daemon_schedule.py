"""Due times: each is run once, whatever the daemon's lives are, and what they were cut off at."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

import pytest

from tests.house import build_house
from tests.service.living import DaemonHost, LivingDaemon, Strike, wait_for
from xenbackup.records.accepted_rounds import AcceptedRound, RoundFolder

HOUR = 3600.0
DAY = 24 * HOUR
ROUND = "20261123T023000Z-abcdef"
RETRYING = """
schedule = "30 2 * * *"
timezone = "UTC"
domains = ["web"]
preset = "checkpoint"
destination = "missing"
retries = 1
retry_after = "10m"
"""


def find_due(host: DaemonHost) -> datetime:
    """02:30 of the host's day, which has just begun."""
    now = host.host.now()
    return datetime(now.year, now.month, now.day, 2, 30, tzinfo=UTC)


def wait_for_rounds(daemon: LivingDaemon, number: int) -> None:
    wait_for(lambda: len(daemon.find_events("round-ended")) >= number, daemon.log_path.read_text())


def outline_runs(host: DaemonHost) -> list[tuple[str, str]]:
    return sorted((entry.result.domain, entry.result.outcome.value) for entry in host.list_runs())


def test_due_job_runs_once_when_the_clock_comes_by(host: DaemonHost) -> None:
    daemon = host.start()
    host.advance(3 * HOUR)
    wait_for_rounds(daemon, 1)
    assert [("thinny", "ok"), ("web", "ok")] == outline_runs(host)
    assert 1 == len({entry.round for entry in host.list_runs()})
    host.advance(HOUR)
    assert 0 == daemon.stop()
    again = host.start()
    again.read_status()
    assert 0 == again.stop()
    assert [("thinny", "ok"), ("web", "ok")] == outline_runs(host)
    assert [] == host.find_wrongs()


def test_night_that_was_slept_through_is_caught_up_once(host: DaemonHost) -> None:
    daemon = host.start()
    wait_for(lambda: daemon.read_status().due, "the scheduler's first look")
    daemon.stop()
    host.advance(3 * HOUR)
    second = host.start()
    wait_for_rounds(second, 1)
    second.stop()
    third = host.start()
    wait_for(lambda: third.read_status().due)
    third.stop()
    assert [("thinny", "ok"), ("web", "ok")] == outline_runs(host)


def test_missed_time_older_than_catch_up_is_left_out(host: DaemonHost) -> None:
    daemon = host.start()
    wait_for(lambda: daemon.read_status().due)
    daemon.stop()
    host.advance(20 * HOUR)
    second = host.start()
    wait_for(lambda: second.read_status().due)
    second.stop()
    assert [] == outline_runs(host)


@pytest.mark.parametrize("claimed", [False, True])
def test_accepted_round_of_a_dead_daemon_is_run_once_under_its_id(
    host: DaemonHost, claimed: bool
) -> None:
    """Killed after its file was written: before the due time was taken, or after."""
    due_at = find_due(host)
    house = build_house(host.host)
    rounds = RoundFolder(house.state_folder / "rounds")
    rounds.keep(AcceptedRound(round=ROUND, job="nightly", due_at=due_at))
    if claimed:
        assert house.catalog.claim_due_time("nightly", due_at, ROUND)
    host.advance(3 * HOUR)
    daemon = host.start()
    wait_for_rounds(daemon, 1)
    daemon.stop()
    again = host.start()
    wait_for(lambda: again.read_status().due)
    again.stop()
    assert [("thinny", "ok"), ("web", "ok")] == outline_runs(host)
    assert {ROUND} == {entry.round for entry in host.list_runs()}
    assert ROUND == house.catalog.find_claimant("nightly", due_at)
    assert [] == host.find_wrongs()


def test_round_whose_due_time_another_took_is_not_run(host: DaemonHost) -> None:
    due_at = find_due(host)
    house = build_house(host.host)
    rounds = RoundFolder(house.state_folder / "rounds")
    rounds.keep(AcceptedRound(round=ROUND, job="nightly", due_at=due_at))
    assert house.catalog.claim_due_time("nightly", due_at, "20261123T023000Z-zzzzzz")
    host.advance(3 * HOUR)
    host.start()
    wait_for(lambda: not list((house.state_folder / "rounds").iterdir()), "the file to go")
    assert [] == outline_runs(host)


@pytest.mark.parametrize(
    ("accepted", "hours"),
    [
        (AcceptedRound(round=ROUND, job="gone", due_at=datetime(2026, 1, 1, tzinfo=UTC)), 1),
        (AcceptedRound(round=ROUND, job="nightly", due_at=datetime(2026, 1, 1, tzinfo=UTC)), 1),
    ],
)
def test_round_that_cannot_go_on_is_given_up_and_said_so(
    host: DaemonHost, accepted: AcceptedRound, hours: int
) -> None:
    house = build_house(host.host)
    RoundFolder(house.state_folder / "rounds").keep(accepted)
    daemon = host.start()
    assert ROUND == daemon.wait_for_event("round-given-up")["round"]
    assert [] == host.find_wrongs()


def test_round_goes_on_with_the_guests_that_are_left(host: DaemonHost) -> None:
    due_at = find_due(host)
    house = build_house(host.host)
    kept = AcceptedRound(
        round=ROUND, job="nightly", due_at=due_at, settled=frozenset({"thinny"}), resumed=1
    )
    RoundFolder(house.state_folder / "rounds").keep(kept)
    host.advance(3 * HOUR)
    daemon = host.start()
    wait_for_rounds(daemon, 1)
    assert [("web", "ok")] == outline_runs(host)


@pytest.mark.slow
@pytest.mark.parametrize(
    "boundary",
    ["xl-save:begin", "xl-save:end", "lvcreate:begin", "lvcreate:end", "xl-unpause:begin",
     "xl-unpause:end", "lvremove:begin", "lvremove:end"],
)  # fmt: skip
def test_killed_in_a_scheduled_run_the_next_daemon_heals_and_finishes_the_night(
    host: DaemonHost, boundary: str
) -> None:
    daemon = host.start(Strike(boundary=boundary, signals=(signal.SIGKILL,)))
    host.advance(3 * HOUR)
    assert -signal.SIGKILL == daemon.wait_until_ended()
    again = host.start()
    wait_for_rounds(again, 1)
    again.stop()
    assert [] == host.find_wrongs()
    good = sorted(e.result.domain for e in host.list_runs() if e.result.outcome.value == "ok")
    assert ["thinny", "web"] == sorted(set(good))
    assert 1 == len({entry.round for entry in host.list_runs()})


@pytest.mark.slow
@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM)])
@pytest.mark.parametrize(
    "boundary", ["xl-save:begin", "lvcreate:begin", "xl-unpause:begin", "lvremove:begin"]
)
def test_stopped_in_a_scheduled_run_it_undoes_and_the_next_daemon_finishes_the_night(
    host: DaemonHost, boundary: str, signals: tuple[int, ...]
) -> None:
    daemon = host.start(Strike(boundary=boundary, signals=signals))
    host.advance(3 * HOUR)
    assert 0 == daemon.wait_until_ended(), daemon.log_path.read_text()
    left = [text for text in host.find_wrongs() if not text.startswith("round ")]
    assert [] == left
    again = host.start()
    wait_for_rounds(again, 1)
    again.stop()
    assert [] == host.find_wrongs()
    good = sorted(e.result.domain for e in host.list_runs() if e.result.outcome.value == "ok")
    assert ["thinny", "web"] == good
    assert 1 == len({entry.round for entry in host.list_runs()})


def test_failure_that_may_pass_is_tried_again_when_its_time_has_come(host: DaemonHost) -> None:
    configuration = host.directory / "etc/xenbackup/config.toml"
    configuration.write_text(
        configuration.read_text() + '[destination.missing]\nkind = "images"\npath = "/srv/other"\n'
    )
    host.write_job("retrying", RETRYING)
    daemon = host.start()
    call = host.begin_call("run", "retrying", "--json")
    (waiting,) = wait_for(
        lambda: [found for found in daemon.read_status().waiting if found.not_before is not None]
    )
    assert waiting.reason.startswith("its last try failed; the next is at ")
    host.directory.joinpath("srv/other").mkdir()
    assert 0 == host.call("destination", "init", "missing").returncode
    host.advance(601)
    out, _ = call.communicate()
    assert 0 == call.returncode, out
    assert ["failed", "ok"] == [entry.result.outcome.value for entry in host.list_runs()]


def test_failure_that_may_pass_is_not_tried_for_ever(host: DaemonHost) -> None:
    configuration = host.directory / "etc/xenbackup/config.toml"
    configuration.write_text(
        configuration.read_text() + '[destination.missing]\nkind = "images"\npath = "/srv/other"\n'
    )
    host.write_job("retrying", RETRYING)
    daemon = host.start()
    call = host.begin_call("run", "retrying", "--json")
    wait_for(lambda: daemon.find_events("run-postponed"))
    host.advance(601)
    call.communicate()
    assert 10 == call.returncode
    assert ["failed", "failed"] == [entry.result.outcome.value for entry in host.list_runs()]
