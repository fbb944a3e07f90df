"""Recovery points: what a run leaves behind, and the manifest that describes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xenbackup.model.domain import GuestKind, Tuning
from xenbackup.model.job import Consistency
from xenbackup.model.plan import VolumeKind


@dataclass(frozen=True, kw_only=True)
class StoredBacking:
    """What backed a disk when it was copied, so that it can be made again the same way.

    `group` and `lv_name` are "" unless it was a logical volume, `pool` unless that was a thin one.
    """

    kind: VolumeKind
    group: str = ""
    lv_name: str = ""
    pool: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredDisk:
    """A disk inside a point: file name, size in bytes, BLAKE3 of the whole and of each block.

    `block_size_bytes` is the span of one entry of `block_digests` (hex); the last may be shorter.
    `backing` is None in points of before it was recorded.
    """

    vdev: str
    file: str
    size_bytes: int
    digest: str
    block_size_bytes: int
    block_digests: tuple[str, ...]
    source: str = ""
    writable: bool = True
    backing: StoredBacking | None = None


@dataclass(frozen=True, kw_only=True)
class StoredMemory:
    """The memory image inside a point: file name, size in bytes, BLAKE3."""

    file: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What the host was: a memory image resumes only on a Xen not older and a CPU not lesser."""

    hostname: str
    xen_version: str
    cpu_model: str
    cpu_features: tuple[str, ...]
    product_version: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A recovery point whole; the point exists when this does. Its id is that of its run.

    `identity` is the domain's configured uuid, else its name: plain xl gives a new UUID at every
    create, so `uuid` (of the instant) cannot tell a domain's points over time. `domain_digest` is
    the BLAKE3 of `domain.json`, `configuration_digest` that of `domain.cfg` ("" without one); the
    destination fills both in when it publishes the point.
    """

    point: str
    job: str
    round: str
    domain: str
    uuid: str
    identity: str
    kind: GuestKind
    consistency: Consistency
    preset: str
    created_at: datetime
    disks: tuple[StoredDisk, ...]
    excluded_disks: tuple[str, ...]
    memory: StoredMemory | None
    tuning: Tuning
    host: HostFacts
    away_seconds: float
    memory_mib: int
    vcpus: int
    domain_digest: str = ""
    configuration_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A point is not what its manifest promises: when a verification saw that, and what.

    `found_at` is None where the mark that says so cannot be read, and where a look at the files was
    enough: one is missing, or has a wrong size.
    """

    found_at: datetime | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class PointSummary:
    """A point as lists show it; `size_bytes` is apparent, `stored_bytes` what it takes on disk.

    One with `damage` is there and may be restored from in need, but counts for nothing good. `host`
    is the name of the host that made it, "" where nobody knows any more.
    """

    point: str
    destination: str
    domain: str
    identity: str
    job: str
    consistency: Consistency
    created_at: datetime
    size_bytes: int
    stored_bytes: int
    has_memory: bool
    pinned: bool = False
    damage: Damage | None = None
    host: str = ""

    def is_of(self, hostname: str) -> bool:
        """The point of a guest of this host.

        A UUID is one guest wherever it runs. A mere name is another guest on each host: two hosts
        may keep their points in one folder.
        """
        return self.identity != self.domain or self.host in ("", hostname)


@dataclass(frozen=True, kw_only=True)
class MarkedPoint:
    """A point that a verification found damaged, whether or not its manifest can be used."""

    point: str
    destination: str
    domain: str
    damage: Damage
