"""Seeds of faults against the production runner and recovery; each failure replays by one line."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.simulation.batches import play_batches
from tests.simulation.devices import READ_BEGIN, READ_END
from tests.simulation.figures import Figures, Verdict
from tests.simulation.play import Player
from tests.simulation.schedule import SLOW_BYTES_PER_SECOND, Event, Schedule, draw_schedule
from tests.simulation.worlds import STACKS, World, list_worlds
from xenbackup.model.job import DestinationKind

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


def find_seed(player: Player, wanted: Callable[[Schedule], bool]) -> int:
    """The first seed of a kind."""
    drawn = (draw_schedule(seed, player.list_moments) for seed in itertools.count())
    return next(schedule.seed for schedule in drawn if wanted(schedule))


def floods(schedule: Schedule) -> bool:
    return any(event.what == "flood" for event in schedule.phases[0])


def test_a_seed_played_twice_tells_the_same_story(player: Player) -> None:
    """Whatever it is about: points in volumes and snapshots that fill up among them."""
    into_volumes = find_seed(player, lambda schedule: schedule.world.into_volumes)
    filling = find_seed(player, floods)
    both = find_seed(player, lambda s: s.world.into_volumes and floods(s))
    for seed in (3, 7, 11, into_volumes, filling, both):
        first, second = player.play(seed), player.play(seed)
        assert first.title == second.title
        assert first.story == second.story


def test_every_world_runs_undisturbed(tmp_path: Path) -> None:
    """What the seeds disturb would end well by itself, on each kind of host and guest."""
    player = Player(tmp_path)
    for stack, kind in itertools.product(STACKS, DestinationKind):
        for world in list_worlds(stack, kind):
            for preset in world.presets:
                assert len(player.list_moments(world, preset)) > 20


def list_places(player: Player, world: World, preset: str) -> dict[str, int]:
    """Moments before the copy, in it, and around the last read of the last disk."""
    moments = player.list_moments(world, preset)
    reads = [at for at, name in enumerate(moments) if name in (READ_BEGIN, READ_END)]
    return {
        "before the copy": moments.index("journal:staging"),
        "in the copy": reads[2],
        "before the last read": reads[-2],
        "with the last read": reads[-1],
    }


@pytest.mark.parametrize("kind", list(DestinationKind))
@pytest.mark.parametrize("preset", ["snapshot", "checkpoint", "crash"])
def test_snapshots_fill_up_wherever_they_are_provoked_to(
    player: Player, preset: str, kind: DestinationKind
) -> None:
    """And the run is tried again with more room: its point is good, as the judge sees it."""
    world = World(stack="xl-4.17", guest="web", kind=kind)
    for where, at in list_places(player, world, preset).items():
        events = [Event(kind="act", what="flood", at=at)]
        schedule = Schedule(seed=0, world=world, preset=preset, phases=[events])
        verdict = player.play_schedule(schedule)
        told = "\n".join((where, *verdict.story))
        assert [] == verdict.wrongs, told
        assert (1, "ok") == (verdict.overflowed, verdict.outcome), told


@pytest.mark.parametrize(("free_extents", "ending"), [(0, "ok"), (8, "failed")])
def test_filling_snapshot_is_extended_while_there_is_room(
    player: Player, free_extents: int, ending: str
) -> None:
    schedule = Schedule(
        seed=0,
        world=World(stack="xl-4.17", guest="web"),
        preset="crash",
        read_bytes_per_second=SLOW_BYTES_PER_SECOND,
        free_extents=free_extents,
        phases=[[Event(kind="act", what="flood", moment=READ_BEGIN)]],
    )
    verdict = player.play_schedule(schedule)
    assert [] == verdict.wrongs, "\n".join(verdict.story)
    assert ending == verdict.outcome, "\n".join(verdict.story)
    assert (free_extents == 0) == (verdict.extended > 0)


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
    assert figures.sums["points_in_volumes"] > FRESH_SEEDS // 20
    assert figures.sums["overflowed"] > FRESH_SEEDS // 40
