"""Marks of restores under way: a file each, written durably before the first act, gone at the end.

A mark that is found means that its targets hold neither what they held nor what they should: the
restore was cut off. It names what the restore made, so that doing it again may write over that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from xenbackup.errors import JournalDamaged, StateFailed
from xenbackup.model.names import is_run_id
from xenbackup.model.restore import MarkedTarget, RestoreMark, RestorePhase
from xenbackup.system import durable

VERSION = 1
SUFFIX = ".json"


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    mark: RestoreMark


class RestoreMarks:
    """The marks in one private folder, made when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list_marks(self) -> tuple[RestoreMark, ...]:
        """Unfinished restores, oldest first. Raises: JournalDamaged, StateFailed."""
        if not self._folder.is_dir():
            return ()
        paths = (path for path in self._folder.iterdir() if path.suffix == SUFFIX)
        return tuple(_read(path) for path in sorted(paths) if is_run_id(path.stem))

    def write(self, mark: RestoreMark) -> None:
        """Put the mark down, durably, in place of its earlier state. Raises: StateFailed."""
        durable.make_private_folder(self._folder)
        try:
            content = msgspec.json.encode(_Document(version=VERSION, mark=mark))
        except UnicodeEncodeError as error:
            raise StateFailed(
                f"The restore of {mark.domain!r} cannot be written down: its name or a path of it "
                "is not UTF-8.",
                hint="give it a new name with --domain",
            ) from error
        durable.replace_file(self._place(mark), content + b"\n")

    def remove(self, mark: RestoreMark) -> None:
        """The restore has ended, or lost its meaning. Raises: StateFailed."""
        with durable.translate_errors(StateFailed, f"remove {self._place(mark)}"):
            self._place(mark).unlink(missing_ok=True)
        durable.sync_folder(self._folder)

    def supersede(self, ended: RestoreMark) -> None:
        """The targets of a restore that has ended are whole: older marks let go of them.

        Raises: JournalDamaged, StateFailed.
        """
        for mark in self.list_marks():
            if mark.restore == ended.restore:
                continue
            left = tuple(target for target in mark.targets if not _is_among(target, ended.targets))
            if not left:
                self.remove(mark)
            elif left != mark.targets:
                self.write(replace(mark, targets=left))

    def _place(self, mark: RestoreMark) -> Path:
        if not is_run_id(mark.restore):
            raise StateFailed(f"{mark.restore!r} is no id of a restore.")
        return self._folder / f"{mark.restore}{SUFFIX}"


class MarkKeeper:
    """The mark of the restore that is going on: each change is on disk when its call returns."""

    def __init__(self, marks: RestoreMarks, mark: RestoreMark) -> None:
        self._marks = marks
        self.mark = mark

    def begin(self) -> None:
        """Nothing was touched before this. Raises: StateFailed."""
        self._marks.write(self.mark)

    def note_target(self, vdev: str, change: Callable[[MarkedTarget], MarkedTarget]) -> None:
        """Raises: StateFailed."""
        targets = tuple(
            change(target) if target.vdev == vdev else target for target in self.mark.targets
        )
        self._write(replace(self.mark, targets=targets))

    def note_phase(self, phase: RestorePhase, boot_id: str, domid: int | None = None) -> None:
        """`domid` is the guest that is about to run. Raises: StateFailed."""
        self._write(replace(self.mark, phase=phase, boot_id=boot_id, domid=domid))

    def release(self, vdevs: Collection[str]) -> None:
        """These targets were not touched; without any other the mark goes. Raises: StateFailed."""
        left = tuple(target for target in self.mark.targets if target.vdev not in vdevs)
        if left:
            self._write(replace(self.mark, targets=left))
            return
        self._marks.remove(self.mark)
        self.mark = replace(self.mark, targets=())

    def supersede(self) -> None:
        """The targets are whole and durable. Raises: StateFailed, JournalDamaged."""
        self._marks.supersede(self.mark)

    def end(self) -> None:
        """Everything is whole and durable. Raises: StateFailed, JournalDamaged."""
        self._marks.supersede(self.mark)
        self._marks.remove(self.mark)

    def _write(self, mark: RestoreMark) -> None:
        self._marks.write(mark)
        self.mark = mark


def _read(path: Path) -> RestoreMark:
    hint = "compare its targets with the point by hand, then move the file away"
    with durable.translate_errors(StateFailed, f"read {path}"):
        content = path.read_bytes()
    try:
        document = msgspec.json.decode(content, type=_Document, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalDamaged(f"{path} is no mark of a restore: {error}.", hint=hint) from error
    if document.version != VERSION or document.mark.restore != path.stem:
        raise JournalDamaged(
            f"{path} is of version {document.version} and restore {document.mark.restore}; "
            f"expected version {VERSION} and {path.stem}.",
            hint=hint,
        )
    return document.mark


def _is_among(target: MarkedTarget, others: Iterable[MarkedTarget]) -> bool:
    return any(
        (target.lv_uuid and target.lv_uuid == other.lv_uuid)
        or (target.group, target.lv_name, target.path) == (other.group, other.lv_name, other.path)
        for other in others
    )
