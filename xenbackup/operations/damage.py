"""What a verification has found is kept: beside the point, and in the catalog for whoever asks.

The catalog is told first of damage, and last of its end, so that a kill between the two leaves the
alarm on. The mark beside the point is the truth: the next listing brings the catalog in step. One
that looked just before the mark was there may have taken the alarm back: the catalog is told again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import structlog

from xenbackup.errors import PointNotFound, XenbackupError
from xenbackup.model.point import Damage, MarkedPoint
from xenbackup.operations.house import House
from xenbackup.storage.damage_marks import describe_findings
from xenbackup.storage.destination import PointStore
from xenbackup.storage.points import VerifyFinding

_log = structlog.get_logger("xenbackup.verify")


def note_damage(
    house: House,
    store: PointStore,
    point: str,
    domain: str,
    findings: Sequence[VerifyFinding],
    *,
    known: Damage | None,
) -> str:
    """Mark the point, durably; why that could not be done, "" when it was.

    What was `known` before keeps its time: that is when it was found. Raises: PointNotFound for
    one that was removed meanwhile, of which nothing is kept then.
    """
    found_at = _choose_time(known, house.host.now())
    damage = describe_findings(found_at, findings)
    marked = MarkedPoint(point=point, destination=store.name, domain=domain, damage=damage)
    _tell_catalog(house, marked)
    _log.info(
        "point-damaged", point=point, destination=store.name, domain=domain, reason=damage.reason
    )
    try:
        store.mark_damaged(point, found_at, findings)
    except PointNotFound:
        with suppress(XenbackupError):
            house.catalog.forget_damage(store.name, point)
        raise
    except XenbackupError as error:
        return error.message
    _tell_catalog(house, marked)
    return ""


def _tell_catalog(house: House, marked: MarkedPoint) -> None:
    """A catalog that fails hears of it from the next listing."""
    with suppress(XenbackupError):
        house.catalog.record_damaged(marked)


def note_soundness(house: House, store: PointStore, point: str) -> str:
    """Take a mark off a point that was read whole and is good; why that could not be done, "" when
    it was or there was none. Raises: PointNotFound.
    """
    try:
        marked = store.clear_damage(point)
    except PointNotFound:
        raise
    except XenbackupError as error:
        return error.message
    if marked:
        _log.info("point-sound-again", point=point, destination=store.name)
    with suppress(XenbackupError):
        house.catalog.forget_damage(store.name, point)
    return ""


def _choose_time(known: Damage | None, now: datetime) -> datetime:
    return known.found_at if known is not None and known.found_at is not None else now
