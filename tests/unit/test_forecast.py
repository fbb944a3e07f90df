"""Forecasts of snapshots that fill: what is known, what lasts, what may grow, what is hopeless."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.model.volume import VolumeGroup
from xenbackup.planning.forecast import (
    FillSample,
    Forecast,
    compute_reserve_bytes,
    compute_useful_bytes,
    forecast_fill,
    plan_growth,
)

MIB = 1 << 20
GIB = 1 << 30
SIZES = st.integers(min_value=0, max_value=1 << 50)


def look(at: float, used_mib: float, size_mib: int = 100) -> FillSample:
    return FillSample(at_seconds=at, used_bytes=round(used_mib * MIB), size_bytes=size_mib * MIB)


def make_group(free_bytes: int, *, extent_bytes: int = 4 * MIB, size: int = GIB) -> VolumeGroup:
    return VolumeGroup(
        uuid="g", name="xenvols", size_bytes=size, free_bytes=free_bytes,
        extent_size_bytes=extent_bytes,
    )  # fmt: skip


def foresee(*samples: FillSample, left_mib: int = 100, copy_mib: float = 10.0) -> Forecast:
    return forecast_fill(samples, left_bytes=left_mib * MIB, copy_bytes_per_second=copy_mib * MIB)


def test_rate_and_times_are_those_of_the_looks() -> None:
    forecast = foresee(look(0, 0), look(10, 20))
    assert 20.0 == forecast.filled_percent
    assert 2 * MIB == forecast.fill_bytes_per_second
    assert 40.0 == forecast.full_in_seconds
    assert 10.0 == forecast.needed_seconds
    assert forecast.lasts
    assert not forecast.wants_growth


@pytest.mark.parametrize(
    ("samples", "left_mib", "copy_mib", "lasts", "wants_growth", "hopeless"),
    [
        pytest.param((look(0, 90),), 100, 10.0, True, True, False, id="one look, nearly full"),
        pytest.param((look(0, 10), look(5, 15)), 900, 10.0, False, False, False, id="too early"),
        pytest.param((look(0, 10), look(5, 30)), 900, 10.0, False, True, False, id="forecast"),
        pytest.param((look(0, 10), look(5, 60)), 900, 10.0, False, True, False, id="two looks"),
        pytest.param(
            (look(0, 10), look(5, 40), look(10, 60)), 900, 10.0, False, True, True, id="hopeless"
        ),
        pytest.param(
            (look(0, 10), look(5, 40), look(10, 60)), 10, 10.0, True, False, False, id="nearly done"
        ),
        pytest.param(
            (look(0, 10), look(5, 40), look(10, 80)), 0, 10.0, True, False, False, id="all is read"
        ),
        pytest.param(
            (look(0, 10), look(5, 40), look(10, 60)), 9, 0.0, False, True, True, id="copy stands"
        ),
        pytest.param((look(0, 60), look(5, 60)), 900, 10.0, True, False, False, id="it is quiet"),
    ],
)
def test_verdicts(
    samples: tuple[FillSample, ...],
    left_mib: int,
    copy_mib: float,
    lasts: bool,
    wants_growth: bool,
    hopeless: bool,
) -> None:
    forecast = foresee(*samples, left_mib=left_mib, copy_mib=copy_mib)
    assert (lasts, wants_growth, hopeless) == (
        forecast.lasts,
        forecast.wants_growth,
        forecast.hopeless,
    )


def test_writing_that_is_over_is_forgotten_after_a_minute() -> None:
    burst = (look(0, 0), look(5, 60))
    assert not foresee(*burst, left_mib=2000).lasts
    later = [look(5 + at, 60) for at in range(5, 66, 5)]
    assert foresee(*burst, *later, left_mib=2000).lasts


def test_looks_far_apart_still_give_a_rate() -> None:
    assert MIB / 10 == pytest.approx(foresee(look(0, 0), look(600, 60)).fill_bytes_per_second)


def test_sentence_names_fill_rate_and_times() -> None:
    forecast = foresee(look(0, 0), look(10, 50), left_mib=300)
    assert (
        "it is 50% full, fills at 5.0 MiB/s and would be full in 10s, while the copy needs 30s more"
    ) == forecast.describe()
    assert "the copy does not move" in foresee(look(0, 0), look(10, 50), copy_mib=0).describe()


def test_growth_is_what_the_forecast_wants_within_bounds() -> None:
    forecast = foresee(look(0, 0), look(10, 40), left_mib=300)
    # 4 MiB/s for 30 s and a quarter more are 150 MiB, with the 40 of now 90 more than there are.
    assert 92 * MIB == plan_growth(
        forecast, look(10, 40), origin_bytes=GIB, group=make_group(GIB)
    ), "in whole extents"
    assert 0 == plan_growth(forecast, look(10, 40), origin_bytes=GIB, group=make_group(16 * MIB))
    assert 8 * MIB == plan_growth(
        forecast, look(10, 40), origin_bytes=GIB, group=make_group(27 * MIB)
    ), "16 MiB stay free"
    assert 4 * MIB == plan_growth(
        forecast, look(10, 40), origin_bytes=101 * MIB, group=make_group(GIB)
    ), "no more than its origin can use"


def test_quiet_snapshot_grows_by_a_quarter_when_it_is_nearly_full() -> None:
    forecast = foresee(look(0, 80), look(10, 80))
    assert 28 * MIB == plan_growth(forecast, look(10, 80), origin_bytes=GIB, group=make_group(GIB))


def test_useful_size_is_that_of_lvm() -> None:
    """64 MiB in extents of 4 MiB: 16384 chunks, their 64 tables and the header are 65 MiB: 68."""
    assert 68 * MIB == compute_useful_bytes(64 * MIB, 4 * MIB)


@given(
    used=st.lists(SIZES, min_size=1, max_size=8),
    size=SIZES,
    left=SIZES,
    rate=st.floats(min_value=0, max_value=1e12),
    origin=st.integers(min_value=1, max_value=1 << 45),
    free=SIZES,
    extent=st.sampled_from((1 << 20, 4 << 20, 32 << 20)),
)
def test_no_forecast_raises_and_no_growth_goes_too_far(
    used: list[int], size: int, left: int, rate: float, origin: int, free: int, extent: int
) -> None:
    samples = [
        FillSample(at_seconds=at * 7.0, used_bytes=amount, size_bytes=size)
        for at, amount in enumerate(used)
    ]
    forecast = forecast_fill(samples, left_bytes=left, copy_bytes_per_second=rate)
    assert forecast.full_in_seconds >= 0
    assert forecast.needed_seconds >= 0
    assert not (forecast.hopeless and forecast.lasts)
    assert forecast.describe()
    group = make_group(free, extent_bytes=extent, size=free)
    add = plan_growth(forecast, samples[-1], origin_bytes=origin, group=group)
    assert add >= 0
    assert add % extent == 0
    assert add == 0 or free - add >= compute_reserve_bytes(group)
    assert add == 0 or size + add <= compute_useful_bytes(origin, extent)


def test_forecast_without_a_look_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="one look"):
        forecast_fill((), left_bytes=1, copy_bytes_per_second=1.0)


def test_what_does_not_fill_is_never_full() -> None:
    assert math.isinf(foresee(look(0, 5), look(10, 5)).full_in_seconds)
