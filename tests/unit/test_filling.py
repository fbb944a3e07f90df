"""When a destination will be full, from its points, their pace and their retention."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.job import Consistency, Retention
from xenbackup.model.point import PointSummary
from xenbackup.planning.filling import (
    HORIZON_DAYS,
    Filling,
    Pace,
    expect_count,
    forecast_filling,
)

NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC)
KEEPS_ALL = {"nightly": Pace(per_day=1.0, retention=Retention())}
KEEPS_A_WEEK = {"nightly": Pace(per_day=1.0, retention=Retention(daily=7))}


def make_points(count: int, *, stored_bytes: int = 100, job: str = "nightly") -> list[PointSummary]:
    """One a night, the newest five hours old."""
    return [
        PointSummary(
            point=f"{number}",
            destination="local",
            domain="web",
            identity="web",
            job=job,
            consistency=Consistency.CRASH,
            created_at=NOW - timedelta(days=count - 1 - number, hours=5),
            size_bytes=1000,
            stored_bytes=stored_bytes,
            has_memory=False,
        )
        for number in range(count)
    ]


def test_namesakes_on_two_hosts_are_two_series() -> None:
    ours = [replace(point, host="xen1") for point in make_points(3)]
    theirs = [replace(point, host="xen2", point=f"b{point.point}") for point in make_points(3)]
    alone = forecast_filling(ours, KEEPS_A_WEEK, now=NOW, free_bytes=None)
    both = forecast_filling([*ours, *theirs], KEEPS_A_WEEK, now=NOW, free_bytes=None)
    assert alone.growth_bytes_per_day
    assert 2 * alone.growth_bytes_per_day == both.growth_bytes_per_day


def test_points_that_are_all_kept_fill_it_day_by_day() -> None:
    found = forecast_filling(make_points(3), KEEPS_ALL, now=NOW, free_bytes=1000)
    assert Filling(growth_bytes_per_day=100.0, full_in_days=10) == found


def test_a_retention_that_is_filled_up_does_not_grow() -> None:
    found = forecast_filling(make_points(7), KEEPS_A_WEEK, now=NOW, free_bytes=1)
    assert Filling(growth_bytes_per_day=0.0, full_in_days=None) == found


def test_a_retention_that_is_not_filled_up_grows_until_it_is() -> None:
    enough = forecast_filling(make_points(3), KEEPS_A_WEEK, now=NOW, free_bytes=400)
    too_little = forecast_filling(make_points(3), KEEPS_A_WEEK, now=NOW, free_bytes=399)
    assert (None, 3) == (enough.full_in_days, too_little.full_in_days)


def test_no_room_for_the_next_points_is_full_now() -> None:
    found = forecast_filling(make_points(3), KEEPS_ALL, now=NOW, free_bytes=50)
    assert 0 == found.full_in_days


def test_points_of_a_job_that_is_gone_stay_as_they_are() -> None:
    assert Filling() == forecast_filling(
        make_points(3, job="old"), KEEPS_ALL, now=NOW, free_bytes=1
    )


def test_a_guest_that_gets_no_points_any_more_does_not_grow() -> None:
    later = NOW + timedelta(days=30)
    assert Filling() == forecast_filling(make_points(3), KEEPS_ALL, now=later, free_bytes=1)


def test_without_points_nothing_is_foretold() -> None:
    assert Filling() == forecast_filling([], KEEPS_ALL, now=NOW, free_bytes=0)


def test_room_that_is_not_known_leaves_the_growth() -> None:
    found = forecast_filling(make_points(3), KEEPS_ALL, now=NOW, free_bytes=None)
    assert Filling(growth_bytes_per_day=100.0) == found


def test_classes_that_overlap_count_once() -> None:
    pace = Pace(per_day=1.0, retention=Retention(daily=7, weekly=4))
    assert [0.0, 5.0, 7.0, 10.0, 10.0] == pytest.approx(
        [expect_count(pace, days) for days in (0, 5, 7, 28, 400)]
    )


retentions = st.builds(
    Retention,
    last=st.integers(0, 20),
    hourly=st.integers(0, 48),
    daily=st.integers(0, 30),
    weekly=st.integers(0, 10),
    monthly=st.integers(0, 24),
    yearly=st.integers(0, 5),
)


@given(retentions, st.floats(0.01, 1440), st.floats(0, 2000), st.floats(0, 2000))
def test_a_series_never_shrinks_and_never_keeps_more_than_are_made(
    retention: Retention, per_day: float, days: float, more_days: float
) -> None:
    pace = Pace(per_day=per_day, retention=retention)
    count = expect_count(pace, days)
    assert 0 <= count <= days * per_day + 1e-6
    assert count <= expect_count(pace, days + more_days) + 1e-6
    kept = sum(vars(retention).values())
    assert not kept or count <= kept + 1e-6


@given(
    retentions, st.integers(1, 40), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 99)
)
def test_more_room_never_fills_sooner(
    retention: Retention, count: int, free_bytes: int, more_bytes: int, stored_bytes: int
) -> None:
    paces = {"nightly": Pace(per_day=1.0, retention=retention)}
    points = make_points(count, stored_bytes=stored_bytes)
    less = forecast_filling(points, paces, now=NOW, free_bytes=free_bytes).full_in_days
    more = forecast_filling(points, paces, now=NOW, free_bytes=free_bytes + more_bytes).full_in_days
    assert (HORIZON_DAYS if less is None else less) <= (HORIZON_DAYS if more is None else more)
