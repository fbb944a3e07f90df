"""Whether memory will be there when a guest comes back, and dom0's own share of it. Pure.

What a guest costs the host is more than its memory. libxl reckons (libxl_domain_need_memory and
libxl_get_required_shadow_memory) with

- 1 MiB beside a paravirtual guest, 2 MiB beside one with hardware virtualisation (HVM, PVH),
- a pool for page tables: 256 pages for each virtual CPU, and for each MiB of its maximum memory
  one page to map it and one to shadow it, a page being 4 KiB; a paravirtual guest has no map,
- all of it rounded up to 2 MiB.

The second page is spared where the processor has nested paging; it is counted here all the same,
so the reckoning errs on the safe side. Stub domains are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.model.domain import GuestKind
from xenbackup.model.resources import DOM0_FLOOR_MIB, Dom0Memory, DomainResources, Resources

_PAGE_KIB = 4
_PAGES_A_VCPU = 256
_GRANULE_KIB = 2 * 1024


@dataclass(frozen=True, kw_only=True)
class RestoreMemory:
    """What a restore of one guest needs and finds, in MiB.

    `free_after_save_mib` is free once the guest has been destroyed. `could_be_taken_mib` is what
    others could take of it meanwhile: running guests that grow to their maximum, and the guests
    that are shut off, should they all start.
    """

    domain: str
    needed_mib: int
    free_after_save_mib: int
    could_be_taken_mib: int = 0

    @property
    def fits(self) -> bool:
        """It comes back if nobody else takes memory while it is away."""
        return self.free_after_save_mib >= self.needed_mib

    @property
    def fits_whatever_starts(self) -> bool:
        """It comes back even if the others take all that they may."""
        return self.free_after_save_mib - self.could_be_taken_mib >= self.needed_mib


@dataclass(frozen=True, kw_only=True)
class MemoryFinding:
    """One way in which dom0's memory is not as it should be."""

    code: str
    message: str


def reckon_overhead_mib(guest: DomainResources) -> int:
    """What the host spends on a guest beside its memory, rounded up to whole MiB."""
    paravirtual = guest.kind is GuestKind.PV
    extra_kib = 1024 if paravirtual else 2048
    pages_a_mib = 1 if paravirtual else 2
    largest_mib = max(guest.maximum_mib, guest.memory_mib)
    pool_kib = _PAGE_KIB * (_PAGES_A_VCPU * max(guest.vcpus, 1) + pages_a_mib * largest_mib)
    return -(-(extra_kib + pool_kib) // 1024)


def reckon_need_mib(guest: DomainResources) -> int:
    """All that must be free for this guest to be built: memory and overhead.

    Of a running guest with a balloon the larger of what it has and what it was asked for counts.
    """
    memory_mib = max(guest.memory_mib, guest.target_mib or 0)
    need_kib = (memory_mib + reckon_overhead_mib(guest)) * 1024
    return -(-need_kib // _GRANULE_KIB) * _GRANULE_KIB // 1024


def predict_restore_memory(guest: DomainResources, resources: Resources) -> RestoreMemory:
    """Whether a guest's memory will still be free when it is restored after a save.

    Its own memory and overhead come free with the save; one that is shut off frees nothing.
    """
    need_mib = reckon_need_mib(guest)
    freed_mib = 0
    if guest.domid >= 0:
        freed_mib = guest.memory_mib + need_mib - max(guest.memory_mib, guest.target_mib or 0)
    others = [other for other in resources.domains if other.domain != guest.domain]
    growth_mib = sum(
        max(other.maximum_mib - other.memory_mib, 0) for other in others if other.domid >= 0
    )
    starts_mib = sum(reckon_need_mib(other) for other in others if other.domid < 0)
    return RestoreMemory(
        domain=guest.domain,
        needed_mib=need_mib,
        free_after_save_mib=resources.free_mib + freed_mib,
        could_be_taken_mib=growth_mib + starts_mib,
    )


def find_dom0_memory_faults(dom0: Dom0Memory) -> tuple[MemoryFinding, ...]:
    """What the rule `dom0_mem=` lacks: codes `dom0-mem-missing`, `-no-size`, `-small`, `-linux`.

    Without a size dom0 starts with all memory and gives it away guest by guest; what it once gave
    does not come back to it by itself.
    """
    findings = []
    if not dom0.on_xen_line:
        findings.append(
            MemoryFinding(
                code="dom0-mem-missing",
                message="Xen's command line has no dom0_mem=: dom0 starts with all memory, and "
                f"guests take it away; promise it at least {DOM0_FLOOR_MIB} MiB there.",
            )
        )
    elif dom0.limit_mib is None:
        findings.append(
            MemoryFinding(
                code="dom0-mem-no-size",
                message=f"dom0_mem={dom0.on_xen_line} gives dom0 no amount that can be read; "
                f"promise it at least {DOM0_FLOOR_MIB} MiB.",
            )
        )
    elif dom0.limit_mib < DOM0_FLOOR_MIB:
        findings.append(
            MemoryFinding(
                code="dom0-mem-small",
                message=f"dom0_mem={dom0.on_xen_line} promises dom0 {dom0.limit_mib} MiB; it wants "
                f"at least {DOM0_FLOOR_MIB} MiB.",
            )
        )
    if dom0.on_linux_line:
        findings.append(
            MemoryFinding(
                code="dom0-mem-linux",
                message=f"dom0_mem={dom0.on_linux_line} is on the Linux kernel's line, where it "
                "does nothing: it belongs on the line of Xen.",
            )
        )
    return tuple(findings)
