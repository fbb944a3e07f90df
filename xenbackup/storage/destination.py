"""What the pipeline asks of a destination: stage a point, fill it, publish it or discard it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from xenbackup.model.point import Manifest, PointSummary, StoredDisk, StoredMemory
from xenbackup.storage.copying import BandwidthLimit
from xenbackup.storage.points import PointListing, VerifyFinding, VerifyReport
from xenbackup.system.block_device import BlockDevice


@dataclass(frozen=True, kw_only=True)
class CopiedDisk:
    """A stored disk with what its copy cost, in bytes."""

    stored: StoredDisk
    bytes_read: int
    bytes_written: int


class StagedPoint(Protocol):
    """A recovery point under construction: invisible until published."""

    def add_disk(
        self,
        vdev: str,
        source: BlockDevice,
        *,
        size_bytes: int,
        source_name: str,
        on_progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], str] | None = None,
        limit: BandwidthLimit | None = None,
    ) -> CopiedDisk: ...

    def add_memory(
        self,
        image: Path,
        *,
        on_progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], str] | None = None,
        limit: BandwidthLimit | None = None,
    ) -> StoredMemory: ...

    def write_domain(self, text: str) -> None: ...

    def write_configuration(self, text: str) -> None: ...

    def publish(self, manifest: Manifest) -> None: ...

    def discard(self) -> None: ...

    def close(self) -> None: ...


class Destination(Protocol):
    """Where recovery points live. `holds_memory` says whether a memory image fits in at all."""

    name: str
    holds_memory: bool

    def open(self) -> None: ...

    def check_writable(self) -> None:
        """To be asked before a guest is touched. Raises: DestinationFailed, DestinationMissing."""

    def stage_point(self, domain_name: str, identity: str, point_id: str) -> StagedPoint: ...

    def discard_partial(self, point_id: str) -> bool:
        """Remove what an unfinished point left; True when there was something."""

    def has_point(self, point_id: str) -> bool: ...


class PointStore(Destination, Protocol):
    """A destination as verifying, restoring and pruning see it: points found, read and removed."""

    def close(self) -> None:
        """Let go of it; it opens itself again when it is asked something."""

    def scan(self) -> PointListing:
        """Points, damaged ones and leftovers. Raises: DestinationMissing, DestinationFailed."""

    def summarise_point(self, point_id: str) -> PointSummary:
        """One point as lists show it. Raises: PointNotFound, PointDamaged, DestinationFailed."""

    def hold_point(self, point_id: str) -> AbstractContextManager[None]:
        """While this lasts nobody removes the point. Raises (on entering): PointNotFound."""

    def has_trace(self, point_id: str) -> bool:
        """Anything of the point is here, its unfinished making or removal included."""

    def pin(self, point_id: str) -> bool:
        """Keep the point from being removed; False when it was pinned. Raises: PointNotFound."""

    def unpin(self, point_id: str) -> bool:
        """Let it be removed again; False when it was not pinned. Raises: PointNotFound."""

    def mark_damaged(
        self, point_id: str, found_at: datetime, findings: Sequence[VerifyFinding]
    ) -> None:
        """A verification found the point damaged. Raises: PointNotFound, DestinationFailed."""

    def clear_damage(self, point_id: str) -> bool:
        """It is good after all; False when it was not marked. Raises: as `mark_damaged`."""

    def delete_point(self, point_id: str) -> bool:
        """Remove a point; False when there is none. Raises: Locked, NotOurs, DestinationFailed,
        DestinationMissing.
        """

    def finish_removals(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Finish interrupted removals: points that are gone now, and what stays and why."""

    def read_manifest(self, point_id: str) -> Manifest:
        """Raises: PointNotFound, PointDamaged."""

    def read_domain(self, point_id: str) -> str:
        """Text of `domain.json`, held to its digest. Raises: PointNotFound, PointDamaged."""

    def read_configuration(self, point_id: str) -> str:
        """Text of `domain.cfg`, "" without one. Raises: PointNotFound, PointDamaged."""

    def open_disk(self, point_id: str, vdev: str) -> BlockDevice:
        """A stored disk, for reading; the caller closes it. Raises: PointNotFound, PointDamaged."""

    def memory_path(self, point_id: str) -> Path:
        """Where the memory image lies. Raises: PointNotFound, PointDamaged."""

    def point_folder(self, point_id: str) -> Path:
        """Where the point's files lie, for a person. Raises: PointNotFound."""

    def verify_point(
        self,
        point_id: str,
        on_progress: Callable[[int, int], None] | None = None,
        *,
        cancelled: Callable[[], str] | None = None,
        limit: BandwidthLimit | None = None,
    ) -> VerifyReport:
        """Read all of a point again. Raises: PointNotFound, CopyCancelled, DestinationFailed."""
