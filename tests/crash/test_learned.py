"""Stories of real kills that once ended badly, or that a person had to end by hand.

Written by hand, so that they stay what they are when the drawing of seeds changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from tests.crash.grounds import Ground
from tests.crash.playing import Player
from tests.crash.stories import Story, Strike, list_started, tell_survivor
from tests.simulation.worlds import World
from xenbackup.dom0.simulated.children import CommandsMode

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A restore that is killed while `verb` of xl runs: slow at `stage`, dying with it or not."""

    name: str
    verb: str
    stage: str
    with_memory: bool
    everything: bool


LEARNED = (
    Learned(
        name="a restore killed before its unpause: recovery lets the guest run, no person must",
        verb="unpause",
        stage="begin",
        with_memory=True,
        everything=True,
    ),
    Learned(
        name="a boot that outlives its restore lets nobody run behind the next one's back",
        verb="create",
        stage="begin",
        with_memory=False,
        everything=False,
    ),
    Learned(
        name="a rebuild that outlives its restore is waited for by the next one",
        verb="restore",
        stage="building",
        with_memory=True,
        everything=False,
    ),
)


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    with closing(Player(tmp_path_factory.mktemp("learned"))) as player:
        yield player


def make_ground(mode: CommandsMode, *, with_memory: bool) -> Ground:
    world = World(stack="xl-4.17", guest="web")
    return Ground(
        world=world, preset="snapshot", verb="restore", with_memory=with_memory, mode=mode
    )


@pytest.mark.parametrize("learned", LEARNED, ids=[learned.name for learned in LEARNED])
def test_a_restore_that_ended_badly_once_ends_well(player: Player, learned: Learned) -> None:
    ground = make_ground(CommandsMode.ACTS, with_memory=learned.with_memory)
    calls = player.rehearse(ground, ground.words)
    call = next(call for call in list_started(calls) if call.tool == ("xl", learned.verb))
    story = tell_survivor("by hand", ground, calls, call, learned.stage, 3.0)
    story.first = replace(story.first, everything=learned.everything)
    verdict = player.play_story(story)
    told = " ".join(verdict.story)
    assert [] == verdict.wrongs, told
    assert [f"while xl {learned.verb} runs"] == verdict.places, told
    assert (0 if learned.everything else 1) == verdict.survivors, told


def test_a_restore_killed_while_it_boots_the_guest_builds_it_again(player: Player) -> None:
    """Between its last two marks the guest is made: half of it may be there, and never ran."""
    ground = make_ground(CommandsMode.INSIDE, with_memory=False)
    calls = player.rehearse(ground, ground.words)
    marks = [
        at
        for at, call in enumerate(calls)
        if call.name.startswith("rename") and call.place == "state"
    ]
    locks = [
        call
        for call in calls[marks[-2] : marks[-1]]
        if (call.name, call.place) == ("flock", "the host's state")
    ]
    told = ""
    for call in locks[::3]:
        strike = Strike(name=call.name, nth=call.nth)
        verdict = player.play_story(Story(key="by hand", ground=ground, first=strike))
        told += "\n".join(verdict.story)
        assert [] == verdict.wrongs, told
    assert "half-built, is destroyed" in " ".join(told.split()), told
