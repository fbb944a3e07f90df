"""Slots: prepared logical volumes that a guest's disks may be copied into, and no others.

An administrator prepares one for each disk and marks it with the tag `xb.destination`:

    lvcreate -L 20G -n web--xvda backup
    lvchange --addtag xb.destination backup/web--xvda

Its name says what it is for, `DOMAIN--VDEV`. Where a domain's name is no name for a volume, or the
volume is to be called otherwise, a second tag says it instead: `xb.for=DOMAIN/VDEV`, in which each
byte of the domain's name but letters, digits and `_ + . -` is written `:XX` (LVM allows few
characters in tags, and `:` is one of them). A tag is stronger than a name. Volumes that carry the
tag `xenbackup` belong to a run and are never slots.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm_parsers import is_volume_name
from xenbackup.errors import DestinationFailed, DestinationMissing, NotOurs
from xenbackup.model.slot import encode_slot_tag, find_slots, is_slot, name_slot
from xenbackup.model.volume import TAG_DESTINATION, TAG_OURS, LogicalVolume

__all__ = [
    "SlotRequest",
    "choose_slot",
    "encode_slot_tag",
    "explain_use",
    "is_slot",
]

# First letter of lv_attr, lvs(8): plain, thin, raid, mirror and cached volumes. Not origins of
# snapshots (each write would fill those), snapshots, pools and hidden parts.
_USABLE_TYPES = frozenset("-VrRmMC")


@dataclass(frozen=True, kw_only=True)
class SlotRequest:
    """A disk that wants a slot. `sources` are paths it is read through: a slot is none of them."""

    domain: str
    vdev: str
    size_bytes: int
    sources: tuple[str, ...] = ()


def choose_slot(
    volumes: Sequence[LogicalVolume], group: str, request: SlotRequest
) -> LogicalVolume:
    """The volume prepared for a disk, by tag or by name, seen to be marked, fit and large enough.

    Whether it is in use is another question, for `explain_use`.

    Raises: DestinationMissing when there is none; NotOurs when it is not marked; DestinationFailed
    when it cannot serve.
    """
    tag = encode_slot_tag(request.domain, request.vdev)
    name = name_slot(request.domain, request.vdev)
    found = find_slots(volumes, request.domain, request.vdev)
    if not found:
        wanted = name if is_volume_name(name) else "NAME"
        extra = "" if wanted == name else f" --addtag {tag}"
        raise DestinationMissing(
            f"Group {group} has no prepared volume for {request.vdev} of {request.domain}.",
            hint=f"`lvcreate -L {-(-request.size_bytes >> 20)}m -n {wanted} {group}`, then "
            f"`lvchange --addtag {TAG_DESTINATION}{extra} {group}/{wanted}`",
        )
    if len(found) > 1:
        names = ", ".join(sorted(volume.name for volume in found))
        raise DestinationFailed(
            f"Group {group} has several volumes for {request.vdev} of {request.domain}: {names}.",
            hint=f"take the tag {tag} off all but one",
        )
    _check_slot(found[0], request)
    return found[0]


def _check_slot(volume: LogicalVolume, request: SlotRequest) -> None:
    label = f"{volume.group}/{volume.name}"
    if TAG_OURS in volume.tags:
        raise NotOurs(f"{label} carries the tag {TAG_OURS}: it is a run's, and no destination.")
    if TAG_DESTINATION not in volume.tags:
        raise NotOurs(
            f"{label} is not marked as a destination: it is not written to.",
            hint=f"if all in it may be lost: `lvchange --addtag {TAG_DESTINATION} {label}`",
        )
    if set(request.sources) & {volume.path, volume.dm_path} - {""}:
        raise DestinationFailed(f"{label} is the disk itself that would be copied into it.")
    # What LVM calls the origin of a cached volume is its own slow half.
    snapshot = volume.origin and volume.attributes[0:1] != "C"
    if volume.attributes[0:1] not in _USABLE_TYPES or snapshot:
        raise DestinationFailed(
            f"{label} is no plain volume (attributes {volume.attributes}): a snapshot, the origin "
            "of one, or a part of something.",
            hint="remove its snapshots, or prepare another volume",
        )
    if volume.attributes[1:2] != "w":
        raise DestinationFailed(
            f"{label} is read-only (attributes {volume.attributes}).",
            hint=f"`lvchange -p rw {label}`",
        )
    if not volume.active or volume.suspended or volume.invalid:
        raise DestinationFailed(
            f"{label} is not active (attributes {volume.attributes}).",
            hint=f"`lvchange -ay {label}`",
        )
    if volume.size_bytes < request.size_bytes:
        raise DestinationFailed(
            f"{label} has {volume.size_bytes} bytes, {request.vdev} of {request.domain} has "
            f"{request.size_bytes}.",
            hint=f"`lvextend -L {request.size_bytes}b {label}`",
        )


def explain_use(host: Host, volume: LogicalVolume) -> str:
    """Who uses the volume, "" when nobody does: mounted, swapped on, or open."""
    names = {volume.path, volume.dm_path} - {""}
    numbers = set()
    for name in names:
        try:
            found = host.place(name).stat()
        except OSError:
            continue
        if stat.S_ISBLK(found.st_mode):
            numbers.add(f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}")
    for line in _read_lines(host, "/proc/self/mountinfo"):
        fields = line.split(" ")
        if "-" not in fields or len(fields) < fields.index("-") + 3:
            continue
        if fields[2] in numbers or fields[fields.index("-") + 2] in names:
            return f"mounted in dom0 at {fields[4]}"
    for line in _read_lines(host, "/proc/swaps")[1:]:
        if line.split(" ")[0] in names:
            return "swap space of dom0"
    return "in use by a guest or another process" if volume.open else ""


def _read_lines(host: Host, path: str) -> list[str]:
    """Lines of a file of the kernel's; a host without it has nothing to tell."""
    try:
        return host.place(path).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
