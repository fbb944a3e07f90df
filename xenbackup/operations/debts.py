"""What earlier runs still owe, and whether another run of the guest may begin beside it.

A debt keeps no guest from being backed up, with one bound: a volume that has two owed snapshots
gets no third. `docs/decisions/debts-and-the-next-run.md` says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xenbackup.errors import SnapshotsOwed
from xenbackup.model.plan import DomainPlan, Plan, SnapshotKind
from xenbackup.model.problem import Problem
from xenbackup.model.record import RunRecord, SnapshotRecord
from xenbackup.model.run import DEBT_HINT
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished, refuse_cut_off
from xenbackup.planning.validation import make_problem

SNAPSHOTS_LIMIT = 2
"""So many owed snapshots a volume may have; a run that would add another is refused."""

Unfinished = Sequence[tuple[str, RunRecord | None]]


@dataclass(frozen=True, kw_only=True)
class CrowdedVolume:
    """A volume that has as many owed snapshots as it may; `origin` is its LV UUID or its path.

    `reason` is the clause of the newest debt: what happened, and who holds it where that is known.
    """

    origin: str
    label: str
    domain: str
    snapshots: tuple[str, ...]
    reason: str

    @property
    def clause(self) -> str:
        return (
            f"{self.label} has {len(self.snapshots)} owed snapshots already "
            f"({', '.join(self.snapshots)}), and each slows it down: {self.reason}"
        )


def admit_run(house: House, plan: DomainPlan) -> tuple[str, ...]:
    """Let a run of this guest begin, with its lock held: what runs before it owe, a sentence each.

    Raises: Locked when an earlier run was cut off, SnapshotsOwed when the run's own snapshot would
    be one too many; CommandFailed, UnexpectedOutput when the host does not tell of its snapshots.
    """
    unfinished = find_unfinished(house)
    refuse_cut_off(unfinished, plan.domain.name)
    origins = _list_origins(plan)
    for crowded in find_crowded_volumes(house, unfinished, origins):
        raise SnapshotsOwed(
            f"{plan.domain.name} was not backed up: {crowded.clause}.", hint=DEBT_HINT
        )
    return tuple(
        describe_debt(record) for record in _list_owing(unfinished) if _name(record) == _named(plan)
    )


def list_debt_problems(house: House, plan: Plan, unfinished: Unfinished) -> Iterator[Problem]:
    """For a plan: what its guests owe, and which of them must not get another snapshot."""
    for found in plan.domains:
        for record in _list_owing(unfinished):
            if _name(record) == _named(found):
                yield make_debt_problem(record)
        for crowded in find_crowded_volumes(house, unfinished, _list_origins(found)):
            yield make_crowd_problem(crowded, found.domain.name)


def make_debt_problem(record: RunRecord) -> Problem:
    return make_problem(
        "debt-owed",
        subject=record.start.run,
        message=describe_debt(record),
        hint=DEBT_HINT,
        domain=_name(record),
    )


def make_crowd_problem(crowded: CrowdedVolume, domain_name: str) -> Problem:
    return make_problem(
        "snapshots-owed",
        subject=crowded.label,
        message=f"{domain_name}: {crowded.clause}.",
        hint=DEBT_HINT,
        domain=domain_name,
    )


def describe_debt(record: RunRecord) -> str:
    """A sentence: the run, its guest, the snapshots that stay, and what came of the last try."""
    left = [made.label for made in record.snapshots if not made.removed]
    what = f" {', '.join(left)}" if left else ""
    return f"Run {record.start.run} of {_name(record)} owes{what}: {_clause(record)}."


def find_crowded_volumes(
    house: House, unfinished: Unfinished, origins: frozenset[str] | None = None
) -> tuple[CrowdedVolume, ...]:
    """Volumes among `origins` (all, when None) with as many owed snapshots as they may have.

    Journals say what was made and not seen to go; the host is asked what of it is there, for a
    person may have removed it. It is asked only where the journals alone make too many.

    Raises: CommandFailed, UnexpectedOutput.
    """
    owed: dict[str, list[tuple[RunRecord, SnapshotRecord]]] = {}
    for record in _list_owing(unfinished):
        for made in record.snapshots:
            origin = made.origin_uuid or _find_path(record, made)
            if not made.removed and (origins is None or origin in origins):
                owed.setdefault(origin, []).append((record, made))
    if not any(len(found) >= SNAPSHOTS_LIMIT for found in owed.values()):
        return ()
    present = {f"{volume.group}/{volume.name}" for volume in house.lvm.list_volumes()}
    crowded = []
    for origin, made_by in owed.items():
        there = [
            (record, made)
            for record, made in made_by
            if (made.label in present if made.group else house.host.place(made.name).exists())
        ]
        if len(there) >= SNAPSHOTS_LIMIT:
            newest, made = there[-1]
            crowded.append(
                CrowdedVolume(
                    origin=origin,
                    label=_label_origin(newest, made),
                    domain=_name(newest),
                    snapshots=tuple(made.label for _, made in there),
                    reason=_clause(newest),
                )
            )
    return tuple(crowded)


def _list_origins(plan: DomainPlan) -> frozenset[str]:
    """What the run would make snapshots of; empty for one that makes none."""
    return frozenset(
        disk.path if disk.snapshot is SnapshotKind.REFLINK else disk.lv_uuid
        for disk in plan.disks
        if disk.snapshot is not SnapshotKind.NONE
    )


def _list_owing(unfinished: Unfinished) -> Iterable[RunRecord]:
    return (record for _, record in unfinished if record is not None and record.owes)


def _find_path(record: RunRecord, made: SnapshotRecord) -> str:
    return next((disk.path for disk in record.start.plan.disks if disk.vdev == made.vdev), "")


def _label_origin(record: RunRecord, made: SnapshotRecord) -> str:
    for disk in record.start.plan.disks:
        if disk.vdev == made.vdev and disk.group:
            return f"{disk.group}/{disk.lv_name}"
    return _find_path(record, made)


def _clause(record: RunRecord) -> str:
    return record.debts[-1].rstrip(".")


def _name(record: RunRecord) -> str:
    return _named(record.start.plan)


def _named(plan: DomainPlan) -> str:
    return plan.domain.name
