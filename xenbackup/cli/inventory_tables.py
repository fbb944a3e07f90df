"""What `inventory` tells a person of storage and PCI devices: tables, and what follows from them.

An order for the eye: the table first, then remarks on single rows, then what holds for a whole
kind, said once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from xenbackup.cli.page import Page
from xenbackup.cli.text import Cell, Colour, Styled, format_size
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.devices import PciConflict, PciConflictKind, PciDevice, PciInventory
from xenbackup.model.inventory import Inventory
from xenbackup.model.pipeline import PRESETS
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.printable import show_text
from xenbackup.model.volume import LogicalVolume
from xenbackup.planning.inventory_view import (
    GroupRoom,
    find_snapshot,
    judge_disk,
    reckon_group_rooms,
)
from xenbackup.planning.pci_conflicts import find_pci_conflicts
from xenbackup.planning.sharing import find_shared

UNKNOWN = "-"
# From here on a page has room for words that are shorter elsewhere.
WIDE_PAGE = 100
POOL_FILLING_PERCENT = 80.0

_KIND_WORDS = {
    BackingKind.LOGICAL_VOLUME: "LV",
    BackingKind.THIN_VOLUME: "thin LV",
    BackingKind.PARTITION: "partition",
    BackingKind.WHOLE_DISK: "whole disk",
    BackingKind.MAPPED_DEVICE: "mapped device",
    BackingKind.LOOP: "loop device",
    BackingKind.DRBD: "DRBD",
    BackingKind.ISCSI: "iSCSI",
    BackingKind.NBD: "NBD",
    BackingKind.IMAGE_FILE: "image file",
    BackingKind.CDROM: "CD-ROM",
    BackingKind.EMPTY: "empty",
    BackingKind.ABSENT: "absent",
    BackingKind.ELSEWHERE: "elsewhere",
    BackingKind.UNKNOWN: "unknown",
}
_WITHOUT_SIZE = (BackingKind.EMPTY, BackingKind.ABSENT)
_PATH_ABOVE_ALL = (BackingKind.DRBD, BackingKind.ISCSI, BackingKind.NBD)


def join_names(names: Iterable[str]) -> str:
    """Names from outside, printable, with commas between."""
    return ", ".join(show_text(name) for name in names)


def paragraph(page: Page, subject: str, text: str) -> str:
    """`web xvdb: …`, a sentence about one thing, wrapped below its beginning."""
    return page.note(f"{show_text(subject)}: {show_text(text).rstrip('.')}.")


def warn(page: Page, text: str) -> str:
    """Something that is wrong."""
    return page.note(show_text(text), mark="Warning:", colour=Colour.YELLOW)


def name_kind(backing: DiskBacking, *, wide: bool = True) -> str:
    """What a disk is, in plain words; narrow pages have shorter ones."""
    words = _KIND_WORDS[backing.kind]
    if backing.kind is BackingKind.IMAGE_FILE and backing.filesystem:
        return f"{words if wide else 'image'} ({backing.filesystem})"
    return words


def name_place(backing: DiskBacking, inventory: Inventory) -> str:
    """Where a disk lies: `group/volume`, else its path as configured."""
    volume = inventory.find_volume_by_uuid(backing.lv_uuid)
    if volume is not None and backing.kind not in _PATH_ABOVE_ALL:
        return f"{volume.group}/{volume.name}"
    return backing.target or UNKNOWN


# Disks


def report_disks(inventory: Inventory, page: Page) -> str:
    """Every disk of every guest, what it allows, and the groups and pools they lie in."""
    if not inventory.backings:
        return "No guest of this host has a disk."
    parts = [_tabulate_disks(inventory, page)]
    remarks = [*_tell_notes(inventory, page), *_tell_shared(inventory, page)]
    if remarks:
        parts += ["", *remarks]
    parts += [
        "",
        _tabulate_presets(inventory, page),
        "",
        page.note(
            "MOVES: an image file is easy to move to another host; a device is fast, and stays."
        ),
    ]
    if inventory.groups:
        parts += ["", *_report_groups(reckon_group_rooms(inventory), page)]
    return "\n".join(parts)


def _tabulate_disks(inventory: Inventory, page: Page) -> str:
    wide = page.width >= WIDE_PAGE
    rows: list[Sequence[Cell]] = [
        (
            backing.domain,
            backing.vdev,
            name_kind(backing, wide=wide),
            format_size(backing.size_bytes) if _has_size(backing) else UNKNOWN,
            _show_used(backing, wide=wide),
            _show_snapshot(backing),
            "yes" if backing.portable else "no",
            name_place(backing, inventory),
        )
        for backing in inventory.backings
    ]
    headers = ("GUEST", "DISK", "WHAT", "SIZE", "USED", "SNAPSHOT", "MOVES", "WHERE")
    return page.table(headers, rows, "lllrrlll")


def _has_size(backing: DiskBacking) -> bool:
    return backing.kind not in _WITHOUT_SIZE and backing.size_bytes > 0


def _show_used(backing: DiskBacking, *, wide: bool) -> str:
    """What a disk takes of its storage; as a share of its size where the page is narrow."""
    used = backing.allocated_bytes
    if used is None or not _has_size(backing):
        return UNKNOWN
    return format_size(used) if wide else f"{used * 100 // backing.size_bytes}%"


def _show_snapshot(backing: DiskBacking) -> Cell:
    kind = find_snapshot(backing)
    matters = backing.kind not in (BackingKind.EMPTY, BackingKind.CDROM)
    if kind is SnapshotKind.NONE and matters:
        return Styled(kind.value, Colour.YELLOW)
    return kind.value


def _tell_notes(inventory: Inventory, page: Page) -> Iterator[str]:
    for backing in inventory.backings:
        subject = f"{backing.domain} {backing.vdev}"
        for note in backing.notes:
            yield paragraph(page, subject, note)
        if backing.held:
            yield warn(page, f"{subject}: dom0 itself uses it: {backing.held.rstrip('.')}.")
        if backing.problem and backing.kind is not BackingKind.EMPTY:
            yield warn(page, f"{subject}: {backing.problem.rstrip('.')}.")


def _tell_shared(inventory: Inventory, page: Page) -> Iterator[str]:
    for group in find_shared(inventory.backings):
        disks = ", ".join(f"{backing.domain} {backing.vdev}" for backing in group)
        text = f"{disks}: these are one and the same storage ({name_place(group[0], inventory)})"
        writers = list(dict.fromkeys(found.domain for found in group if found.writable))
        if len(writers) > 1:
            yield warn(page, f"{text}, and {', '.join(writers)} can all write it.")
        else:
            yield page.note(f"{show_text(text)}.")


def _tabulate_presets(inventory: Inventory, page: Page) -> str:
    """Each kind of disk once: the presets that it allows, and why not the others."""
    rows: dict[Sequence[Cell], None] = {}
    for backing in inventory.backings:
        verdict = judge_disk(backing, inventory)
        if verdict.presets == tuple(PRESETS):
            presets = "all"
        elif verdict.presets:
            presets = ", ".join(verdict.presets) + " only"
        else:
            presets = "left out" if verdict.left_out else "none"
        rows[(name_kind(backing), presets, verdict.reason)] = None
    return page.table(("WHAT", "PRESETS", "WHY"), list(rows))


# Volume groups


def _report_groups(rooms: Sequence[GroupRoom], page: Page) -> Iterator[str]:
    rows: list[Sequence[Cell]] = []
    for room in rooms:
        text = "yes" if room.fits else "not all at once"
        rows.append(
            (
                room.group.name,
                format_size(room.group.size_bytes),
                format_size(room.group.free_bytes),
                format_size(room.snapshot_bytes) if room.volumes else UNKNOWN,
                str(room.volumes),
                (text if room.fits else Styled(text, Colour.YELLOW)) if room.volumes else UNKNOWN,
            )
        )
    headers = ("GROUP", "SIZE", "FREE", "SNAPSHOTS", "OF VOLUMES", "FIT")
    yield page.table(headers, rows, "lrrrrl")
    yield page.note(
        "SNAPSHOTS: what thick snapshots of 10% of all volumes of guests would take together."
    )
    pools = [pool for room in rooms for pool in room.pools]
    if pools:
        yield ""
        yield page.table(
            ("THIN POOL", "SIZE", "DATA USED", "METADATA USED"),
            [
                (
                    f"{pool.group}/{pool.name}",
                    format_size(pool.size_bytes),
                    _show_fill(pool.data_percent),
                    _show_fill(pool.metadata_percent),
                )
                for pool in pools
            ],
            "lrrr",
        )


def list_filling_pools(inventory: Inventory) -> tuple[LogicalVolume, ...]:
    """Thin pools that are about to run out: all guests in such a pool stop then."""
    return tuple(
        pool
        for room in reckon_group_rooms(inventory)
        for pool in room.pools
        if max(pool.data_percent or 0, pool.metadata_percent or 0) >= POOL_FILLING_PERCENT
    )


def _show_fill(percent: float | None) -> Cell:
    if percent is None:
        return UNKNOWN
    text = f"{percent:.1f}%"
    return Styled(text, Colour.YELLOW) if percent >= POOL_FILLING_PERCENT else text


# PCI


def report_pci(inventory: Inventory, page: Page, *, every: bool = False) -> str:
    """Devices that have to do with guests, or all of them, and what is in their way."""
    pci = inventory.pci
    shown = [device for device in pci.devices if every or concerns_guests(device, pci)]
    parts = []
    if shown:
        rows = [
            (
                device.slot,
                device.driver or UNKNOWN,
                "yes" if device.hidden else "no",
                _show_guests(device),
                _describe_device(device),
            )
            for device in shown
        ]
        parts.append(page.table(("SLOT", "DRIVER", "HIDDEN", "GUEST", "DEVICE"), rows))
    others = len(pci.devices) - len(shown)
    if others:
        noun = "device" if others == 1 else "devices"
        verb = "lists it" if others == 1 else "lists them"
        kind = "other " if shown else ""
        parts.append(page.note(f"{others} {kind}{noun} of dom0's own; `--all` {verb}."))
    elif not pci.devices:
        parts.append("No PCI device is known.")
    parts += ["", page.note(_describe_early(pci)), *_tell_hiding(shown, page)]
    running = {domain.name for domain in inventory.domains if domain.exists}
    parts += [
        warn(page, describe_conflict(conflict)) for conflict in find_pci_conflicts(pci, running)
    ]
    if pci.unregistered:
        guests = ", ".join(pci.unregistered)
        parts.append(warn(page, f"{guests}: xend knows other devices than the file: `xm new`."))
    if pci.problem:
        parts.append(warn(page, pci.problem))
    return "\n".join(parts)


def concerns_guests(device: PciDevice, pci: PciInventory) -> bool:
    """It is hidden from dom0, a guest's, or one that a guest asks for."""
    asked_for = {slot for slot, _ in pci.asked_for}
    return (
        device.hidden
        or bool(device.owners or device.configured_for or device.hidden_by)
        or device.slot in asked_for
    )


