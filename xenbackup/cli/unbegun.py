"""What failed before it began, and so has no journal: whole rounds, and runs that were refused.

The catalog alone knows of them: a plan that could not be made, a destination that was not there, a
veto of the job's `before`, a guest that the plan refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xenbackup.cli.page import Page, style_outcome
from xenbackup.cli.shapes import shape_time
from xenbackup.cli.text import Cell, format_duration, format_time
from xenbackup.errors import UsageError
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome
from xenbackup.planning.rounds import read_begin

if TYPE_CHECKING:
    from datetime import datetime

    from xenbackup.cli.history import KnownRun
    from xenbackup.operations.house import House
    from xenbackup.records.catalog_rows import FailedRound, RunEntry

_CANDIDATES_LIMIT = 10


def list_failed_rounds(house: House, limit: int) -> tuple[FailedRound, ...]:
    """The newest `limit` rounds that came to nothing, oldest first. Raises: StateFailed."""
    return tuple(reversed(house.catalog.find_failed_rounds("", limit)))


def list_last_failures(
    failed: Sequence[FailedRound], runs: Sequence[KnownRun]
) -> tuple[FailedRound, ...]:
    """Of each job the failed round that nothing came after. A round that was given up in the middle
    has runs of its own, which are not after it.
    """
    last = {known.job: known for known in failed}
    return tuple(
        known
        for known in last.values()
        if known.outcome is Outcome.FAILED
        and not any(
            run.job == known.job
            and run.round != known.round
            and (run.at is None or run.at > known.ended_at)
            for run in runs
        )
    )


def find_failed_round(house: House, text: str) -> FailedRound | None:
    """The round whose id alone begins so; None when there is none.

    Raises: UsageError when several do; StateFailed.
    """
    found = (
        house.catalog.find_failed_rounds(text.strip(), _CANDIDATES_LIMIT) if text.strip() else ()
    )
    _refuse_several(text, "rounds", [known.round for known in found])
    return found[0] if found else None


def find_recorded_run(house: House, text: str) -> RunEntry | None:
    """The run of the catalog whose id alone begins so; None when there is none.

    Raises: UsageError when several do; StateFailed.
    """
    found = house.catalog.find_runs(text.strip()) if text.strip() else ()
    _refuse_several(text, "runs", [known.result.run for known in found])
    return found[0] if found else None


def refuse_round_with_runs(house: House, text: str) -> None:
    """A round whose guests had their turns has no story but those of its runs.

    Raises: UsageError naming them; StateFailed.
    """
    begun = text.strip()
    found = [known for known in house.catalog.find_runs("") if known.round.startswith(begun)]
    if not begun or len({known.round for known in found}) != 1:
        return
    names = [f"{known.result.run} ({show_text(known.result.domain)})" for known in reversed(found)]
    more = " and more" if len(names) > _CANDIDATES_LIMIT else ""
    listed = f"{', '.join(names[:_CANDIDATES_LIMIT])}{more}"
    raise UsageError(
        f"{found[0].round} is a round, and its runs are: {listed}.",
        hint="`xenbackup show RUN` tells of each",
    )


def _refuse_several(text: str, what: str, names: Sequence[str]) -> None:
    if len(names) > 1:
        more = " and more" if len(names) > _CANDIDATES_LIMIT else ""
        raise UsageError(
            f'Several {what} begin with "{show_text(text.strip())}": '
            f"{', '.join(names[:_CANDIDATES_LIMIT])}{more}.",
            hint="give more letters of the id",
        )


def shape_failed_round(found: FailedRound) -> dict[str, object]:
    """For `runs --json` and `show --json`."""
    return {
        "round": found.round,
        "job": found.job,
        "at": shape_time(found.ended_at),
        "outcome": found.outcome.value,
        "error": found.error,
        "hint": found.hint,
    }


def report_failed_round(found: FailedRound, page: Page, now: datetime) -> str:
    """Fields, and what to do about it."""
    fields: list[tuple[str, Cell]] = [
        ("round", found.round),
        ("job", show_text(found.job)),
        ("ended", format_time(found.ended_at, now=now)),
        ("outcome", style_outcome(found.outcome.value)),
        ("why", show_text(found.error)),
    ]
    return _add_hint(page.fields(fields), found.hint, page)


def tell_failed_round(found: FailedRound, page: Page) -> str:
    """Below a list: why nothing came of a job's newest round."""
    return page.note(
        f"round {found.round} of job {show_text(found.job)} came to nothing: "
        f"{show_text(found.error)} `xenbackup show {found.round}` says more.",
        mark="Failed:",
    )


def shape_recorded_run(entry: RunEntry) -> dict[str, object]:
    """The keys of a run's story, for one that has no journal: nothing was done, or long ago."""
    result = entry.result
    began_at = read_begin(result.run)
    return {
        "run": result.run,
        "round": entry.round,
        "job": entry.job,
        "domain": result.domain,
        "uuid": result.uuid,
        "preset": result.preset,
        "steps": [],
        "began_at": shape_time(began_at or entry.ended_at),
        "outcome": result.outcome.value,
        "away_seconds": result.away_seconds,
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "warnings": list(result.warnings),
        "failures": [result.error] if result.error else [],
        "hint": result.hint,
        "debts": [],
        "entries": [],
    }


def report_recorded_run(entry: RunEntry, page: Page, now: datetime) -> str:
    """What the catalog knows of a run without a journal."""
    result = entry.result
    fields: list[tuple[str, Cell]] = [
        ("run", result.run),
        ("guest", show_text(result.domain)),
        ("job", f"{show_text(entry.job)}, round {entry.round}"),
        ("ended", format_time(entry.ended_at, now=now)),
        ("outcome", style_outcome(result.outcome.value)),
    ]
    if result.away_seconds:
        fields.append(("away", format_duration(result.away_seconds)))
    if result.error:
        fields.append(("why", show_text(result.error)))
    fields.append(("journal", "none: it did not begin, or ended longer ago than they are kept"))
    return _add_hint(page.fields(fields), result.hint, page)


def _add_hint(text: str, hint: str, page: Page) -> str:
    return f"{text}\n\n{page.note(show_text(hint), mark='Hint:')}" if hint else text
