"""PCI devices of a host, and whose they are: in fact, by configuration, hidden from dom0 or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from xenbackup.dom0 import pci_hiding
from xenbackup.dom0.guest_configuration import (
    ConfigurationFile,
    GuestConfiguration,
    has_pci_option,
    parse_pci_specification,
)
from xenbackup.dom0.host import Host
from xenbackup.dom0.pci import list_pci_devices, list_sysfs_devices
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.errors import CommandFailed, ConfigurationError, UnexpectedOutput
from xenbackup.inventory.host_texts import list_host_folder, read_host_text
from xenbackup.model.devices import PciDevice, PciInventory, covers_slot
from xenbackup.model.domain import Domain

KERNEL_LINE = "/proc/cmdline"
_MODPROBE_FOLDER = "/etc/modprobe.d"
_MODPROBE_FILES = ("/etc/modprobe.conf", "/etc/modprobe.conf.local")
_INITRAMFS_MODULES = "/etc/initramfs-tools/modules"
_DRACUT_FILE = "/etc/dracut.conf"
_DRACUT_FOLDERS = ("/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d")
_DRACUT_KEYS = ("add_drivers", "force_drivers")
_SUSE_FILE = "/etc/sysconfig/kernel"
_RELEASE_FILE = "/proc/sys/kernel/osrelease"


@dataclass
class _Wishes:
    """Who asks for devices: slots or patterns, each with guests; and which xl may seize."""

    configured: dict[str, list[str]] = field(default_factory=dict)
    owned: dict[str, list[str]] = field(default_factory=dict)
    seizable: set[str] = field(default_factory=set)


def read_pci(
    host: Host,
    toolstack: Toolstack,
    domains: Sequence[Domain],
    configurations: Sequence[ConfigurationFile],
) -> PciInventory:
    """Every device with its owners, and every slot that a guest asks for; nothing is raised.

    A pattern that means all functions of a device (`0000:03:01.*`) stands for those that are there,
    and for itself where there is none. A question that the host did not answer is in `problem`.
    """
    problems: list[str] = []
    listed = _list_devices(host, problems)
    hidden = _read_hiding(host, problems)
    assignable = _list_assignable(toolstack, problems)
    wishes = _gather_wishes(domains, configurations)
    slots = tuple(device.slot for device in listed)
    configured = _spread(wishes.configured, slots)
    owned = _spread(wishes.owned, slots)
    devices = []
    for device in listed:
        owners = owned.get(device.slot, ())
        free = device.hidden and not owners
        devices.append(
            replace(
                device,
                assignable=free if assignable is None else device.slot in assignable,
                owners=owners,
                configured_for=configured.get(device.slot, ()),
                hidden_by=tuple(
                    place
                    for place, patterns in hidden
                    if any(covers_slot(pattern, device.slot) for pattern in patterns)
                ),
                seizable=any(covers_slot(pattern, device.slot) for pattern in wishes.seizable),
            )
        )
    asked_for = {
        slot: tuple(dict.fromkeys((*owned.get(slot, ()), *configured.get(slot, ()))))
        for slot in sorted({*owned, *configured})
    }
    return PciInventory(
        devices=tuple(devices),
        asked_for=tuple(asked_for.items()),
        early=_read_early(host),
        problem=" ".join(problems),
        unregistered=_list_unregistered(domains, configurations),
    )


def _list_devices(host: Host, problems: list[str]) -> tuple[PciDevice, ...]:
    try:
        return list_pci_devices(host)
    except (CommandFailed, UnexpectedOutput) as error:
        found = list_sysfs_devices(host)
        remedy = (
            "the devices come from sysfs, by their numbers alone"
            if found
            else "no device of this host is known"
        )
        problems.append(f"{error.message} So {remedy}; lspci is in the package pciutils.")
        return found


def _list_assignable(toolstack: Toolstack, problems: list[str]) -> frozenset[str] | None:
    """Slots that the toolstack would give to a guest; None when only the drivers can tell."""
    try:
        slots = toolstack.list_assignable_pci()
    except (CommandFailed, UnexpectedOutput) as error:
        problems.append(f"{error.message} Which devices guests may get is told by their drivers.")
        return None
    return None if slots is None else frozenset(slots)


def _gather_wishes(
    domains: Sequence[Domain], configurations: Sequence[ConfigurationFile]
) -> _Wishes:
    wishes = _Wishes()
    for domain in domains:
        # A guest that is shut off has nothing in fact: what it is listed with is its configuration.
        book = wishes.owned if domain.exists else wishes.configured
        _write_down(book, domain.pci_devices, domain.name)
    for file in configurations:
        if file.configuration is not None:
            _write_down(wishes.configured, file.configuration.pci_devices, file.configuration.name)
            wishes.seizable.update(_list_seizable(file.configuration))
    return wishes


def _list_seizable(configuration: GuestConfiguration) -> Iterable[str]:
    """Slots that xl may take from their driver: `seize=1` of the device, `pci_seize=1` of all."""
    setting = configuration.find_setting("pci_seize")
    every = setting is not None and setting.text.strip() not in ("", "0")
    for text in configuration.pci_specifications:
        if every or has_pci_option(text, "seize"):
            yield parse_pci_specification(text)


def _list_unregistered(
    domains: Sequence[Domain], configurations: Sequence[ConfigurationFile]
) -> tuple[str, ...]:
    """Guests that xend starts from its own records, which are older than their file."""
    known = {
        domain.name: frozenset(domain.pci_devices)
        for domain in domains
        if domain.configuration_sexp and not domain.exists
    }
    return tuple(
        file.configuration.name
        for file in configurations
        if file.configuration is not None
        and known.get(file.configuration.name, frozenset(file.configuration.pci_devices))
        != frozenset(file.configuration.pci_devices)
    )


def _write_down(book: dict[str, list[str]], slots: Iterable[str], guest: str) -> None:
    for slot in slots:
        guests = book.setdefault(slot, [])
        if guest not in guests:
            guests.append(guest)


def _spread(book: dict[str, list[str]], slots: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Guests by slot, patterns replaced by the slots that they cover where there are any."""
    spread: dict[str, list[str]] = {}
    for pattern, guests in book.items():
        covered = [slot for slot in slots if covers_slot(pattern, slot)] or [pattern]
        for slot in covered:
            for guest in guests:
                _write_down(spread, (slot,), guest)
    return {slot: tuple(guests) for slot, guests in spread.items()}


