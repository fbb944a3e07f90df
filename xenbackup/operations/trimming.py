"""Records of long ago: journals of ended runs, and what the catalog remembers of runs and rounds.

One policy, `keep` of `[journals]`, and one moment: the end of a prune, or of a round without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from xenbackup.errors import XenbackupError
from xenbackup.operations.house import House
from xenbackup.operations.journals import trim_journals
from xenbackup.planning.estimate import RUNS_LIMIT
from xenbackup.planning.rounds import LATELY
from xenbackup.records.accepted_rounds import RoundFolder
from xenbackup.records.catalog_rows import Forgotten
from xenbackup.records.journal import list_journals

_log = structlog.get_logger("xenbackup.trimming")


@dataclass(frozen=True, kw_only=True)
class TrimmedRecords:
    """What went, or would go: runs whose journals did, and what the catalog forgot."""

    journals: tuple[str, ...] = ()
    forgotten: Forgotten = field(default_factory=Forgotten)


def trim_records(house: House, *, dry_run: bool = False) -> TrimmedRecords:
    """Remove the journals, and let the catalog forget the runs and failed rounds, that
    `[journals] keep` no longer asks for.

    A run stays in the catalog as long as its journal does (it has not ended, owes something, or its
    point may still be somewhere), as long as its round has not ended, and as long as `status` and
    estimates are made of it. A catalog that cannot be used keeps no journal from going.

    Raises: StateFailed.
    """
    journals = trim_journals(house, dry_run=dry_run)
    kept_seconds = house.configuration.keep_journals_seconds
    if not kept_seconds:
        return TrimmedRecords(journals=journals)
    kept = {path.stem for path in list_journals(house.journals_folder)}.difference(journals)
    try:
        rounds, _ = RoundFolder(house.rounds_folder).list_rounds()
        forgotten = house.catalog.forget_history(
            house.host.now() - max(timedelta(seconds=kept_seconds), LATELY),
            kept={*kept, *(accepted.round for accepted in rounds)},
            good_runs=RUNS_LIMIT,
            dry_run=dry_run,
        )
    except XenbackupError as error:
        _log.warning("history-not-trimmed", error=error.message)
        return TrimmedRecords(journals=journals)
    if not dry_run and (forgotten.runs or forgotten.rounds):
        runs, failed = len(forgotten.runs), len(forgotten.rounds)
        _log.info("history-trimmed", runs=runs, failed_rounds=failed)
    return TrimmedRecords(journals=journals, forgotten=forgotten)
