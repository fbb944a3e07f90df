"""Rules about the host, whatever the job: dom0's memory, files, PCI devices, what was not read."""

from __future__ import annotations

from collections.abc import Iterator

from xenbackup.model.devices import PciConflict, PciConflictKind
from xenbackup.model.inventory import Inventory
from xenbackup.model.problem import Problem
from xenbackup.model.resources import DOM0_FLOOR_MIB
from xenbackup.model.setting import Setting
from xenbackup.planning.memory import find_dom0_memory_faults
from xenbackup.planning.pci_conflicts import find_pci_conflicts
from xenbackup.planning.validation.codes import make_problem

_DOM0_HINT = (
    "set `dom0_mem=1024M,max:1024M` in `GRUB_CMDLINE_XEN_DEFAULT` of /etc/default/grub, then "
    "`update-grub` or `grub2-mkconfig`; it counts from the next boot"
)


def check_dom0_memory(inventory: Inventory) -> Iterator[Problem]:
    """dom0 needs memory of its own that no guest's start can take; only Xen's line gives it."""
    resources = inventory.resources
    if resources.total_mib <= 0:
        # Nobody read them.
        return
    for fault in find_dom0_memory_faults(resources.dom0):
        yield make_problem(fault.code, subject="dom0", message=fault.message, hint=_DOM0_HINT)
    current_mib = resources.dom0.current_mib
    if 0 < current_mib < DOM0_FLOOR_MIB:
        yield make_problem(
            "dom0-memory-low",
            subject="dom0",
            message=f"dom0 has {current_mib} MiB now, less than {DOM0_FLOOR_MIB}.",
            hint=f"`xl mem-set 0 {DOM0_FLOOR_MIB}m`, once so much is free",
        )


def check_bus(inventory: Inventory) -> Iterator[Problem]:
    """systemd gives a restored guest a unit of its own, if only somebody can ask it."""
    if inventory.bus_missing:
        yield make_problem(
            "bus-missing",
            subject="D-Bus",
            message="systemd rules this host, but there is no system bus: guests that are restored "
            "begin in the unit of the service that restores them.",
            hint="`apt install default-dbus-system-bus`; elsewhere dbus or dbus-broker",
        )


def check_files(inventory: Inventory, setting: Setting) -> Iterator[Problem]:
    """Job files and guests' configuration files that cannot be taken."""
    for broken in setting.jobs.broken:
        for text in broken.problems:
            sentence, _, hint = text.partition(" Hint: ")
            yield make_problem(
                "job-file-broken",
                subject=broken.name or str(broken.path),
                message=sentence,
                hint=hint.rstrip("."),
            )
    for file in inventory.broken_configurations:
        yield make_problem(
            "guest-file-broken",
            subject=file.path,
            message=f"{file.path}: {file.problem.rstrip('.')}.",
            hint="while it is shut off, its guest is unknown to us",
        )


def check_pci(inventory: Inventory) -> Iterator[Problem]:
    """Devices that guests ask for and cannot have, not yet, or not together."""
    running = {domain.name for domain in inventory.domains if domain.exists}
    for conflict in find_pci_conflicts(inventory.pci, running):
        yield _describe_conflict(conflict)


def _describe_conflict(conflict: PciConflict) -> Problem:
    slot, guests = conflict.slot, ", ".join(conflict.guests)
    code = "pci-conflict"
    if conflict.kind is PciConflictKind.TWO_GUESTS:
        message = f"PCI device {slot} is asked for by {guests}"
        if conflict.both_running:
            message += f", of which {', '.join(conflict.running)} run: only one of them has it."
            hint = "take it out of the configuration of all but one"
        else:
            code, hint = "pci-shared", "only one of them can run at a time"
            message += "."
    elif conflict.kind is PciConflictKind.NOT_HIDDEN:
        message = f"PCI device {slot}, which {guests} asks for, is not hidden from dom0."
        hint = f"`xl pci-assignable-add {slot}`, and `xen-pciback.hide=({slot})` for the next boot"
    else:
        message = f"PCI device {slot}, which {guests} asks for, is not in this host."
        hint = "compare `pci` of the guest's configuration with `lspci -D`"
    return make_problem(
        code,
        subject=slot,
        message=message,
        hint=hint,
        domain=conflict.guests[0] if len(conflict.guests) == 1 else "",
    )


def check_pciback(inventory: Inventory) -> Iterator[Problem]:
    """pciback must be there before the devices' own drivers, or it cannot hide them from dom0."""
    pci = inventory.pci
    if not pci.asked_for or not any(device.hidden_by for device in pci.devices):
        return
    if pci.early is None:
        yield make_problem(
            "pciback-unknown",
            subject="xen-pciback",
            message="Whether the initrd loads xen-pciback could not be read.",
            hint="`lsinitramfs /boot/initrd.img-$(uname -r) | grep pciback`; of dracut `lsinitrd`",
        )
    elif not pci.early:
        yield make_problem(
            "pciback-late",
            subject="xen-pciback",
            message="xen-pciback is not loaded by the initrd: devices may be taken by dom0's own "
            "drivers before they are hidden.",
            hint="add `xen-pciback` to /etc/initramfs-tools/modules, then `update-initramfs -u`; "
            "to `force_drivers` in /etc/dracut.conf.d with dracut, then `dracut -f`",
        )


def check_completeness(inventory: Inventory) -> Iterator[Problem]:
    """What the inventory itself says it could not read."""
    found = [("pci", inventory.pci.problem)] if inventory.pci.problem else []
    found += [("resources", problem) for problem in inventory.resources.problems]
    for subject, problem in found:
        yield make_problem(
            "inventory-incomplete",
            subject=subject,
            message=f"The host was not read whole ({subject}): {problem.rstrip('.')}.",
            hint=f"see `xenbackup inventory {subject}`",
        )
