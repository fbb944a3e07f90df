"""Reading of libxl's JSON, field by field, so that none goes unseen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

from xenbackup.dom0.guest_configuration.writing import Composition
from xenbackup.errors import UnexpectedOutput

_NUMBER_LIMIT = 0x7FFFFFFFFFFFFFFF
_Item = TypeVar("_Item")
_SWITCHES: dict[object, bool] = {"True": True, "False": False}
_SAYING_NOTHING: tuple[object, ...] = (None, "", "<default>", [], {})
# LIBXL_MEMKB_DEFAULT, LIBXL_INVALID_GFN and -1 of an unsigned 32-bit field: "not set".
UNSET_NUMBERS = frozenset((0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF, -1))


class RecordedObject:
    """One object of the JSON; every field taken is removed, the rest can be reported.

    A field of an unexpected type is reported like one that nobody knows, and counts as absent.
    """

    def __init__(self, path: str, content: dict[str, object], composition: Composition) -> None:
        self.path = path
        self._content = content
        self._composition = composition

    def has(self, key: str) -> bool:
        return self._content.get(key) is not None

    def holds_object(self, key: str) -> bool:
        return isinstance(self._content.get(key), dict)

    @property
    def is_empty(self) -> bool:
        """No field is left that says something."""
        return all(value in _SAYING_NOTHING for value in self._content.values())

    def name(self, key: str) -> str:
        """Where a field of this object is: `b_info.kernel`."""
        return f"{self.path}.{key}" if self.path else key

    def report(self, key: str, reason: str) -> None:
        self._composition.report(self.name(key), reason)

    def drop(self, *keys: str) -> None:
        """Take fields that the file must not carry; the caller's comment says why."""
        for key in keys:
            self._content.pop(key, None)

    def move(self, keys: Iterable[str], target: RecordedObject) -> None:
        """Give fields to another object, which keeps its own of the same name."""
        for key in keys:
            value = self._content.pop(key, None)
            if value is not None and not target.has(key):
                target._content[key] = value

    def take_text(self, key: str) -> str:
        value = self._content.pop(key, None)
        if value is None or isinstance(value, str):
            return value or ""
        self._report_type(key, value)
        return ""

    def take_number(self, key: str) -> int | None:
        """A whole number; None also for the numbers that mean "not set"."""
        value = self._content.pop(key, None)
        if isinstance(value, int) and not isinstance(value, bool):
            if value in UNSET_NUMBERS:
                return None
            if abs(value) <= _NUMBER_LIMIT:
                return value
            self.report(key, "the number is larger than xl reads")
            return None
        if value is not None:
            self._report_type(key, value)
        return None

    def take_bits(self, key: str) -> int:
        """A mask, in which all bits set is a value like any other."""
        value = self._content.pop(key, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is not None:
            self._report_type(key, value)
        return 0

    def take_switch(self, key: str) -> bool | None:
        """libxl prints three-valued booleans as "True", "False" and "<default>"."""
        value = self._content.pop(key, None)
        if value is None or value == "<default>":
            return None
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        if isinstance(value, str) and value in _SWITCHES:
            return _SWITCHES[value]
        self._report_type(key, value)
        return None

    def take_texts(self, key: str) -> tuple[str, ...]:
        return tuple(item for _, item in self._take_items(key, str))

    def take_numbers(self, key: str) -> tuple[int, ...]:
        return tuple(item for _, item in self._take_items(key, int))

    def take_number_lists(self, key: str) -> tuple[tuple[int, ...], ...]:
        lists: list[tuple[int, ...]] = []
        for position, item in self._take_items(key, list):
            place = f"{key}[{position}]"
            inner = RecordedObject(self.path, {place: item}, self._composition)
            lists.append(inner.take_numbers(place))
        return tuple(lists)

    def take_object(self, key: str) -> RecordedObject:
        """The object of that name; an absent one is empty."""
        value = self._content.pop(key, None)
        if isinstance(value, dict):
            return RecordedObject(self.name(key), value, self._composition)
        if value is not None:
            self._report_type(key, value)
        return RecordedObject(self.name(key), {}, self._composition)

    def take_objects(self, key: str) -> tuple[RecordedObject, ...]:
        return tuple(
            RecordedObject(f"{self.name(key)}[{position}]", item, self._composition)
            for position, item in self._take_items(key, dict)
        )

    def report_rest(self) -> None:
        """Report every field that nobody took and that says something."""
        for key, value in self._content.items():
            if value not in _SAYING_NOTHING:
                self.report(key, "no key of xl.cfg(5) is known here that says this")
        self._content.clear()

    def _take_items(self, key: str, kind: type[_Item]) -> list[tuple[int, _Item]]:
        """The items of a list with their positions; those of another type are reported."""
        value = self._content.pop(key, None)
        if value is not None and not isinstance(value, list):
            self._report_type(key, value)
            return []
        items: list[tuple[int, _Item]] = []
        for position, item in enumerate(value or []):
            if isinstance(item, kind) and not isinstance(item, bool):
                items.append((position, item))
            else:
                self._report_type(f"{key}[{position}]", item)
        return items

    def _report_type(self, key: str, value: object) -> None:
        self.report(key, f"found {type(value).__name__} where libxl has another type")


def read_recorded_object(text: str, composition: Composition) -> RecordedObject:
    """The outermost object of a recorded configuration.

    Raises: UnexpectedOutput when the text is not JSON, or no object.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnexpectedOutput(
            f"The recorded configuration of the guest is not JSON: {error}.",
            hint="it should be the `config` object that `xl list -l` prints",
        ) from error
    if not isinstance(content, dict):
        raise UnexpectedOutput(
            f"The recorded configuration of the guest is a JSON {type(content).__name__}, "
            "not an object."
        )
    return RecordedObject("", content, composition)
