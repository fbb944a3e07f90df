"""Runs whose journal has no end, and how each of them stands: at work, cut off, or owing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from xenbackup.errors import JournalDamaged
from xenbackup.model.entries import RunEnded
from xenbackup.model.record import RunRecord
from xenbackup.model.status import OpenRun, RunState
from xenbackup.operations.house import House
from xenbackup.records.journal import JournalLine, fold_entries, list_journals, read_journal

# The last line of a journal that has an end, and what may be torn behind it.
_TAIL_BYTES = 512
_END = b'"event":"run-ended"'


def list_open_runs(house: House) -> tuple[OpenRun, ...]:
    """They come oldest first. Of ended runs only the last bytes are read: there may be thousands.

    Raises: StateFailed.
    """
    found = []
    for path in list_journals(house.journals_folder):
        open_run = None if has_end(path) else _read_open_run(house, path)
        if open_run is not None:
            found.append(open_run)
    newest = {run.domain: run.run for run in found}
    return tuple(
        # A later run of the guest has begun beside what this one owes: the lock is that one's.
        replace(run, state=RunState.OWES)
        if run.state is RunState.AT_WORK and run.owes and newest[run.domain] != run.run
        else run
        for run in found
    )


def is_followed(record: RunRecord, unfinished: Iterable[tuple[str, RunRecord | None]]) -> bool:
    """Whether a later run of the guest has begun beside what this one owes; the lock is its."""
    name = record.start.plan.domain.name
    return record.owes and any(
        later is not None and run > record.start.run and later.start.plan.domain.name == name
        for run, later in unfinished
    )


def is_at_work(house: House, record: RunRecord) -> bool:
    """Whether the guest of an unfinished run is locked: a process of ours is at work on it.

    Asking takes the lock for a moment, in which no run could begin anyway: the unfinished one is in
    its way.
    """
    domain = record.start.plan.domain
    return house.is_domain_locked(domain.configured_uuid or domain.name, domain.name)


def has_end(path: Path) -> bool:
    """Whether the last whole line is that of an end. A journal that went since has one; where that
    cannot be seen, its reading tells why.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL_BYTES, 0))
            tail = file.read()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    whole, newline, _ = tail.rpartition(b"\n")
    return bool(newline) and _END in whole.rpartition(b"\n")[2]


def _read_open_run(house: House, path: Path) -> OpenRun | None:
    """None for a run that was killed in the middle of its first line, or has ended meanwhile."""
    try:
        lines = read_journal(path)
        if not lines or isinstance(lines[-1].entry, RunEnded):
            return None
        record = fold_entries(tuple(line.entry for line in lines))
    except JournalDamaged:
        return OpenRun(run=path.stem, state=RunState.UNREADABLE)
    return None if record.ended is not None else _describe(house, path.stem, lines, record)


def _describe(house: House, run: str, lines: tuple[JournalLine, ...], record: RunRecord) -> OpenRun:
    if is_at_work(house, record):
        state = RunState.AT_WORK
    else:
        state = RunState.OWES if record.owes else RunState.CUT_OFF
    return OpenRun(
        run=run,
        state=state,
        job=record.start.job,
        domain=record.start.plan.domain.name,
        began_at=lines[0].at,
        step=record.step,
        owes=record.debts[-1] if record.owes else "",
    )
