"""Rounds that have ended and that nobody has been told of yet: one small file each, durable.

What rounds come to is gathered for a while, so that a night is one message. A process that dies
meanwhile leaves these files, and the next one tells of what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from xenbackup.errors import StateFailed
from xenbackup.model.names import is_run_id
from xenbackup.model.run import RoundResult
from xenbackup.records.accepted_rounds import read_small_file
from xenbackup.system import durable

SCHEMA = 1
LARGEST_BYTES = 16 << 20
"""More than a thousand guests have to tell, each of them with a page of warnings."""

_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class UntoldRound:
    """What a round came to, when, and in whose zone that is told ("": the host's)."""

    result: RoundResult
    ended_at: datetime
    timezone: str = ""


class UntoldFolder:
    """The files of untold rounds in one folder; one process writes here, the daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, untold: UntoldRound) -> None:
        """Write it down. Raises: StateFailed."""
        durable.make_private_folder(self.folder)
        document = {"schema": SCHEMA, "untold": msgspec.to_builtins(untold)}
        # As ASCII: names that are no UTF-8 come back as they were.
        durable.replace_file(self._path_of(untold.result.round), json.dumps(document).encode())

    def remove(self, rounds: Iterable[str]) -> None:
        """They have been told; those without a file change nothing. Raises: StateFailed."""
        for path in {self._path_of(name) for name in rounds}:
            with durable.translate_errors(StateFailed, f"remove {path}"):
                path.unlink(missing_ok=True)
        if self.folder.is_dir():
            durable.sync_folder(self.folder)

    def list_rounds(self) -> tuple[tuple[UntoldRound, ...], tuple[str, ...]]:
        """All there are, oldest first, and what is wrong with files that cannot be read.

        Raises: StateFailed when the folder cannot be read.
        """
        if not self.folder.is_dir():
            return (), ()
        with durable.translate_errors(StateFailed, f"read the folder {self.folder}"):
            paths = sorted(self.folder.glob(f"*{_SUFFIX}"))
        found: list[UntoldRound] = []
        wrong: list[str] = []
        for path in paths:
            if not is_run_id(path.stem):
                continue
            try:
                found.append(_parse(path.stem, read_small_file(path, LARGEST_BYTES)))
            except (OSError, ValueError, RecursionError) as error:
                wrong.append(f"{path} tells of no round: {error}")
        return tuple(found), tuple(wrong)

    def _path_of(self, round_id: str) -> Path:
        if not is_run_id(round_id):
            raise StateFailed(f"{round_id!r} is no id of a round.")
        return self.folder / f"{round_id}{_SUFFIX}"


def _parse(round_id: str, content: bytes) -> UntoldRound:
    """Raises: ValueError, RecursionError for anything that `keep` does not write."""
    document = json.loads(content)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    # A ValidationError is a ValueError.
    untold = msgspec.convert(document.get("untold"), type=UntoldRound, strict=True)
    if untold.result.round != round_id:
        raise ValueError("it names another round")
    if untold.ended_at.tzinfo is None:
        raise ValueError("`ended_at` has no zone")
    return untold
