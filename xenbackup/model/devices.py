"""PCI devices, network boards, pictures and kernel modules: what a host gives its guests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class PciDevice:
    """A PCI device of the host, `slot` in full (`0000:03:01.0`).

    `driver` is what holds it in dom0 now ("" for none). `owners` are the guests that have it in
    fact, `configured_for` those whose configuration asks for it. `hidden_by` are the places that
    ask for it to be hidden from dom0 (files, or the kernel's command line). `seizable` says that
    a configuration lets xl take it from its driver at the guest's start (`seize=1`).
    """

    slot: str
    class_name: str
    vendor: str = ""
    device: str = ""
    driver: str = ""
    assignable: bool = False
    owners: tuple[str, ...] = ()
    configured_for: tuple[str, ...] = ()
    hidden_by: tuple[str, ...] = ()
    seizable: bool = False

    @property
    def hidden(self) -> bool:
        """Held by pciback: dom0 does not use it itself."""
        return self.driver in ("pciback", "xen-pciback")


@dataclass(frozen=True, kw_only=True)
class PciInventory:
    """All PCI devices; `problem` says why the list is missing or may be short ("" when whole).

    `asked_for` are the slots that configurations or running guests name, with the guests, whether
    the host has such a device or not. `early` tells whether pciback is loaded by the initrd: None
    when that could not be read. `unregistered` are guests of xm whose file asks for other devices
    than xend knows of: `xm new` has to be run again.
    """

    devices: tuple[PciDevice, ...] = ()
    asked_for: tuple[tuple[str, tuple[str, ...]], ...] = ()
    early: bool | None = None
    problem: str = ""
    unregistered: tuple[str, ...] = ()

    def find(self, slot: str) -> PciDevice | None:
        return next((device for device in self.devices if device.slot == slot), None)


class PciConflictKind(StrEnum):
    """Why a guest may not get the device that it asks for."""

    TWO_GUESTS = "two-guests"
    NOT_HIDDEN = "not-hidden"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class PciConflict:
    """A device that its guests cannot all have, or not yet.

    `guests` are all that ask for it, `running` those of them that run now: two configured guests
    may share a device as long as they take turns, two running ones cannot.
    """

    slot: str
    kind: PciConflictKind
    guests: tuple[str, ...]
    running: tuple[str, ...] = ()

    @property
    def both_running(self) -> bool:
        """More than one of them runs: one has the device, another does without it."""
        return len(self.running) > 1


def covers_slot(pattern: str, slot: str) -> bool:
    """Whether a slot, or a pattern of one (`0000:03:01.*`, `0000:03:*.*`), means this slot."""
    if "*" not in pattern:
        return pattern == slot
    front = pattern[: pattern.index("*")]
    return slot.startswith(front) and slot != front


@dataclass(frozen=True, kw_only=True)
class NetworkBoard:
    """A network board of a guest; `model` is "" where the configuration does not say."""

    mac: str = ""
    bridge: str = ""
    model: str = ""
    kind: str = ""
    backend: str = ""


@dataclass(frozen=True, kw_only=True)
class KernelModule:
    """A module that guests or backups need: what for, and whether the kernel has it now.

    `state` is `loaded`, `built-in`, `available` (can be loaded) or `missing`; `unknown` when
    neither list could be read.
    """

    name: str
    purpose: str
    state: str

    @property
    def usable(self) -> bool:
        return self.state != "missing"


@dataclass(frozen=True, kw_only=True)
class GuestDrivers:
    """What a guest is made of, and what follows for a backup.

    `disk_style` is `xvd`, `hd/sd` or `mixed`; `video` names the adapter (`vfb`, `cirrus`, `stdvga`,
    `none`, …), which has no effect on a backup. `can_save`, `can_stream` (live) and `can_balloon`
    (memory changes) are verdicts, with `reasons` for each "no". `findings` are rules that its
    configuration breaks, a sentence each; `notes` say what only the guest itself knows.
    """

    domain: str
    kind: str
    disk_style: str = ""
    boards: tuple[NetworkBoard, ...] = ()
    video: str = ""
    can_save: bool = True
    can_stream: bool = True
    can_balloon: bool = True
    reasons: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DriverInventory:
    """Back-end modules of dom0, and the drivers of each guest."""

    modules: tuple[KernelModule, ...] = ()
    guests: tuple[GuestDrivers, ...] = ()

    def find(self, domain: str) -> GuestDrivers | None:
        return next((guest for guest in self.guests if guest.domain == domain), None)
