"""What a seed decides: the host, the command line, where it is killed, and each recovery after it.

Seeds of one block share their host and command line, so that they share the rehearsal, too: one
undisturbed run, whose system calls are known afterwards. The same seed tells the same story.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.crash.grounds import Ground
from tests.crash.tracing import TIMER, Call
from tests.simulation.schedule import STACK_WEIGHTS
from tests.simulation.worlds import MEMORY_PRESETS, World, list_worlds
from xenbackup.dom0.simulated.children import CommandsMode
from xenbackup.dom0.simulated.faults import Fault, FaultKind

BLOCK = 12
DEPTH = 5
PLACES = ("before", "torn", "after")
Rehearse = Callable[[Ground, tuple[str, ...]], Sequence[Call]]
"""The calls of an undisturbed process on a host of this kind with these words."""

_RECOVERY_CALLS = {
    "fsync": (4, 3.0),
    "write": (3, 3.0),
    "flock": (3, 20.0),
    "pwrite64": (2, 15.0),
    "openat": (2, 8.0),
    "unlink": (1, 0.7),
    "ftruncate": (1, 0.7),
    "pidfd_open": (3, 1.0),
}
"""Weight, and how many more than those of an idle recovery are likely."""
_DEPTH_WEIGHTS = (45, 20, 13, 9, 7, 6)
_STAGES = {
    "save": ("requested", "suspended", "writing", "written", "end"),
    "destroy": ("begin", "dying", "end"),
    "restore": ("begin", "building", "built", "end"),
    "pause": ("begin", "paused"),
    "unpause": ("begin", "unpaused"),
    "lvcreate": ("plain", "suspended", "end"),
    "create": ("begin", "built", "end"),
    "lvremove": ("begin", "suspended", "removed"),
}
"""Where a command that outlives its caller may be slow."""


@dataclass(frozen=True, kw_only=True)
class Strike:
    """SIGKILL at the `nth` call of that name in a thread.

    `torn`: the journal's line that was just written loses its second half. `everything`: commands
    that the killed process had started die, too, `lingering_seconds` after it; else they live on.
    """

    name: str
    nth: int
    torn: bool = False
    everything: bool = False
    lingering_seconds: float = 0.0

    def describe(self) -> str:
        more = (" torn" if self.torn else "") + (" with its commands" if self.everything else "")
        return f"SIGKILL at {self.name} {self.nth}{more}"


@dataclass(kw_only=True)
class Story:
    """`first` strikes the command line, `recoveries` one `recover` each, `again` a second restore.

    `key` is what replays it; `aim` says what the first strike is meant to hit.
    """

    key: str
    ground: Ground
    first: Strike
    aim: str = ""
    recoveries: list[Strike] = field(default_factory=list)
    again: Strike | None = None
    faults: list[Fault] = field(default_factory=list)
    restores: bool = False
    refused: bool = False

    def describe(self) -> str:
        return f"{self.ground.describe()}; {self.first.describe()} ({self.aim})"


def draw_story(key: str, rehearse: Rehearse) -> Story:
    """The story of a seed (`123`), or of a place in the sweep (`snapshot:17:torn`)."""
    if ":" in key:
        preset, line, place = key.split(":")
        return _sweep(key, preset, int(line), place, rehearse)
    seed = int(key)
    ground = draw_ground(random.Random(f"block {seed // BLOCK}"))
    chosen = random.Random(f"story {seed}")
    calls = rehearse(ground, ground.words)
    children = ground.mode is not CommandsMode.INSIDE
    if children and chosen.random() < 0.5:
        story = _draw_survivor(chosen, key, ground, calls)
    elif (lines := find_lines(calls)) and chosen.random() < 0.5:
        write, sync = chosen.choice(lines)
        story = _strike_line(key, ground, write, sync, chosen.choice(PLACES))
    else:
        story = _draw_call(chosen, key, ground, calls)
    if chosen.random() < 0.35:
        lingering = chosen.choice((0.0, 0.0, 0.3, 1.0)) if story.faults else 0.0
        story.first = replace(story.first, everything=True, lingering_seconds=lingering)
    _draw_rest(chosen, story, rehearse)
    return story


def draw_ground(chosen: random.Random) -> Ground:
    """A host and a command line; half of them run their commands as children."""
    mode = chosen.choices(tuple(CommandsMode), (50, 44, 6))[0]
    stack = chosen.choices(list(STACK_WEIGHTS), list(STACK_WEIGHTS.values()))[0]
    worlds = list_worlds(stack)
    if chosen.random() < 0.75:
        world = chosen.choice(worlds)
        return Ground(world=world, preset=chosen.choice(world.presets), mode=mode)
    world = chosen.choice([world for world in worlds if world.guest != "off"])
    preset = chosen.choice([preset for preset in world.presets if preset in MEMORY_PRESETS])
    memory = chosen.random() < 0.7
    return Ground(world=world, preset=preset, verb="restore", with_memory=memory, mode=mode)


def list_sweep(preset: str, rehearse: Rehearse) -> list[str]:
    """The keys of every place of every line that the journal of such a run has."""
    ground = sweep_ground(preset)
    lines = find_lines(rehearse(ground, ground.words))
    return [f"{preset}:{at}:{place}" for at in range(len(lines)) for place in PLACES]


def sweep_ground(preset: str) -> Ground:
    return Ground(world=World(stack="xl-4.17", guest="web"), preset=preset)


def find_lines(calls: Sequence[Call]) -> list[tuple[Call, Call]]:
    """Each line of the journal that can be aimed at: its write, and the fsync that follows it."""
    reachable = set(list_reachable(calls))
    lines = []
    for at, call in enumerate(calls):
        if call.name == "write" and call.place == "journal":
            same = (c for c in calls[at:] if c.thread == call.thread and c.name == "fsync")
            sync = next(same)
            if {call, sync} <= reachable:
                lines.append((call, sync))
    return lines


def list_reachable(calls: Sequence[Call]) -> list[Call]:
    """Those that come to their number first: strace counts each thread by itself."""
    seen: set[tuple[str, int]] = set()
    reachable = []
    for call in calls:
        if (call.name, call.nth) not in seen:
            seen.add((call.name, call.nth))
            reachable.append(call)
    return reachable


def _sweep(key: str, preset: str, line: int, place: str, rehearse: Rehearse) -> Story:
    ground = sweep_ground(preset)
    lines = find_lines(rehearse(ground, ground.words))
    write, sync = lines[line]
    story = _strike_line(key, ground, write, sync, place)
    chosen = random.Random(key)
    if chosen.random() < 0.25:
        story.recoveries.append(_draw_recovery_strike(chosen, ground, rehearse))
    return story


def _strike_line(key: str, ground: Ground, write: Call, sync: Call, place: str) -> Story:
    at = write if place == "before" else sync
    strike = Strike(name=at.name, nth=at.nth, torn=place == "torn")
    return Story(key=key, ground=ground, first=strike, aim=f"journal {place} {write.event}")


def _draw_call(chosen: random.Random, key: str, ground: Ground, calls: Sequence[Call]) -> Story:
    """Half of the time any call, half of the time any kind of call: so rare ones get a turn."""
    of_host = [
        call for call in list_reachable(calls) if call.place or call.name in ("pidfd_open", "kill")
    ]
    if chosen.random() < 0.5:
        call = chosen.choice(of_host)
    else:
        kind = chosen.choice(sorted({(call.name, call.place) for call in of_host}))
        call = chosen.choice([c for c in of_host if (c.name, c.place) == kind])
    strike = Strike(name=call.name, nth=call.nth)
    return Story(key=key, ground=ground, first=strike, aim=call.describe())


def _draw_survivor(chosen: random.Random, key: str, ground: Ground, calls: Sequence[Call]) -> Story:
    """Killed just after it started a command that acts and takes its time."""
    acting = [call for call in list_started(calls) if call.tool[-1] in _STAGES]
    if not acting:
        return _draw_call(chosen, key, ground, calls)
    call = chosen.choice(acting)
    stage = chosen.choice(_STAGES[call.tool[-1]])
    return tell_survivor(key, ground, calls, call, stage, chosen.choice((0.6, 1.2, 2.4)))


def list_started(calls: Sequence[Call]) -> list[Call]:
    """The calls that follow the start of a command."""
    return [call for call in calls if call.name == "pidfd_open" and call.tool]


def tell_survivor(
    key: str, ground: Ground, calls: Sequence[Call], call: Call, stage: str, seconds: float
) -> Story:
    """Killed as that command has been started, which takes so long at `stage` and lives on."""
    started = list_started(calls)
    # `xl create -n` only reads its file, and is no process where acts alone are.
    creates = "create" in call.tool
    nth = sum(other.tool == call.tool for other in started[: started.index(call) + 1])
    fault = Fault(
        tool=call.tool[0],
        verb="".join(call.tool[1:]),
        kind=FaultKind.SLOW,
        nth=0 if creates else nth,
        times=2 if creates else 0,
        boundary=stage,
        seconds=seconds,
    )
    strike = Strike(name=call.name, nth=call.nth)
    aim = f"{call.describe()}, slow at {stage} for {seconds} s"
    return Story(key=key, ground=ground, first=strike, aim=aim, faults=[fault])


def _draw_rest(chosen: random.Random, story: Story, rehearse: Rehearse) -> None:
    (depth,) = chosen.choices(range(DEPTH + 1), _DEPTH_WEIGHTS)
    for _ in range(depth):
        story.recoveries.append(_draw_recovery_strike(chosen, story.ground, rehearse))
    story.restores = story.ground.verb == "run" and chosen.random() < 0.15
    story.refused = story.ground.verb == "run" and chosen.random() < 0.05
    if story.ground.verb == "restore" and chosen.random() < 0.3:
        again = _draw_call(
            chosen, story.key, story.ground, rehearse(story.ground, story.ground.words)
        )
        story.again = again.first


def _draw_recovery_strike(chosen: random.Random, ground: Ground, rehearse: Rehearse) -> Strike:
    """Nobody knows the calls of a recovery beforehand; those of an idle one come first in each."""
    idle = rehearse(ground, ("recover",))
    moments = [call for call in idle if call.name == TIMER]
    if moments:
        return Strike(name=TIMER, nth=chosen.choice(moments).nth, everything=chosen.random() < 0.35)
    names = list(_RECOVERY_CALLS)
    if ground.mode is CommandsMode.INSIDE:
        names.remove("pidfd_open")
    (name,) = chosen.choices(names, [_RECOVERY_CALLS[name][0] for name in names])
    first = max((call.nth for call in idle if call.name == name), default=0)
    nth = first + 1 + int(chosen.expovariate(1 / _RECOVERY_CALLS[name][1]))
    torn = name == "fsync" and chosen.random() < 0.4
    return Strike(name=name, nth=nth, torn=torn, everything=chosen.random() < 0.35)
