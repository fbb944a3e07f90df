"""Scheduled rounds that were accepted and have not ended: one small file each, durable.

A due time is taken in the catalog so that it runs once. A daemon that dies between that and the
round's end would lose the night: these files are what the next one goes on with. A file is written
before the due time is taken and removed when the round has ended, so that of a round there is
always a file, or nothing left to do.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xenbackup.errors import StateFailed
from xenbackup.model.names import is_run_id
from xenbackup.system import durable

SCHEMA = 1
LARGEST_BYTES = 1 << 20
"""More than the names of a thousand guests take."""

_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class AcceptedRound:
    """A round of a job for its due time. `settled` are the guests whose runs have ended for good;
    `resumed` counts the daemons that went on with it.
    """

    round: str
    job: str
    due_at: datetime
    settled: frozenset[str] = frozenset()
    resumed: int = 0


class RoundFolder:
    """The files of accepted rounds in one folder; one process writes here, the daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, accepted: AcceptedRound) -> None:
        """Write it down, or anew what became of it. Raises: StateFailed."""
        durable.make_private_folder(self.folder)
        document = {
            "schema": SCHEMA,
            "round": accepted.round,
            "job": accepted.job,
            "due_at": accepted.due_at.astimezone(UTC).isoformat(),
            "settled": sorted(accepted.settled),
            "resumed": accepted.resumed,
        }
        durable.replace_file(self._path_of(accepted.round), json.dumps(document).encode())

    def remove(self, round_id: str) -> None:
        """It has ended; a second removal changes nothing. Raises: StateFailed."""
        path = self._path_of(round_id)
        with durable.translate_errors(StateFailed, f"remove {path}"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            durable.sync_folder(self.folder)

    def list_rounds(self) -> tuple[tuple[AcceptedRound, ...], tuple[str, ...]]:
        """All there are, oldest first, and what is wrong with files that cannot be read.

        Raises: StateFailed when the folder cannot be read.
        """
        if not self.folder.is_dir():
            return (), ()
        with durable.translate_errors(StateFailed, f"read the folder {self.folder}"):
            paths = sorted(path for path in self.folder.iterdir() if is_run_id(path.stem))
        found: list[AcceptedRound] = []
        wrong: list[str] = []
        for path in paths:
            if path.suffix != _SUFFIX:
                continue
            try:
                found.append(_parse(path.stem, read_small_file(path, LARGEST_BYTES)))
            except (OSError, ValueError, OverflowError, RecursionError) as error:
                wrong.append(f"{path} is no record of a round: {error}")
        return tuple(found), tuple(wrong)

    def _path_of(self, round_id: str) -> Path:
        if not is_run_id(round_id):
            raise StateFailed(f"{round_id!r} is no id of a round.")
        return self.folder / f"{round_id}{_SUFFIX}"


def read_small_file(path: Path, largest_bytes: int) -> bytes:
    """Raises: OSError, also for a link; ValueError for what is no small plain file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - opened with flags of its own
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no plain file")
        content = file.read(largest_bytes + 1)
    if len(content) > largest_bytes:
        raise ValueError(f"it is larger than {largest_bytes} bytes")
    return content


def _parse(round_id: str, content: bytes) -> AcceptedRound:
    """Raises: ValueError, OverflowError, RecursionError for anything that `keep` does not write."""
    document = json.loads(content)
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    job, due_at = document.get("job"), document.get("due_at")
    settled, resumed = document.get("settled"), document.get("resumed")
    if document.get("round") != round_id:
        raise ValueError("it names another round")
    if not isinstance(job, str) or not isinstance(due_at, str) or not isinstance(resumed, int):
        raise ValueError("a key is missing, or of another type")
    if not isinstance(settled, list) or not all(isinstance(name, str) for name in settled):
        raise ValueError("`settled` is no list of names")
    moment = datetime.fromisoformat(due_at)
    if moment.tzinfo is None:
        raise ValueError("`due_at` has no zone")
    return AcceptedRound(
        round=round_id,
        job=job,
        due_at=moment.astimezone(UTC),
        settled=frozenset(settled),
        resumed=resumed,
    )
