"""The queue: which waiting runs may begin now, in which order, and why each other one waits. Pure.

A run asked for by a person goes before those of a schedule, until one of these has waited for
`PATIENCE`; then age decides. A run that waits for a volume group or a destination keeps its place
there: what came after it may use what is left beside it, so that nothing waits for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from xenbackup.model.job import Limits
from xenbackup.model.live import Origin

PATIENCE = timedelta(hours=2)


@dataclass(frozen=True, kw_only=True)
class WaitingItem:
    """A run that waits. `identity` is what the guest is locked by, `groups` the volume groups of
    its disks; `not_before` is None unless it waits for a time.
    """

    key: str
    domain: str
    identity: str
    origin: Origin
    since: datetime
    destination: str
    groups: frozenset[str] = frozenset()
    not_before: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RunningItem:
    """A run under way; `run` is its id, or that of its round until it has one."""

    run: str
    domain: str
    identity: str
    destination: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class QueueDecision:
    """Keys of the runs to begin, in order; for every other one the reason why it waits."""

    begin: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class _Taken:
    """What is in use; `kept` are places that runs which wait keep for themselves."""

    runs: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    destinations: Counter[str] = field(default_factory=Counter)
    kept_groups: Counter[str] = field(default_factory=Counter)
    kept_destinations: Counter[str] = field(default_factory=Counter)
    guests: dict[str, str] = field(default_factory=dict)

    def take(self, item: WaitingItem | RunningItem) -> None:
        self.runs += 1
        self.groups.update(item.groups)
        self.destinations[item.destination] += 1

    def keep(self, item: WaitingItem) -> None:
        self.kept_groups.update(item.groups)
        self.kept_destinations[item.destination] += 1


def decide_queue(
    waiting: Sequence[WaitingItem],
    running: Sequence[RunningItem],
    limits: Limits,
    now: datetime,
) -> QueueDecision:
    """Which of the waiting runs begin now; times in reasons are told in the zone of `now`."""
    taken = _Taken()
    for active in running:
        taken.take(active)
        taken.guests[active.identity] = (
            f"guest {active.domain} is being backed up by run {active.run}"
        )
    begin: list[str] = []
    reasons: dict[str, str] = {}
    for item in sorted(waiting, key=lambda found: _rank(found, now)):
        if item.not_before is not None and item.not_before > now:
            reasons[item.key] = (
                f"its last try failed; the next is at {_show_time(item.not_before, now)}"
            )
            continue
        reason = _find_obstacle(item, taken, limits)
        if not reason:
            begin.append(item.key)
            taken.take(item)
            taken.guests[item.identity] = f"guest {item.domain} is about to be backed up"
            continue
        reasons[item.key] = reason
        if item.identity not in taken.guests:
            taken.keep(item)
            taken.guests[item.identity] = f"an older run of guest {item.domain} comes first"
    return QueueDecision(begin=tuple(begin), reasons=reasons)


def find_next_time(waiting: Sequence[WaitingItem], now: datetime) -> datetime | None:
    """When the next of those that wait for a time may begin; None when none waits for one."""
    times = [item.not_before for item in waiting if item.not_before and item.not_before > now]
    return min(times, default=None)


def _rank(item: WaitingItem, now: datetime) -> tuple[int, datetime, str]:
    urgent = item.origin is Origin.DEMAND or now - item.since >= PATIENCE
    return (0 if urgent else 1, item.since, item.key)


def _find_obstacle(item: WaitingItem, taken: _Taken, limits: Limits) -> str:
    """Why it cannot begin now; "" when it can."""
    if found := taken.guests.get(item.identity):
        return found
    if taken.runs >= limits.runs:
        return f"waits for its turn: {taken.runs} of {limits.runs} {_count(limits.runs, 'run')}"
    for group in sorted(item.groups):
        reason = _compare(
            f"waits for the volume group {group}",
            taken.groups[group],
            taken.kept_groups[group],
            limits.runs_per_group,
        )
        if reason:
            return reason
    return _compare(
        f"waits for the destination {item.destination}",
        taken.destinations[item.destination],
        taken.kept_destinations[item.destination],
        limits.runs_per_destination,
    )


def _compare(what: str, used: int, kept: int, limit: int) -> str:
    if used >= limit:
        return f"{what}: {used} of {limit} {_count(limit, 'run')}"
    if used + kept >= limit:
        return f"{what}: an older run comes first"
    return ""


def _count(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"


def _show_time(moment: datetime, now: datetime) -> str:
    local = moment.astimezone(now.tzinfo)
    return f"{local:%H:%M}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M}"
