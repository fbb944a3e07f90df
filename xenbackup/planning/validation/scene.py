"""The scene: one job with its plan on one host, as all rules look at it; and words they share."""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import Job
from xenbackup.model.plan import DomainPlan, Plan, SnapshotKind
from xenbackup.model.setting import Setting

EMPTY_PLAN = Plan(job="", domains=())


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A job, the plan made of it (empty where there could be none), the host and the setting."""

    job: Job
    plan: Plan
    inventory: Inventory
    setting: Setting

    @property
    def names(self) -> tuple[str, ...]:
        """Guests of the plan, refused ones included, each once."""
        planned = [found.domain.name for found in self.plan.domains]
        return tuple(dict.fromkeys((*planned, *(found.name for found in self.plan.refused))))

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Those of them that the host has, all namesakes."""
        names = set(self.names)
        return tuple(domain for domain in self.inventory.domains if domain.name in names)


def list_snapshot_groups(plan: DomainPlan, kind: SnapshotKind) -> dict[str, int]:
    """Groups in which a plan takes snapshots of this kind, with the bytes taken of each."""
    groups: dict[str, int] = {}
    for disk in plan.disks:
        if disk.snapshot is kind:
            groups[disk.group] = groups.get(disk.group, 0) + disk.snapshot_size_bytes
    return groups


def add_largest(sizes: list[int], count: int) -> int:
    """What the `count` largest come to together: the worst that can happen at once."""
    return sum(sorted(sizes, reverse=True)[: max(count, 1)])


def show_mib(size_bytes: int) -> str:
    """Whole MiB, rounded up, as LVM's and Xen's own tools count."""
    return f"{-(-size_bytes >> 20)} MiB"
