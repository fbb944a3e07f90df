"""The story of one run, as its journal tells it: when, and what, in an administrator's words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from xenbackup.cli.page import Page, style_outcome
from xenbackup.cli.shapes import shape_time
from xenbackup.cli.text import Cell, Colour, Styled, format_duration, format_size, format_time
from xenbackup.errors import UsageError
from xenbackup.model import entries as e
from xenbackup.model.printable import show_text
from xenbackup.model.record import RunRecord
from xenbackup.model.run import DEBT_HINT, Outcome
from xenbackup.records.journal import JournalLine, fold_entries, list_journals, read_journal

if TYPE_CHECKING:
    from xenbackup.operations.house import House

_CANDIDATES_LIMIT = 10
_DAMAGED = "its recovery point was complete, and has been found damaged since"
_BYTES = re.compile(r"\b(\d{4,19}) bytes\b")
"""Journals count in bytes; people do not."""
_COLOURS = {
    e.Failed: Colour.RED,
    e.DebtIncurred: Colour.RED,
    e.Warned: Colour.YELLOW,
    e.RecoveryBegan: Colour.YELLOW,
    e.RescueBegan: Colour.YELLOW,
    e.SnapshotTooSmall: Colour.YELLOW,
    e.HandsOff: Colour.YELLOW,
    e.Returned: Colour.GREEN,
    e.Published: Colour.GREEN,
}


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run's journal, whole."""

    run: str
    lines: tuple[JournalLine, ...]
    record: RunRecord

    @property
    def outcome(self) -> str:
        """How it ended; `unfinished` for one that is under way or was cut off."""
        return self.record.ended.value if self.record.ended else "unfinished"

    def report(self, page: Page, now: datetime, *, damaged: bool = False) -> str:
        """Fields, then a line for each entry. `damaged`: its point was found so since."""
        record, plan = self.record, self.record.start.plan
        fields: list[tuple[str, Cell]] = [
            ("run", self.run),
            ("guest", plan.domain.name),
            ("job", f"{record.start.job}, round {record.start.round}"),
            ("pipeline", f"{plan.preset}: {', '.join(s.step.value for s in plan.steps)}"),
            ("began", format_time(self.lines[0].at, now=now)),
            ("outcome", style_outcome(self.outcome)),
        ]
        if record.away_seconds:
            fields.append(("away", format_duration(record.away_seconds)))
        if record.bytes_read:
            amounts = f"{format_size(record.bytes_read)}, {format_size(record.bytes_written)}"
            fields.append(("read, written", amounts))
        fields += self._list_what_is_left(damaged)
        form = _choose_form({line.at.astimezone().date() for line in self.lines})
        rows: list[tuple[Cell, Cell]] = [
            (f"{line.at.astimezone():{form}}", _style_entry(line.entry)) for line in self.lines
        ]
        parts = [page.fields(fields), "", page.table(("TIME", "WHAT"), rows)]
        if record.failures and record.hint:
            parts += ["", page.note(show_text(record.hint), mark="Hint:")]
        if record.owes:
            text = f"{DEBT_HINT}; the next run of the guest tries again too."
            parts += ["", page.note(text, mark="Hint:")]
        elif record.ended is None:
            text = "if no process is at work on it, `xenbackup recover` finishes or undoes it."
            parts += ["", page.note(text, mark="Hint:")]
        return "\n".join(parts)

    def _list_what_is_left(self, damaged: bool) -> list[tuple[str, Cell]]:
        """What became of the guest, the backup and the snapshots, as far as the journal knows."""
        record = self.record
        fields: list[tuple[str, Cell]] = [
            ("the guest", _tell_guest(record)),
            ("the backup", Styled(_DAMAGED, Colour.RED) if damaged else _tell_point(record)),
        ]
        if record.snapshots:
            left = [made.label for made in record.snapshots if not made.removed]
            fields.append(
                (
                    "snapshots",
                    Styled(f"not removed yet: {', '.join(left)}", Colour.RED)
                    if left
                    else "removed",
                )
            )
        if record.owes:
            fields.append(("owed", Styled(show_text(record.debts[-1]), Colour.RED)))
        return fields

    def shape(self) -> dict[str, object]:
        """For `show --json`: the entries as the journal has them, with their words."""
        record, plan = self.record, self.record.start.plan
        return {
            "run": self.run,
            "round": record.start.round,
            "job": record.start.job,
            "domain": plan.domain.name,
            "uuid": plan.domain.uuid,
            "preset": plan.preset,
            "steps": [planned.step.value for planned in plan.steps],
            "began_at": shape_time(self.lines[0].at),
            "outcome": self.outcome,
            "away_seconds": record.away_seconds,
            "bytes_read": record.bytes_read,
            "bytes_written": record.bytes_written,
            "warnings": list(record.warnings),
            "failures": list(record.failures),
            "hint": record.hint,
            "debts": list(record.debts),
            "entries": [
                {
                    "number": line.number,
                    "at": shape_time(line.at),
                    "event": line.entry.__struct_config__.tag,
                    "text": line.entry.describe(),
                }
                for line in self.lines
            ],
        }