def _read_hiding(host: Host, problems: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Places that ask for devices to be hidden, each with the slots or patterns it names."""
    found = []
    for path in (*list_host_folder(host, _MODPROBE_FOLDER, ".conf"), *_MODPROBE_FILES, KERNEL_LINE):
        text = read_host_text(host, path)
        if text is None:
            continue
        parse = (
            pci_hiding.parse_kernel_line_hiding
            if path == KERNEL_LINE
            else pci_hiding.parse_modprobe_hiding
        )
        try:
            patterns = parse(text, path)
        except ConfigurationError as error:
            problems += error.problems
            continue
        if patterns:
            found.append((path, patterns))
    return found


def _read_early(host: Host) -> bool | None:
    """Whether the initrd, or the kernel itself, has pciback; None when no list could be read.

    /etc/modules-load.d is no such list: it is read after the initrd.
    """
    kernel_line = read_host_text(host, KERNEL_LINE) or ""
    release = (read_host_text(host, _RELEASE_FILE) or "").strip()
    builtin = None
    if release and "/" not in release:
        builtin = read_host_text(host, f"/lib/modules/{release}/modules.builtin")
    if pci_hiding.forces_pciback(kernel_line) or pci_hiding.has_builtin_pciback(builtin or ""):
        return True
    answers = []
    text = read_host_text(host, _INITRAMFS_MODULES)
    if text is not None:
        answers.append(pci_hiding.names_pciback(text))
    dracut = [
        path for folder in _DRACUT_FOLDERS for path in list_host_folder(host, folder, ".conf")
    ]
    for path in (_DRACUT_FILE, *dracut):
        text = read_host_text(host, path)
        if text is not None:
            answers.append(pci_hiding.assigns_pciback(text, *_DRACUT_KEYS))
    text = read_host_text(host, _SUSE_FILE)
    if text is not None and "INITRD_MODULES" in text:
        answers.append(pci_hiding.assigns_pciback(text, "INITRD_MODULES"))
    return any(answers) if answers else None
