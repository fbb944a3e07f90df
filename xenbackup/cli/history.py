"""The newest runs, from the catalog and the journals together.

The catalog knows runs that never got a journal (a guest that was refused); journals know runs whose
process died before it could tell the catalog, and whether anything is left to recover.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xenbackup.cli.shapes import shape_time
from xenbackup.errors import JournalDamaged
from xenbackup.records.journal import fold_entries, list_journals, read_journal

if TYPE_CHECKING:
    from xenbackup.operations.house import House
    from xenbackup.records.catalog_rows import RunEntry

UNFINISHED = "unfinished"
UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A run as `runs` lists it; `outcome` is `unfinished` when its journal has no end.

    `owes` is what it could not remove yet, in words.

    `at` is when it ended, or for one that only a journal knows, when it began.
    """

    run: str
    outcome: str
    round: str = ""
    job: str = ""
    domain: str = ""
    uuid: str = ""
    at: datetime | None = None
    preset: str = ""
    consistency: str = ""
    point: str = ""
    away_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    error: str = ""
    owes: str = ""

    @property
    def unfinished(self) -> bool:
        return self.outcome in (UNFINISHED, UNREADABLE)

    def shape(self) -> dict[str, object]:
        """For `runs --json`."""
        return {
            "run": self.run,
            "round": self.round,
            "job": self.job,
            "domain": self.domain,
            "uuid": self.uuid,
            "at": shape_time(self.at) if self.at else None,
            "outcome": self.outcome,
            "preset": self.preset,
            "consistency": self.consistency,
            "point": self.point,
            "away_seconds": self.away_seconds,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "error": self.error,
            "owes": self.owes,
        }


def list_history(house: House, limit: int) -> tuple[KnownRun, ...]:
    """The newest `limit` runs, oldest first. Raises: StateFailed."""
    journals = {path.stem: path for path in list_journals(house.journals_folder)}
    recorded = {entry.result.run: entry for entry in house.catalog.list_runs(limit)}
    known = []
    for run in sorted({*journals, *recorded})[-limit:]:
        entry = recorded.get(run)
        told = _read_told_run(journals[run]) if run in journals else None
        if told is not None and (told.unfinished or entry is None):
            known.append(told)
        elif entry is not None:
            known.append(_read_recorded_run(entry))
    return tuple(known)


def _read_told_run(path: Path) -> KnownRun | None:
    """A run as its journal tells it; None for a journal whose run died before its first line."""
    try:
        lines = read_journal(path)
        if not lines:
            return None
        record = fold_entries(tuple(line.entry for line in lines))
    except JournalDamaged as error:
        return KnownRun(run=path.stem, outcome=UNREADABLE, error=error.message)
    start = record.start
    return KnownRun(
        run=path.stem,
        round=start.round,
        job=start.job,
        domain=start.plan.domain.name,
        uuid=start.plan.domain.uuid,
        at=lines[0].at,
        outcome=record.ended.value if record.ended else UNFINISHED,
        preset=start.plan.preset,
        consistency=start.plan.consistency.value if record.published else "",
        point=path.stem if record.published else "",
        away_seconds=record.away_seconds,
        bytes_read=record.bytes_read,
        bytes_written=record.bytes_written,
        error=record.why_failed,
        owes=record.debts[-1] if record.owes else "",
    )


def _read_recorded_run(entry: RunEntry) -> KnownRun:
    """A run as the catalog has it."""
    result = entry.result
    return KnownRun(
        run=result.run,
        round=entry.round,
        job=entry.job,
        domain=result.domain,
        uuid=result.uuid,
        at=entry.ended_at,
        outcome=result.outcome.value,
        preset=result.preset,
        consistency=result.consistency,
        point=result.point,
        away_seconds=result.away_seconds,
        bytes_read=result.bytes_read,
        bytes_written=result.bytes_written,
        error=result.error,
    )
