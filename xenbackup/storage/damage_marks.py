"""Marks of damage: the file `.damaged` beside a point's manifest, left by a verification.

It holds when the damage was found and what it was, and stays until a verification of the whole
point finds nothing. Whoever lists points reads it, and trusts nothing in it: a mark that cannot be
read counts as damage all the same. Only what a verification saw of the content is marked. What
kept it from seeing (a disk that does not answer, a read that fails) may pass, and marks nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from xenbackup.errors import DestinationFailed, PointDamaged, XenbackupError
from xenbackup.model.point import Damage
from xenbackup.storage.parts import DAMAGED_FILE, is_unfinished_mark
from xenbackup.storage.points import VerifyFinding
from xenbackup.system.folder import Folder

VERSION: Literal[1] = 1
FINDINGS_LIMIT = 20
"""Findings that a mark holds; more are only counted."""
LIMIT_BYTES = 64 << 10
_LETTERS_LIMIT = 300
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP))
"""A file is not there, or something else is in its place: that does not pass."""

_Text = Annotated[str, Meta(max_length=_LETTERS_LIMIT)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: _Text
    message: _Text
    offset_bytes: _Count | None
    length_bytes: _Count | None


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    found_at: datetime
    findings: Annotated[tuple[_Finding, ...], Meta(min_length=1, max_length=FINDINGS_LIMIT)]
    more: _Count


def encode_mark(found_at: datetime, findings: Sequence[VerifyFinding]) -> bytes:
    """Content of a mark; what is too long or too many is cut."""
    document = _Document(
        version=VERSION,
        found_at=found_at.astimezone(UTC),
        findings=tuple(
            _Finding(
                file=_cut(finding.file),
                message=_cut(finding.message),
                offset_bytes=finding.offset_bytes,
                length_bytes=finding.length_bytes,
            )
            for finding in findings[:FINDINGS_LIMIT]
        ),
        more=max(len(findings) - FINDINGS_LIMIT, 0),
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode_mark(content: bytes) -> Damage:
    """What a mark says. Raises: ValueError for anything but what `encode_mark` writes."""
    try:
        document = msgspec.json.decode(content, type=_Document, strict=True)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if document.found_at.tzinfo is None:
        raise ValueError("its time has no zone")
    try:
        found_at = document.found_at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return Damage(found_at=found_at, reason=_sum_up(document.findings, document.more))


def describe_findings(found_at: datetime, findings: Sequence[VerifyFinding]) -> Damage:
    """The same as is read from the mark of these findings."""
    return decode_mark(encode_mark(found_at, findings))


def read_mark(folder: Folder) -> Damage | None:
    """What the mark in an open point folder says; None without one. Raises: DestinationFailed
    when the folder itself cannot be looked into.
    """
    if folder.find(DAMAGED_FILE) is None:
        return None
    try:
        return decode_mark(folder.read_file(DAMAGED_FILE, limit_bytes=LIMIT_BYTES))
    except (XenbackupError, ValueError) as error:
        why = error.message if isinstance(error, XenbackupError) else f"{error}."
        reason = f"its mark {DAMAGED_FILE} cannot be read: {_cut(why).removesuffix('.')}"
        return Damage(found_at=None, reason=reason)


def write_mark(folder: Folder, found_at: datetime, findings: Sequence[VerifyFinding]) -> None:
    """Put the mark down, durably, in place of an earlier one. Raises: DestinationFailed."""
    folder.replace_file(DAMAGED_FILE, encode_mark(found_at, findings))


def remove_mark(folder: Folder) -> bool:
    """Take the mark off, durably; False when there was none. Raises: DestinationFailed."""
    names = {entry.name for entry in folder.list_entries()}
    marks = sorted(name for name in names if name == DAMAGED_FILE or is_unfinished_mark(name))
    for name in marks:
        folder.remove_file(name)
    if marks:
        folder.sync()
    return DAMAGED_FILE in names


def tells_damage(error: XenbackupError) -> bool:
    """The error is a verdict on what is stored, and not one on the way to it.

    A part that is missing, no plain file, or without sense in it is damage. A read that the system
    refuses (EIO, ESTALE, EACCES), a command that fails, a volume that cannot be opened may pass.
    """
    if not isinstance(error, (PointDamaged, DestinationFailed)):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.errno in _ABSENT
        if isinstance(cause, XenbackupError) and not isinstance(
            cause, (PointDamaged, DestinationFailed)
        ):
            return False
        cause = cause.__cause__
    return True


def _sum_up(findings: Sequence[_Finding], more: int) -> str:
    first = findings[0]
    others = len(findings) - 1 + more
    text = f"{first.file}: {first.message.removesuffix('.')}"
    if others:
        text += f"; and {others} more finding{'' if others == 1 else 's'}"
    return text


def _cut(text: str) -> str:
    """As JSON can carry it, and no longer than a mark takes."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return plain if len(plain) <= _LETTERS_LIMIT else plain[: _LETTERS_LIMIT - 1] + "…"
