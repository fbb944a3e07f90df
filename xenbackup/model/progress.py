"""What a running pipeline tells whoever watches: a terminal, a JSON stream, a socket client."""

from __future__ import annotations

from typing import Protocol

from xenbackup.model.job import StepName
from xenbackup.model.run import RunResult


class RunWatcher(Protocol):
    """Receives the course of a run. Called from the run's own thread; must return quickly."""

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None: ...

    def step_began(self, run_id: str, step: StepName) -> None: ...

    def step_done(self, run_id: str, step: StepName) -> None: ...

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        """`what` is a disk, `memory image` or `saving memory`; amounts are bytes."""

    def absence_began(self, run_id: str) -> None:
        """The guest is about to stand still."""

    def absence_ended(self, run_id: str) -> None:
        """The guest runs again."""

    def rescue_began(self, run_id: str, reason: str) -> None: ...

    def warned(self, run_id: str, message: str) -> None: ...

    def run_ended(self, result: RunResult) -> None: ...


class SilentWatcher:
    """Watches nothing: for callers that only want the result."""

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        """Nothing to tell."""

    def step_began(self, run_id: str, step: StepName) -> None:
        """Nothing to tell."""

    def step_done(self, run_id: str, step: StepName) -> None:
        """Nothing to tell."""

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        """Nothing to tell."""

    def absence_began(self, run_id: str) -> None:
        """Nothing to tell."""

    def absence_ended(self, run_id: str) -> None:
        """Nothing to tell."""

    def rescue_began(self, run_id: str, reason: str) -> None:
        """Nothing to tell."""

    def warned(self, run_id: str, message: str) -> None:
        """Nothing to tell."""

    def run_ended(self, result: RunResult) -> None:
        """Nothing to tell."""
