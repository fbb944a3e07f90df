"""Ended runs put together into the rounds that they belong to. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from xenbackup.model.names import is_run_id
from xenbackup.model.run import Outcome
from xenbackup.model.status import EndedRun, RoundStatus

LATELY = timedelta(hours=24)
"""Rounds of so long are told of: looked at in the morning, that is last night."""

_STAMP = "%Y%m%dT%H%M%SZ"


def group_rounds(
    runs: Sequence[EndedRun], *, since: datetime, limit: int
) -> tuple[tuple[RoundStatus, ...], int]:
    """The rounds of runs that ended after `since`, oldest first, and how many runs are left out.

    Of more than `limit` runs the failed ones and then the newest are kept.
    """
    lately = [run for run in runs if run.ended_at > since]
    lately.sort(key=lambda run: (run.outcome is not Outcome.OK, run.ended_at), reverse=True)
    found: dict[tuple[str, str], list[EndedRun]] = {}
    for run in lately[:limit]:
        found.setdefault((run.round, run.job), []).append(run)
    rounds = [_build_round(name, job, members) for (name, job), members in found.items()]
    return _sort_rounds(rounds), max(len(lately) - limit, 0)


def add_rounds(
    rounds: Sequence[RoundStatus], failed: Sequence[RoundStatus], *, under_way: Set[str]
) -> tuple[RoundStatus, ...]:
    """With those that failed before any run, oldest first; `under_way` are ids of rounds whose
    daemon has not done with them.
    """
    together = {told.round: told for told in failed}
    for told in rounds:
        # One that was given up in the middle has runs, and a reason of its own.
        reason = together.get(told.round)
        together[told.round] = (
            replace(told, error=reason.error, hint=reason.hint) if reason else told
        )
    return _sort_rounds(
        [replace(told, under_way=name in under_way) for name, told in together.items()]
    )


def list_last_runs(runs: Sequence[EndedRun]) -> tuple[EndedRun, ...]:
    """Of each guest the run that ended last, by the guests' names: what counts of a round."""
    last: dict[str, EndedRun] = {}
    for run in sorted(runs, key=lambda run: (run.ended_at, run.run)):
        last[run.domain] = run
    return tuple(last[name] for name in sorted(last))


def _sort_rounds(rounds: Sequence[RoundStatus]) -> tuple[RoundStatus, ...]:
    return tuple(sorted(rounds, key=lambda told: (told.began_at, told.round, told.job)))


def judge_outcomes(outcomes: Sequence[Outcome]) -> Outcome:
    """What a round of such runs comes to."""
    kinds = set(outcomes)
    if kinds <= {Outcome.OK}:
        return Outcome.OK
    if Outcome.OK in kinds or Outcome.PARTIAL in kinds:
        return Outcome.PARTIAL
    return Outcome.FAILED if Outcome.FAILED in kinds else Outcome.CANCELLED


def _build_round(name: str, job: str, members: Sequence[EndedRun]) -> RoundStatus:
    runs = tuple(sorted(members, key=lambda run: (run.run, run.domain)))
    ended_at = max(run.ended_at for run in runs)
    return RoundStatus(
        round=name,
        job=job,
        began_at=min(read_begin(name) or ended_at, ended_at),
        ended_at=ended_at,
        outcome=judge_outcomes([run.outcome for run in list_last_runs(runs)]),
        runs=runs,
    )


def read_begin(name: str) -> datetime | None:
    """When a run or round began, as its id says; None for what is no id."""
    if not is_run_id(name):
        return None
    try:
        return datetime.strptime(name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
