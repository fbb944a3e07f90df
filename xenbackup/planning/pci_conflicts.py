"""PCI devices that guests cannot have as they ask for them. Pure."""

from __future__ import annotations

from collections.abc import Collection

from xenbackup.model.devices import PciConflict, PciConflictKind, PciDevice, PciInventory

_NAMED = "name="


def find_pci_conflicts(pci: PciInventory, running: Collection[str] = ()) -> tuple[PciConflict, ...]:
    """What stands between guests and the devices they ask for, by slot.

    `running` are the names of guests that run now; owners in fact run anyway. Two guests that are
    configured for one device conflict only while both run, which `both_running` tells. A device is
    missed only where any device is known at all, and one that is asked for by a name (`name=gpu`)
    is never missed: which slot the name means is known to xl alone.
    """
    conflicts: list[PciConflict] = []
    for slot, guests in pci.asked_for:
        device = pci.find(slot)
        owners = device.owners if device is not None else ()
        alive = tuple(guest for guest in guests if guest in running or guest in owners)
        kinds = []
        if len(guests) > 1:
            kinds.append(PciConflictKind.TWO_GUESTS)
        if device is None:
            if pci.devices and not slot.startswith(_NAMED):
                kinds.append(PciConflictKind.ABSENT)
        elif not _can_be_given(device):
            kinds.append(PciConflictKind.NOT_HIDDEN)
        conflicts += [
            PciConflict(slot=slot, kind=kind, guests=guests, running=alive) for kind in kinds
        ]
    return tuple(conflicts)


def _can_be_given(device: PciDevice) -> bool:
    """dom0 has let go of it, a guest has it already, or xl takes it by itself."""
    return device.hidden or device.assignable or device.seizable or bool(device.owners)
