"""Reads a host once into an `Inventory`: domains, volumes, groups, what lies behind each disk."""

from __future__ import annotations

import stat
from dataclasses import replace

from xenbackup.dom0 import guest_configuration as configuration
from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.errors import CopyFailed
from xenbackup.model.domain import Domain, DomainState
from xenbackup.model.inventory import DiskSource, Inventory
from xenbackup.model.volume import LogicalVolume

ABSENT_DOMID = -1


def read_inventory(host: Host, toolstack: Toolstack, lvm: Lvm) -> Inventory:
    """Everything a plan decides from. Reads only; nothing is changed on the host.

    Raises: CommandFailed, UnexpectedOutput from the tools.
    """
    running = toolstack.list_domains()
    volumes = lvm.list_volumes()
    domains = _join_configurations(host, running)
    return Inventory(
        facts=toolstack.read_facts(),
        can_save_paused=toolstack.can_save_paused(),
        domains=domains,
        volumes=volumes,
        groups=lvm.list_groups(),
        sources=_look_at_sources(host, domains, volumes),
    )


def _join_configurations(host: Host, running: tuple[Domain, ...]) -> tuple[Domain, ...]:
    """Running domains with their configured uuid, then the shut off ones from their files.

    A file that cannot be read as literals names no domain here; `check` reports it.
    """
    files = [found for found in configuration.find_configurations(host) if found.configuration]
    by_name = {
        found.configuration.name: found.configuration for found in files if found.configuration
    }
    joined = []
    for domain in running:
        known = by_name.pop(domain.name, None)
        configured_uuid = known.uuid if known is not None else ""
        joined.append(replace(domain, configured_uuid=configured_uuid))
    for name, known in sorted(by_name.items()):
        joined.append(
            Domain(
                name=name,
                domid=ABSENT_DOMID,
                uuid=known.uuid,
                configured_uuid=known.uuid,
                kind=known.kind,
                state=DomainState(letters=""),
                memory_mib=known.memory_mib,
                maximum_memory_mib=known.maximum_memory_mib,
                vcpus=known.vcpus,
                disks=known.disks,
                pci_devices=known.pci_devices,
            )
        )
    return tuple(joined)


def _look_at_sources(
    host: Host, domains: tuple[Domain, ...], volumes: tuple[LogicalVolume, ...]
) -> tuple[DiskSource, ...]:
    """Sizes of disk targets that no logical volume explains: files and other block devices."""
    known = {path for volume in volumes for path in (volume.path, volume.dm_path)}
    targets = dict.fromkeys(
        disk.target for domain in domains for disk in domain.disks if disk.target
    )
    return tuple(_look_at_source(host, target) for target in targets if target not in known)


def _look_at_source(host: Host, target: str) -> DiskSource:
    try:
        regular = stat.S_ISREG(host.place(target).stat().st_mode)
    except OSError as error:
        problem = error.strerror or str(error)
        return DiskSource(target=target, size_bytes=0, regular_file=False, problem=problem)
    try:
        device = host.open_volume(target)
    except CopyFailed as error:
        return DiskSource(target=target, size_bytes=0, regular_file=regular, problem=error.message)
    try:
        return DiskSource(target=target, size_bytes=device.size_bytes, regular_file=regular)
    finally:
        device.close()
