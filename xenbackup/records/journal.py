"""Journal of one run: what was begun, done and undone.

One append-only file a run, one JSON object a line, fsynced line by line. A torn last line (power
cut in the middle of a write) is ignored: an intent counts from its newline on. Version 1.

Room for a whole story is set aside when a journal begins: a disk that fills up in the middle of a
run must not keep its guest from coming back.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import singledispatch
from pathlib import Path

import msgspec

from xenbackup.errors import JournalDamaged, StateFailed
from xenbackup.model import entries as e
from xenbackup.model.names import is_run_id
from xenbackup.model.record import RunRecord, SnapshotRecord
from xenbackup.system import durable

VERSION = 1
SUFFIX = ".jsonl"
RESERVE_BYTES = 64 << 10
"""More than the longest story of a run and its rescue takes behind the first line."""

# The standard logger, because structlog costs 18 MB; its pipeline takes the fields over.
_LOG = logging.getLogger(__name__)


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    v: int
    n: int
    at: datetime
    entry: e.AnyEntry


@dataclass(frozen=True, kw_only=True)
class JournalLine:
    """An entry with its place (`number` from 1) and time (UTC) in the journal."""

    number: int
    at: datetime
    entry: e.AnyEntry


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line, strict=True)


class Journal:
    """The journal of one run, open for appending; `record` is what it amounts to so far."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self.path = path
        self._now = now
        self._descriptor = -1
        self._lines = 0
        self._size_bytes = 0
        self._goes_on = False
        self._record: RunRecord | None = None
        self.unwritten = ""

    @property
    def record(self) -> RunRecord:
        """Raises: JournalDamaged before the first entry."""
        if self._record is None:
            raise JournalDamaged(f"Journal {self.path} has no first entry yet.")
        return self._record

    def create(self, first: e.RunStarted) -> None:
        """Create the file (0600, must not exist) and write its first entry durably.

        Raises: StateFailed, also when the disk has no room for what may follow. No file is left
        then: nothing was begun, and it would keep the guest's next run waiting for a recovery.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with durable.translate_errors(StateFailed, f"create the journal {self.path}"):
            self._descriptor = os.open(self.path, flags, 0o600)
        try:
            self._begin(first)
        except StateFailed:
            with suppress(OSError):
                self.path.unlink()
            self.close()
            raise

    def _begin(self, first: e.RunStarted) -> None:
        self.write(first)
        durable.reserve_room(self._descriptor, self._size_bytes, RESERVE_BYTES)
        durable.sync_folder(self.path.parent)

    def reopen(self) -> None:
        """Continue a journal that another process left; a torn last line is cut off first.

        Raises: JournalDamaged; StateFailed.
        """
        lines, whole_bytes = _read_lines(self.path)
        self._record = fold_entries(tuple(line.entry for line in lines))
        self._lines = len(lines)
        self._size_bytes = whole_bytes
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with durable.translate_errors(StateFailed, f"open the journal {self.path}"):
            self._descriptor = os.open(self.path, flags)
            if os.fstat(self._descriptor).st_size != whole_bytes:
                os.ftruncate(self._descriptor, whole_bytes)
                os.fsync(self._descriptor)

    def look(self) -> None:
        """Read what there is so far; whoever writes it may go on. Raises: JournalDamaged."""
        self._record = fold_entries(tuple(line.entry for line in read_journal(self.path)))

    def go_on_unwritten(self) -> None:
        """From here on a line that cannot be written ends nothing: a guest must come back first.

        What was lost of it is in `unwritten`; the record counts it all the same.
        """
        self._goes_on = True

    def write(self, entry: e.AnyEntry, *, instead: Callable[[], object] | None = None) -> None:
        """Append one entry and fsync it: it is on disk when this returns.

        Once the journal goes on unwritten, `instead` is done for a line that cannot be written: it
        must be as good as the line for whoever comes later, or raise.

        Raises: StateFailed; the journal then ends where it ended before.
        """
        line = _Line(v=VERSION, n=self._lines + 1, at=self._now(), entry=entry)
        content = _encoder.encode(line) + b"\n"
        try:
            durable.append_durably(self._descriptor, content)
        except StateFailed as error:
            self._cut_back()
            if not self._goes_on:
                raise
            if not self.unwritten:
                fields = {"path": str(self.path), "error": error.message}
                _LOG.error("journal-unwritten", extra=fields)
                self.unwritten = error.message
            if instead is not None:
                instead()
        else:
            self._lines += 1
            self._size_bytes += len(content)
        self._record = apply_entry(self._record, entry)

    def _cut_back(self) -> None:
        """Take off what a failed write left: with a line behind it, it would not be a torn one.

        Where that fails, too, nothing more is written: the torn line stays the last one.
        """
        try:
            os.ftruncate(self._descriptor, self._size_bytes)
            os.fsync(self._descriptor)
        except OSError:
            self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            durable.give_room_back(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def list_journals(folder: Path) -> tuple[Path, ...]:
    """Journals in a folder, oldest first; foreign files are left alone. Raises: StateFailed."""
    with durable.translate_errors(StateFailed, f"look through the journals in {folder}"):
        found = tuple(folder.iterdir()) if folder.is_dir() else ()
    return tuple(sorted(p for p in found if p.suffix == SUFFIX and is_run_id(p.stem)))


def read_journal(path: Path) -> tuple[JournalLine, ...]:
    """All whole lines. Raises: JournalDamaged for anything but a torn last line."""
    return _read_lines(path)[0]


def read_record(path: Path) -> RunRecord:
    """The journal folded. Raises: JournalDamaged."""
    return fold_entries(tuple(line.entry for line in read_journal(path)))


def _read_lines(path: Path) -> tuple[tuple[JournalLine, ...], int]:
    """Lines and the number of bytes they take: what follows is torn.

    A journal that another process has just trimmed is as good as empty.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise JournalDamaged(
            f"Journal {path} cannot be read: {durable.explain_reason(error)}.",
            hint="look at the disk below it, and at the guest and its snapshots by hand",
        ) from error
    whole_bytes = content.rfind(b"\n") + 1
    lines = []
    for number, text in enumerate(content[:whole_bytes].splitlines(), start=1):
        try:
            line = _decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise JournalDamaged(
                f"Journal {path}, line {number}, cannot be read: {error}.",
                hint="look at the guest and its snapshots by hand, then move the journal away",
            ) from error
        if line.v != VERSION or line.n != number:
            raise JournalDamaged(
                f"Journal {path}, line {number}: expected version {VERSION} and line {number}, "
                f"found version {line.v} and line {line.n}.",
                hint="recover with the xenbackup that wrote it",
            )
        lines.append(JournalLine(number=line.n, at=line.at, entry=line.entry))
    return tuple(lines), whole_bytes


