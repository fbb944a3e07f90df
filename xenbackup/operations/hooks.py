"""Hooks: an administrator's own commands before and after a round, with what they learn of it.

They run on this machine as they stand in the configuration, also where the host is a simulated one.
What a hook is told goes by its environment, never through a shell; a hook is ended when its time is
over, and what it prints goes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from xenbackup.errors import CommandFailed, HookFailed
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.job import Job
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.operations.tellable import judge_program

Runner = Callable[[Command], CommandResult]

LATER_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: `before` asks that the round be tried again later."""

# The kernel refuses one string of an environment above 128 KiB, and all of them above some 2 MiB.
_LONGEST_LIST_BYTES = 64 << 10
_LONGEST_TEXT = 4096
_LONGEST_QUOTE = 200

_LOG = logging.getLogger(__name__)


def run_before(job: Job, round_id: str, *, run: Runner) -> None:
    """Run `before` of a job, if it has one: the round may begin when this returns.

    Raises: HookFailed when it vetoes, cannot be run or takes too long; with `may_pass` when it
    asked by its exit code to be tried again later.
    """
    if job.hooks.before:
        hook = _Hook(job=job, name="before", argv=job.hooks.before)
        hook.call((("XENBACKUP_ROUND", round_id),), run)


def run_after(job: Job, result: RoundResult, *, run: Runner) -> HookFailed | None:
    """Run `after` when the round was good, else `failed`. What is wrong with it, or None.

    Never raises: the backups are what they are, whatever a hook thinks of them.
    """
    good = result.outcome is Outcome.OK
    name, argv = ("after", job.hooks.after) if good else ("failed", job.hooks.failed)
    if not argv:
        return None
    try:
        _Hook(job=job, name=name, argv=argv).call(describe_round(result), run)
    except HookFailed as error:
        _LOG.warning("hook-failed", extra={"hook": name, "job": job.name, "error": str(error)})
        return error
    return None


def describe_round(result: RoundResult) -> tuple[tuple[str, str], ...]:
    """What a hook learns of a round that has ended; lists have one entry a line."""
    runs = result.runs
    left_a_point = (Outcome.OK, Outcome.PARTIAL)
    good = [run.domain for run in runs if run.outcome in left_a_point]
    other = [run.domain for run in runs if run.outcome not in left_a_point]
    partial = [run.domain for run in runs if run.outcome is Outcome.PARTIAL]
    errors = [result.error, *(f"{run.domain}: {why}" for run in runs if (why := _tell_wrong(run)))]
    return (
        ("XENBACKUP_ROUND", result.round),
        ("XENBACKUP_OUTCOME", result.outcome.value),
        ("XENBACKUP_EXIT_CODE", str(result.exit_code)),
        ("XENBACKUP_GOOD", _join(good)),
        ("XENBACKUP_FAILED", _join(other)),
        ("XENBACKUP_PARTIAL", _join(partial)),
        ("XENBACKUP_RUNS", _join(run.run for run in runs)),
        ("XENBACKUP_POINTS", _join(run.point for run in runs)),
        ("XENBACKUP_ERROR", _join(errors)),
        ("XENBACKUP_BYTES_WRITTEN", str(sum(run.bytes_written for run in runs))),
        ("XENBACKUP_LONGEST_AWAY_SECONDS", f"{max((r.away_seconds for r in runs), default=0):.1f}"),
    )


def _tell_wrong(run: RunResult) -> str:
    """What went wrong with a run; of one that left a point, what it had to leave undone."""
    if run.error or run.outcome is not Outcome.PARTIAL:
        return run.error
    return run.warnings[-1] if run.warnings else "something was left undone"


def _join(entries: Iterable[str]) -> str:
    """One entry a line, each printable; whole lines are left out where there is no room."""
    lines: list[str] = []
    room = _LONGEST_LIST_BYTES
    for entry in entries:
        line = show_text(entry, limit=_LONGEST_TEXT)
        room -= len(line.encode()) + 1
        if entry and room >= 0:
            lines.append(line)
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class _Hook:
    """One hook of one job, ready to be called."""

    job: Job
    name: str
    argv: tuple[str, ...]

    def call(self, environment: tuple[tuple[str, str], ...], run: Runner) -> None:
        """Raises: HookFailed."""
        refusal = judge_program(Path(self.argv[0]))
        if refusal is not None:
            raise self._refuse(*refusal)
        command = Command(
            argv=self.argv,
            timeout_seconds=self.job.hooks.timeout_seconds,
            environment=(
                ("XENBACKUP_HOOK", self.name),
                ("XENBACKUP_JOB", self.job.name),
                ("XENBACKUP_DESTINATION", self.job.destination),
                *environment,
            ),
        )
        try:
            result = run(command)
        except CommandFailed as error:
            raise self._refuse(
                f"cannot be started: {error.message}",
                "is it executable, and is its first line right?",
            ) from error
        self._log(result)
        if result.timed_out:
            raise self._refuse(
                f"was not done after {self.job.hooks.timeout_seconds:g} s and was ended",
                "make it quicker, or raise `timeout` in [hooks]",
            )
        if not result.succeeded:
            told = show_text(result.last_error_line, limit=_LONGEST_QUOTE)
            raise self._refuse(
                f"ended with exit code {result.exit_code}{f': {told}' if told else ''}",
                "the round did not begin because of it" if self.name == "before" else "",
                may_pass=self.name == "before" and result.exit_code == LATER_EXIT_CODE,
            )

    def _refuse(self, reason: str, hint: str, *, may_pass: bool = False) -> HookFailed:
        return HookFailed(
            f"The hook `{self.name}` of job {self.job.name}, {show_text(self.argv[0])}, "
            f"{reason.rstrip('.')}.",
            hint=hint,
            may_pass=may_pass,
        )

    def _log(self, result: CommandResult) -> None:
        _LOG.info(
            "hook-ended",
            extra={
                "hook": self.name,
                "job": self.job.name,
                "exit_code": result.exit_code,
                "duration_seconds": round(result.duration_seconds, 3),
                "timed_out": result.timed_out,
                "output": show_text(result.stdout.strip(), limit=_LONGEST_TEXT),
                "error": show_text(result.stderr.strip(), limit=_LONGEST_TEXT),
            },
        )
