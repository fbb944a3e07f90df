"""Journals of long ago: those of ended runs go after a while, unless their point is still there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import structlog

from xenbackup.errors import DestinationFailed, DestinationMissing, JournalDamaged, StateFailed
from xenbackup.operations.house import House
from xenbackup.records.journal import fold_entries, list_journals, read_journal
from xenbackup.storage.destination import PointStore
from xenbackup.system import durable

_log = structlog.get_logger("xenbackup.journals")


def trim_journals(house: House, *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove the journals that `[journals] keep` no longer asks for; returns their runs, oldest
    first.

    A journal without an end, one that cannot be read, and one whose point may still be somewhere
    always stay: while a destination is away, all that published a point do.

    Raises: StateFailed.
    """
    kept_seconds = house.configuration.keep_journals_seconds
    if not kept_seconds:
        return ()
    limit = timedelta(seconds=kept_seconds)
    removed = []
    with ExitStack() as held:
        stores: list[PointStore] | None = None
        for path in list_journals(house.journals_folder):
            published = _judge_old(house, path, limit)
            if published is None:
                continue
            if published:
                stores = _open_all(house, held) if stores is None else stores
                if _may_exist(house, stores, path.stem):
                    continue
            if not dry_run:
                with durable.translate_errors(StateFailed, f"remove the journal {path}"):
                    path.unlink(missing_ok=True)
                _log.info("journal-removed", run=path.stem)
            removed.append(path.stem)
    if removed and not dry_run:
        durable.sync_folder(house.journals_folder)
    return tuple(removed)


def _judge_old(house: House, path: Path, limit: timedelta) -> bool | None:
    """Whether a run that ended long enough ago published its point; None for all other runs."""
    try:
        lines = read_journal(path)
        record = fold_entries(tuple(line.entry for line in lines))
    except JournalDamaged:
        return None
    if record.ended is None or house.host.now() - lines[-1].at <= limit:
        return None
    return record.published


def _open_all(house: House, held: ExitStack) -> list[PointStore]:
    """Every destination that can be looked into; fewer than are configured when one is away."""
    stores = []
    for spec in house.configuration.destinations:
        store = held.enter_context(closing(house.open_destination(spec.name)))
        try:
            store.open()
        except (DestinationMissing, DestinationFailed):
            continue
        stores.append(store)
    return stores


def _may_exist(house: House, stores: Sequence[PointStore], point: str) -> bool:
    if len(stores) < len(house.configuration.destinations):
        return True
    try:
        return any(store.has_trace(point) for store in stores)
    except (DestinationMissing, DestinationFailed):
        return True
