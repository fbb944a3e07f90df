"""Plans: what a job will do to which domain, decided before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xenbackup.model.domain import Domain
from xenbackup.model.job import Consistency, DestinationSpec, SnapshotSize, StepName
from xenbackup.model.problem import Problem


class SnapshotKind(StrEnum):
    """How a volume can be frozen: copy-on-write beside it, inside a thin pool, by sharing the
    blocks of an image file (reflink), or not at all."""

    THICK = "thick"
    THIN = "thin"
    REFLINK = "reflink"
    NONE = "none"


class VolumeKind(StrEnum):
    """What backs a disk."""

    LOGICAL_VOLUME = "logical-volume"
    BLOCK_DEVICE = "block-device"
    IMAGE_FILE = "image-file"


@dataclass(frozen=True, kw_only=True)
class PlannedDisk:
    """One disk of the domain with the volume behind it, as seen when the plan was made.

    `lv_uuid`, `group` and `lv_name` are "" unless a logical volume backs it. A file that `grows`
    (qcow2 and the like, as the guest writes) has the size that it has when it stands still.
    """

    vdev: str
    path: str
    kind: VolumeKind
    size_bytes: int
    snapshot: SnapshotKind
    group: str = ""
    lv_name: str = ""
    lv_uuid: str = ""
    snapshot_size_bytes: int = 0
    grows: bool = False


@dataclass(frozen=True, kw_only=True)
class ExcludedDisk:
    """A disk that the plan leaves out, and why."""

    vdev: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step with its options settled."""

    step: StepName
    snapshot_size: SnapshotSize | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long a run will take, in seconds, and how long its guest will be away within that.

    `basis` says where the numbers come from: past runs, or an assumed rate.
    """

    away_seconds: float
    total_seconds: float
    basis: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A preset that `auto` looked at: taken, or why not. `estimate` is None for one that cannot."""

    preset: str
    chosen: bool
    reason: str
    estimate: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class DomainPlan:
    """What one run will do: its domain, steps, disks, and the consistency that will result.

    `candidates` tell what `auto` chose among; there are none where the job names the pipeline.
    """

    domain: Domain
    preset: str
    steps: tuple[PlannedStep, ...]
    disks: tuple[PlannedDisk, ...]
    excluded_disks: tuple[ExcludedDisk, ...]
    consistency: Consistency
    destination: DestinationSpec
    memory_image_bytes: int
    max_away_seconds: float
    reason: str = ""
    warnings: tuple[str, ...] = ()
    estimate: Estimate | None = None
    candidates: tuple[Candidate, ...] = ()

    @property
    def snapshot_bytes(self) -> int:
        """What its snapshots take from volume groups while it runs, as predicted."""
        return sum(disk.snapshot_size_bytes for disk in self.disks)

    @property
    def bytes_to_read(self) -> int:
        return sum(disk.size_bytes for disk in self.disks) + self.memory_image_bytes

    def has_step(self, step: StepName) -> bool:
        return any(planned.step is step for planned in self.steps)


@dataclass(frozen=True, kw_only=True)
class RefusedDomain:
    """A domain the job selects but cannot back up, and why; `exit_code` is that of its run.

    `may_pass`: the reason may be gone a while later, with nobody's help.
    """

    name: str
    uuid: str
    reason: str
    hint: str = ""
    exit_code: int = 1
    may_pass: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job's plan over its domains; `idle_patterns` of the job match no domain at all.

    `problems` are what validation found beside the guests' own warnings and refusals.
    """

    job: str
    domains: tuple[DomainPlan, ...]
    refused: tuple[RefusedDomain, ...] = ()
    idle_patterns: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
