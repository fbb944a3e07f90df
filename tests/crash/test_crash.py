"""SIGKILL for real processes of the product, recovered by real processes, themselves killed.

Together these are the 300 kills of `make test`, in slices that several workers share.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.crash.figures import Figures, Verdict
from tests.crash.playing import Player
from tests.crash.stories import (
    BLOCK,
    DEPTH,
    PLACES,
    draw_story,
    list_started,
    list_sweep,
    sweep_ground,
    tell_survivor,
)
from tests.crash.tracing import explain_tracer, find_strace
from xenbackup.dom0.simulated.children import CommandsMode

pytestmark = pytest.mark.timeout(1800)

SLICES = range(5)
KILLS_OF_A_SLICE = 36
SEEDS_OF_A_DAY = 100_000
SWEPT = ("snapshot", "checkpoint", "cold", "crash")


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    with closing(Player(tmp_path_factory.mktemp("crash"))) as player:
        yield player


def today() -> int:
    return datetime.now(UTC).toordinal()


def explain(verdicts: list[Verdict]) -> str:
    return "\n".join(
        line
        for verdict in verdicts
        for line in (verdict.in_one_line(), *verdict.wrongs, *verdict.story)
    )


def play_all(player: Player, keys: list[str]) -> Figures:
    """Every one of them, then one look at what failed."""
    verdicts = [player.play(key) for key in keys]
    failed = [verdict for verdict in verdicts if verdict.wrongs]
    assert [] == failed, explain(failed)
    figures = Figures()
    for verdict in verdicts:
        figures.add(verdict)
    return figures


@pytest.mark.slow
@pytest.mark.parametrize("preset", SWEPT)
def test_killed_at_every_line_of_its_journal(player: Player, preset: str) -> None:
    """Before, in the middle of or after each line: one of the three a day, the others follow."""
    print(explain_tracer())
    keys = list_sweep(preset, player.rehearse)
    if not find_strace()[0]:
        pytest.fail(f"the lines of a journal cannot be aimed at: {explain_tracer()}")
    lines = [keys[at : at + len(PLACES)] for at in range(0, len(keys), len(PLACES))]
    chosen = [line[(at + today()) % len(PLACES)] for at, line in enumerate(lines)]
    figures = play_all(player, chosen)
    assert len(chosen) <= figures.kills
    struck = [place for place in figures.places if place.startswith("journal ")]
    assert len(struck) > 12, "the lines that were aimed at were struck"


@pytest.mark.slow
@pytest.mark.parametrize("part", SLICES)
def test_killed_at_random_system_calls_and_recoveries_too(player: Player, part: int) -> None:
    """Other seeds every day; which ones is printed, and each failure tells its own."""
    first = today() * SEEDS_OF_A_DAY + part * SEEDS_OF_A_DAY // len(SLICES)
    first -= first % BLOCK
    print(f"{explain_tracer()}; seeds from {first} on")
    figures = Figures()
    failed: list[Verdict] = []
    for seed in itertools.count(first):
        verdict = player.play(str(seed))
        figures.add(verdict)
        failed += [verdict] if verdict.wrongs else []
        if figures.kills >= KILLS_OF_A_SLICE:
            break
    assert [] == failed, explain(failed)
    assert figures.stories < 4 * KILLS_OF_A_SLICE, "most strikes hit"


def test_stories_of_many_seeds_are_of_every_kind(player: Player) -> None:
    """The same seed tells the same story; depth, modes, verbs and places all have their turn."""
    seeds = [str(seed) for seed in range(0, 3 * BLOCK, 5)]
    stories = [draw_story(seed, player.rehearse) for seed in seeds]
    assert stories == [draw_story(seed, player.rehearse) for seed in seeds]
    assert all(len(story.recoveries) <= DEPTH for story in stories)
    assert len({story.first for story in stories}) > len(stories) // 2


def test_what_a_killed_process_started_lives_on_or_dies_with_it(player: Player) -> None:
    """A slow save outlives its caller and recovery waits for it, unless the kill takes both."""
    ground = replace(sweep_ground("snapshot"), mode=CommandsMode.ACTS)
    calls = player.rehearse(ground, ground.words)
    (save,) = (call for call in list_started(calls) if call.tool == ("xl", "save"))
    story = tell_survivor("by hand", ground, calls, save, "writing", 2.5)
    alone = player.play_story(story)
    story.first = replace(story.first, everything=True)
    together = player.play_story(story)
    told = explain([alone, together])
    assert [] == alone.wrongs + together.wrongs, told
    assert ["while xl save runs"] == alone.places == together.places, told
    assert (1, 1) == (alone.survivors, alone.awaited), told
    assert (0, 0) == (together.survivors, together.awaited), told
