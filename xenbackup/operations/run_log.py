"""The course of a run as log events, with run and step bound to every event inside."""

from __future__ import annotations

import structlog

from xenbackup.model.job import StepName
from xenbackup.model.run import RunResult
from xenbackup.system.log import bind_run, bind_step, unbind_run

_log = structlog.get_logger("xenbackup.run")


class LogWatcher:
    """Puts the course of a run into the log, with run and step bound to every event inside.

    It binds them for the thread that it is called from, which is the run's own.
    """

    def run_began(self, run_id: str, domain: str, steps: tuple[StepName, ...]) -> None:
        bind_run(run_id, domain)
        _log.info("run-began", steps=[step.value for step in steps])

    def step_began(self, run_id: str, step: StepName) -> None:
        bind_step(step.value)
        _log.info("step-began")

    def step_done(self, run_id: str, step: StepName) -> None:
        _log.info("step-done")

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        """A log is no place for that."""

    def absence_began(self, run_id: str) -> None:
        _log.info("absence-began")

    def absence_ended(self, run_id: str) -> None:
        _log.info("absence-ended")

    def rescue_began(self, run_id: str, reason: str) -> None:
        _log.info("rescue-began", reason=reason)

    def warned(self, run_id: str, message: str) -> None:
        _log.info("run-warned", message=message)

    def run_ended(self, result: RunResult) -> None:
        _log.info("run-ended", outcome=result.outcome.value, error=result.error)
        unbind_run()
