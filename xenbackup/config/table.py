"""One TOML table, read key by key, so that all of its problems are found and not the first only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from xenbackup.config.document import Document, Place, show_path
from xenbackup.config.keys import Section, names_in, sections_of, top_of
from xenbackup.config.values import Unfit, describe_value, suggest
from xenbackup.errors import ConfigurationError
from xenbackup.model.printable import show_text

Value = TypeVar("Value")


class Notes:
    """The problems of one document, gathered in the order of its lines."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems: list[tuple[int, str]] = []

    def add(self, place: Place, sentence: str, hint: str = "") -> None:
        """Note a problem at a place; `sentence` ends without a full stop."""
        line = self._document.find_line(place)
        where = f"{show_path(self._document.path)}{f', line {line}' if line else ''}"
        end = f" Hint: {hint.rstrip('.')}{'' if hint.endswith('?') else '.'}" if hint else ""
        # What is missing stands on no line: it is told last.
        self._problems.append((line or 1 << 30, f"{where}: {sentence}.{end}"))

    @property
    def count(self) -> int:
        return len(self._problems)

    def problems(self) -> tuple[str, ...]:
        return tuple(text for _, text in sorted(self._problems, key=lambda problem: problem[0]))

    def raise_if_found(self) -> None:
        """Raises: ConfigurationError with every problem noted."""
        if self._problems:
            raise ConfigurationError(self.problems())


class TableReader:
    """Takes the keys of one table; what does not fit is noted, and the default given instead.

    Unknown keys are noted at once, with the nearest known one.
    """

    def __init__(
        self,
        table: Mapping[str, object],
        *,
        section: Section,
        notes: Notes,
        place: Place = (),
        context: str = "",
    ) -> None:
        self._table = table
        self._section = section
        self._notes = notes
        self._place = place
        self._context = context
        self._suggested: set[str] = set()
        for name in table:
            if name not in names_in(section):
                self._note_unknown(name)

    def has(self, name: str) -> bool:
        return name in self._table

    def get(self, name: str) -> object:
        return self._table.get(name)

    def place_of(self, name: str) -> Place:
        return (*self._place, name)

    def note(self, name: str, sentence: str, hint: str = "") -> None:
        """Note a problem of one key."""
        self._notes.add(self.place_of(name), f"`{name}`{self._context} {sentence}", hint)

    def note_unfit(self, name: str, value: object, unfit: Unfit) -> None:
        self.note(name, f"is {describe_value(value)}, expected {unfit.expected}", unfit.hint)

    def note_missing(self, name: str, expected: str, hint: str = "") -> None:
        """Note a key that must be there, unless a misspelling of it was noted already."""
        if name not in self._suggested:
            sentence = f"`{name}`{self._context} is missing, expected {expected}"
            self._notes.add(self._place, sentence, hint)

    def read(self, name: str, reader: Callable[[object], Value | Unfit], default: Value) -> Value:
        """The value of a key that may be left out."""
        if name not in self._table:
            return default
        value = reader(self._table[name])
        if isinstance(value, Unfit):
            self.note_unfit(name, self._table[name], value)
            return default
        return value

    def read_required(
        self, name: str, reader: Callable[[object], Value | Unfit], fallback: Value
    ) -> Value:
        """The value of a key that must be there; `fallback` stands in when it is not."""
        if name not in self._table:
            unfit = reader(None)
            expected = unfit.expected if isinstance(unfit, Unfit) else "a value"
            self.note_missing(name, expected)
        return self.read(name, reader, fallback)

    def read_list(
        self,
        name: str,
        reader: Callable[[object], Value | Unfit],
        *,
        required: bool = False,
        hint: str = "",
    ) -> tuple[Value, ...]:
        """A list, each entry on its own; a required one may not be empty."""
        if name not in self._table:
            if required:
                self.note_missing(name, "a list of texts", hint)
            return ()
        entries = self._table[name]
        if not isinstance(entries, list):
            if isinstance(entries, str):
                hint = f"write it in brackets: {name} = [{describe_value(entries)}]"
            self.note(name, f"is {describe_value(entries)}, expected a list of texts", hint)
            return ()
        if required and not entries:
            self.note(name, "is an empty list, expected one entry or more", hint)
        values = []
        for number, entry in enumerate(entries, start=1):
            value = reader(entry)
            if isinstance(value, Unfit):
                sentence = f"has {describe_value(entry)} as entry {number}"
                self.note(name, f"{sentence}, expected {value.expected}", value.hint)
            else:
                values.append(value)
        return tuple(values)

    def open_table(self, name: str, section: Section) -> TableReader:
        """The reader of a table inside; an empty one when the key is missing or no table."""
        value = self._table.get(name, {})
        header = ".".join(str(part) for part in self.place_of(name))
        if not isinstance(value, dict):
            self.note(
                name,
                f"is {describe_value(value)}, expected a table",
                f"write it as [{header}], with its keys on the lines below",
            )
            value = {}
        return self.open_entry(value, name=name, section=section, context=f" in [{header}]")

    def open_entry(
        self,
        table: Mapping[str, object],
        *,
        name: str,
        section: Section,
        context: str,
        within: Sequence[str | int] = (),
    ) -> TableReader:
        """The reader of a table found under `name`, or deeper by `within`."""
        return TableReader(
            table,
            section=section,
            notes=self._notes,
            place=(*self._place, name, *within),
            context=context,
        )

    def _note_unknown(self, name: str) -> None:
        known = names_in(self._section)
        hint = self._locate_elsewhere(name) or suggest(name, known)
        if hint.startswith("did you mean"):
            self._suggested.add(hint.split("`")[1])
        hint = hint or f"the keys here are {', '.join(known)}"
        sentence = f"unknown key `{show_text(name, limit=80)}`{self._context}"
        self._notes.add(self.place_of(name), sentence, hint)

    def _locate_elsewhere(self, name: str) -> str:
        """A key of another table: TOML gives every line below a [header] to that table."""
        top = top_of(self._section)
        homes = [home for home in sections_of(name) if top_of(home) is top]
        if top in homes:
            if top is Section.JOB:
                return f"`{name}` belongs to the job itself: move it above the first [table]"
            return f"`{name}` belongs above the first [table]"
        if self._section is not top:
            return ""
        headers = [home.value.split("`")[1] for home in homes if home is not Section.STEP]
        if not headers:
            return ""
        return f"`{name}` belongs to {' or '.join(headers)}: put it below that header"
