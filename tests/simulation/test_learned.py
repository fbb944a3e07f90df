"""Stories that seeds once told and that ended badly: a guest lost, left paused, or corrupted.

Written by hand, so that they stay what they are when the drawing of seeds changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.simulation.play import Player
from tests.simulation.schedule import Event, Schedule
from tests.simulation.worlds import World
from xenbackup.dom0.simulated.faults import Fault, FaultKind

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, kw_only=True)
class Story:
    """`phases` are the run and the recoveries after it, with what strikes in each."""

    name: str
    guest: str
    preset: str
    phases: list[list[Event]]
    stack: str = "xl-4.17"
    autostart: bool = False
    again: bool = False
    interlude: bool = False
    expected: tuple[str, ...] = field(default=())
    unexpected: tuple[str, ...] = field(default=())


STORIES = (
    Story(
        name="after a reboot, recovery killed inside its restore: the half-built guest is ours",
        guest="mixed",
        preset="cold",
        phases=[
            [Event(kind="power-cut", moment="journal:destroyed")],
            [Event(kind="kill", moment="xl-restore:building")],
        ],
        expected=("destroy the half-built domain",),
    ),
    Story(
        name="after a reboot, recovery killed before its unpause: the paused guest is ours",
        guest="web",
        preset="snapshot",
        phases=[
            [Event(kind="power-cut", moment="journal:destroyed")],
            [Event(kind="kill", moment="xl-unpause:begin")],
        ],
    ),
    Story(
        name="killed in the middle of the journal's first line: nothing was begun",
        guest="filey",
        preset="crash",
        phases=[[Event(kind="kill", moment="journal:run-started", place="torn")]],
    ),
    Story(
        name="killed, started by a person, then the power cut: its image is stale",
        guest="mixed",
        preset="cold",
        phases=[[Event(kind="kill", moment="journal:destroyed")]],
        interlude=True,
        expected=("a person starts the guest", "booted afresh"),
    ),
    Story(
        name="xendomains left a cut-off image of a guest that we had paused",
        guest="web",
        preset="crash",
        stack="xm-3.4",
        phases=[[Event(kind="reboot", moment="journal:resuming")]],
        expected=("booted afresh",),
    ),
    Story(
        name="let run by hand and seen so, then the power cut: its image is stale",
        guest="pvh",
        preset="checkpoint",
        phases=[
            [
                Event(kind="act", what="unpause", moment="lvcreate:suspended"),
                Event(kind="power-cut", moment="journal:monitors-woken"),
            ]
        ],
        expected=("image-stale",),
    ),
    Story(
        name="the toolstack refuses every unpause for a while: recovery comes back",
        guest="plain",
        preset="crash",
        phases=[[Event(kind="fault", fault=Fault(tool="xl", verb="unpause", kind=FaultKind.FAIL))]],
        expected=("three unpauses failed",),
    ),
    Story(
        name="after a reboot, killed as it destroys a half-built boot: that is asked for again",
        guest="mixed",
        preset="crash",
        phases=[
            [Event(kind="power-cut", moment="journal:snapshotting")],
            [Event(kind="kill", moment="xl-create:built")],
            [Event(kind="kill", moment="xl-destroy:dying")],
        ],
        expected=("its boot never finished",),
    ),
    Story(
        name="a save that outlives its caller is waited for",
        guest="web",
        preset="snapshot",
        phases=[[Event(kind="survivor", moment="xl-save:writing", waits=2)]],
        expected=("wait for commands of ours that live on",),
    ),
    Story(
        name="an unpause that outlives its caller and never ends is ended",
        guest="web",
        preset="checkpoint",
        phases=[[Event(kind="survivor", moment="xl-unpause:begin", waits=10_000)]],
        expected=("wait for commands of ours that live on",),
    ),
    Story(
        name="what is due at the moment in which a command outlives its caller strikes nobody",
        guest="web",
        preset="checkpoint",
        phases=[
            [
                Event(kind="survivor", moment="lvremove:removed", waits=2),
                Event(kind="act", what="migrate-away", moment="lvremove:removed"),
            ]
        ],
        expected=("wait for commands of ours that live on",),
    ),
    Story(
        name="started anew while its disks are read: no good point",
        guest="plain",
        preset="cold",
        phases=[[Event(kind="act", what="create", moment="journal:staging")]],
        expected=("its disks move",),
    ),
    Story(
        name="let run by hand as its destroy fails: it is not destroyed later",
        guest="thinny",
        preset="snapshot",
        phases=[
            [
                Event(
                    kind="fault",
                    fault=Fault(tool="xl", verb="destroy", kind=FaultKind.FAIL, nth=1),
                ),
                Event(kind="act", what="unpause", moment="xl-destroy:begin"),
            ]
        ],
        expected=("somebody let it run",),
    ),
    Story(
        name="the monitor of a restored guest is no command that lives on",
        guest="web",
        preset="snapshot",
        phases=[[Event(kind="kill", moment="xl-unpause:begin")]],
        expected=("rescue: ",),
        unexpected=("wait for commands of ours that live on",),
    ),
    Story(
        name="a save that xend goes on with is waited for, and its guest not resumed meanwhile",
        guest="web",
        preset="snapshot",
        stack="xm-3.4",
        phases=[[Event(kind="kill", moment="xm-save:writing")]],
        expected=("rescue: ",),
        unexpected=("resume the suspended guest",),
    ),
    Story(
        name="a shut off guest that is started in its copy is no guest for that job any more",
        guest="off",
        preset="offline",
        phases=[[Event(kind="act", what="create", moment="journal:disk-copied")]],
        again=True,
    ),
)


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Player:
    return Player(tmp_path_factory.mktemp("learned"))


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_a_story_that_ended_badly_once_ends_well(player: Player, story: Story) -> None:
    schedule = Schedule(
        seed=0,
        world=World(stack=story.stack, guest=story.guest),
        preset=story.preset,
        autostart=story.autostart,
        again=story.again,
        interlude=story.interlude,
        phases=story.phases,
    )
    verdict = player.play_schedule(schedule)
    told = "\n".join(verdict.story)
    assert [] == verdict.wrongs, told
    for part in story.expected:
        assert part in told, told
    for part in story.unexpected:
        assert part not in told, told
