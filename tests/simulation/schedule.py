"""What a seed decides: the host, the guest, the pipeline, and what strikes at which moment.

A moment is a boundary inside a command, a line of the journal, or a block of a copy, before and
after it is read and written; they are counted from the beginning of a phase (the run, or a
recovery). The moments of an undisturbed run are known beforehand, so that rare ones can be aimed
at.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.devices import READ_BEGIN, READ_END
from tests.simulation.migrating import END_MIGRATION, MIGRATE
from tests.simulation.worlds import World, list_worlds
from xenbackup.dom0.simulated.execute import TOOLS
from xenbackup.dom0.simulated.faults import Fault, FaultKind
from xenbackup.model.job import DestinationKind

ENDINGS = ("kill", "survivor", "power-cut", "reboot")
ACTS = (
    "destroy",
    "rename",
    "pause",
    "unpause",
    "create",
    "remove-snapshot",
    "take-snapshot-name",
    "guest-reboot",
    "guest-poweroff",
    "guest-crash",
    "write-more",
    "flood",
)
ACTING = ("save", "destroy", "restore", "pause", "unpause", "create", "lvcreate", "lvremove")
"""Verbs and tools that change something: only these can do nothing and claim the contrary."""
STACK_WEIGHTS = {"xl-4.17": 6, "xl-4.20": 2, "xl-4.3": 1, "xm-3.4": 1}
KIND_WEIGHTS = {
    "fault": 40,
    "kill": 24,
    "survivor": 8,
    "power-cut": 8,
    "reboot": 4,
    "act": 20,
    "ctrl-c": 5,
    "destination-full": 4,
    "destination-gone": 3,
    "read-error": 4,
    "write-error": 2,
    "overflow": 8,
    "image-cut-off": 5,
}
MIGRATION_SHARE = 0.06
"""Of the seeds whose guest is migrated away."""
INTERLUDE_SHARE = 0.5
"""Of the seeds in which a person may come by: few kills leave a guest away."""
RECOVERY_DEPTH = 3
VOLUMES_SHARE = 0.2
"""Of the seeds whose points go into volumes, not into a folder."""
SLOW_BYTES_PER_SECOND = 64 << 10


@dataclass(kw_only=True)
class Event:
    """Something that strikes: at moment `at` of its phase, or as a fault set at its beginning.

    `moment` names the moment instead, for stories written by hand: the first of that name.

    `place` is where a kill strikes a journal's line: before, torn (half of it written), after.
    `waits` is how often a survivor is waited for before it goes on.
    """

    kind: str
    at: int = 0
    what: str = ""
    place: str = "after"
    fault: Fault | None = None
    moment: str = ""
    waits: int = 0

    def describe(self) -> str:
        if self.fault is not None:
            found = self.fault
            call = f"{found.tool} {found.verb}".strip()
            which = f"call {found.nth}" if found.nth else "every call"
            more = f" at {found.boundary}" if found.boundary else ""
            return f"{found.kind} of `{call}`, {which}{more}"
        return f"{self.kind} {self.what}".strip() + f" at moment {self.at} ({self.place})"


@dataclass(kw_only=True)
class Schedule:
    """One seed's whole story, as planned: phases are the run and then up to three recoveries.

    `interlude`: where a kill of the run has left the guest away, a person starts it; later the
    power goes, and only then the first recovery comes.
    """

    seed: int
    world: World
    preset: str
    paused_before: bool = False
    autostart: bool = False
    xendomains_first: bool = False
    manner: str = "obeys"
    read_bytes_per_second: int = 0
    free_extents: int = 0
    again: bool = False
    restores: bool = False
    handshake_fails: bool = False
    interlude: bool = False
    phases: list[list[Event]] = field(default_factory=list)

    def describe(self) -> str:
        traits = [self.world.stack, self.world.guest, self.preset]
        traits += ["paused before"] if self.paused_before else []
        traits += ["autostart"] if self.autostart else []
        traits += [f"guest {self.manner}"] if self.manner != "obeys" else []
        traits += ["slow disks"] if self.read_bytes_per_second else []
        traits += [f"{self.free_extents} extents free"] if self.free_extents else []
        traits += ["into volumes"] if self.world.into_volumes else []
        return ", ".join(traits)


def draw_schedule(seed: int, list_moments: Callable[[World, str], tuple[str, ...]]) -> Schedule:
    """The schedule of a seed; `list_moments` tells those of an undisturbed run."""
    chosen = random.Random(seed)
    stack = chosen.choices(list(STACK_WEIGHTS), list(STACK_WEIGHTS.values()))[0]
    kinds = (DestinationKind.IMAGES, DestinationKind.VOLUME)
    kind = chosen.choices(kinds, (1 - VOLUMES_SHARE, VOLUMES_SHARE))[0]
    world = chosen.choice(list_worlds(stack, kind))
    preset = chosen.choice(world.presets)
    schedule = Schedule(
        seed=seed,
        world=world,
        preset=preset,
        paused_before=preset != "offline" and chosen.random() < 0.06,
        autostart=chosen.random() < 0.4,
        xendomains_first=chosen.random() < 0.3,
        manner=chosen.choices(("obeys", "ignores", "acknowledges"), (94, 3, 3))[0],
        read_bytes_per_second=SLOW_BYTES_PER_SECOND if chosen.random() < 0.12 else 0,
        again=chosen.random() < 0.06,
        restores=chosen.random() < 0.03,
    )
    moments = list_moments(world, preset)
    events = _draw_run(chosen, world, moments)
    schedule.phases.append(events)
    if any(event.what == "flood" for event in events):
        # Slow enough to be watched, and sometimes without the room that would save the copy.
        if chosen.random() < 0.5:
            schedule.read_bytes_per_second = SLOW_BYTES_PER_SECOND
        if chosen.random() < 0.4:
            schedule.free_extents = chosen.choice((8, 10, 12, 16))
    for _ in range(RECOVERY_DEPTH):
        if chosen.random() > 0.45:
            break
        schedule.phases.append(_draw_recovery(chosen, world))
    _draw_migration(schedule, moments)
    schedule.interlude = random.Random(f"{seed}/interlude").random() < INTERLUDE_SHARE
    return schedule


def _draw_migration(schedule: Schedule, moments: tuple[str, ...]) -> None:
    """The administrator migrates the guest away, and some moments later it is gone here.

    Drawn apart from all else: a seed without it tells the story that it told before there was any.
    """
    chosen = random.Random(f"{schedule.seed}/{MIGRATE}")
    if chosen.random() >= MIGRATION_SHARE:
        return
    phase = chosen.choice((0, 0, 0, *range(len(schedule.phases))))
    at = int(chosen.expovariate(1 / 40)) if phase else _draw_moment(chosen, moments)
    end = at + chosen.choice((2, 10, 40, 200))
    schedule.handshake_fails = chosen.random() < 0.3
    events = schedule.phases[phase]
    events.append(Event(kind="act", at=at, what=MIGRATE))
    if not schedule.handshake_fails:
        events.append(Event(kind="act", at=end, what=END_MIGRATION))


def _draw_run(chosen: random.Random, world: World, moments: tuple[str, ...]) -> list[Event]:
    count = chosen.choices((1, 2, 3, 4), (45, 30, 15, 10))[0]
    kinds = chosen.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()), k=count)
    events: list[Event] = []
    for kind in kinds:
        if kind in ENDINGS and any(event.kind in ENDINGS for event in events):
            kind = "fault"  # noqa: PLW2901 - a phase ends once
        if kind == "fault":
            events.append(Event(kind=kind, fault=_draw_fault(chosen, moments)))
        elif kind == "act":
            what = _draw_act(chosen, events)
            events.append(Event(kind=kind, at=_draw_moment(chosen, moments), what=what))
        elif kind == "survivor":
            at = _draw_inside(chosen, moments) or _draw_moment(chosen, moments)
            events.append(Event(kind=kind, at=at, waits=chosen.choice((1, 2, 4, 100))))
        elif kind == "image-cut-off":
            ends = [at for at, name in enumerate(moments) if name == f"{world.tool}-save:end"]
            events.append(Event(kind=kind, at=ends[0] if ends else 0))
        elif kind == "overflow":
            events.append(Event(kind="act", at=_draw_filling(chosen, moments), what="flood"))
        elif kind == "write-error" and world.into_volumes:
            offset = chosen.randrange(1 << 20)
            fault = Fault(tool="write", verb="--xvda", kind=FaultKind.EIO, offset=offset)
            events.append(Event(kind=kind, fault=fault))
        elif kind in ("read-error", "write-error"):
            fault = Fault(tool="read", kind=FaultKind.EIO, offset=chosen.randrange(1 << 20))
            events.append(Event(kind=kind, fault=fault))
        else:
            place = chosen.choice(("before", "torn", "after"))
            at = _draw_moment(chosen, moments)
            if kind in ENDINGS and chosen.random() < 0.2:
                at = _draw_return(chosen, moments) or at
            events.append(Event(kind=kind, at=at, place=place))
    return events


def _draw_recovery(chosen: random.Random, world: World) -> list[Event]:
    """Of a recovery nobody knows the moments beforehand: early ones are likelier."""
    at = int(chosen.expovariate(1 / 40))
    kind = chosen.choices(("kill", "power-cut", "fault", "act"), (60, 8, 22, 10))[0]
    if kind == "fault":
        verbs = ("list", "save", "destroy", "restore", "unpause", "create")
        calls = [(world.tool, verb) for verb in verbs]
        calls += [("lvs", ""), ("lvremove", ""), ("lvchange", ""), ("xenstore-ls", "")]
        tool, verb = chosen.choice(calls)
        fault_kind = _draw_fault_kind(chosen, tool, verb)
        fault = _make_fault(chosen, tool, verb, fault_kind, nth=chosen.randint(1, 3))
        return [Event(kind=kind, fault=fault)]
    place = chosen.choice(("before", "torn", "after"))
    what = _draw_act(chosen, []) if kind == "act" else ""
    return [Event(kind=kind, at=at, what=what, place=place)]


def _draw_act(chosen: random.Random, events: list[Event]) -> str:
    """An act that an administrator would not regret together with those drawn before.

    Renaming a guest and starting it a second time from its file corrupts its disks whoever backs
    it up; unpausing and pausing it again unseen between two looks is beyond anybody's notice.
    """
    before = {event.what for event in events}
    foes = {"rename": "create", "create": "rename", "pause": "unpause", "unpause": "pause"}
    return chosen.choice([act for act in ACTS if foes.get(act) not in before])


def _draw_moment(chosen: random.Random, moments: tuple[str, ...]) -> int:
    """Half of the time any moment, half of the time any kind of moment: so rare ones get a turn."""
    if chosen.random() < 0.5:
        return chosen.randrange(len(moments))
    name = chosen.choice(sorted(set(moments)))
    return chosen.choice([at for at, moment in enumerate(moments) if moment == name])


def _draw_inside(chosen: random.Random, moments: tuple[str, ...]) -> int:
    """A moment inside a command of xl or LVM that changes something; 0 for none."""
    inside = []
    for at, moment in enumerate(moments):
        stem, _, stage = moment.partition(":")
        tool, verb = split_call(stem)
        if stage != "end" and tool in TOOLS and tool != "xm" and (verb in ACTING or tool in ACTING):
            inside.append(at)
    return chosen.choice(inside) if inside else 0


def _draw_return(chosen: random.Random, moments: tuple[str, ...]) -> int:
    """A moment around the guest's return, where an image goes from good to deadly; 0 for none."""
    if "journal:resuming" not in moments or "journal:returned" not in moments:
        return 0
    begin, end = moments.index("journal:resuming"), moments.index("journal:returned")
    return chosen.randint(begin, end + 1)


