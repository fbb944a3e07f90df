"""Jobs and the daemon's configuration, as typed values; `config.py` reads them from TOML."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class StepName(StrEnum):
    """The acts a pipeline is made of; each has its undo."""

    SAVE = "save"
    SAVE_PAUSED = "save-paused"
    SYNC = "sync"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    COPY = "copy"
    REMOVE_SNAPSHOT = "remove-snapshot"


class Consistency(StrEnum):
    """What a recovery point is worth: RAM and disks of one instant, or less."""

    MEMORY = "memory"
    CRASH = "crash"
    OFFLINE = "offline"


DESTINATION_MARKER_FILE = ".xenbackup-destination"
"""What `destination init` leaves in a folder of kind `images`: the proof that it is ours."""


class DestinationKind(StrEnum):
    IMAGES = "images"
    VOLUME = "volume"


@dataclass(frozen=True, kw_only=True)
class SnapshotSize:
    """Size of a thick snapshot: a share of its origin in percent, or absolute bytes; one is set."""

    percent: int | None = None
    size_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.percent}%" if self.percent is not None else f"{self.size_bytes} bytes"


DEFAULT_SNAPSHOT_SIZE = SnapshotSize(percent=10)


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """A step as a job spells it; `size` belongs to `snapshot` alone."""

    step: StepName
    size: SnapshotSize | None = None


@dataclass(frozen=True, kw_only=True)
class PipelineSpec:
    """What a job or an override asks for: a preset by name, or spelled steps; one is set."""

    preset: str = ""
    steps: tuple[StepSpec, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Override:
    """Another pipeline for the domains whose names match one of the patterns (fnmatch).

    `require` is what their recovery points must be worth; None means as the job says.
    """

    domains: tuple[str, ...]
    pipeline: PipelineSpec
    require: Consistency | None = None


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How many points of each age class to keep; 0 of everything keeps all."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job: what to back up, when, how, and to where. `name` is the file's stem."""

    name: str
    pipeline: PipelineSpec
    destination: str
    domains: tuple[str, ...]
    description: str = ""
    schedule: str = ""
    timezone: str = ""
    exclude: tuple[str, ...] = ()
    exclude_disks: tuple[str, ...] = ()
    require: Consistency = Consistency.CRASH
    max_away_seconds: float = 600.0
    catch_up_seconds: float = 43200.0
    retention: Retention = Retention()
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BrokenFile:
    """A job file that could not be taken, with every problem found in it.

    `name` is the name the job would have; "" when the folder itself could not be read.
    """

    path: Path
    name: str
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JobSet:
    """The jobs of a folder: good ones run, whatever is wrong with other files."""

    jobs: tuple[Job, ...] = ()
    broken: tuple[BrokenFile, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Every problem of every broken file, in the order of the files."""
        return tuple(problem for file in self.broken for problem in file.problems)

    def find_job(self, name: str) -> Job | None:
        return next((job for job in self.jobs if job.name == name), None)


@dataclass(frozen=True, kw_only=True)
class DestinationSpec:
    """`[destination.NAME]`: a folder for `images`, the name of a volume group for `volume`."""

    name: str
    kind: DestinationKind
    path: str


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """`config.toml` whole. Paths are absolute as configured; the host places them."""

    destinations: tuple[DestinationSpec, ...] = ()
    spool_path: str = "/var/lib/xenbackup/spool"
    state_path: str = "/var/lib/xenbackup"
    toolstack: str = "auto"
    bandwidth_limit_bytes_per_second: int = 0
    source_path: Path | None = None

    def find_destination(self, name: str) -> DestinationSpec | None:
        return next((spec for spec in self.destinations if spec.name == name), None)
