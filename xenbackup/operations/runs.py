"""Runs as their journals tell of them: unfinished ones, and the story of one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from xenbackup.errors import JournalDamaged, Locked
from xenbackup.model.record import RunRecord
from xenbackup.model.run import DEBT_HINT, Outcome, RunResult
from xenbackup.operations.house import House
from xenbackup.records.journal import fold_entries, list_journals, read_journal


def find_unfinished(house: House) -> tuple[tuple[str, RunRecord | None], ...]:
    """Runs whose journal has no end, oldest first; the record is None where it cannot be read."""
    found: list[tuple[str, RunRecord | None]] = []
    for path in list_journals(house.journals_folder):
        try:
            lines = read_journal(path)
            if not lines:
                continue  # trimmed just now, or killed in its first line: nothing was begun
            record = fold_entries(tuple(line.entry for line in lines))
        except JournalDamaged:
            found.append((path.stem, None))
            continue
        if record.ended is None:
            found.append((path.stem, record))
    return tuple(found)


def refuse_unfinished(house: House, domain_name: str) -> None:
    """A run of this domain that nobody finished comes first, before its disks are written over:
    one that was cut off, and one that owes a removal, for its snapshots are of these disks.

    Raises: Locked naming the run.
    """
    unfinished = find_unfinished(house)
    refuse_cut_off(unfinished, domain_name)
    for run_id, record in unfinished:
        if record is not None and record.start.plan.domain.name == domain_name:
            raise Locked(
                f"Run {run_id} of {domain_name} owes a removal: {record.debts[-1]}", hint=DEBT_HINT
            )


def refuse_cut_off(unfinished: Iterable[tuple[str, RunRecord | None]], domain_name: str) -> None:
    """A run of this domain that was cut off comes first: recovery, not another backup. One that is
    done but for a removal needs nothing of the guest any more.

    Raises: Locked naming the run.
    """
    for run_id, record in unfinished:
        if record is None or record.owes:
            continue
        if record.start.plan.domain.name == domain_name:
            raise Locked(
                f"Run {run_id} of {domain_name} was left unfinished.",
                hint="`xenbackup recover` first",
            )


def complete_catalog(house: House) -> int:
    """Tell the catalog of ended runs that only their journals know; returns how many.

    A catalog that was lost has none of them, and a process that was killed just after its run ended
    could not tell the catalog any more. Raises: StateFailed.
    """
    known = {entry.result.run for entry in house.catalog.find_runs("")}
    told = 0
    for path in list_journals(house.journals_folder):
        if path.stem not in known:
            with suppress(JournalDamaged):  # `check` tells of it
                told += _tell_catalog(house, path)
    return told


def _tell_catalog(house: House, path: Path) -> bool:
    """Raises: JournalDamaged, StateFailed."""
    lines = read_journal(path)
    if not lines:
        return False
    record = fold_entries(tuple(line.entry for line in lines))
    if record.ended is None:
        return False
    house.catalog.record_run(
        build_result(path.stem, record, (lines[-1].at - lines[0].at).total_seconds()),
        job=record.start.job,
        round=record.start.round,
        at=lines[-1].at,
    )
    return True


def build_result(run_id: str, record: RunRecord, duration_seconds: float) -> RunResult:
    """An ended run's result as its journal tells it."""
    domain, plan = record.start.plan.domain, record.start.plan
    return RunResult(
        run=run_id,
        domain=domain.name,
        uuid=domain.uuid,
        outcome=record.ended or Outcome.FAILED,
        preset=plan.preset,
        consistency=plan.consistency.value if record.published else "",
        point=run_id if record.published else "",
        away_seconds=record.away_seconds,
        bytes_read=record.bytes_read,
        bytes_written=record.bytes_written,
        duration_seconds=max(duration_seconds, 0.0),
        warnings=record.warnings,
        error=record.why_failed,
        hint=record.hint,
    )
