"""When due times begin: jitter, windows, blackouts; and what is made up for when it was missed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.job import Blackout, Job, PipelineSpec, Window
from xenbackup.model.live import DueTime
from xenbackup.planning.beginnings import (
    Beginning,
    Dropped,
    choose_begin,
    find_next_beginning,
    judge_missed,
)

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))
NIGHTS = Window(days=EVERY_DAY, start_minute=22 * 60, end_minute=6 * 60)
HOST = "xen1"


def make_job(schedule: str = "30 2 * * *", **changes: Any) -> Job:
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset="auto"),
        destination="usb",
        domains=("*",),
        schedule=schedule,
    )
    return replace(job, **changes)


def at(text: str) -> datetime:
    """A time of day in Berlin in November 2026 (`23 02:30`), or a whole date and time."""
    whole = text if text.startswith("2") and "-" in text else f"2026-11-{text}"
    return datetime.fromisoformat(whole).replace(tzinfo=BERLIN).astimezone(UTC)


def begin(job: Job, due: str, host: str = HOST) -> Beginning:
    return choose_begin(job, at(due), host, BERLIN)


def test_due_time_begins_at_once_without_jitter_and_windows() -> None:
    assert at("23 02:30") == begin(make_job(), "23 02:30").begins_at


def test_jitter_is_the_hosts_own_and_always_the_same() -> None:
    job = make_job(jitter_seconds=3600.0)
    delays = {}
    for host in ("xen1", "xen2", "xen3", "kühl\udcff"):
        begins_at = begin(job, "23 02:30", host).begins_at
        assert begins_at is not None
        delays[host] = begins_at - at("23 02:30")
        assert timedelta(0) <= delays[host] < timedelta(hours=1)
        assert begins_at + timedelta(days=1) == begin(job, "24 02:30", host).begins_at
    assert 4 == len(set(delays.values()))


@given(
    host=st.text(max_size=20),
    jitter=st.floats(0, 43200),
    start=st.integers(0, 1439),
    length=st.integers(1, 1440),
)
def test_jitter_passes_neither_the_next_due_time_nor_the_windows_end(
    host: str, jitter: float, start: int, length: int
) -> None:
    end = start + length if start + length <= 1440 else start + length - 1440
    window = Window(days=EVERY_DAY, start_minute=start, end_minute=end)
    job = make_job("0 */4 * * *", jitter_seconds=jitter, windows=(window,))
    begins_at = begin(job, "23 04:00", host).begins_at
    if begins_at is None:
        return
    assert at("23 04:00") <= begins_at < at("23 08:00")
    minute = begins_at.astimezone(BERLIN).hour * 60 + begins_at.astimezone(BERLIN).minute
    assert (minute - start) % 1440 < length


def test_due_time_outside_every_window_waits_for_the_next_to_open() -> None:
    job = make_job("0 12 * * *", windows=(NIGHTS,))
    assert at("23 22:00") == begin(job, "23 12:00").begins_at


def test_of_several_due_times_outside_the_windows_none_waits_but_the_last() -> None:
    job = make_job("30 * * * *", windows=(NIGHTS,))
    dropped = begin(job, "23 20:30")
    assert None is dropped.begins_at
    assert "due again before the next one opens" in dropped.reason
    assert at("23 22:00") == begin(job, "23 21:30").begins_at
    assert at("23 05:30") == begin(job, "23 05:30").begins_at
    assert None is begin(job, "23 06:30").begins_at


def test_due_time_at_the_opening_takes_the_place_of_one_that_waits() -> None:
    job = make_job("0 * * * *", windows=(NIGHTS,))
    assert None is begin(job, "23 21:00").begins_at
    assert at("23 22:00") == begin(job, "23 22:00").begins_at


def test_jitter_spreads_hosts_after_a_window_opens_too() -> None:
    job = make_job("0 12 * * *", windows=(NIGHTS,), jitter_seconds=1800.0)
    begins = {begin(job, "23 12:00", f"xen{number}").begins_at for number in range(9)}
    assert len(begins) > 5
    assert all(moment and at("23 22:00") <= moment < at("23 22:30") for moment in begins)


def test_window_past_midnight_belongs_to_the_day_it_opens_on() -> None:
    saturdays = replace(NIGHTS, days=frozenset((5,)))
    job = make_job("0 4 * * *", windows=(saturdays,))
    assert at("22 04:00") == begin(job, "22 04:00").begins_at  # a Sunday
    assert None is begin(job, "20 04:00").begins_at
    assert None is begin(job, "23 04:00").begins_at
    weekly = make_job("0 12 * * MON", windows=(saturdays,))
    assert at("28 22:00") == begin(weekly, "23 12:00").begins_at


def test_night_in_the_skipped_hour_begins_although_its_window_is_skipped_with_it() -> None:
    window = Window(days=EVERY_DAY, start_minute=2 * 60 + 15, end_minute=2 * 60 + 45)
    job = make_job(windows=(window,))
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert jump == choose_begin(job, jump, HOST, BERLIN).begins_at


def test_window_stays_open_while_the_clock_shows_it_for_the_second_time() -> None:
    window = Window(days=EVERY_DAY, start_minute=60, end_minute=2 * 60 + 45)
    job = make_job("30 * * * *", windows=(window,))
    second = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1).astimezone(UTC)
    assert second == choose_begin(job, second, HOST, BERLIN).begins_at


def test_nothing_is_due_or_begins_on_a_blackout_date() -> None:
    christmas = Blackout(first=date(2026, 12, 24), last=date(2026, 12, 26))
    job = make_job(blackouts=(christmas,))
    for day in (24, 25, 26):
        skipped = begin(job, f"2026-12-{day} 02:30")
        assert None is skipped.begins_at
        assert f"2026-12-{day} is a blackout date of the job" == skipped.reason
    for day in (23, 27):
        assert None is not begin(job, f"2026-12-{day} 02:30").begins_at
    late = make_job(
        "0 12 * * *", windows=(replace(NIGHTS, start_minute=60),), blackouts=(christmas,)
    )
    assert None is begin(late, "2026-12-23 12:00").begins_at  # the window opens on the 24th
    assert None is begin(late, "2026-12-26 12:00").begins_at  # and here on the 27th


def test_next_beginning_leaps_over_blackouts_and_shut_windows() -> None:
    job = make_job(
        "* * * * *",
        windows=(NIGHTS,),
        blackouts=(Blackout(first=date(2026, 11, 1), last=date(2027, 10, 31)),),
    )
    expected = DueTime(
        job="nightly", due_at=at("2027-11-01 00:00"), begins_at=at("2027-11-01 00:00")
    )
    assert expected == find_next_beginning(job, at("23 12:00"), BERLIN, HOST)


def test_job_that_can_never_begin_has_no_next_beginning() -> None:
    job = make_job(blackouts=(Blackout(first=date.min, last=date.max),))
    assert None is find_next_beginning(job, at("23 12:00"), BERLIN, HOST)


def judge(job: Job, last: str, now: str) -> tuple[datetime | None, list[tuple[int, str]]]:
    missed = judge_missed(job, at(last), at(now), BERLIN, HOST)
    run = missed.run
    if run is not None:
        assert run.due_at <= at(now)
    dropped = [(dropped.count, dropped.reason) for dropped in missed.dropped]
    return (run.due_at if run else None, dropped)


def test_nothing_was_missed_before_the_next_due_time() -> None:
    assert (None, []) == judge(make_job(), "22 02:30", "23 02:29")


def test_due_time_of_this_moment_runs() -> None:
    for catch_up in (0.0, 43200.0):
        job = make_job(catch_up_seconds=catch_up)
        assert (at("23 02:30"), []) == judge(job, "22 02:30", "23 02:30")
        assert (at("23 02:30"), []) == judge(job, "22 02:30", "23 02:31")


def test_missed_night_is_made_up_for_within_catch_up_and_not_later() -> None:
    job = make_job(catch_up_seconds=12 * 3600.0)
    assert (at("23 02:30"), []) == judge(job, "22 02:30", "23 14:30")
    too_late = [(1, "missed, and too late for the job's `catch_up`")]
    assert (None, too_late) == judge(job, "22 02:30", "23 14:40")
    assert (None, too_late) == judge(replace(job, catch_up_seconds=0.0), "22 02:30", "23 02:40")


def test_of_many_missed_nights_the_newest_is_run_and_the_others_are_told_of() -> None:
    missed = judge_missed(make_job(), at("13 02:30"), at("23 08:00"), BERLIN, HOST)
    assert missed.run is not None
    assert at("23 02:30") == missed.run.due_at
    assert (
        Dropped(
            first=at("14 02:30"),
            last=at("22 02:30"),
            count=9,
            reason="missed, and a later due time takes its place",
        ),
    ) == missed.dropped


def test_due_time_that_waits_for_its_jitter_is_not_missed() -> None:
    job = make_job(jitter_seconds=3600.0, catch_up_seconds=0.0)
    begins_at = begin(job, "23 02:30").begins_at
    missed = judge_missed(job, at("22 02:30"), at("23 02:31"), BERLIN, HOST)
    assert DueTime(job="nightly", due_at=at("23 02:30"), begins_at=begins_at) == missed.run  # type: ignore[arg-type]


def test_missed_night_waits_for_a_window_that_opens_in_time_and_else_is_dropped() -> None:
    job = make_job(windows=(NIGHTS,), catch_up_seconds=24 * 3600.0)
    missed = judge_missed(job, at("22 02:30"), at("23 10:00"), BERLIN, HOST)
    assert missed.run is not None
    assert (at("23 02:30"), at("23 22:00")) == (missed.run.due_at, missed.run.begins_at)
    late = judge_missed(job, at("22 02:30"), at("23 23:00"), BERLIN, HOST)
    assert late.run is not None
    assert late.run.begins_at <= at("23 23:00")
    short = replace(job, catch_up_seconds=12 * 3600.0)
    assert (None, [(1, "missed, and no window opens in time to make up for it")]) == judge(
        short, "22 02:30", "23 10:00"
    )


def test_missed_night_is_not_made_up_for_on_a_blackout_date() -> None:
    job = make_job(
        blackouts=(Blackout(first=date(2026, 11, 24), last=date(2026, 11, 24)),),
        catch_up_seconds=2 * 86400.0,
    )
    (run, dropped) = judge(job, "22 02:30", "24 10:00")
    assert None is run
    assert [(2, "2026-11-24 is a blackout date of the job")] == dropped


def test_year_of_missed_minutes_is_judged_from_the_last_weeks_alone() -> None:
    job = make_job("0 * * * *", catch_up_seconds=3600.0)
    missed = judge_missed(job, at("2025-11-23 00:00"), at("23 12:30"), BERLIN, HOST)
    assert missed.run is not None
    assert at("23 12:00") == missed.run.due_at
    assert sum(dropped.count for dropped in missed.dropped) < 32 * 24


@given(
    hours_down=st.integers(0, 500),
    catch_up=st.sampled_from([0.0, 3600.0, 43200.0, 172800.0]),
    jitter=st.sampled_from([0.0, 900.0, 7200.0]),
    schedule=st.sampled_from(["30 2 * * *", "0 */6 * * *", "15 * * * *"]),
    windows=st.sampled_from([(), (NIGHTS,)]),
)
def test_every_due_time_is_run_or_told_of_and_none_twice(
    hours_down: int,
    catch_up: float,
    jitter: float,
    schedule: str,
    windows: tuple[Window, ...],
) -> None:
    job = make_job(schedule, catch_up_seconds=catch_up, jitter_seconds=jitter, windows=windows)
    now = at("01 00:00") + timedelta(hours=hours_down)
    missed = judge_missed(job, at("01 00:00"), now, BERLIN, HOST)
    due = find_due(job, at("01 00:00"), now)
    told = sum(dropped.count for dropped in missed.dropped)
    assert len(due) == told + (missed.run is not None)
    if missed.run is not None:
        assert missed.run.due_at in due
        late = now - missed.run.begins_at
        assert late <= timedelta(seconds=catch_up) + timedelta(minutes=2)


def find_due(job: Job, after: datetime, until: datetime) -> list[datetime]:
    from xenbackup.planning.schedule import find_due_times

    return list(find_due_times(job.schedule, BERLIN, after, until))


@pytest.mark.parametrize("now", ["23 02:30", "23 06:00", "23 22:00", "24 01:00"])
def test_what_was_judged_is_judged_the_same_a_moment_later(now: str) -> None:
    job = make_job(windows=(NIGHTS,), catch_up_seconds=86400.0)
    first = judge_missed(job, at("22 02:30"), at(now), BERLIN, HOST).run
    again = judge_missed(job, at("22 02:30"), at(now) + timedelta(seconds=1), BERLIN, HOST).run
    assert first == again
