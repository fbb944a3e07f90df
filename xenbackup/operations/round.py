"""What surrounds a round, whoever runs it: hooks before and after, retention after good runs, the
catalog brought in step with the destination, and the records of long ago that go in passing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import structlog

from xenbackup.errors import ExitCode, XenbackupError
from xenbackup.model.job import Job, Retention
from xenbackup.model.run import Outcome, RoundResult
from xenbackup.operations.house import House
from xenbackup.operations.probing import Probe
from xenbackup.operations.reconciling import refresh_catalog

TRIMMING_SECONDS = 20.0
"""How long a round waits for its records to be put in order: a destination may not answer."""

_PROBE = Probe(TRIMMING_SECONDS)
_log = structlog.get_logger("xenbackup.round")


def prepare_round(job: Job, round_id: str) -> None:
    """The job's `before`, which may veto the round. Raises: HookFailed."""
    if not job.hooks.before:
        return
    from xenbackup.operations.hooks import run_before  # noqa: PLC0415 - few jobs have one
    from xenbackup.system.command import SystemCommands  # noqa: PLC0415

    run_before(job, round_id, run=SystemCommands().run)


def describe_failure(
    job: Job, round_id: str, error: XenbackupError, *, cancelled: bool = False
) -> RoundResult:
    """The result of a round that came to nothing before any run."""
    return RoundResult(
        round=round_id,
        job=job.name,
        outcome=Outcome.CANCELLED if cancelled else Outcome.FAILED,
        exit_code=int(error.exit_code),
        runs=(),
        error=error.message,
        hint=error.hint,
    )


def finish_round(house: House, job: Job, result: RoundResult) -> tuple[str, ...]:
    """The job's `after` or `failed`, then its retention where a run went well, and the records that
    `[journals] keep` no longer asks for; a round that came to nothing before any run is noted in
    the catalog, which has no run of it. Where there were runs, the catalog says in the end what
    lies in their destination: retention has looked, else it is looked into for that.

    Nothing that fails here changes what the round came to: it is returned in words.
    """
    told: list[str] = []
    if result.error:
        note_failed_round(house, result)
    if job.hooks.after or job.hooks.failed:
        told += _run_after(job, result)
    if job.retention != Retention() and _has_good_run(result):
        told += _apply_retention(house, job)
    else:
        told += _order_records(house, job.destination if result.runs else "")
    return tuple(told)


def note_failed_round(house: House, result: RoundResult) -> None:
    """Let `status` know of it. A slip of whoever asked (a guest that the job has not) is no round;
    a catalog that fails has been told of elsewhere.
    """
    if result.exit_code == ExitCode.USAGE:
        return
    with suppress(XenbackupError):
        house.catalog.record_failed_round(result, at=house.host.now())


def _run_after(job: Job, result: RoundResult) -> list[str]:
    from xenbackup.operations.hooks import run_after  # noqa: PLC0415 - see above
    from xenbackup.system.command import SystemCommands  # noqa: PLC0415

    failure = run_after(job, result, run=SystemCommands().run)
    return [failure.message] if failure else []


def _has_good_run(result: RoundResult) -> bool:
    return any(run.outcome in (Outcome.OK, Outcome.PARTIAL) for run in result.runs)


def _apply_retention(house: House, job: Job) -> list[str]:
    from xenbackup.operations.prune import prune_points  # noqa: PLC0415 - only after good runs

    try:
        report = prune_points(house, job=job)
    except XenbackupError as error:
        why = f"The retention of job {job.name} was not applied: {error.message}"
        return [why, *_order_records(house, job.destination)]
    return list(report.warnings)


def _order_records(house: House, destination: str) -> list[str]:
    """What a prune does at its end, and the catalog told of what lies in the destination, if one is
    named. Not waited for where a destination hangs: there is no hurry.
    """
    questions: dict[str, Callable[[], str]] = {}
    if house.configuration.keep_journals_seconds:
        questions[f"records in {house.state_folder}"] = lambda: _trim(house)
    if destination:
        key = f"points in {destination} of {house.state_folder}"
        questions[key] = lambda: _refresh(house, destination)
    answers = _PROBE.ask(questions)
    return [told for key in questions if (told := answers.get(key, ""))]


def _trim(house: House) -> str:
    from xenbackup.operations.trimming import trim_records  # noqa: PLC0415 - a prune has it too

    try:
        trim_records(house)
    except XenbackupError as error:
        return f"Records of long ago were not removed: {error.message}"
    except Exception as error:  # noqa: BLE001 - in a thread of its own: nobody else hears of it
        _log.exception("trimming-defect")
        return f"Records of long ago were not removed: {type(error).__name__}: {error}"
    return ""


def _refresh(house: House, destination: str) -> str:
    try:
        refresh_catalog(house, destination)
    except Exception as error:  # noqa: BLE001 - in a thread of its own: nobody else hears of it
        _log.exception("refresh-defect", destination=destination)
        return f"The catalog was not told of {destination}: {type(error).__name__}: {error}"
    return ""
