"""Pipelines: the presets, the rules that a spelled pipeline must keep, and what it is worth.

A pipeline holds the guest still once at most (`save`, `save-paused` or `pause`), lets it go again
(`restore`, `unpause`), reads its disks once (`copy`) and leaves no snapshot behind. The rules are
about order alone: whether a host and a guest can do a step is for the plan to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xenbackup.model.job import Consistency, PipelineSpec, StepName, StepSpec

MINIMUM_SNAPSHOT_PERCENT = 1
MAXIMUM_SNAPSHOT_PERCENT = 100
# Smaller than this is a forgotten unit (`size = 20`), never a snapshot that anyone wants.
MINIMUM_SNAPSHOT_BYTES = 1 << 20
MAXIMUM_SNAPSHOT_BYTES = 1 << 60


def _spell(*steps: StepName) -> tuple[StepSpec, ...]:
    return tuple(StepSpec(step=step) for step in steps)


PRESETS: Mapping[str, tuple[StepSpec, ...]] = MappingProxyType(
    {
        "cold": _spell(StepName.SAVE, StepName.COPY, StepName.RESTORE),
        "snapshot": _spell(
            StepName.SAVE,
            StepName.SNAPSHOT,
            StepName.RESTORE,
            StepName.COPY,
            StepName.REMOVE_SNAPSHOT,
        ),
        "checkpoint": _spell(
            StepName.SAVE_PAUSED,
            StepName.SNAPSHOT,
            StepName.UNPAUSE,
            StepName.COPY,
            StepName.REMOVE_SNAPSHOT,
        ),
        "crash": _spell(
            StepName.SYNC,
            StepName.PAUSE,
            StepName.SNAPSHOT,
            StepName.UNPAUSE,
            StepName.COPY,
            StepName.REMOVE_SNAPSHOT,
        ),
        "offline": _spell(StepName.SNAPSHOT, StepName.COPY, StepName.REMOVE_SNAPSHOT),
    }
)

AUTO = "auto"
"""Not a pipeline of its own: the plan chooses one of the presets for each guest."""

PRESET_NAMES = (*PRESETS, AUTO)

_RELEASE_OF: Mapping[StepName, StepName] = MappingProxyType(
    {
        StepName.SAVE: StepName.RESTORE,
        StepName.SAVE_PAUSED: StepName.UNPAUSE,
        StepName.PAUSE: StepName.UNPAUSE,
    }
)


def expand_pipeline(pipeline: PipelineSpec) -> tuple[StepSpec, ...]:
    """The steps that a job means: spelled ones as they are, a preset's from the table.

    Raises: KeyError for a preset that is not in `PRESETS`: configuration refuses those on reading,
    and what `auto` means is for the plan to say, guest by guest.
    """
    return pipeline.steps or PRESETS[pipeline.preset]


def consistency_of(steps: tuple[StepSpec, ...]) -> Consistency:
    """What a point made by these steps is worth; meaningful for pipelines without problems."""
    names = {spec.step for spec in steps}
    if names & {StepName.SAVE, StepName.SAVE_PAUSED}:
        return Consistency.MEMORY
    if StepName.PAUSE in names:
        return Consistency.CRASH
    return Consistency.OFFLINE


def satisfies_requirement(consistency: Consistency, required: Consistency) -> bool:
    """Whether a point of this consistency is good enough for a job's `require`.

    A guest that is shut off has no memory to lose: `offline` satisfies both requirements.
    """
    if consistency is Consistency.OFFLINE or consistency is required:
        return True
    return consistency is Consistency.MEMORY and required is Consistency.CRASH


def check_pipeline(steps: tuple[StepSpec, ...]) -> tuple[str, ...]:
    """Everything that is wrong with a spelled pipeline, a sentence and a hint each; () is good."""
    if not steps:
        return (f"There are no steps. Hint: name a preset ({', '.join(PRESETS)}) or spell them.",)
    shape = _Shape(steps)
    return (
        *_check_repetition(steps),
        *_check_hold(shape),
        *_check_sync(shape),
        *_check_snapshot(shape),
        *_check_copy(shape),
        *_check_sizes(steps),
    )


@dataclass(frozen=True)
class _Shape:
    """Where each step stands (its first place), and the stretch in which the guest is held."""

    steps: tuple[StepSpec, ...]

    def place(self, name: StepName) -> int | None:
        return next((at for at, spec in enumerate(self.steps) if spec.step is name), None)

    def has(self, name: StepName) -> bool:
        return self.place(name) is not None

    @property
    def holds(self) -> tuple[StepName, ...]:
        return tuple(spec.step for spec in self.steps if spec.step in _RELEASE_OF)

    @property
    def hold(self) -> StepName | None:
        """The step that takes the guest away; the first, should there be several."""
        return next(iter(self.holds), None)

    def inside_hold(self, name: StepName) -> bool:
        """Whether a step stands between hold and release; a missing release counts as the end.

        The missing release is a problem of its own: without this, it would cause others.
        """
        hold, at = self.hold, self.place(name)
        if hold is None or at is None:
            return False
        begin = self.place(hold)
        end = self.place(_RELEASE_OF[hold])
        if begin is None or end is None or end < begin:
            end = len(self.steps)
        return begin is not None and begin < at < end


def _check_repetition(steps: tuple[StepSpec, ...]) -> list[str]:
    counts: dict[StepName, int] = {}
    for spec in steps:
        counts[spec.step] = counts.get(spec.step, 0) + 1
    return [
        f"`{name}` stands there {count} times. Hint: keep one; every step is done once, "
        "for all disks of the guest."
        for name, count in counts.items()
        if count > 1
    ]


def _check_hold(shape: _Shape) -> list[str]:
    problems = []
    kinds = tuple(dict.fromkeys(shape.holds))
    if len(kinds) > 1:
        problems.append(
            f"{' and '.join(f'`{kind}`' for kind in kinds)} each take the guest away. "
            "Hint: keep one of them, with its own way back."
        )
    for hold in kinds:
        release = _RELEASE_OF[hold]
        begin, end = shape.place(hold), shape.place(release)
        if end is None:
            problems.append(
                f"`{hold}` is never followed by `{release}`: the guest would stay away. "
                f"Hint: add `{release}`."
            )
        elif begin is not None and end < begin:
            problems.append(
                f"`{release}` stands before `{hold}`, which it should end. "
                f"Hint: move `{release}` behind it."
            )
    if shape.has(StepName.RESTORE) and StepName.SAVE not in kinds:
        problems.append(
            "`restore` has nothing to restore, since no `save` is there. "
            "Hint: `save` goes with `restore`, `save-paused` and `pause` go with `unpause`."
        )
    if shape.has(StepName.UNPAUSE) and not {StepName.SAVE_PAUSED, StepName.PAUSE} & set(kinds):
        problems.append(
            "`unpause` has nothing to unpause, since neither `save-paused` nor `pause` is there. "
            "Hint: `save` goes with `restore`, `save-paused` and `pause` go with `unpause`."
        )
    return problems


def _check_sync(shape: _Shape) -> list[str]:
    at = shape.place(StepName.SYNC)
    if at is None:
        return []
    if shape.hold is None:
        return [
            "`sync` asks a running guest to write its caches, but nothing holds the guest "
            "afterwards. Hint: add `pause` behind it, or remove `sync`."
        ]
    begin = shape.place(shape.hold)
    if begin is not None and at > begin:
        return [
            f"`sync` stands behind `{shape.hold}`, when the guest cannot answer any more. "
            f"Hint: move it in front of `{shape.hold}`."
        ]
    return []


def _check_snapshot(shape: _Shape) -> list[str]:
    problems = []
    taken, removed = shape.place(StepName.SNAPSHOT), shape.place(StepName.REMOVE_SNAPSHOT)
    copied = shape.place(StepName.COPY)
    if taken is None:
        if removed is not None:
            problems.append(
                "`remove-snapshot` has nothing to remove, since no `snapshot` is there. "
                "Hint: add `snapshot`, or remove `remove-snapshot`."
            )
        return problems
    if shape.hold is not None and not shape.inside_hold(StepName.SNAPSHOT):
        release = _RELEASE_OF[shape.hold]
        problems.append(
            f"`snapshot` is taken while the guest runs: its disks would not be of one instant. "
            f"Hint: move it between `{shape.hold}` and `{release}`."
        )
    if removed is None:
        problems.append(
            "`snapshot` is never followed by `remove-snapshot`: it would fill up and stay. "
            "Hint: add `remove-snapshot` behind `copy`."
        )
    elif removed < taken or (copied is not None and removed < copied):
        problems.append(
            "`remove-snapshot` stands too early: the snapshot is gone before `copy` has read it. "
            "Hint: move it behind `copy`."
        )
    return problems


def _check_copy(shape: _Shape) -> list[str]:
    at = shape.place(StepName.COPY)
    if at is None:
        return ["There is no `copy`: nothing would be backed up. Hint: add `copy`."]
    problems = []
    taken = shape.place(StepName.SNAPSHOT)
    inside = shape.inside_hold(StepName.COPY)
    if shape.hold is StepName.PAUSE and inside:
        problems.append(
            "`copy` stands between `pause` and `unpause`: the guest would be frozen for the whole "
            "copy. Hint: take a `snapshot` there and `copy` behind `unpause`; or use `save`, "
            "`copy`, `restore`."
        )
    if taken is not None:
        if at < taken:
            problems.append(
                "`copy` stands before `snapshot`, from which it should read. "
                "Hint: move it behind `snapshot`."
            )
    elif shape.hold in (StepName.SAVE, StepName.SAVE_PAUSED):
        if not inside:
            problems.append(
                f"`copy` reads disks that the running guest is writing. Hint: move it between "
                f"`{shape.hold}` and `{_RELEASE_OF[shape.hold]}`, or take a `snapshot` there."
            )
    elif not inside:
        problems.append(
            "`copy` has no source that stands still: nothing is saved and no snapshot is taken. "
            "Hint: put `snapshot` before it and `remove-snapshot` behind it."
        )
    return problems


def _check_sizes(steps: tuple[StepSpec, ...]) -> list[str]:
    problems = []
    for spec in steps:
        size = spec.size
        if size is None:
            continue
        if spec.step is not StepName.SNAPSHOT:
            problems.append(
                f"`{spec.step}` has a size, which only `snapshot` takes. Hint: remove `size`."
            )
        elif (size.percent is None) == (size.size_bytes is None):
            problems.append(
                "`snapshot` needs its size either in percent or in bytes, one of the two. "
                'Hint: write size = "10%" or size = "1GiB".'
            )
        elif size.percent is not None and not (
            MINIMUM_SNAPSHOT_PERCENT <= size.percent <= MAXIMUM_SNAPSHOT_PERCENT
        ):
            problems.append(
                f"`snapshot` has a size of {size.percent}%, expected {MINIMUM_SNAPSHOT_PERCENT}% "
                f"to {MAXIMUM_SNAPSHOT_PERCENT}% of the disk. Hint: 10% is the default."
            )
        elif size.size_bytes is not None and not (
            MINIMUM_SNAPSHOT_BYTES <= size.size_bytes <= MAXIMUM_SNAPSHOT_BYTES
        ):
            problems.append(
                f"`snapshot` has a size of {size.size_bytes} bytes, expected 1 MiB or more. "
                'Hint: write size = "20%" for a share of the disk, size = "1GiB" for a fixed one.'
            )
    return problems
