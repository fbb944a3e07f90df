"""What `auto` chooses: the least time away of the presets that fit, and it tells about all."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_plan
from xenbackup.model.job import Consistency
from xenbackup.model.plan import Estimate
from xenbackup.planning.choice import AUTO_ORDER, Trial, choose_plan, explain_trials


def make_trial(preset: str, away_seconds: float, max_away_seconds: float = 600.0) -> Trial:
    estimate = Estimate(away_seconds=away_seconds, total_seconds=away_seconds, basis="x")
    plan = replace(make_plan(preset), estimate=estimate, max_away_seconds=max_away_seconds)
    return Trial(preset=preset, plan=plan)


def test_least_time_away_is_taken_and_the_others_are_told_with_reasons() -> None:
    trials = (
        make_trial("checkpoint", 8.0),
        make_trial("snapshot", 16.0),
        Trial(preset="crash", reason="it gives crash consistency, and memory is required"),
    )
    plan = choose_plan(trials, Consistency.MEMORY)
    assert plan is not None
    assert "checkpoint" == plan.preset
    assert [
        ("checkpoint", True, "the least time away"),
        ("snapshot", False, "no shorter away"),
        ("crash", False, "it gives crash consistency, and memory is required"),
    ] == [(found.preset, found.chosen, found.reason) for found in plan.candidates]


def test_of_equals_the_preferred_is_taken() -> None:
    plan = choose_plan((make_trial("checkpoint", 5.0), make_trial("crash", 5.0)), Consistency.CRASH)
    assert plan is not None
    assert "checkpoint" == plan.preset


def test_a_preset_that_cannot_end_in_time_is_no_choice() -> None:
    cold = make_trial("cold", 900.0, max_away_seconds=600.0)
    assert choose_plan((cold,), Consistency.MEMORY) is None
    assert "cold: it would be away for about 900 s, max_away is 600 s" == explain_trials((cold,))


def test_falling_back_to_crash_names_what_keeps_the_memory_from_being_saved() -> None:
    device = "PCI device 0000:03:01.0 is passed through to it: its memory cannot be saved"
    trials = (Trial(preset="checkpoint", reason=device), make_trial("crash", 0.5))
    plan = choose_plan(trials, Consistency.CRASH)
    assert plan is not None
    assert plan.reason.endswith(f"; {device}")


def test_a_reason_that_presets_share_is_said_once() -> None:
    trials = tuple(Trial(preset=name, reason="no disk") for name in ("checkpoint", "cold"))
    assert "checkpoint, cold: no disk" == explain_trials(trials)


@given(st.lists(st.none() | st.floats(0, 1200), min_size=5, max_size=5))
def test_whatever_is_taken_fits_and_nothing_that_fits_is_shorter(times: list[float | None]) -> None:
    trials = tuple(
        Trial(preset=preset, reason="no") if away is None else make_trial(preset, away)
        for preset, away in zip(AUTO_ORDER, times, strict=True)
    )
    fitting = [away for away in times if away is not None and away <= 600]
    plan = choose_plan(trials, Consistency.CRASH)
    if plan is None:
        assert not fitting
        return
    assert plan.estimate is not None
    assert min(fitting) == plan.estimate.away_seconds
    assert list(AUTO_ORDER) == [found.preset for found in plan.candidates]
    assert 1 == sum(found.chosen for found in plan.candidates)