def _draw_filling(chosen: random.Random, moments: tuple[str, ...]) -> int:
    """When a snapshot fills up: before the copy, in it, or with the last read of a disk."""
    staging = moments.index("journal:staging")
    reads = [at for at, name in enumerate(moments) if name in (READ_BEGIN, READ_END)]
    copied = [at for at, name in enumerate(moments) if name == "journal:disk-copied"]
    last = [max(at for at in reads if at < end) for end in copied]
    where = chosen.choice(("before", "in", "last"))
    if where == "before" or not last:
        made = [at for at, name in enumerate(moments) if name == "lvcreate:end" and at < staging]
        return chosen.randint(made[-1] if made else 0, staging)
    if where == "in":
        return chosen.choice(reads)
    return chosen.choice(last) + chosen.choice((-1, 0, 1))


def _draw_fault(chosen: random.Random, moments: tuple[str, ...]) -> Fault:
    """A fault of one of the run's own commands; now and then of every one of its kind."""
    calls = [split_call(m.removesuffix(":begin")) for m in moments if m.endswith(":begin")]
    calls = [call for call in calls if call[0] in TOOLS]
    if chosen.random() < 0.6:  # those that change something are few beside those that look
        acting = [call for call in calls if call[1] in ACTING or call[0] in ACTING]
        calls = acting or calls
    at = chosen.randrange(len(calls))
    tool, verb = calls[at]
    nth = calls[: at + 1].count((tool, verb))
    kind = _draw_fault_kind(chosen, tool, verb)
    fault = _make_fault(chosen, tool, verb, kind, nth=nth)
    if kind in (FaultKind.FAIL, FaultKind.SLOW) and chosen.random() < 0.2:
        fault.nth = 0
        fault.times = chosen.choice((0, 2, 6))
    stem = f"{tool}-{verb}" if verb else tool
    stages = sorted({m.rpartition(":")[2] for m in moments if m.startswith(f"{stem}:")})
    inside = [stage for stage in stages if stage not in ("begin", "end")]
    if kind in (FaultKind.KILL_MIDDLE, FaultKind.HANG) and inside:
        fault.boundary = chosen.choice(inside)
    return fault


