"""Retention by calendar: examples with their reasons, and what holds for any points and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.job import Consistency, Job, Override, PipelineSpec, Retention
from xenbackup.model.names import make_run_id
from xenbackup.model.point import Damage, PointSummary
from xenbackup.planning.retention import Hold, Verdict, judge_job_points, judge_points

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOST = "xen1"
DAMAGE = Damage(found_at=NOW, reason="xvda.img: differs from its digests")
COUNTS = tuple(field.name for field in fields(Retention))


def make_point(at: datetime, number: int = 0, **changes: object) -> PointSummary:
    point = PointSummary(
        point=make_run_id(at, number.to_bytes(6, "little")),
        destination="usb",
        domain="web",
        identity="web",
        job="nightly",
        consistency=Consistency.CRASH,
        created_at=at,
        size_bytes=0,
        stored_bytes=0,
        has_memory=False,
    )
    return replace(point, **changes)  # type: ignore[arg-type]


def make_nights(nights: int, *, hour: int = 1) -> list[PointSummary]:
    """A point each night, the newest of today."""
    last = NOW.replace(hour=hour)
    return [make_point(last - timedelta(days=ago), ago) for ago in reversed(range(nights))]


def judge(
    points: Sequence[PointSummary],
    retention: Retention,
    *,
    require: Consistency = Consistency.CRASH,
    holds: tuple[Hold, ...] = (),
    zone: ZoneInfo = BERLIN,
) -> tuple[Verdict, ...]:
    return judge_points(points, retention, zone, now=NOW, require=require, holds=holds)


def list_kept(verdicts: Sequence[Verdict]) -> set[str]:
    return {verdict.point.point for verdict in verdicts if verdict.keep}


def list_days(verdicts: Sequence[Verdict]) -> list[str]:
    """Local days of what is kept."""
    return [
        f"{verdict.point.created_at.astimezone(BERLIN):%m-%d}"
        for verdict in verdicts
        if verdict.keep
    ]


def test_reasons_name_the_span_and_its_number() -> None:
    evening = make_point(datetime(2026, 11, 16, 20, 0, tzinfo=UTC))
    long_ago = make_point(datetime(2026, 11, 8, 1, 0, tzinfo=UTC))
    points = [*make_nights(9), evening, long_ago]
    texts = {
        f"{verdict.point.created_at:%m-%dT%H}": verdict.text
        for verdict in judge(points, Retention(last=1, daily=7, weekly=2))
    }
    assert {
        "11-08T01": "goes: older than the newest, 7 days and 2 weeks to keep",
        "11-14T01": "goes: a newer one of the same week is kept",
        "11-15T01": "kept: the newest of week 46 of 2026 (weekly 2 of 2)",
        "11-16T01": "goes: a newer one of the same day is kept",
        "11-16T20": "kept: the newest of Monday 2026-11-16 (daily 7 of 7)",
        "11-17T01": "kept: the newest of Tuesday 2026-11-17 (daily 6 of 7)",
        "11-18T01": "kept: the newest of Wednesday 2026-11-18 (daily 5 of 7)",
        "11-19T01": "kept: the newest of Thursday 2026-11-19 (daily 4 of 7)",
        "11-20T01": "kept: the newest of Friday 2026-11-20 (daily 3 of 7)",
        "11-21T01": "kept: the newest of Saturday 2026-11-21 (daily 2 of 7)",
        "11-22T01": "kept: among the newest (last 1 of 1); the newest of Sunday 2026-11-22 "
        "(daily 1 of 7), of week 47 of 2026 (weekly 1 of 2)",
    } == texts


def test_names_of_hours_months_and_years() -> None:
    (verdict,) = judge(make_nights(1), Retention(hourly=1, monthly=2, yearly=3))
    assert (
        "kept: the newest of 2026-11-22, 02:00 to 03:00 (hourly 1 of 1), of November 2026 "
        "(monthly 1 of 2), of 2026 (yearly 1 of 3)"
    ) == verdict.text


def test_no_counts_keep_everything() -> None:
    verdicts = judge(make_nights(40), Retention())
    assert {"kept: its job keeps everything, it has no [retention]"} == {v.text for v in verdicts}


def test_days_are_those_of_the_zone() -> None:
    # 23:30 UTC is the next day in Berlin already.
    late = make_point(datetime(2026, 11, 20, 23, 30, tzinfo=UTC))
    next_noon = make_point(datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
    assert {next_noon.point} == list_kept(judge([late, next_noon], Retention(daily=2)))
    in_utc = judge([late, next_noon], Retention(daily=2), zone=ZoneInfo("UTC"))
    assert {late.point, next_noon.point} == list_kept(in_utc)


def test_iso_weeks_belong_to_the_year_of_their_thursday() -> None:
    # Friday 1 January 2027 is of week 53 of 2026, as Monday 28 December is; Monday 4 is not.
    days = ((2026, 12, 28), (2027, 1, 1), (2027, 1, 4))
    points = [make_point(datetime(*day, 12, 0, tzinfo=UTC)) for day in days]
    now = datetime(2027, 1, 5, tzinfo=UTC)
    verdicts = judge_points(points, Retention(weekly=5), BERLIN, now=now)
    assert [
        "goes: a newer one of the same week is kept",
        "kept: the newest of week 53 of 2026 (weekly 2 of 5)",
        "kept: the newest of week 1 of 2027 (weekly 1 of 5)",
    ] == [verdict.text for verdict in verdicts]


def test_hour_that_the_clock_repeats_is_two_and_the_day_of_25_hours_is_one() -> None:
    # 02:30 in Berlin comes twice on 2026-10-25: at 00:30 and at 01:30 UTC.
    points = [make_point(datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) for hour in (0, 1)]
    assert 2 == len(list_kept(judge(points, Retention(hourly=9))))
    day = [
        make_point(datetime(2026, 10, 24, 22, 0, tzinfo=UTC) + timedelta(hours=h)) for h in (0, 24)
    ]
    assert ["10-25"] == list_days(judge(day, Retention(daily=9)))


def test_day_of_23_hours_ends_at_its_own_midnight() -> None:
    # 2026-03-29 in Berlin is from 23:00 UTC to 22:00 UTC.
    first, last, after = (
        make_point(datetime(2026, 3, day, hour, 0, tzinfo=UTC))
        for day, hour in ((28, 23), (29, 21), (29, 22))
    )
    kept = list_kept(judge([first, last, after], Retention(daily=9)))
    assert {last.point, after.point} == kept


def test_nights_without_a_point_shorten_nothing() -> None:
    nights = [point for point in make_nights(20) if point.created_at.day % 3 == 0]
    assert ["11-12", "11-15", "11-18", "11-21"] == list_days(judge(nights, Retention(daily=4)))


def test_pinned_point_stays_and_stands_for_its_day() -> None:
    nights = make_nights(5)
    pinned = replace(nights[0], pinned=True)
    verdicts = judge([pinned, *nights[1:]], Retention(daily=2))
    assert ("kept: it is pinned", True) == (verdicts[0].text, verdicts[0].keep)
    earlier = make_point(nights[4].created_at - timedelta(minutes=30))
    newest = replace(nights[4], pinned=True)
    verdicts = judge([earlier, newest], Retention(daily=2))
    assert "goes: a newer one of the same day is kept" == verdicts[0].text
    assert verdicts[1].text.startswith("kept: it is pinned; the newest of Sunday")


def test_point_from_the_future_stays_and_lets_none_go() -> None:
    today = make_nights(1)[0]
    future = make_point(NOW + timedelta(days=400))
    verdicts = judge([today, future], Retention(last=1))
    assert [True, True] == [verdict.keep for verdict in verdicts]
    assert "among the newest (last 1 of 1)" == verdicts[0].reason
    assert "it is of 2027-12-27 13:00, in the future: a clock is wrong" == verdicts[1].reason


def test_damaged_point_lets_no_good_one_go() -> None:
    good, damaged = make_nights(2)
    hold = Hold(point=damaged.point, reason="it is damaged", good=False)
    verdicts = judge([good, damaged], Retention(last=1, daily=1), holds=(hold,))
    assert {good.point, damaged.point} == list_kept(verdicts)
    assert "kept: it is damaged" == verdicts[1].text


def test_point_found_damaged_stands_for_no_other_and_is_the_last_good_one_for_nobody() -> None:
    nights = make_nights(3)
    newest = replace(nights[2], damage=DAMAGE)
    verdicts = judge([*nights[:2], newest], Retention(last=1, daily=1))
    assert [
        "goes: older than the newest and 1 day to keep",
        "kept: among the newest (last 1 of 1); the newest of Saturday 2026-11-21 (daily 1 of 1)",
        "kept: damaged, stands for no other, stays as if it were good: among the newest "
        "(last 1 of 1); the newest of Sunday 2026-11-22 (daily 1 of 1)",
    ] == [verdict.text for verdict in verdicts]


def test_point_found_damaged_goes_when_a_good_one_of_its_age_would() -> None:
    nights = make_nights(3)
    verdicts = judge([replace(nights[0], damage=DAMAGE), *nights[1:]], Retention(daily=2))
    assert [False, True, True] == [verdict.keep for verdict in verdicts]
    assert "damaged, goes as if it were good: older than the 2 days to keep" == verdicts[0].reason
    pinned = replace(nights[0], damage=DAMAGE, pinned=True)
    assert judge([pinned, *nights[1:]], Retention(daily=2))[0].keep


def test_newest_that_a_job_requires_is_looked_for_among_the_good_ones() -> None:
    nights = [replace(point, consistency=Consistency.MEMORY) for point in make_nights(4)[:2]]
    nights += make_nights(2)
    nights[1] = replace(nights[1], damage=DAMAGE)
    kept = judge(nights, Retention(last=2), require=Consistency.MEMORY)
    assert [True, True, True, True] == [verdict.keep for verdict in kept]
    assert "the newest that has what its job requires (memory)" == kept[0].reason


def test_point_that_is_needed_stays() -> None:
    nights = make_nights(3)
    hold = Hold(point=nights[0].point, reason="a restore needs it")
    verdicts = judge(nights, Retention(daily=1), holds=(hold,))
    assert [True, False, True] == [verdict.keep for verdict in verdicts]


def test_last_point_that_a_job_requires_is_not_pushed_out_by_lesser_ones() -> None:
    nights = make_nights(9)
    nights[0] = replace(nights[0], consistency=Consistency.MEMORY)
    nights[1] = replace(nights[1], consistency=Consistency.MEMORY)
    kept = judge(nights, Retention(daily=3), require=Consistency.MEMORY)
    assert ["11-15", "11-20", "11-21", "11-22"] == list_days(kept)
    assert "the newest that has what its job requires (memory)" == kept[1].reason
    assert ["11-20", "11-21", "11-22"] == list_days(judge(nights, Retention(daily=3)))


def test_point_that_lies_there_twice_counts_once() -> None:
    older, newer = make_nights(2)
    verdicts = judge([older, newer, newer], Retention(last=2))
    assert {older.point, newer.point} == list_kept(verdicts)
    assert 3 == len(verdicts)


def test_each_guest_and_each_destination_counts_by_itself() -> None:
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset="crash"),
        destination="usb",
        domains=("*",),
        retention=Retention(daily=1),
        overrides=(
            Override(
                domains=("db",), pipeline=PipelineSpec(preset="auto"), require=Consistency.MEMORY
            ),
        ),
    )
    nights = make_nights(3)
    of_db = [replace(point, domain="db", identity="db") for point in nights]
    of_db[0] = replace(of_db[0], consistency=Consistency.MEMORY)
    offsite = [replace(point, destination="offsite") for point in nights[:2]]
    verdicts = judge_job_points([*nights, *of_db, *offsite], job, BERLIN, hostname=HOST, now=NOW)
    kept = [(v.point.destination, v.point.domain, v.point.point) for v in verdicts if v.keep]
    assert {
        ("usb", "web", nights[2].point),
        ("usb", "db", nights[0].point),
        ("usb", "db", nights[2].point),
        ("offsite", "web", nights[1].point),
    } == set(kept)
    assert 8 == len(verdicts)


def test_points_of_another_host_stay_and_stand_for_none_of_ours() -> None:
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset="crash"),
        destination="usb",
        domains=("*",),
        retention=Retention(daily=1),
    )
    ours = [replace(point, host=HOST) for point in make_nights(3)]
    theirs = [
        make_point(point.created_at + timedelta(minutes=9), number, host="xen2")
        for number, point in enumerate(ours, start=10)
    ]
    nobody_knows = make_point(NOW - timedelta(days=9), 20)
    verdicts = judge_job_points([*ours, *theirs, nobody_knows], job, BERLIN, hostname=HOST, now=NOW)
    assert {ours[-1].point, *(point.point for point in theirs)} == list_kept(verdicts)
    told = {verdict.point.point: verdict.text for verdict in verdicts}
    why = "kept: made on host xen2, and only its own retention removes it"
    assert {why} == {told[point.point] for point in theirs}


def test_a_guest_with_a_uuid_is_one_wherever_it_ran() -> None:
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset="crash"),
        destination="usb",
        domains=("*",),
        retention=Retention(daily=1),
    )
    older, newer = (
        replace(point, identity="7b6c97b9-bc1e-4273-8175-79ad2f3505e8", host=host)
        for point, host in zip(make_nights(2), ("xen2", HOST), strict=True)
    )
    verdicts = judge_job_points([older, newer], job, BERLIN, hostname=HOST, now=NOW)
    assert {newer.point} == list_kept(verdicts)


# For any points and counts

moments = st.integers(-400 * 24 * 60, 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes))
histories = st.lists(
    st.tuples(moments, st.sampled_from(Consistency), st.integers(0, 9)), max_size=30
).map(
    lambda found: [
        make_point(at, number, consistency=consistency, pinned=luck == 0)
        for number, (at, consistency, luck) in enumerate(found)
    ]
)
retentions = st.builds(Retention, **{name: st.integers(0, 5) for name in COUNTS}).filter(
    lambda found: found != Retention()
)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"])
requirements = st.sampled_from([Consistency.CRASH, Consistency.MEMORY])
seeds = st.sets(st.integers(0, 29))


def hold_damaged(points: Sequence[PointSummary], damaged: set[int]) -> tuple[Hold, ...]:
    return tuple(
        Hold(point=point.point, reason="it is damaged", good=False)
        for number, point in enumerate(points)
        if number in damaged
    )


def mark_damaged(points: Sequence[PointSummary], damaged: set[int]) -> list[PointSummary]:
    return [
        replace(point, damage=DAMAGE) if number in damaged else point
        for number, point in enumerate(points)
    ]


@given(histories, retentions, zones, requirements, seeds)
def test_every_point_is_judged_once_with_a_reason_and_the_last_good_one_stays(
    points: list[PointSummary],
    retention: Retention,
    zone: str,
    require: Consistency,
    damaged: set[int],
) -> None:
    holds = hold_damaged(points, damaged)
    verdicts = judge(points, retention, zone=ZoneInfo(zone), require=require, holds=holds)
    assert sorted(point.point for point in points) == sorted(v.point.point for v in verdicts)
    assert all(verdict.reason for verdict in verdicts)
    bad = {hold.point for hold in holds}
    good = [point for point in points if point.point not in bad and point.created_at <= NOW]
    kept = list_kept(verdicts)
    assert bad <= kept
    assert {point.point for point in points if point.pinned} <= kept
    if good:
        newest = max(good, key=lambda point: (point.created_at, point.point))
        assert newest.point in kept


@given(histories, retentions, zones, requirements, seeds, seeds)
def test_what_is_damaged_changes_nothing_for_the_good_ones(
    points: list[PointSummary],
    retention: Retention,
    zone: str,
    require: Consistency,
    damaged: set[int],
    held: set[int],
) -> None:
    """Good points are kept or not, and for the same reasons, as if there were no others."""
    holds = hold_damaged(points, held)
    marked = mark_damaged(points, damaged)
    sound = [point for point in marked if point.damage is None]
    among = judge(marked, retention, zone=ZoneInfo(zone), require=require, holds=holds)
    alone = judge(sound, retention, zone=ZoneInfo(zone), require=require, holds=holds)
    assert list(alone) == [verdict for verdict in among if verdict.point.damage is None]


@given(histories, retentions, zones, requirements, seeds, seeds)
def test_what_is_damaged_stays_exactly_as_long_as_if_it_were_good(
    points: list[PointSummary],
    retention: Retention,
    zone: str,
    require: Consistency,
    damaged: set[int],
    held: set[int],
) -> None:
    holds = hold_damaged(points, held)
    marked = mark_damaged(points, damaged)
    bad = {point.point for point in marked if point.damage is not None}
    found = judge(marked, retention, zone=ZoneInfo(zone), require=require, holds=holds)
    as_good = judge(points, retention, zone=ZoneInfo(zone), require=require, holds=holds)
    assert list_kept(as_good) & bad == list_kept(found) & bad
    assert list_kept(as_good) <= list_kept(found)
    assert all(v.reason.startswith("damaged, ") for v in found if v.point.point in bad)


@given(histories, retentions, zones, st.sampled_from(COUNTS), st.integers(1, 4))
def test_a_larger_count_keeps_at_least_as_much(
    points: list[PointSummary], retention: Retention, zone: str, name: str, more: int
) -> None:
    larger = replace(retention, **{name: getattr(retention, name) + more})
    before = list_kept(judge(points, retention, zone=ZoneInfo(zone)))
    assert before <= list_kept(judge(points, larger, zone=ZoneInfo(zone)))


@given(histories, retentions, zones, st.integers(0, 3 * 24 * 60))
def test_a_newer_point_never_brings_back_an_older_one(
    points: list[PointSummary], retention: Retention, zone: str, minutes: int
) -> None:
    points = [point for point in points if point.created_at <= NOW - timedelta(days=3)]
    newer = make_point(NOW - timedelta(minutes=minutes), 99, consistency=Consistency.MEMORY)
    before = list_kept(judge(points, retention, zone=ZoneInfo(zone)))
    after = list_kept(judge([*points, newer], retention, zone=ZoneInfo(zone)))
    assert newer.point in after
    assert after - {newer.point} <= before


@given(histories, retentions, zones)
def test_what_is_kept_is_kept_again(
    points: list[PointSummary], retention: Retention, zone: str
) -> None:
    kept = list_kept(judge(points, retention, zone=ZoneInfo(zone)))
    left = [point for point in points if point.point in kept]
    assert kept == list_kept(judge(left, retention, zone=ZoneInfo(zone)))


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York"])
def test_a_year_of_nights_pruned_every_night_is_what_a_walk_through_the_calendar_says(
    name: str,
) -> None:
    """At 02:30 of each local day, both changes of the clock among them."""
    zone = ZoneInfo(name)
    policy = Retention(daily=7, weekly=4, monthly=12)
    first, last = date(2025, 10, 1), date(2026, 11, 19)
    points: list[PointSummary] = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        local = datetime(day.year, day.month, day.day, 2, 30, tzinfo=zone)
        points.append(make_point(local.astimezone(UTC), number))
        verdicts = judge_points(points, policy, zone, now=local + timedelta(hours=1))
        points = [verdict.point for verdict in verdicts if verdict.keep]

    expected = {last - timedelta(days=ago) for ago in range(7)}
    # The newest of a week is its Sunday, but of this one today (a Thursday).
    sunday = last - timedelta(days=last.isoweekday())
    expected |= {last, *(sunday - timedelta(weeks=ago) for ago in range(3))}
    # The newest of a month is its last day.
    month_ends: list[date] = []
    walk = last
    while len(month_ends) < 11:
        walk = walk.replace(day=1) - timedelta(days=1)
        month_ends.append(walk)
    expected |= set(month_ends)
    assert sorted(expected) == [point.created_at.astimezone(zone).date() for point in points]
