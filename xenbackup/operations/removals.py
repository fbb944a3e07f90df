"""Removals of points that were cut off, by a kill or a power cut: whoever comes next finishes them.

Such a point is out of sight already and cannot come back; what is left of it only takes room. So
this is never urgent, and a disk that is away, or a file server that does not answer, can wait.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

import structlog

from xenbackup.errors import DestinationMissing, XenbackupError
from xenbackup.operations.house import House
from xenbackup.operations.probing import Probe
from xenbackup.storage.destination import PointStore

PATIENCE_SECONDS = 5.0
"""How long removals are waited for; what takes longer goes on in its own thread."""

_log = structlog.get_logger("xenbackup.removals")
_PROBE = Probe(PATIENCE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class FinishedRemovals:
    """`points` are gone from the disk now; `troubles` say what stays and why, a clause each.

    `silent` are destinations that had not answered in time.
    """

    points: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def finish_removals(house: House, probe: Probe | None = None) -> FinishedRemovals:
    """Finish them in every destination that is there; one that is not has nothing to say.

    May be killed at any time, and repeated; removals that go on elsewhere are left alone. Raises
    nothing of what a destination meets.
    """
    names = {
        f"removals in {spec.name} of {house.state_folder}": spec.name
        for spec in house.configuration.destinations
    }
    questions = {key: partial(_finish_in_one, house, name) for key, name in names.items()}
    answers = (probe or _PROBE).ask(questions)
    return FinishedRemovals(
        points=tuple(point for key in names if key in answers for point in answers[key].points),
        troubles=tuple(why for key in names if key in answers for why in answers[key].troubles),
        silent=tuple(name for key, name in names.items() if key not in answers),
    )


def finish_in_store(house: House, name: str, store: PointStore) -> FinishedRemovals:
    """Finish those of one destination that is open, and let the catalog forget the points.

    Raises: DestinationMissing, DestinationFailed.
    """
    finished, left = store.finish_removals()
    for point in finished:
        _log.info("removal-finished", point=point, destination=name)
        # The catalog is an index, and another copy of the point may lie there still.
        with suppress(XenbackupError):
            if not store.has_trace(point):
                house.catalog.remove_point(name, point)
    return FinishedRemovals(points=finished, troubles=tuple(f"{name}: {why}" for why in left))


def _finish_in_one(house: House, name: str) -> FinishedRemovals:
    try:
        with closing(house.open_destination(name)) as store:
            store.open()
            return finish_in_store(house, name, store)
    except DestinationMissing:
        return FinishedRemovals()
    except XenbackupError as error:
        return FinishedRemovals(troubles=(f"{name}: {error.message.rstrip('.')}",))
    except Exception as error:  # noqa: BLE001 - in a thread of its own nobody else would hear of it
        _log.exception("removal-defect", destination=name)
        return FinishedRemovals(troubles=(f"{name}: {type(error).__name__}: {error}",))
