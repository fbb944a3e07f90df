"""A TOML file, read with suspicion: who may write it, what it holds, on which line each key stands.

The daemon does as root what these files say, so a file that somebody else may write is refused.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xenbackup.errors import ConfigurationError
from xenbackup.model.printable import show_text

MAXIMUM_FILE_BYTES = 1 << 20

# Where a value stands: keys of tables and indices of lists, from the top of the document.
Place = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A TOML file that could be read; `lines` gives the line (from 1) of keys and headers."""

    path: Path
    table: Mapping[str, object]
    lines: Mapping[Place, int]

    def find_line(self, place: Place) -> int | None:
        """The line of the key, else of the nearest thing around it; None for the whole file."""
        while place:
            if place in self.lines:
                return self.lines[place]
            place = place[:-1]
        return None


def show_path(path: Path) -> str:
    return show_text(str(path))


def read_document(path: Path) -> Document:
    """Read and parse a file.

    Raises: ConfigurationError, with one problem, for a file that is missing, unreadable, not a
    regular file, open to other writers, over 1 MiB, not UTF-8 or not TOML.
    """
    content = _read_content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(
            f"{_point_at(path, content, error.start)}: byte 0x{content[error.start]:02X} is not "
            "UTF-8, which TOML requires.",
            "save the file in UTF-8, or spell the letter as \\u00E9 inside a quoted text",
        ) from error
    return Document(path=path, table=_parse(path, text), lines=_index_lines(text))


def _read_content(path: Path) -> bytes:
    name = show_path(path)
    try:
        # O_NONBLOCK: opening a fifo must not wait for a writer that never comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _refuse(
            f"{name} does not exist.",
            "give the right path; `xenbackup init` writes a first configuration",
        ) from error
    except PermissionError as error:
        raise _refuse(
            f"{name} cannot be read: permission denied.", "run as root, or as the file's owner"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _refuse(f"{name} cannot be opened: {reason}.", "check the path") from error
    try:
        refusal = judge_file(os.fstat(descriptor), user_id=os.geteuid(), group_id=os.getegid())
        if refusal:
            raise _refuse(f"{name} {refusal[0]}.", refusal[1])
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAXIMUM_FILE_BYTES + 1)
    except OSError as error:
        raise _refuse(f"{name} cannot be read: {error.strerror}.", "check the disk") from error
    finally:
        os.close(descriptor)
    if len(content) > MAXIMUM_FILE_BYTES:
        raise _refuse(
            f"{name} is larger than 1 MiB, expected a few lines of TOML.", "check the path"
        )
    return content


def judge_file(status: os.stat_result, *, user_id: int, group_id: int) -> tuple[str, str] | None:
    """Why a file with this status is refused, and a hint; None when it may be trusted.

    It must be regular, belong to root or to the running user, and be writable by no other group
    than root's or the running user's own (many systems give each user a group and umask 002).
    """
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        return ("is a folder, expected a file", "give the path of a file")
    if not stat.S_ISREG(mode):
        return ("is not a regular file", "give the path of a plain file")
    if status.st_uid not in (0, user_id):
        return (
            f"belongs to user {status.st_uid}, who could have it do anything as user {user_id}",
            "chown it to root",
        )
    if mode & stat.S_IWOTH:
        return ("may be written by everybody", "chmod go-w it")
    if mode & stat.S_IWGRP and status.st_gid not in (0, group_id):
        return (f"may be written by group {status.st_gid}", "chmod g-w it")
    return None


def _refuse(problem: str, hint: str) -> ConfigurationError:
    return ConfigurationError((f"{problem} Hint: {hint}.",))


def _point_at(path: Path, content: bytes, offset: int) -> str:
    line = content.count(b"\n", 0, offset) + 1
    column = offset - (content.rfind(b"\n", 0, offset) + 1) + 1
    return f"{show_path(path)}, line {line}, column {column}"


