"""Slots: which prepared logical volume belongs to which disk, by its tag or its name."""

from __future__ import annotations

from collections.abc import Iterable

from xenbackup.model.volume import TAG_DESTINATION, TAG_OURS, LogicalVolume

TAG_FOR_PREFIX = "xb.for="

_TAG_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")


def is_slot(volume: LogicalVolume) -> bool:
    """The volume is marked as a destination, and as nothing else of ours."""
    return TAG_DESTINATION in volume.tags and TAG_OURS not in volume.tags


def encode_slot_tag(domain: str, vdev: str) -> str:
    """The tag that gives a volume to a disk: `xb.for=web:20server/xvda`."""
    raw = domain.encode("utf-8", "surrogateescape")
    letters = (chr(byte) if byte in _TAG_SAFE else f":{byte:02X}" for byte in raw)
    return f"{TAG_FOR_PREFIX}{''.join(letters)}/{vdev}"


def name_slot(domain: str, vdev: str) -> str:
    """The name that gives a volume to a disk, where no tag does: `web--xvda`."""
    return f"{domain}--{vdev}"


def find_slots(
    volumes: Iterable[LogicalVolume], domain: str, vdev: str
) -> tuple[LogicalVolume, ...]:
    """Volumes meant for a disk: those with its tag, or else those with its name.

    Whether one is marked, fit and large enough is another question.
    """
    visible = [volume for volume in volumes if not volume.hidden]
    tag = encode_slot_tag(domain, vdev)
    tagged = tuple(volume for volume in visible if tag in volume.tags)
    return tagged or tuple(
        volume
        for volume in visible
        if volume.name == name_slot(domain, vdev)
        and not any(found.startswith(TAG_FOR_PREFIX) for found in volume.tags)
    )
