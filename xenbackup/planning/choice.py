"""What the preset `auto` takes for one guest, of the presets that were tried on it, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xenbackup.model.job import Consistency
from xenbackup.model.plan import Candidate, DomainPlan

OFFLINE = "offline"
"""All that a shut off guest allows."""
AUTO_ORDER = ("checkpoint", "snapshot", "cold", "crash", OFFLINE)
"""The presets that `auto` looks at, the preferred first; of equally long ones that is taken."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One preset tried on a guest: the plan that it gives, or the reason why it gives none."""

    preset: str
    plan: DomainPlan | None = None
    reason: str = ""


def choose_plan(trials: tuple[Trial, ...], require: Consistency) -> DomainPlan | None:
    """The plan with the least time away, with all candidates told; None when no preset fits.

    The trials' plans satisfy `require` and carry their estimates. One that would keep the guest
    away for longer than the job allows is no choice: its run would be given up every night.
    """
    fitting = [plan for trial in trials if (plan := trial.plan) and not _explain_overlong(plan)]
    if not fitting:
        return None
    best = min(fitting, key=_tell_away)
    reason = f"auto: the least time away of what gives {require} consistency or better"
    kept_from = [trial.reason for trial in trials if trial.preset == AUTO_ORDER[0] and trial.reason]
    if best.consistency is Consistency.CRASH and kept_from:
        reason += f"; {kept_from[0]}"
    return replace(
        best, reason=reason, candidates=tuple(_describe(trial, best) for trial in trials)
    )


def explain_trials(trials: tuple[Trial, ...]) -> str:
    """Why none of them fits, preset by preset; a reason that several share is said once."""
    presets: dict[str, list[str]] = {}
    for trial in trials:
        reason = trial.reason or (_explain_overlong(trial.plan) if trial.plan else "")
        presets.setdefault(reason, []).append(trial.preset)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in presets.items())


def _tell_away(plan: DomainPlan) -> float:
    return plan.estimate.away_seconds if plan.estimate else 0.0


def _explain_overlong(plan: DomainPlan) -> str:
    if _tell_away(plan) <= plan.max_away_seconds:
        return ""
    return (
        f"it would be away for about {_tell_away(plan):.0f} s, max_away is "
        f"{plan.max_away_seconds:.0f} s"
    )


def _describe(trial: Trial, best: DomainPlan) -> Candidate:
    plan = trial.plan
    if plan is None:
        return Candidate(preset=trial.preset, chosen=False, reason=trial.reason)
    chosen = plan is best
    reason = "the least time away" if chosen else _explain_overlong(plan) or "no shorter away"
    return Candidate(preset=trial.preset, chosen=chosen, reason=reason, estimate=plan.estimate)
