"""Memory and processors of the host and of each guest."""

from __future__ import annotations

from dataclasses import dataclass, field

from xenbackup.model.domain import GuestKind, Tuning

DOM0_FLOOR_MIB = 512
"""What the administration manual wants dom0 to keep, at least."""


@dataclass(frozen=True, kw_only=True)
class Dom0Memory:
    """dom0's own memory. `on_xen_line` and `on_linux_line` are the `dom0_mem=` values as written.

    `limit_mib` is what Xen's line promises dom0 at least (None when it does not say): only that
    line counts, on the Linux kernel's it does nothing.
    """

    current_mib: int = 0
    on_xen_line: str = ""
    on_linux_line: str = ""
    limit_mib: int | None = None


@dataclass(frozen=True, kw_only=True)
class DomainResources:
    """Memory in MiB and processors of one guest, running (domid >= 0) or shut off.

    `target_mib` is what the balloon was last asked for (None when not known). `numa_nodes` are the
    virtual nodes (vNUMA), 0 for none; `pool` the cpupool ("" when not known).
    """

    domain: str
    domid: int
    memory_mib: int
    maximum_mib: int
    vcpus: int
    target_mib: int | None = None
    tuning: Tuning = field(default_factory=Tuning)
    pool: str = ""
    numa_nodes: int = 0
    kind: GuestKind = GuestKind.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The host's memory (MiB) and processors, and each guest's share.

    `problems` are sentences, one for each question that the host did not answer; what it would
    have told keeps its default. `numa_nodes` is 0 when not known.
    """

    total_mib: int = 0
    free_mib: int = 0
    cpus: int = 0
    scheduler: str = ""
    numa_nodes: int = 0
    pools: tuple[str, ...] = ()
    dom0: Dom0Memory = Dom0Memory()
    domains: tuple[DomainResources, ...] = ()
    problems: tuple[str, ...] = ()

    def find(self, domain: str) -> DomainResources | None:
        return next((found for found in self.domains if found.domain == domain), None)