def _choose_form(days: set[date]) -> str:
    """A time of the day for one day; what was recovered in another year says which."""
    if len(days) == 1:
        return "%H:%M:%S"
    return "%m-%d %H:%M:%S" if len({day.year for day in days}) == 1 else "%Y-%m-%d %H:%M:%S"


def _tell_guest(record: RunRecord) -> Cell:
    if record.hands_off:
        return Styled(show_text(f"left alone: {record.hands_off}"), Colour.YELLOW)
    if record.returned and record.boot_begun:
        told = f"was booted afresh as domain {record.returned_domid}: its memory is lost"
        return Styled(told, Colour.YELLOW)
    if record.returned:
        same = record.returned_domid == record.start.plan.domain.domid
        return f"{'runs on' if same else 'came back'} as domain {record.returned_domid}"
    if not record.guest_touched:
        return "was not touched"
    if record.booted:
        told = "was booted afresh, and was not seen healthy since: its memory is lost"
        return Styled(told, Colour.RED)
    if record.boot_begun:
        return Styled("may be down: it is to be booted afresh, its memory is lost", Colour.RED)
    if record.resuming:
        return Styled("was let run, and was not seen healthy since", Colour.RED)
    if record.destroyed:
        return Styled("is down, saved, and waits for its restore", Colour.RED)
    return Styled("may stand still: this run stopped it", Colour.RED)


def _tell_point(record: RunRecord) -> Cell:
    if record.published:
        return "good: its recovery point is complete"
    if record.staged and not record.partial_discarded:
        return "none: the recovery point is not complete"
    return "none" if record.ended is None else "none: nothing of it was kept"


def find_story(house: House, text: str) -> Story | None:
    """The run whose id is `text`, or alone begins with it; None when there is none.

    Raises: UsageError when several runs do; JournalDamaged.
    """
    text = text.strip()
    journals = list_journals(house.journals_folder)
    found = [path for path in journals if path.stem == text]
    found = found or [path for path in journals if text and path.stem.startswith(text)]
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(path.stem for path in found[-_CANDIDATES_LIMIT:])
        more = len(found) - _CANDIDATES_LIMIT
        raise UsageError(
            f'{len(found)} runs begin with "{show_text(text)}": {names}'
            + (f" and {more} more." if more > 0 else "."),
            hint="give more letters of the id",
        )
    lines = read_journal(found[0])
    record = fold_entries(tuple(line.entry for line in lines))
    return Story(run=found[0].stem, lines=lines, record=record)


def _style_entry(entry: e.AnyEntry) -> Cell:
    text = _BYTES.sub(lambda found: format_size(int(found[1])), entry.describe())
    if isinstance(entry, e.RunEnded):
        colour = Colour.GREEN if entry.outcome is Outcome.OK else Colour.RED
        return Styled(text, colour)
    if isinstance(entry, (e.StepBegan, e.StepDone)):
        return Styled(text, Colour.BOLD)
    colour_of = _COLOURS.get(type(entry))
    return Styled(text, colour_of) if colour_of else text