def fold_entries(entries: tuple[e.AnyEntry, ...]) -> RunRecord:
    """What a journal amounts to. Raises: JournalDamaged when it does not begin as one."""
    record: RunRecord | None = None
    for entry in entries:
        record = apply_entry(record, entry)
    if record is None:
        raise JournalDamaged("A journal is empty: its run was killed before it began.")
    return record


def apply_entry(record: RunRecord | None, entry: e.AnyEntry) -> RunRecord:
    """The record after one more entry (pure). Raises: JournalDamaged for a wrong beginning."""
    if record is None:
        if not isinstance(entry, e.RunStarted):
            raise JournalDamaged("A journal does not begin with run-started.")
        return RunRecord(start=entry.start)
    return _apply(entry, record)


@singledispatch
def _apply(entry: object, record: RunRecord) -> RunRecord:
    """Entries without a rule below tell a person something and decide nothing."""
    return record


_replace = dataclasses.replace


@_apply.register
def _(entry: e.StepBegan, record: RunRecord) -> RunRecord:
    return _replace(record, step=entry.step)


@_apply.register
def _(entry: e.FreezingMonitors, record: RunRecord) -> RunRecord:
    return _replace(record, monitors_frozen=entry.monitors)


@_apply.register
def _(entry: e.MonitorsWoken, record: RunRecord) -> RunRecord:
    return _replace(record, monitors_frozen=())


@_apply.register
def _(entry: e.Pausing, record: RunRecord) -> RunRecord:
    return _replace(record, pause_begun=True)


@_apply.register
def _(entry: e.Saving, record: RunRecord) -> RunRecord:
    """A save begins with a guest that stands still: the image to come fits the disks of now."""
    return _replace(
        record,
        save_begun=True,
        save_destroys=not entry.stays,
        save_finished=False,
        image_verified=False,
        resuming=False,
        at_rest=(),
        sharers=(*record.sharers, *entry.sharers),
        snapshots=tuple(_replace(made, before_save=True) for made in record.snapshots),
    )


@_apply.register
def _(entry: e.Saved, record: RunRecord) -> RunRecord:
    return _replace(record, save_finished=True, known_logs=(entry.monitor_log,))


@_apply.register
def _(entry: e.DisksAtRest, record: RunRecord) -> RunRecord:
    return _replace(record, at_rest=entry.marks, at_rest_boot_id=entry.boot_id)


@_apply.register
def _(entry: e.ImageVerified, record: RunRecord) -> RunRecord:
    return _replace(record, image_verified=True, image_size_bytes=entry.size_bytes)


@_apply.register
def _(entry: e.Destroying, record: RunRecord) -> RunRecord:
    return _replace(record, destroy_begun=True)


@_apply.register
def _(entry: e.Destroyed, record: RunRecord) -> RunRecord:
    return _replace(record, destroyed=True)


