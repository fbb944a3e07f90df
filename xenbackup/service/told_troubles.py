"""What kept the daemon from starting, and when that was told: it starts again every few seconds.

The stamp lies where it outlives the process: in the folder of the socket, which a full disk leaves
writable, or else beside the state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from xenbackup.errors import XenbackupError
from xenbackup.records.accepted_rounds import read_small_file
from xenbackup.system import durable

STAMP_FILE = "told-troubles.json"
AGAIN_AFTER = timedelta(hours=1)
MOST_TROUBLES = 5
"""So many of them an hour: an error may name what is another one each time."""

_LARGEST_BYTES = 1 << 16
_LONGEST_LETTERS = 2000

_log = structlog.get_logger("xenbackup.daemon")


class ToldTroubles:
    """Remembers in `folders`, of which one that can be written is enough."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._paths = tuple(folder / STAMP_FILE for folder in folders)

    def note(self, trouble: str, now: datetime) -> bool:
        """Whether to tell of it: not within an hour of the last time, and only if that can be
        remembered.
        """
        trouble = trouble[:_LONGEST_LETTERS]
        # A time that is still to come is of a clock that was wrong.
        told = {
            text: at for text, at in self._read().items() if timedelta() <= now - at < AGAIN_AFTER
        }
        if trouble in told or len(told) >= MOST_TROUBLES:
            return False
        told[trouble] = now
        content = json.dumps({text: at.isoformat() for text, at in told.items()}).encode()
        return any(_write(path, content) for path in self._paths)

    def _read(self) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for path in self._paths:
            try:
                document = json.loads(read_small_file(path, _LARGEST_BYTES))
                found |= {str(text): _read_time(at) for text, at in document.items()}
            except (OSError, ValueError, AttributeError, RecursionError):
                continue
        return found


def _read_time(text: object) -> datetime:
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _write(path: Path, content: bytes) -> bool:
    try:
        durable.replace_file(path, content)
    except (XenbackupError, OSError) as error:
        _log.info("trouble-not-noted", path=str(path), error=str(error))
        return False
    return True
