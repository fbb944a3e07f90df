"""What a job promises at a moment: since when every guest of it needs a good point."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.job import Job, PipelineSpec
from xenbackup.planning.promises import ALLOWANCE, Promise, find_pace, find_promise

BERLIN = ZoneInfo("Europe/Berlin")
MORNING = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def make_job(schedule: str, max_age_seconds: float = 0.0) -> Job:
    return Job(
        name="nightly",
        pipeline=PipelineSpec(preset="auto"),
        destination="local",
        domains=("*",),
        schedule=schedule,
        max_age_seconds=max_age_seconds,
    )


def at_once(job: Job, due_at: datetime) -> datetime:
    return due_at


def ask(
    schedule: str, now: datetime, *, zone: ZoneInfo = BERLIN, first_seen: datetime | None = None
) -> Promise:
    return find_promise(
        make_job(schedule), now, zone=zone, find_begin=at_once, first_seen=first_seen
    )


def test_in_the_morning_last_night_counts() -> None:
    found = ask("30 2 * * *", MORNING)
    assert (True, datetime(2026, 11, 22, 1, 30, tzinfo=UTC)) == (found.made, found.since)


def test_while_last_night_still_has_time_the_night_before_counts() -> None:
    due_at = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    last_moment = due_at + ALLOWANCE - timedelta(seconds=1)
    assert due_at - timedelta(days=1) == ask("30 2 * * *", last_moment).since
    assert due_at == ask("30 2 * * *", due_at + ALLOWANCE).since


def test_a_run_at_work_has_until_the_next_due_time() -> None:
    due_at = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    evening = due_at + timedelta(hours=20)
    assert due_at - timedelta(days=1) == ask("30 2 * * *", evening).while_at_work
    assert due_at == ask("30 2 * * *", due_at + timedelta(days=1)).while_at_work


def test_often_due_means_no_longer_than_until_the_next_time() -> None:
    assert (
        datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
        == ask("*/15 * * * *", datetime(2026, 11, 22, 6, 20, tzinfo=UTC)).since
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 3 * * 0", datetime(2026, 11, 22, 2, 0, tzinfo=UTC)),
        ("0 3 1 * *", datetime(2026, 11, 1, 2, 0, tzinfo=UTC)),
        ("0 3 2 1 *", datetime(2026, 1, 2, 2, 0, tzinfo=UTC)),
        ("0 3 29 2 *", datetime(2024, 2, 29, 2, 0, tzinfo=UTC)),
    ],
)
def test_seldom_due_is_looked_for_long_ago(schedule: str, expected: datetime) -> None:
    assert expected == ask(schedule, MORNING).since


def test_nothing_is_promised_of_the_time_before_the_job_was_known() -> None:
    found = ask("30 2 * * *", MORNING, first_seen=MORNING - timedelta(hours=1))
    assert Promise(made=True, fresh=True) == found


def test_a_due_time_that_does_not_begin_promises_nothing() -> None:
    blackout = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    found = find_promise(
        make_job("30 2 * * *"),
        MORNING,
        zone=BERLIN,
        find_begin=lambda job, due_at: None if due_at == blackout else due_at,
    )
    assert blackout - timedelta(days=1) == found.since


def test_the_time_allowed_counts_from_when_the_round_begins() -> None:
    found = find_promise(
        make_job("30 2 * * *"),
        MORNING,
        zone=BERLIN,
        find_begin=lambda job, due_at: due_at + timedelta(hours=3),
    )
    assert datetime(2026, 11, 21, 1, 30, tzinfo=UTC) == found.since


def test_a_largest_age_is_taken_at_its_word() -> None:
    job = make_job("30 2 * * *", max_age_seconds=36 * 3600)
    found = find_promise(job, MORNING, zone=BERLIN, find_begin=at_once)
    assert MORNING - timedelta(hours=36) == found.since == found.while_at_work


@pytest.mark.parametrize(("hours", "fresh"), [(35, True), (37, False)])
def test_a_largest_age_knows_a_job_that_is_newer_than_that(hours: int, fresh: bool) -> None:
    job = make_job("30 2 * * *", max_age_seconds=36 * 3600)
    seen = MORNING - timedelta(hours=hours)
    found = find_promise(job, MORNING, zone=BERLIN, find_begin=at_once, first_seen=seen)
    assert (fresh, MORNING - timedelta(hours=36)) == (found.fresh, found.since)


def test_a_job_by_hand_promises_nothing() -> None:
    found = find_promise(make_job(""), MORNING, zone=BERLIN, find_begin=at_once)
    assert Promise(made=False) == found


@given(
    st.sampled_from(("30 2 * * *", "0 * * * *", "*/20 * * * *", "15 3 * * 1", "0 0 1 * *")),
    st.integers(0, 400 * 24 * 60),
    st.integers(0, 3 * 24 * 60),
    st.sampled_from(("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")),
)
def test_a_promise_only_ever_moves_forward_and_never_ahead_of_the_clock(
    schedule: str, minutes: int, later_minutes: int, zone_name: str
) -> None:
    zone = ZoneInfo(zone_name)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    before = ask(schedule, now, zone=zone)
    after = ask(schedule, now + timedelta(minutes=later_minutes), zone=zone)
    assert before.since is not None
    assert after.since is not None
    assert before.while_at_work is not None
    assert before.while_at_work <= before.since <= min(now, after.since)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 2 * * *", 1.0),
        ("0 * * * *", 24.0),
        ("* * * * *", 1440.0),
        ("0 3 * * 0", 1 / 7),
        ("", 0.0),
    ],
)
def test_the_pace_is_due_times_a_day(schedule: str, expected: float) -> None:
    found = find_pace(make_job(schedule), datetime(2026, 6, 1, tzinfo=UTC), zone=BERLIN)
    assert expected == pytest.approx(found, rel=0.02)
