"""Questions that may hang, asked in such a way that they keep nobody.

A file server that is gone blocks `statvfs` for minutes or for ever, and nothing can interrupt it.
So each question gets a thread of its own, and all of them one deadline. A thread that does not come
back stays behind; while it does, its question is not asked again. Who asks what somebody else is
asking at this moment gets the same answer.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from xenbackup.errors import XenbackupError
from xenbackup.model.job import DESTINATION_MARKER_FILE
from xenbackup.model.status import PlaceState
from xenbackup.model.volume import VolumeGroup

DEADLINE_SECONDS = 2.0
"""How long questions that were asked together may take in all."""

_T = TypeVar("_T")


@dataclass(eq=False)
class _Question:
    """One that is being asked; `answers` is empty until there is one."""

    thread: threading.Thread
    asked_at: float
    answers: list[object] = field(default_factory=list)


class Probe:
    """Asks, and remembers what still owes an answer. Safe with many threads."""

    def __init__(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.deadline_seconds = deadline_seconds
        self._lock = threading.Lock()
        self._open: dict[str, _Question] = {}

    def ask(self, questions: Mapping[str, Callable[[], _T]]) -> dict[str, _T]:
        """The answers that came in time. A question must not raise; its key tells it apart from
        all others of this object.

        What somebody else asks at this moment is not asked twice: both get the one answer. A
        question that had its time, whoever gave it, is not waited for again.
        """
        begun = {
            key: found
            for key, question in questions.items()
            if (found := self._begin(key, question)) is not None
        }
        for question in begun.values():
            until = question.asked_at + self.deadline_seconds
            question.thread.join(max(until - time.monotonic(), 0.0))
        with self._lock:
            # What has a key here was asked for by somebody of the same type.
            return {key: cast("_T", q.answers[0]) for key, q in begun.items() if q.answers}

    def _begin(self, key: str, question: Callable[[], _T]) -> _Question | None:
        """The question as it is being asked now, by us or by somebody before us; None when no
        thread can be had.
        """

        def ask() -> None:
            try:
                answer = question()
                with self._lock:
                    mine.answers.append(answer)
            finally:
                with self._lock:
                    self._forget(key, mine)

        with self._lock:
            if key in self._open:
                return self._open[key]
            thread = threading.Thread(target=ask, name=f"probe {key}", daemon=True)
            mine = self._open[key] = _Question(thread, time.monotonic())
            try:
                thread.start()
            except BaseException as error:
                self._forget(key, mine)
                if isinstance(error, RuntimeError):
                    return None  # no thread can be had: there is no answer, and it is asked again
                raise
        return mine

    def _forget(self, key: str, question: _Question) -> None:
        if self._open.get(key) is question:
            del self._open[key]


PROBE = Probe()
"""The process's own: whoever asks for the status shares what is known to hang."""
PLACES_PROBE = Probe(deadline_seconds=30.0)
"""For those who decide by the answer: a disk that sleeps may take ten seconds to wake."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a folder said of itself; bytes are None where it said nothing."""

    state: PlaceState
    problem: str = ""
    free_bytes: int | None = None
    total_bytes: int | None = None


def look_at_folder(folder: Path) -> Room:
    """Whether the folder is there and ours, and its room. May hang as long as its disk does."""
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return Room(state=PlaceState.UNREADABLE, problem=f"{folder} is no folder.")
        marker = folder / DESTINATION_MARKER_FILE
        if not os.path.lexists(marker):
            problem = f"There is no marker in {folder}; its disk may not be mounted."
            return Room(state=PlaceState.UNMARKED, problem=problem)
        found = os.statvfs(folder)
    except FileNotFoundError:
        return Room(state=PlaceState.MISSING, problem=f"{folder} does not exist.")
    except OSError as error:
        problem = f"{folder} cannot be looked at: {error.strerror or error}."
        return Room(state=PlaceState.UNREADABLE, problem=problem)
    read_only = found.f_flag & os.ST_RDONLY
    return Room(
        state=PlaceState.PRESENT,
        problem=f"{folder} is mounted read-only: no point can be made there." if read_only else "",
        free_bytes=found.f_bavail * found.f_frsize,
        total_bytes=found.f_blocks * found.f_frsize,
    )


def look_at_groups(
    groups: Mapping[str, str], list_groups: Callable[[], Sequence[VolumeGroup]], probe: Probe
) -> dict[str, Room]:
    """Whether each volume group is there, by the name of its destination; one listing for all.

    Its room is not told: what is prepared there is written over again and again.
    """
    if not groups:
        return {}

    def look() -> dict[str, Room]:
        try:
            found = [group.name for group in list_groups()]
        except XenbackupError as error:
            problem = f"The volume groups cannot be listed: {error.message}"
            return {name: Room(state=PlaceState.UNREADABLE, problem=problem) for name in groups}
        return {name: _describe_group(group, found.count(group)) for name, group in groups.items()}

    problem = f"LVM has not answered within {probe.deadline_seconds:.0f} seconds."
    silent = {name: Room(state=PlaceState.SILENT, problem=problem) for name in groups}
    key = f"volume groups {sorted(groups.items())}"
    return probe.ask({key: look}).get(key, silent)


def _describe_group(group: str, count: int) -> Room:
    if count == 1:
        return Room(state=PlaceState.PRESENT)
    if not count:
        return Room(state=PlaceState.MISSING, problem=f"There is no volume group {group!r}.")
    problem = f"There are {count} volume groups {group!r}."
    return Room(state=PlaceState.UNREADABLE, problem=problem)


def look_at_folders(folders: Mapping[str, Path], probe: Probe) -> dict[str, Room]:
    """The room of every folder, by its name; silent are those that do not answer in time."""
    keys = {name: f"room of {folder}" for name, folder in folders.items()}
    answers = probe.ask(
        {keys[name]: partial(look_at_folder, folder) for name, folder in folders.items()}
    )
    silence = f"has not answered within {probe.deadline_seconds:.0f} seconds."
    return {
        name: answers.get(keys[name])
        or Room(state=PlaceState.SILENT, problem=f"{folder} {silence} Is its server gone?")
        for name, folder in folders.items()
    }
