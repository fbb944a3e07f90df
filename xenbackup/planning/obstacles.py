"""Obstacles: why a guest cannot be backed up by a pipeline, each with a code of its own. Pure.

A plan refuses a guest for the first obstacle, `check` tells of all of them, in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xenbackup.errors import XenbackupError
from xenbackup.model.backing import BackingKind
from xenbackup.model.domain import Disk, Domain, GuestKind, is_arriving, was_migrated_away
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import Consistency, Job, StepName, StepSpec
from xenbackup.model.names import check_domain_name
from xenbackup.planning.disk_plan import (
    explain_exclusion,
    find_volume_fault,
    plan_disk,
)
from xenbackup.planning.presets import (
    consistency_of,
    satisfies_requirement,
    select_requirement,
)
from xenbackup.planning.refusal import Refusal
from xenbackup.planning.sharing import find_shared

MEMORY_STEPS = (StepName.SAVE, StepName.SAVE_PAUSED)


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """One reason not to back up a guest: `reason` is a clause about it, without a full stop."""

    code: str
    reason: str
    hint: str = ""


def list_obstacles(
    job: Job, domain: Domain, inventory: Inventory, steps: tuple[StepSpec, ...]
) -> Iterator[Obstacle]:
    """Everything that keeps these steps from this guest, in the order in which a plan asks.

    Without steps (a pipeline that is still to be chosen) only what stands in the way of any.
    """
    yield from find_name_obstacle(domain)
    if not steps:
        yield from find_configuration_obstacle(domain)
    else:
        consistency = consistency_of(steps)
        yield from find_state_obstacle(domain, consistency)
        yield from find_requirement_obstacle(consistency, select_requirement(job, domain.name))
        yield from find_toolstack_obstacle(steps, inventory)
    takes_memory = any(spec.step in MEMORY_STEPS for spec in steps)
    if takes_memory:
        yield from list_memory_obstacles(domain, inventory)
    snapshots = any(spec.step is StepName.SNAPSHOT for spec in steps)
    copied = 0
    for disk in domain.disks:
        if explain_exclusion(job, domain, disk, inventory):
            if takes_memory:
                yield from find_exclusion_obstacle(disk)
            continue
        copied += 1
        yield from find_user_obstacle(domain, disk, inventory)
        if any(spec.step is StepName.SAVE_PAUSED for spec in steps):
            yield from find_cache_obstacle(domain, disk)
        yield from find_disk_obstacle(domain, disk, inventory, snapshots=snapshots)
    if not copied:
        yield Obstacle(code="guest-without-disks", reason="it has no disk to back up")


# The guest itself


def find_name_obstacle(domain: Domain) -> Iterator[Obstacle]:
    """A name that no command may carry."""
    try:
        check_domain_name(domain.name)
    except XenbackupError as error:
        yield Obstacle(code="name-unfit", reason=error.message.rstrip("."), hint=error.hint)


def find_configuration_obstacle(domain: Domain) -> Iterator[Obstacle]:
    """A guest in the middle of being built or torn down."""
    if domain.kind is GuestKind.UNKNOWN:
        yield Obstacle(
            code="guest-unknown",
            reason="the toolstack shows no configuration for it: it is being built, or torn down",
            # Up to Xen 4.4 xl draws a new uuid for it at each listing, and none is its own.
            hint="look at it with `xl list -l`; before Xen 4.5 a guest needs a uuid= in its file",
        )


def find_state_obstacle(domain: Domain, consistency: Consistency) -> Iterator[Obstacle]:
    """A state in which these steps make no sense."""
    if domain.kind is GuestKind.UNKNOWN:
        yield from find_configuration_obstacle(domain)
        return
    if domain.exists and (is_arriving(domain.name) or was_migrated_away(domain.name)):
        yield Obstacle(
            code="guest-migrating",
            reason="it is on its way from one host to another, and runs on the other one",
            hint="back it up where it runs; one that is no migration's wants `xl rename`",
        )
        return
    if consistency is Consistency.OFFLINE:
        if domain.exists:
            yield Obstacle(
                code="guest-runs",
                reason="it runs, and its pipeline is for shut off guests",
                hint="use `checkpoint`",
            )
        return
    state = domain.state
    if state.dying or state.shutdown:
        yield Obstacle(
            code="guest-ending",
            reason=f"its state is {state.letters}: it is shutting down, suspended or crashed",
            hint="look at it with `xl list` and `xl console`",
        )
    elif state.paused and consistency is Consistency.MEMORY:
        yield Obstacle(
            code="memory-of-paused-guest",
            reason="it is paused, and not by us: a paused guest cannot answer a save",
            hint='unpause it, or use preset = "crash"',
        )


def find_requirement_obstacle(
    consistency: Consistency, required: Consistency
) -> Iterator[Obstacle]:
    """Less than the job promises."""
    if not satisfies_requirement(consistency, required):
        yield Obstacle(
            code="consistency-too-low",
            reason=f"it gives {consistency} consistency, and {required} is required",
            hint="choose another preset in an [[override]], or lower `require`",
        )


def find_toolstack_obstacle(
    steps: tuple[StepSpec, ...], inventory: Inventory
) -> Iterator[Obstacle]:
    """A step that the toolstack does not have."""
    if not inventory.can_save_paused and any(spec.step is StepName.SAVE_PAUSED for spec in steps):
        yield Obstacle(
            code="no-save-paused",
            reason="this toolstack has no `save -p`",
            hint='use preset = "snapshot"',
        )


def list_memory_obstacles(domain: Domain, inventory: Inventory) -> Iterator[Obstacle]:
    """Why the guest's memory cannot be saved, or could not come back."""
    if domain.pci_devices:
        devices = ", ".join(domain.pci_devices)
        yield Obstacle(
            code="memory-with-passthrough",
            reason=f"PCI device {devices} is passed through to it: its memory cannot be saved",
            hint='give it preset = "crash" in an [[override]]',
        )
    resources = inventory.resources.find(domain.name)
    nodes = resources.numa_nodes if resources is not None else 0
    if nodes:
        # libxl refuses: "Cannot save a guest with vNUMA configured" (libxl_dom_save.c).
        yield Obstacle(
            code="memory-with-vnuma",
            reason=f"it has {nodes} virtual NUMA nodes (vNUMA): its memory cannot be saved",
            hint='give it preset = "crash" in an [[override]], or take `vnuma` off it',
        )
    drivers = inventory.drivers.find(domain.name)
    if drivers is not None and not drivers.can_save and not domain.pci_devices and not nodes:
        reasons = "; ".join(reason.rstrip(".") for reason in drivers.reasons)
        yield Obstacle(
            code="memory-not-savable",
            reason="its memory cannot be saved" + (f": {reasons}" if reasons else ""),
            hint='give it preset = "crash" in an [[override]]',
        )


