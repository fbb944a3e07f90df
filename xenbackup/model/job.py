"""Jobs and the daemon's configuration, as typed values; `config.py` reads them from TOML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
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
class Window:
    """When scheduled runs may begin: on `days` (0 is Monday), from minute to minute of the day.

    An `end_minute` that is not after `start_minute` is one of the next day; 1440 is midnight.
    """

    days: frozenset[int]
    start_minute: int
    end_minute: int


@dataclass(frozen=True, kw_only=True)
class Blackout:
    """Dates of the job's zone, both included, on which no scheduled run begins."""

    first: date
    last: date


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Commands (argv, an absolute path first) around a round; () for none.

    `before` may veto the round by its exit code; `after` follows a good round, `failed` any other.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    timeout_seconds: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job: what to back up, when, how, and to where. `name` is the file's stem.

    `time_limit_seconds` bounds one run, 0 does not. `jitter_seconds` bounds how much later than due
    this host begins. A failure that may pass is tried again `retries` times, first after
    `retry_after_seconds`, then each time after twice as long. `max_age_seconds` is how old the last
    good point of a guest may be; 0: as the schedule promises.
    """

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
    windows: tuple[Window, ...] = ()
    blackouts: tuple[Blackout, ...] = ()
    jitter_seconds: float = 0.0
    time_limit_seconds: float = 0.0
    retries: int = 2
    retry_after_seconds: float = 300.0
    max_age_seconds: float = 0.0
    hooks: Hooks = Hooks()


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
    """The jobs of a folder: good ones run, whatever is wrong with other files.

    `written` has for each good job, by its name, when its file was last written.
    """

    jobs: tuple[Job, ...] = ()
    broken: tuple[BrokenFile, ...] = ()
    written: tuple[tuple[str, datetime], ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Every problem of every broken file, in the order of the files."""
        return tuple(problem for file in self.broken for problem in file.problems)

    def find_job(self, name: str) -> Job | None:
        return next((job for job in self.jobs if job.name == name), None)

    def is_broken(self, name: str) -> bool:
        """May there be such a job, which cannot be read? Its file, or the folder, is not well."""
        return any(file.name in ("", name) for file in self.broken)


@dataclass(frozen=True, kw_only=True)
class DestinationSpec:
    """`[destination.NAME]`: a folder for `images`, the name of a volume group for `volume`."""

    name: str
    kind: DestinationKind
    path: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many runs of the daemon go on at once: in all, in one volume group, to one destination.

    Of one domain there is never more than one.
    """

    runs: int = 2
    runs_per_group: int = 1
    runs_per_destination: int = 2


class IoClass(StrEnum):
    """The kernel's classes of I/O priority, as ionice(1) names them; `none` changes nothing."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    IDLE = "idle"


@dataclass(frozen=True, kw_only=True)
class Politeness:
    """How copying stands back behind the guests: nice 0 to 19, I/O class and its level 0 to 7."""

    nice: int = 10
    io_class: IoClass = IoClass.BEST_EFFORT
    io_level: int = 7


class TellWhen(StrEnum):
    """Which rounds are told of."""

    ALWAYS = "always"
    TROUBLE = "trouble"


@dataclass(frozen=True, kw_only=True)
class Mail:
    """`[notify.mail]`: through the host's own MTA (sendmail). `sender` "" leaves it to the MTA."""

    to: tuple[str, ...]
    sender: str = ""
    when: TellWhen = TellWhen.TROUBLE


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """`[notify.webhook]`: one POST of JSON for each message."""

    url: str
    when: TellWhen = TellWhen.ALWAYS


@dataclass(frozen=True, kw_only=True)
class Ping:
    """`[notify.ping]`: a dead man's switch: `URL/start`, `URL`, `URL/fail`."""

    url: str


@dataclass(frozen=True, kw_only=True)
class Apprise:
    """`[notify.apprise]`: URLs of the library Apprise, an extra."""

    urls: tuple[str, ...]
    when: TellWhen = TellWhen.TROUBLE


@dataclass(frozen=True, kw_only=True)
class Notify:
    """Whom to tell of a round; each None when it is not configured."""

    mail: Mail | None = None
    webhook: Webhook | None = None
    ping: Ping | None = None
    apprise: Apprise | None = None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """`config.toml` whole. Paths are absolute as configured; the host places them.

    `metrics_path` is a textfile for Prometheus' node exporter, "" for none. Journals of ended runs,
    and their rows in the catalog, are kept for `keep_journals_seconds`, 0 keeps all. `hooks` are
    those of jobs without their own.
    """

    destinations: tuple[DestinationSpec, ...] = ()
    spool_path: str = "/var/lib/xenbackup/spool"
    state_path: str = "/var/lib/xenbackup"
    toolstack: str = "auto"
    bandwidth_limit_bytes_per_second: int = 0
    limits: Limits = Limits()
    politeness: Politeness = Politeness()
    notify: Notify = Notify()
    hooks: Hooks = Hooks()
    metrics_path: str = ""
    keep_journals_seconds: float = 90 * 86400.0
    source_path: Path | None = None

    def find_destination(self, name: str) -> DestinationSpec | None:
        return next((spec for spec in self.destinations if spec.name == name), None)
