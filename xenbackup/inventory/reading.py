"""Reads a host once into an `Inventory`: domains, volumes, groups, disks, drivers and the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from xenbackup.dom0 import guest_configuration as configuration
from xenbackup.dom0.guest_configuration import ConfigurationFile
from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.inventory.disks import read_backings
from xenbackup.inventory.drivers import read_drivers
from xenbackup.inventory.host_storage import HostStorage
from xenbackup.model.devices import PciInventory
from xenbackup.model.domain import Domain, DomainState
from xenbackup.model.inventory import BrokenConfiguration, Inventory, NameClash
from xenbackup.model.resources import Resources
from xenbackup.model.xen import XenFacts
from xenbackup.system.command import BUS_SOCKET, SYSTEMD_FOLDER

ABSENT_DOMID = -1
_SYSTEMD_FOLDER = str(SYSTEMD_FOLDER)
_BUS_SOCKET = f"/run/{BUS_SOCKET}"

PciReader: TypeAlias = Callable[
    [Host, Toolstack, Sequence[Domain], Sequence[ConfigurationFile]], PciInventory
]
ResourcesReader: TypeAlias = Callable[
    [Host, Toolstack, XenFacts, Sequence[Domain], Sequence[ConfigurationFile]], Resources
]


def read_inventory(
    host: Host,
    toolstack: Toolstack,
    lvm: Lvm,
    *,
    read_pci: PciReader | None = None,
    read_resources: ResourcesReader | None = None,
) -> Inventory:
    """Everything a plan decides from. Reads only; nothing is changed on the host.

    PCI devices and resources cost commands of their own and are read where a reader is given. Files
    of the kernel and of guests are read once each, and no disk takes a command.

    Raises: CommandFailed, UnexpectedOutput from the tools.
    """
    running = toolstack.list_domains()
    volumes = lvm.list_volumes()
    files = configuration.find_configurations(host)
    domains = _join_configurations(running, files)
    facts = toolstack.read_facts()
    storage = HostStorage(host, volumes)
    return Inventory(
        facts=facts,
        can_save_paused=toolstack.can_save_paused(),
        domains=domains,
        volumes=volumes,
        groups=lvm.list_groups(),
        backings=read_backings(host, domains, volumes, configurations=files, storage=storage),
        drivers=read_drivers(
            host, domains, files, capabilities=facts.virtual_capabilities, storage=storage
        ),
        pci=read_pci(host, toolstack, domains, files) if read_pci else PciInventory(),
        resources=(
            read_resources(host, toolstack, facts, domains, files)
            if read_resources
            else Resources()
        ),
        broken_configurations=tuple(
            BrokenConfiguration(path=found.path, problem=found.problem)
            for found in files
            if found.problem
        ),
        clashes=tuple(_find_clashes(files)),
        bus_missing=_lacks_bus(host),
    )


def _lacks_bus(host: Host) -> bool:
    """The question of `system/command.py`, asked beforehand."""
    return host.place(_SYSTEMD_FOLDER).is_dir() and not host.place(_BUS_SOCKET).exists()


def _find_clashes(files: Sequence[ConfigurationFile]) -> Iterator[NameClash]:
    """Names that several files give; files with one and the same uuid describe one guest."""
    described: dict[str, list[tuple[str, str]]] = {}
    for found in files:
        if found.configuration is not None:
            known = found.configuration
            described.setdefault(known.name, []).append((found.path, known.uuid))
    for name, those in described.items():
        uuids = {uuid for _, uuid in those}
        if len(those) > 1 and (len(uuids) > 1 or "" in uuids):
            yield NameClash(guest=name, paths=tuple(path for path, _ in those))


def _join_configurations(
    running: tuple[Domain, ...], files: Sequence[ConfigurationFile]
) -> tuple[Domain, ...]:
    """Running domains with their configured uuid, then the shut off ones from their files.

    A file that cannot be read as literals names no domain here; it is a broken configuration.
    """
    by_name = {
        found.configuration.name: found.configuration
        for found in files
        if found.configuration is not None
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