# Its disks


def find_exclusion_obstacle(disk: Disk) -> Iterator[Obstacle]:
    """A disk that may not be left out where memory is taken."""
    if disk.writable and not disk.cdrom:
        yield Obstacle(
            code="disk-left-out-of-memory",
            reason=f"disk {disk.vdev} is writable and left out: its memory image would meet a "
            "disk of another time",
            hint='take the disk in, or use preset = "crash"',
        )


def find_user_obstacle(domain: Domain, disk: Disk, inventory: Inventory) -> Iterator[Obstacle]:
    """A disk of a shut off guest that another one, which runs, writes: nothing holds it still."""
    if domain.exists:
        return
    running = {other.name: other.domid for other in inventory.domains if other.exists}
    for group in find_shared(inventory.backings):
        if not any((one.domain, one.vdev) == (domain.name, disk.vdev) for one in group):
            continue
        writers = (one.domain for one in group if one.writable and one.domain in running)
        for writer in dict.fromkeys(writers):
            yield Obstacle(
                code="disk-written-by-other",
                reason=f"its disk {disk.vdev} is written by {writer}, which runs "
                f"(domain {running[writer]})",
                hint=f"back up {writer} instead, or give each its own disk",
            )


def find_cache_obstacle(domain: Domain, disk: Disk) -> Iterator[Obstacle]:
    """An image whose tables QEMU may not have written when its guest is saved and lives on.

    A save has QEMU flush what it caches only where QEMU is the guest's device model (HVM). For a PV
    or PVH guest it is a mere back-end, which flushes when the guest lets go of the disk: the copy
    could have tables that know nothing of blocks which the guest's memory takes for written.
    """
    if has_unflushed_tables(domain, writable=disk.writable, image_format=disk.format):
        yield Obstacle(
            code="image-not-flushed",
            reason=f"disk {disk.vdev} ({disk.target}) is a {disk.format} image: while the guest "
            "lives on, tables of it may be in QEMU's memory alone",
            hint='use preset = "snapshot" or "cold" for this guest',
        )


def has_unflushed_tables(domain: Domain, *, writable: bool, image_format: str) -> bool:
    """Is the disk an image with tables of its own, which QEMU serves as a mere back-end?"""
    plain = image_format in ("raw", "empty", "")
    return writable and not plain and domain.kind is not GuestKind.HVM


def find_disk_obstacle(
    domain: Domain, disk: Disk, inventory: Inventory, *, snapshots: bool
) -> Iterator[Obstacle]:
    """Why a disk cannot be read, or frozen where the pipeline wants a snapshot of it."""
    try:
        plan_disk(domain, disk, inventory, snapshots, None)
    except Refusal as refusal:
        yield Obstacle(
            code=_classify_refusal(domain, disk, inventory, snapshots=snapshots),
            reason=refusal.reason,
            hint=refusal.hint,
        )


def _classify_refusal(domain: Domain, disk: Disk, inventory: Inventory, *, snapshots: bool) -> str:
    """The code for the plan's refusal of a disk: the same questions, in the same order."""
    if not disk.served_by_dom0:
        return "disk-served-elsewhere"
    volume = inventory.find_volume(disk.target)
    backing = inventory.find_backing(domain.name, disk.vdev)
    if volume is None:
        if backing is None:
            return "disk-unreadable"
        if backing.problem:
            absent = backing.kind is BackingKind.ABSENT
            return "disk-absent" if absent else "disk-unreadable"
        volume = inventory.find_volume_by_uuid(backing.lv_uuid)
    fault = volume and find_volume_fault(disk.vdev, volume, inventory, snapshots=snapshots)
    if fault:
        return fault.code
    if backing is not None and backing.on_network:
        return "network-disk-no-snapshot"
    file = backing is not None and backing.regular_file
    return "image-file-no-snapshot" if file else "disk-no-snapshot"
