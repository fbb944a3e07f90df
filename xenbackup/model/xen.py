"""What `xl info` says of the hypervisor and the machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class XenFacts:
    """The hypervisor; memory in MiB. `hardware_capabilities` is hw_caps, hex words of features."""

    hostname: str
    xen_version: str
    version_tuple: tuple[int, ...]
    free_memory_mib: int
    total_memory_mib: int
    cpus: int
    cpu_mhz: str
    hardware_capabilities: str
    scheduler: str
    xen_command_line: str
