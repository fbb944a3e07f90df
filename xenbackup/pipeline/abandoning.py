"""Acts on a destination that may never return: done beside the run's thread, and left behind.

A write to a dead server, mounted hard, is one that the kernel never returns from and no signal
ends. Whoever waits for it waits as long; so a guest that stands still must not. The act that was
left behind keeps its thread. When it wakes up after all it finds its `Fence` down: it can neither
write to the journal nor go on reading.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from xenbackup.errors import CopyCancelled, DestinationFailed
from xenbackup.model import entries as e
from xenbackup.model.record import RunRecord
from xenbackup.pipeline.context import RunContext
from xenbackup.records.journal import Journal

POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0
"""What an act that could end by itself, between two blocks, is given for that."""

_HINT = "look at the mount: a dead server, mounted hard, holds whoever writes to it"

Result = TypeVar("Result")


class Fence:
    """Between a run and an act of its own that it may leave behind. Down once, down for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down = False

    def lower(self) -> None:
        """From here on the act writes nothing any more; what it is writing now is waited for."""
        with self._lock:
            self._down = True

    def explain(self) -> str:
        """Why the act must stop, "" while it may go on."""
        return "the run went on without it" if self._down else ""

    @contextmanager
    def passing(self) -> Iterator[None]:
        """What is done inside is done before the fence goes down, or not at all.

        Raises: CopyCancelled when the act was left behind.
        """
        with self._lock:
            if reason := self.explain():
                raise CopyCancelled(f"An act that woke up too late was stopped: {reason}.")
            yield


class FencedJournal(Journal):
    """A run's journal as an act sees it that may be left behind."""

    def __init__(self, journal: Journal, fence: Fence) -> None:
        self.path = journal.path
        self._journal = journal
        self._fence = fence

    @property
    def record(self) -> RunRecord:
        return self._journal.record

    def write(self, entry: e.AnyEntry, *, instead: Callable[[], object] | None = None) -> None:
        with self._fence.passing():
            self._journal.write(entry, instead=instead)


class _Act:
    """An act in a thread of its own; what it raises, kills of tests included, comes out again.

    Raises: DestinationFailed where no thread can be had: a guest may be away, and is undone then.
    """

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self._act = act
        self._done = threading.Event()
        self._result: object = None
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        # A thread of the daemon kind: the interpreter's end does not wait for it.
        thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise DestinationFailed(
                f"Nothing was done there: no thread can be had ({error})."
            ) from error

    def _run(self) -> None:
        try:
            self._result = self._act()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """True when it has ended."""
        return self._done.wait(seconds)

    def take(self) -> object:
        """What it returned; or raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result


def copy_abandonable(context: RunContext, act: Callable[[RunContext], None]) -> None:
    """Do `act` on the run's destination for as long as its guest may be away, and a grace longer.

    Raises: what the act raises; DestinationFailed when it was left behind.
    """
    fence = Fence()
    behind = replace(
        context,
        journal=FencedJournal(context.journal, fence),
        cancelled=lambda: fence.explain() or context.cancelled(),
    )
    running = _Act(f"copy-{context.run_id}", lambda: act(behind))
    waited = 0.0
    while not running.wait(POLL_SECONDS):
        reason = context.explain_overdue_absence() or context.explain_stop()
        waited = waited + POLL_SECONDS if reason else 0.0
        if waited > GRACE_SECONDS:
            fence.lower()
            context.destination_stalled = True
            raise DestinationFailed(
                f"Destination {context.destination.name} does not answer, and {reason}: the copy "
                "was left behind.",
                hint=_HINT,
            )
    running.take()


def run_bounded(name: str, act: Callable[[], Result], seconds: float) -> Result:
    """Do `act`, which ends by itself in moments where the destination `name` answers at all.

    Raises: what the act raises; DestinationFailed when it does not end in time.
    """
    running = _Act(f"beside-{name}", act)
    if not running.wait(seconds):
        raise DestinationFailed(
            f"Destination {name} does not answer: {seconds:.0f}s passed.", hint=_HINT
        )
    return running.take()  # type: ignore[return-value]
