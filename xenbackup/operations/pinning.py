"""Pins: recovery points that an administrator wants kept, whatever retention says."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass

import structlog

from xenbackup.errors import XenbackupError
from xenbackup.model.point import PointSummary
from xenbackup.operations.house import House
from xenbackup.operations.points import find_point

_log = structlog.get_logger("xenbackup.points")


@dataclass(frozen=True, kw_only=True)
class PinResult:
    """A point as it is now; `changed` is False when it was so before. `warnings` are sentences on
    why it may not be the one that was meant.
    """

    point: PointSummary
    changed: bool
    warnings: tuple[str, ...] = ()


def pin_point(house: House, text: str) -> PinResult:
    """Keep the point that `text` names (id, unique beginning, DOMAIN@latest), durably.

    A pinned point is never pruned, and a volume that holds one is never written over.

    Raises: PointNotFound, PointDamaged, DestinationMissing, DestinationFailed.
    """
    return _mark(house, text, pinned=True)


def unpin_point(house: House, text: str) -> PinResult:
    """Let the point be pruned, or written over, again. Raises: as `pin_point`."""
    return _mark(house, text, pinned=False)


def _mark(house: House, text: str, *, pinned: bool) -> PinResult:
    found = find_point(house, text)
    with closing(house.open_destination(found.destination)) as store:
        changed = store.pin(found.point) if pinned else store.unpin(found.point)
        summary = store.summarise_point(found.point)
    # The mark lies with the point; the next listing heals a catalog that could not be told.
    with suppress(XenbackupError):
        house.catalog.record_point(summary)
    if changed:
        event = "point-pinned" if pinned else "point-unpinned"
        _log.info(event, point=found.point, destination=found.destination)
    return PinResult(point=summary, changed=changed, warnings=found.warnings)