@_apply.register
def _(entry: e.Restoring, record: RunRecord) -> RunRecord:
    return _replace(
        record,
        restore_begun=True,
        restore_under_way=True,
        restored_domid=None,
        rebuilding_boot_id=entry.boot_id,
    )


@_apply.register
def _(entry: e.Restored, record: RunRecord) -> RunRecord:
    known = (*record.known_logs, entry.monitor_log)
    return _replace(record, restored_domid=entry.domid, restore_under_way=False, known_logs=known)


@_apply.register
def _(entry: e.NotRestored, record: RunRecord) -> RunRecord:
    return _replace(record, restore_under_way=False)


@_apply.register
def _(entry: e.Booting, record: RunRecord) -> RunRecord:
    return _replace(
        record, boot_begun=True, booted=False, resuming=True, rebuilding_boot_id=entry.boot_id
    )


@_apply.register
def _(entry: e.Booted, record: RunRecord) -> RunRecord:
    return _replace(record, booted=True)


@_apply.register
def _(entry: e.Resuming, record: RunRecord) -> RunRecord:
    return _replace(record, resuming=True)


@_apply.register
def _(entry: e.ImageStale, record: RunRecord) -> RunRecord:
    return _replace(record, resuming=True)


@_apply.register
def _(entry: e.Returned, record: RunRecord) -> RunRecord:
    return _replace(record, returned_domid=entry.domid, away_seconds=entry.away_seconds)


@_apply.register
def _(entry: e.HandsOff, record: RunRecord) -> RunRecord:
    return _replace(record, hands_off=entry.reason)


@_apply.register
def _(entry: e.Snapshotting, record: RunRecord) -> RunRecord:
    intended = SnapshotRecord(
        vdev=entry.vdev, group=entry.group, name=entry.name, origin_uuid=entry.origin_uuid
    )
    kept = tuple(known for known in record.snapshots if known.name != entry.name)
    return _replace(record, snapshots=(*kept, intended))


@_apply.register
def _(entry: e.Snapshotted, record: RunRecord) -> RunRecord:
    return _replace(
        record,
        snapshots=tuple(
            _replace(known, lv_uuid=entry.lv_uuid, size_bytes=entry.size_bytes)
            if known.name == entry.name
            else known
            for known in record.snapshots
        ),
    )


@_apply.register
def _(entry: e.SnapshotExtended, record: RunRecord) -> RunRecord:
    return _replace(
        record,
        snapshots=tuple(
            _replace(known, size_bytes=entry.size_bytes) if known.name == entry.name else known
            for known in record.snapshots
        ),
    )


@_apply.register
def _(entry: e.SnapshotTooSmall, record: RunRecord) -> RunRecord:
    return _replace(record, too_small=(*record.too_small, entry.vdev))


@_apply.register
def _(entry: e.SnapshotRemoved, record: RunRecord) -> RunRecord:
    return _replace(
        record,
        snapshots=tuple(
            _replace(known, removed=True) if known.name == entry.name else known
            for known in record.snapshots
        ),
    )


@_apply.register
def _(entry: e.Staging, record: RunRecord) -> RunRecord:
    return _replace(record, staged=True)


@_apply.register
def _(entry: e.DiskCopied, record: RunRecord) -> RunRecord:
    return _replace(
        record,
        bytes_read=record.bytes_read + entry.bytes_read,
        bytes_written=record.bytes_written + entry.bytes_written,
    )


@_apply.register
def _(entry: e.MemoryCopied, record: RunRecord) -> RunRecord:
    return _replace(
        record,
        bytes_read=record.bytes_read + entry.bytes_read,
        bytes_written=record.bytes_written + entry.bytes_read,
    )


@_apply.register
def _(entry: e.Published, record: RunRecord) -> RunRecord:
    return _replace(record, published=True)


@_apply.register
def _(entry: e.PartialDiscarded, record: RunRecord) -> RunRecord:
    return _replace(record, partial_discarded=True)


@_apply.register
def _(entry: e.ImageDiscarded, record: RunRecord) -> RunRecord:
    return _replace(record, image_discarded=True)


@_apply.register
def _(entry: e.Warned, record: RunRecord) -> RunRecord:
    return _replace(record, warnings=(*record.warnings, entry.message))


@_apply.register
def _(entry: e.Failed, record: RunRecord) -> RunRecord:
    """The hint is that of the first failure, as the error of a run is: what failed in its undo
    would explain something else.
    """
    hint = record.hint if record.failures else entry.hint
    return _replace(record, failures=(*record.failures, entry.message), hint=hint)


@_apply.register
def _(entry: e.DebtIncurred, record: RunRecord) -> RunRecord:
    return _replace(record, debts=(*record.debts, entry.message))


@_apply.register
def _(entry: e.RunEnded, record: RunRecord) -> RunRecord:
    return _replace(record, ended=entry.outcome)