# What tomllib says (left) and what a person may do about it.
_SYNTAX_HINTS = (
    ("Invalid value", 'put quotes around text, as in preset = "checkpoint"'),
    ("Invalid statement", "a line is `key = value`, a [table], or a # comment"),
    ("Expected '='", "write key = value"),
    ("Expected ']", "end the header's line with its bracket"),
    ("Expected newline", "one key to a line, and quotes around the whole of a text"),
    ("Cannot overwrite", "the same key stands there twice, or is both a key and a table: keep one"),
    ("Cannot declare", "the same table stands there twice: join the two"),
    ("Cannot redefine", "the same name stands there both as [x] and as [[x]]: keep one"),
    ("Cannot mutate", "a table stands there both inline and with a header: keep one form"),
    ("Duplicate inline table key", "the same key stands there twice: keep one"),
    ("Unclosed array", "close the list with ]"),
    ("Unclosed inline table", "close the table with }, on the same line"),
    ("Unterminated string", "close the text with the quotes that it begins with"),
    ("Invalid initial character", "begin a key with a letter, a digit, - or _"),
    ("Illegal character", "close the text with its quotes on the same line"),
    ("Unescaped '\\'", "double the backslash, or put the text in single quotes"),
)
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parse(path: Path, text: str) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _refuse(
            f"{show_path(path)} is not readable TOML: lists or tables are nested too deeply.",
            "nothing here needs more than two levels",
        ) from error
    except ValueError as error:
        # TOMLDecodeError, and the plain ValueError of a number with thousands of digits.
        raise _refuse(*_explain_syntax(path, text, str(error))) from error


def _explain_syntax(path: Path, text: str, message: str) -> tuple[str, str]:
    found = _POSITION.search(message)
    reason = show_text(message[: found.start()] if found else message, limit=200)
    lines = text.split("\n")
    if found and found.group(1):
        line, where = int(found.group(1)), f", line {found.group(1)}, column {found.group(2)}"
    elif found:
        line, where = len(lines), ", at its end"
    else:
        line, where = 0, ""
    quoted = show_text(lines[line - 1].strip(), limit=80) if 0 < line <= len(lines) else ""
    shown = f", in `{quoted}`" if quoted else ""
    hint = next(
        (hint for start, hint in _SYNTAX_HINTS if reason.startswith(start)),
        "docs/jobs.md shows how each key is written",
    )
    return (
        f"{show_path(path)}{where}: not valid TOML: {reason[:1].lower()}{reason[1:]}{shown}.",
        hint,
    )


_TOKENS = re.compile(
    r'"""(?:\\.|[^\\])*?"""'
    r"|'''.*?'''"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]",
    re.DOTALL,
)
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")


def _index_lines(text: str) -> Mapping[Place, int]:
    """The line of every key and table header of a document that tomllib accepted.

    tomllib tells no positions. Keys inside inline tables and lists are not listed: they are found
    by the key around them.
    """
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    header: Place = ()
    for number, statement in _split_statements(text):
        found = _HEADER.match(statement)
        if found:
            header = _split_dotted(found.group(2))
            if found.group(1) == "[[":
                counts[header] = counts.get(header, -1) + 1
                lines.setdefault(header, number)
                header = (*header, counts[header])
            lines.setdefault(header, number)
            continue
        found = _ASSIGNMENT.match(statement)
        if found:
            place = header
            for part in _split_dotted(found.group(1)):
                place = (*place, part)
                lines.setdefault(place, number)
    return lines


def _split_statements(text: str) -> list[tuple[int, str]]:
    """Lines, with their numbers, that begin outside of any text, list or inline table."""
    statements = []
    physical = text.split("\n")
    depth, number, begins = 0, 1, True
    for token in _TOKENS.finditer(text):
        part = token.group()
        if begins:
            statements.append((number, physical[number - 1]))
            begins = False
        if part == "\n":
            begins = depth <= 0
        elif part in "[{":
            depth += 1
        elif part in "]}":
            depth -= 1
        number += part.count("\n")
    if begins and number <= len(physical):
        statements.append((number, physical[number - 1]))
    return statements


def _split_dotted(dotted: str) -> Place:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, dotted))
