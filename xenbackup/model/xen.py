"""What `xl info` says of the hypervisor and the machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class XenFacts:
    """The hypervisor; memory in MiB. `hardware_capabilities` is hw_caps, hex words of features.

    `numa_nodes` is 0 where the toolstack does not tell. `virtual_capabilities` is virt_caps, words
    such as `pv hvm hap shadow` ("" before Xen had it).
    """

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
    numa_nodes: int = 0
    virtual_capabilities: str = ""