def _draw_fault_kind(chosen: random.Random, tool: str, verb: str) -> FaultKind:
    kinds = [
        FaultKind.FAIL,
        FaultKind.FAIL,
        FaultKind.HANG,
        FaultKind.GARBAGE,
        FaultKind.SLOW,
        FaultKind.LIE_FAILED,
        FaultKind.KILL_BEFORE,
        FaultKind.KILL_MIDDLE,
        FaultKind.KILL_AFTER,
    ]
    if verb in ACTING or tool in ACTING:
        kinds += [FaultKind.LIE_OK, FaultKind.KILL_MIDDLE]
    if verb == "save":
        kinds += [FaultKind.ENOSPC, FaultKind.NO_RESUME]
    if verb == "restore":
        kinds.append(FaultKind.ENOSPC)
    return chosen.choice(kinds)


def _make_fault(chosen: random.Random, tool: str, verb: str, kind: FaultKind, *, nth: int) -> Fault:
    return Fault(
        tool=tool,
        verb=verb,
        kind=kind,
        nth=nth,
        exit_code=chosen.choice((1, 2, 5, 255)),
        stderr="a fault of the simulation\n",
        seconds=chosen.choice((1.0, 20.0, 300.0)),
        size_bytes=chosen.randrange(12_000),
    )


def split_call(stem: str) -> tuple[str, str]:
    """Tool and verb of a boundary's stem: `xenstore-ls`, `xl-save`, `lvs`."""
    if stem in TOOLS:
        return stem, ""
    tool, _, verb = stem.partition("-")
    return tool, verb
