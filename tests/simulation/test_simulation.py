"""Seeds of faults against the production runner and recovery; each failure replays by one line."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.simulation.batches import play_batches
from tests.simulation.figures import Figures, Verdict
from tests.simulation.play import Player

pytestmark = pytest.mark.timeout(900)

FIXED_SEEDS = range(50)
FRESH_SEEDS = 2000


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Player:
    return Player(tmp_path_factory.mktemp("simulation"))


def explain(verdicts: list[Verdict]) -> str:
    return "\n".join(
        line
        for verdict in verdicts
        for line in (verdict.in_one_line(), *verdict.wrongs, *verdict.story)
    )


def test_fixed_seeds_leave_every_promise_kept(player: Player) -> None:
    verdicts = [player.play(seed) for seed in FIXED_SEEDS]
    failed = [verdict for verdict in verdicts if verdict.wrongs]
    assert [] == failed, explain(failed)
    assert sum(verdict.deaths for verdict in verdicts) > 10
    assert sum(verdict.points for verdict in verdicts) > 5


def test_a_seed_played_twice_tells_the_same_story(player: Player) -> None:
    for seed in (3, 7, 11):
        first, second = player.play(seed), player.play(seed)
        assert first.title == second.title
        assert first.story == second.story


def test_every_world_runs_undisturbed(tmp_path: Path) -> None:
    """What the seeds disturb would end well by itself, on each kind of host and guest."""
    from tests.simulation.worlds import STACKS, list_worlds

    player = Player(tmp_path)
    for stack in STACKS:
        for world in list_worlds(stack):
            for preset in world.presets:
                assert len(player.list_moments(world, preset)) > 20


@pytest.mark.slow
def test_fresh_seeds_leave_every_promise_kept() -> None:
    """Other seeds every day; which ones is printed, and each failure tells its own."""
    base = int(datetime.now(UTC).strftime("%Y%m%d")) * 10_000
    print(f"seeds {base} to {base + FRESH_SEEDS - 1}")
    figures = Figures()
    failed: list[Verdict] = []
    for _, verdicts in play_batches(base, FRESH_SEEDS, os.cpu_count() or 1):
        for verdict in verdicts:
            figures.add(verdict)
            failed += [verdict] if verdict.wrongs else []
    assert [] == failed, explain(failed)
    assert figures.seeds == FRESH_SEEDS
    assert figures.sums["deaths"] > FRESH_SEEDS // 10
    assert figures.sums["memory_points"] > FRESH_SEEDS // 20