def _show_guests(device: PciDevice) -> str:
    """Who has it; who only asks for it stands in parentheses."""
    waiting = [f"({guest})" for guest in device.configured_for if guest not in device.owners]
    return ", ".join((*device.owners, *waiting)) or UNKNOWN


def _describe_device(device: PciDevice) -> str:
    name = " ".join(part for part in (device.vendor, device.device) if part)
    return f"{device.class_name}: {name}" if name else device.class_name


def _describe_early(pci: PciInventory) -> str:
    if pci.early is None:
        return "Whether the initrd loads pciback early is unknown: no list of its modules was read."
    if pci.early:
        return "pciback comes early, in the initrd: devices are hidden before dom0 takes them."
    return (
        "pciback does not come early, in the initrd: dom0's own drivers may take a device before "
        "it is hidden."
    )


def _tell_hiding(shown: Sequence[PciDevice], page: Page) -> Iterator[str]:
    for device in shown:
        if device.hidden_by:
            yield paragraph(page, device.slot, f"hidden by {', '.join(device.hidden_by)}")
        elif device.hidden:
            yield paragraph(
                page,
                device.slot,
                "hidden by hand (nothing that was read asks for it): gone after a reboot of dom0",
            )
        if device.seizable and not device.hidden:
            yield paragraph(page, device.slot, "xl takes it from dom0 at the guest's start (seize)")


def describe_conflict(conflict: PciConflict) -> str:
    """A sentence about a device that its guests cannot have, or not together."""
    guests = ", ".join(conflict.guests)
    match conflict.kind:
        case PciConflictKind.TWO_GUESTS if conflict.both_running:
            running = ", ".join(conflict.running)
            return f"{conflict.slot} is asked for by {guests}; {running} run, one has it."
        case PciConflictKind.TWO_GUESTS:
            return f"{conflict.slot} is asked for by {guests}: only one of them can run at a time."
        case PciConflictKind.NOT_HIDDEN:
            return f"{conflict.slot} is asked for by {guests}, and not hidden from dom0."
    return f"{conflict.slot} is asked for by {guests}, and not in this host."
