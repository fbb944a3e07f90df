"""Watching a run: step lines and a bar for a person, JSON lines for a program."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection

from xenbackup.cli.output import Output
from xenbackup.cli.page import Page
from xenbackup.cli.progress import ProgressBar
from xenbackup.cli.shapes import shape_run
from xenbackup.cli.text import Colour, format_duration
from xenbackup.model.job import StepName
from xenbackup.model.printable import show_text
from xenbackup.model.run import RunResult
from xenbackup.operations.run_log import LogWatcher

PROGRESS_SECONDS = 0.5


class PersonWatcher(LogWatcher):
    """A line on stderr for each step that is done, and a bar in between where `draws`.

    `clock` is the host's: what steps took is measured where the guest's absence is. `told` are
    warnings that the plan has told just now.
    """

    def __init__(
        self,
        output: Output,
        page: Page,
        clock: Callable[[], float],
        *,
        draws: bool,
        told: Collection[str] = (),
    ) -> None:
        self._output = output
        self._page = page
        self._clock = clock
        self._told = frozenset(told)
        self._bar = ProgressBar(sys.stderr, time.monotonic) if draws else None
        self._shown = ""
        self._domains: dict[str, str] = {}
        self._since: dict[str, float] = {}

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        super().run_began(run_id, domain, steps)
        self._domains[run_id] = show_text(domain)

    def step_began(self, run_id: str, step: StepName) -> None:
        super().step_began(run_id, step)
        # By run: guests whose volumes lie in different groups are backed up at once.
        self._since[run_id] = self._clock()

    def step_done(self, run_id: str, step: StepName) -> None:
        super().step_done(run_id, step)
        now = self._clock()
        took = format_duration(now - self._since.get(run_id, now))
        self._tell(self._name(run_id), f"{step.value}, {took}")

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        if self._bar is None:
            return
        label = f"{self._name(run_id)}: {what}"
        if label != self._shown:
            self._shown = label
            self._bar.begin(label, total)
        self._bar.update(done, total)

    def rescue_began(self, run_id: str, reason: str) -> None:
        super().rescue_began(run_id, reason)
        self._tell(self._name(run_id), f"being undone, the guest first. {show_text(reason)}")

    def warned(self, run_id: str, message: str) -> None:
        """Told again under the result, where it is not overlooked."""
        super().warned(run_id, message)
        if message not in self._told:
            self._tell("Warning", show_text(message), Colour.YELLOW)

    def run_ended(self, result: RunResult) -> None:
        self._clear()
        super().run_ended(result)

    def _name(self, run_id: str) -> str:
        return self._domains.get(run_id, run_id)

    def _tell(self, mark: str, text: str, colour: Colour | None = None) -> None:
        self._clear()
        self._output.remark(self._page.note(text, mark=f"{mark}:", colour=colour))

    def _clear(self) -> None:
        self._shown = ""
        if self._bar is not None:
            self._bar.clear()


class ProgramWatcher(LogWatcher):
    """One JSON object a line on stdout; of progress no more than two a second and the last one."""

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        super().run_began(run_id, domain, steps)
        names = [step.value for step in steps]
        self._emit("run-began", run_id, domain=domain, steps=names)

    def step_began(self, run_id: str, step: StepName) -> None:
        super().step_began(run_id, step)
        self._emit("step-began", run_id, step=step.value)

    def step_done(self, run_id: str, step: StepName) -> None:
        super().step_done(run_id, step)
        self._emit("step-done", run_id, step=step.value)

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        now = self._clock()
        told = self._told.get((run_id, what))
        if done < total and told is not None and now - told < PROGRESS_SECONDS:
            return
        self._told[(run_id, what)] = now
        self._emit("progress", run_id, what=what, bytes_done=done, bytes_total=total)

    def rescue_began(self, run_id: str, reason: str) -> None:
        super().rescue_began(run_id, reason)
        self._emit("rescue", run_id, reason=reason)

    def warned(self, run_id: str, message: str) -> None:
        super().warned(run_id, message)
        self._emit("warning", run_id, message=message)

    def run_ended(self, result: RunResult) -> None:
        shape = shape_run(result)
        self._emit("run-ended", str(shape.pop("run")), **shape)
        super().run_ended(result)

    def _emit(self, event: str, run_id: str, **fields: object) -> None:
        self._output.emit({"event": event, "run": run_id, **fields})
