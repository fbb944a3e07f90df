"""Strict reading of what tools print: JSON fields of the right kind, numbers, and refusals.

Everything that a tool prints is hostile until it has the shape we know; a parser either returns
values or raises `UnexpectedOutput` with the command and the line at fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from xenbackup.errors import CommandFailed, CommandTimedOut, UnexpectedOutput, XenbackupError
from xenbackup.model.command import CommandResult

# int() of a text of digits is quadratic, and no size, id or count has more.
_DIGITS = re.compile(r"[0-9]{1,19}")
_SHOWN_CHARACTERS = 200
_LINE_CHARACTERS = 8192


def refuse_output(command: str, line: object, *, expected: str = "") -> UnexpectedOutput:
    """The error for a line that we do not know how to read."""
    shown = ascii(line) if isinstance(line, str) else repr(line)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "…"
    wanted = f" where {expected} was expected" if expected else ""
    return UnexpectedOutput(
        f"`{command}` printed {shown}{wanted}; it is not guessed at.",
        hint="report this with the tool's version",
    )


def split_lines(command: str, text: str) -> list[str]:
    """Lines of a tool's text, parted at newlines alone: names may hold Unicode's other separators.

    Raises: UnexpectedOutput for a line longer than any that a tool prints.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for line in lines:
        if len(line) > _LINE_CHARACTERS:
            raise refuse_output(command, line, expected="lines of sane length")
    return lines


def require_success(
    result: CommandResult,
    *,
    failure: type[XenbackupError] = CommandFailed,
    note: str = "",
    hint: str = "",
) -> CommandResult:
    """The result itself when the tool says success; `note` ends the message when it does not.

    Raises: CommandTimedOut past the deadline, `failure` for any other exit code.
    """
    command = " ".join(result.argv)
    if result.timed_out:
        late = f"`{command}` did not end within its deadline ({result.duration_seconds:.0f} s)"
        raise CommandTimedOut(f"{late}{'; ' + note if note else ''}.", hint=hint)
    if result.exit_code != 0:
        said = result.last_error_line or "no message"
        told = f"{said.rstrip('.')}; {note}." if note else said
        raise failure(f"`{command}` ended with exit code {result.exit_code}: {told}", hint=hint)
    return result


def parse_json(command: str, text: str) -> object:
    """Decode a tool's JSON. Raises: UnexpectedOutput."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refuse_output(command, text.strip()[:_SHOWN_CHARACTERS], expected="JSON") from error
    return value


def as_object(command: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise refuse_output(command, value, expected="a JSON object")
    return value


def as_list(command: str, value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise refuse_output(command, value, expected="a JSON list")
    return value


def pick_object(command: str, record: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The object under `key`; an empty one when the key is absent."""
    return as_object(command, record.get(key, {}))


def pick_list(command: str, record: Mapping[str, object], key: str) -> Sequence[object]:
    """The list under `key`; an empty one when the key is absent."""
    return as_list(command, record.get(key, []))


def pick_text(command: str, record: Mapping[str, object], key: str, default: str = "") -> str:
    """The text under `key`; `null` is how libxl before Xen 4.5 prints one that is not set."""
    value = record.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise refuse_output(command, {key: value}, expected="a text")
    return value


def pick_number(command: str, record: Mapping[str, object], key: str, default: int = 0) -> int:
    """An integer that JSON spells as a number; a text or a fraction is refused."""
    value = record.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise refuse_output(command, {key: value}, expected="a whole number")
    return value


def pick_flag(command: str, record: Mapping[str, object], key: str) -> bool:
    """A flag in any of libxl's spellings: 0 and 1, true and false, "True" and "False"."""
    value = record.get(key, 0)
    spellings = {0: False, 1: True, "True": True, "False": False}
    if not isinstance(value, int | str) or value not in spellings:
        raise refuse_output(command, {key: value}, expected="a flag")
    return spellings[value]


def parse_count(command: str, text: str) -> int:
    """A non-negative decimal number. Raises: UnexpectedOutput."""
    if not _DIGITS.fullmatch(text):
        raise refuse_output(command, text, expected="a whole number")
    return int(text)


def parse_percent(command: str, text: str) -> float | None:
    """`12.50` as a number from 0 to 100, "" as None. Raises: UnexpectedOutput."""
    if text == "":
        return None
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text) or float(text) > 100:
        raise refuse_output(command, text, expected="a percentage")
    return float(text)
