"""Estimates: from past runs where there are some, else step by step at a rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MIB, RUN, UUID, make_plan
from xenbackup.model.pipeline import PRESETS
from xenbackup.model.run import Outcome, RunResult
from xenbackup.planning.estimate import estimate_run


def make_run(**fields: object) -> RunResult:
    values: dict[str, object] = {
        "run": RUN, "domain": "web", "uuid": UUID, "outcome": Outcome.OK, "preset": "checkpoint",
        "away_seconds": 2.0, "duration_seconds": 10.0, "bytes_read": 500 * MIB,
    }  # fmt: skip
    return RunResult(**{**values, **fields})  # type: ignore[arg-type]


def test_past_runs_of_the_same_guest_and_preset_are_the_best_witness() -> None:
    runs = [make_run(away_seconds=away, duration_seconds=away * 10) for away in (1.0, 3.0, 2.0)]
    found = estimate_run(make_plan("checkpoint"), runs)
    assert (2.0, 20.0, "3 past runs") == (
        found.away_seconds, found.total_seconds, found.basis,
    )  # fmt: skip


def test_one_past_run_is_told_as_one() -> None:
    assert "1 past run" == estimate_run(make_plan("checkpoint"), [make_run()]).basis


def test_only_the_newest_five_count() -> None:
    runs = [make_run(away_seconds=1.0)] * 5 + [make_run(away_seconds=99.0)] * 50
    assert 1.0 == estimate_run(make_plan("checkpoint"), runs).away_seconds


def test_failed_runs_tell_nothing() -> None:
    failed = make_run(outcome=Outcome.FAILED, away_seconds=300.0)
    assert "an assumed 100 MiB/s" == estimate_run(make_plan("checkpoint"), [failed]).basis


def test_runs_of_other_guests_give_the_rate_of_this_host() -> None:
    other = make_run(domain="db", bytes_read=320 * MIB, duration_seconds=10.0)
    found = estimate_run(make_plan("cold"), [other])
    # 96 MiB written and read again, 64 MiB of disk and 96 MiB of memory copied, at 32 MiB/s.
    assert pytest.approx((96 + 160 + 96) / 32) == found.away_seconds
    assert "this host's past runs" == found.basis


def test_tiny_runs_give_no_rate() -> None:
    tiny = make_run(domain="db", bytes_read=MIB, duration_seconds=10.0)
    assert "an assumed 100 MiB/s" == estimate_run(make_plan("cold"), [tiny]).basis


def test_times_away_grow_in_the_order_that_the_presets_promise() -> None:
    away = {name: estimate_run(make_plan(name), ()).away_seconds for name in PRESETS}
    assert 0.0 == away["offline"]
    assert away["crash"] < away["checkpoint"] < away["snapshot"] < away["cold"]


@given(
    st.sampled_from(sorted(PRESETS)),
    st.lists(
        st.builds(
            make_run,
            domain=st.sampled_from(["web", "db"]),
            preset=st.sampled_from(["", "cold", "checkpoint", "steps"]),
            outcome=st.sampled_from(list(Outcome)),
            away_seconds=st.floats(0, 1e6),
            duration_seconds=st.floats(0, 1e6),
            bytes_read=st.integers(0, 1 << 60),
        ),
        max_size=12,
    ),
)
def test_an_estimate_is_never_negative_nor_absent(preset: str, runs: list[RunResult]) -> None:
    found = estimate_run(make_plan(preset), runs)
    assert 0 <= found.away_seconds
    assert 0 <= found.total_seconds
    assert found.basis
