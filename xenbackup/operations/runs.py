"""Runs as their journals tell of them: unfinished ones, and the story of one."""

from __future__ import annotations

from xenbackup.errors import JournalDamaged, Locked
from xenbackup.model.record import RunRecord
from xenbackup.operations.house import House
from xenbackup.records.journal import fold_entries, list_journals, read_journal


def find_unfinished(house: House) -> tuple[tuple[str, RunRecord | None], ...]:
    """Runs whose journal has no end, oldest first; the record is None where it cannot be read."""
    found: list[tuple[str, RunRecord | None]] = []
    for path in list_journals(house.journals_folder):
        if path.stat().st_size == 0:
            continue
        try:
            lines = read_journal(path)
            if not lines:
                continue  # killed in the middle of its first line: nothing was begun
            record = fold_entries(tuple(line.entry for line in lines))
        except JournalDamaged:
            found.append((path.stem, None))
            continue
        if record.ended is None:
            found.append((path.stem, record))
    return tuple(found)


def refuse_unfinished(house: House, domain_name: str) -> None:
    """A run of this domain that nobody finished comes first: recovery, not another backup.

    Raises: Locked naming the run.
    """
    for run_id, record in find_unfinished(house):
        if record is not None and record.start.plan.domain.name == domain_name:
            raise Locked(
                f"Run {run_id} of {domain_name} was left unfinished.",
                hint="`xenbackup recover` first",
            )
