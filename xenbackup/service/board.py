"""The board: how far each run under way is, for whoever asks the daemon what it does."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from xenbackup.model.job import StepName
from xenbackup.model.live import ActiveRun
from xenbackup.model.progress import RunWatcher, SilentWatcher
from xenbackup.model.run import RunResult
from xenbackup.service.attention import Attention
from xenbackup.service.queue import QueuedRun

_SAMPLES = 20
_SAMPLE_SECONDS = 0.5
RELAY_SECONDS = 0.25


@dataclass(kw_only=True)
class _Progress:
    """One run on the board; the rate is that of the last few seconds."""

    active: ActiveRun
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))


class Board:
    """What runs are at. Written by their threads, read by any."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._progress: dict[str, _Progress] = {}

    def begin(self, queued: QueuedRun) -> None:
        """A run's turn has come."""
        active = ActiveRun(
            run="",
            round=queued.round.round_id,
            job=queued.round.job.name,
            domain=queued.domain,
            origin=queued.round.origin,
            began_at=self._now(),
        )
        with self._lock:
            self._progress[queued.key] = _Progress(active=active)

    def end(self, queued: QueuedRun) -> None:
        with self._lock:
            self._progress.pop(queued.key, None)

    def change(self, key: str, **changes: object) -> None:
        """Note these fields of a run."""
        with self._lock:
            known = self._progress.get(key)
            if known is not None:
                known.active = replace(known.active, **changes)  # type: ignore[arg-type]

    def note_amount(self, key: str, what: str, done: int, total: int) -> None:
        """How far it is with what it moves."""
        now = time.monotonic()
        with self._lock:
            known = self._progress.get(key)
            if known is None:
                return
            samples = known.samples
            if what != known.active.what:
                samples.clear()
            if not samples or now - samples[-1][0] >= _SAMPLE_SECONDS:
                samples.append((now, done))
            since, done_then = samples[0]
            rate = max(done - done_then, 0) / (now - since) if now > since else 0.0
            known.active = replace(
                known.active,
                what=what,
                bytes_done=done,
                bytes_total=total,
                bytes_per_second=round(rate, 1),
            )

    def list_active(self) -> tuple[ActiveRun, ...]:
        """All runs under way, the oldest first."""
        with self._lock:
            found = [known.active for known in self._progress.values()]
        return tuple(sorted(found, key=lambda active: (active.began_at, active.domain)))

    def now(self) -> datetime:
        return self._now()


class BoardWatcher(SilentWatcher):
    """Puts one run's course on the board, and shows its signs of life."""

    def __init__(self, board: Board, attention: Attention, queued: QueuedRun) -> None:
        self._board = board
        self._attention = attention
        self._queued = queued
        self._key = queued.key

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        self._queued.run_id = run_id
        self._attention.show_life()
        self._board.change(self._key, run=run_id)

    def step_began(self, run_id: str, step: StepName) -> None:
        self._attention.begin_step(copies=step is StepName.COPY)
        self._board.change(
            self._key, step=step.value, what="", bytes_done=0, bytes_total=0, bytes_per_second=0.0
        )

    def step_done(self, run_id: str, step: StepName) -> None:
        self._attention.show_life()

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        self._attention.show_life()
        self._board.note_amount(self._key, what, done, total)

    def absence_began(self, run_id: str) -> None:
        self._attention.change_absence(away=True)
        self._board.change(self._key, away_since=self._board.now())

    def absence_ended(self, run_id: str) -> None:
        self._attention.change_absence(away=False)
        self._board.change(self._key, away_since=None)

    def rescue_began(self, run_id: str, reason: str) -> None:
        self._attention.begin_step(copies=False)
        self._board.change(self._key, step="undo", what="", bytes_done=0, bytes_total=0)


class FanOut:
    """One watcher for several; of amounts those that `relayed` get are few a second."""

    def __init__(self, *watchers: RunWatcher, relayed: RunWatcher) -> None:
        self._all = (*watchers, relayed)
        self._quick = watchers
        self._relayed = relayed
        self._told: dict[str, float] = {}

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        for watcher in self._all:
            watcher.run_began(run_id, domain, steps)

    def step_began(self, run_id: str, step: StepName) -> None:
        for watcher in self._all:
            watcher.step_began(run_id, step)

    def step_done(self, run_id: str, step: StepName) -> None:
        for watcher in self._all:
            watcher.step_done(run_id, step)

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        for watcher in self._quick:
            watcher.amount_done(run_id, what, done, total)
        now = time.monotonic()
        if done < total and now - self._told.get(what, 0.0) < RELAY_SECONDS:
            return
        self._told[what] = now
        self._relayed.amount_done(run_id, what, done, total)

    def absence_began(self, run_id: str) -> None:
        for watcher in self._all:
            watcher.absence_began(run_id)

    def absence_ended(self, run_id: str) -> None:
        for watcher in self._all:
            watcher.absence_ended(run_id)

    def rescue_began(self, run_id: str, reason: str) -> None:
        for watcher in self._all:
            watcher.rescue_began(run_id, reason)

    def warned(self, run_id: str, message: str) -> None:
        for watcher in self._all:
            watcher.warned(run_id, message)

    def run_ended(self, result: RunResult) -> None:
        for watcher in self._all:
            watcher.run_ended(result)
