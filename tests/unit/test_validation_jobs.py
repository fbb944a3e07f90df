"""Validation: what a job selects, what it leaves out, and when it is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.worlds import GOOD, NOW, OFF, Case, World, make_guest
from xenbackup.model.job import Job, JobSet, Override, PipelineSpec
from xenbackup.model.problem import Severity
from xenbackup.planning.validation.schedules import HORIZON, list_due_times


def with_other(schedule: str, **fields: object) -> World:
    """Beside the nightly job at 2:30, another job."""
    other = replace(GOOD.job, name="other", schedule=schedule, **fields)  # type: ignore[arg-type]
    return GOOD.with_setting(jobs=JobSet(jobs=(GOOD.job, other)))


CASES = (
    Case(
        code="selection-empty",
        bad=GOOD.with_job(domains=("db",)),
        good=GOOD.with_job(domains=("db", "web")),
    ),
    Case(
        code="pattern-idle",
        bad=GOOD.with_job(domains=("*", "wbe")),
        good=GOOD.with_job(domains=("*", "we?")),
    ),
    Case(
        code="excluded-disk-unknown",
        bad=GOOD.with_preset("crash").with_job(exclude_disks=("db:xvda",)),
        good=GOOD.with_preset("crash").with_job(exclude_disks=("w*:xvda",)),
    ),
    Case(code="schedule-collision", bad=with_other("30 2 * * 1"), good=with_other("31 2 * * 1")),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_problem_of_a_job_is_found_and_only_there(case: Case) -> None:
    assert case.code in case.bad.codes()
    assert case.code not in case.good.codes()
    assert "" == case.bad.find(case.code).domain


def test_job_that_selects_nothing_is_refused_whole() -> None:
    problem = GOOD.with_job(domains=("db",)).find("selection-empty")
    assert Severity.ERROR is problem.severity
    assert "(wanted: db)" in problem.message


def test_job_for_running_guests_that_finds_only_shut_off_ones_is_told_so() -> None:
    problem = GOOD.with_guest(domid=-1, state=OFF).find("selection-empty")
    assert "only guests that are shut off (web)" in problem.message


def test_idle_pattern_of_an_override_is_told_too() -> None:
    override = Override(domains=("win*",), pipeline=PipelineSpec(preset="crash"))
    assert '"win*"' in GOOD.with_job(overrides=(override,)).find("pattern-idle").message


@pytest.mark.parametrize(
    ("schedule", "fields"),
    [
        ("30 2 * * *", {"domains": ("db",)}),
        ("30 2 * * *", {"exclude": ("web",)}),
        ("30 3 * * *", {}),
        ("", {}),
        ("30 2 * * *", {"timezone": "Asia/Tokyo"}),
    ],
)
def test_jobs_that_never_meet_over_a_guest_do_not_collide(
    schedule: str, fields: dict[str, object]
) -> None:
    assert "schedule-collision" not in with_other(schedule, **fields).codes()


def test_zones_are_reckoned_in() -> None:
    """2:30 UTC is 11:30 in Tokyo."""
    world = with_other("30 11 * * *", timezone="Asia/Tokyo")
    problem = world.find("schedule-collision")
    assert "2026-11-23 02:30 UTC" in problem.message
    assert "nightly, other" == problem.subject


def test_a_job_does_not_collide_with_itself() -> None:
    assert "schedule-collision" not in GOOD.codes()


def test_guests_of_a_collision_are_named_and_many_are_cut_short() -> None:
    guests = tuple(make_guest(f"g{at}", domid=at) for at in range(1, 6))
    message = with_other("30 2 * * *").with_host(domains=guests).find("schedule-collision").message
    assert "for g1, g2, g3, …: the second" in message


def test_a_collision_tells_what_comes_of_it_in_the_daemon_and_in_the_foreground() -> None:
    message = with_other("30 2 * * *").find("schedule-collision").message
    assert message.endswith(
        "for web: the second run waits for the first in the daemon's queue; in the foreground it "
        "ends as locked (exit code 11)."
    ), message


def make_job(schedule: str, zone: str = "") -> Job:
    return replace(GOOD.job, schedule=schedule, timezone=zone)


def test_due_times_lie_within_the_horizon() -> None:
    times = list_due_times(make_job("0 */6 * * *"), NOW)
    assert 32 == len(times)
    assert all(later - time == timedelta(hours=6) for time, later in pairwise(times))
    assert NOW < times[0]
    assert times[-1] <= NOW + HORIZON


def test_jobs_collide_at_the_time_that_the_daemon_runs_them_at_when_the_clock_jumps() -> None:
    """Lord Howe's clock jumps from 2:00 to 2:30 on 4 October 2026, which is 15:30 UTC of the 3rd:
    a job of 2:15 is due at once after the jump, and so is one of 2:30.
    """
    place = ZoneInfo("Australia/Lord_Howe")
    now = datetime(2026, 10, 3, 12, tzinfo=UTC).astimezone(place)
    (skipped, *_) = list_due_times(make_job("15 2 * * *"), now)
    (shown, *_) = list_due_times(make_job("30 2 * * *"), now)
    assert datetime(2026, 10, 3, 15, 30, tzinfo=UTC) == skipped == shown


def test_an_hourly_job_has_both_its_times_in_a_half_hour_that_comes_twice() -> None:
    """Lord Howe's clock goes back from 2:00 to 1:30 on 5 April 2026: 1:45 is shown twice."""
    now = datetime(2026, 4, 4, 14, tzinfo=UTC)
    times = list_due_times(make_job("45 * * * *", "Australia/Lord_Howe"), now)
    assert [
        datetime(2026, 4, 4, 14, 45, tzinfo=UTC),
        datetime(2026, 4, 4, 15, 15, tzinfo=UTC),
    ] == list(times[:2])


def test_host_zone_is_that_of_now() -> None:
    now = NOW.astimezone(timezone(timedelta(hours=2)))
    (first, *_) = list_due_times(make_job("30 2 * * *"), now)
    assert datetime(2026, 11, 23, 0, 30, tzinfo=UTC) == first


@given(schedule=st.text(max_size=30), zone=st.text(max_size=20))
def test_any_schedule_and_zone_give_times_or_none(schedule: str, zone: str) -> None:
    times = list_due_times(make_job(schedule, zone), NOW)
    assert list(times) == sorted(times)
