"""Disks that a restore has begun to write and not finished: no backup is made of those.

A guest is shut off while its disks are restored, and a shut off guest can be backed up. What a
restore that was cut off left on its disks would then be listed as the guest's newest good point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xenbackup.errors import DisksHalfRestored, JournalDamaged, StateFailed
from xenbackup.inventory.targets import TargetReader
from xenbackup.model.inventory import Inventory
from xenbackup.model.plan import DomainPlan, Plan, VolumeKind
from xenbackup.model.problem import Problem
from xenbackup.model.restore import MarkedTarget, RestoreMark, RestorePhase
from xenbackup.model.restore_sight import PathSight
from xenbackup.operations.house import House
from xenbackup.operations.restore_sight import MARKS_FOLDER, open_marks
from xenbackup.planning.validation import make_problem
from xenbackup.records.restore_marks import SUFFIX


@dataclass(frozen=True, kw_only=True)
class HalfRestored:
    """Disks of a guest that are targets of one unfinished restore."""

    domain: str
    vdevs: tuple[str, ...]
    mark: RestoreMark
    mark_path: str

    @property
    def clause(self) -> str:
        return (
            f"restore {self.mark.restore} of point {self.mark.point} is writing its "
            f"{', '.join(self.vdevs)}, or was cut off in that"
        )

    @property
    def hint(self) -> str:
        return (
            f"`xenbackup restore {self.mark.point}` with the options of then completes it; where "
            f"the disk was made whole in another way, remove {self.mark_path}"
        )


def list_restore_problems(house: House, plan: Plan, inventory: Inventory) -> Iterator[Problem]:
    """For a plan: its guests whose disks hold neither the old nor the new.

    Raises: JournalDamaged, StateFailed when a mark cannot be read: nobody knows which disks then.
    """
    for found in find_half_restored(house, plan.domains, inventory):
        yield make_restore_problem(found)


def make_restore_problem(found: HalfRestored) -> Problem:
    return make_problem(
        "restore-unfinished",
        subject=f"{found.domain}:{found.mark.restore}",
        message=f"{found.domain}: {found.clause}.",
        hint=found.hint,
        domain=found.domain,
    )


def list_cut_off_restores(house: House, inventory: Inventory) -> Iterator[Problem]:
    """For a look at the host: guests whose disks are half written, and nobody is at work on them.
    A mark that cannot be read is told of too: no plan is made beside it.
    """
    try:
        marks = _list_writing(house)
    except (JournalDamaged, StateFailed) as error:
        yield make_problem(
            "restore-unfinished", subject="restores", message=error.message, hint=error.hint
        )
        return
    uses = TargetReader(house.host, inventory, ()).list_uses() if marks else ()
    for found in _match(house, inventory, marks, [(u.domain.name, u.vdev, u.sight) for u in uses]):
        if not is_restoring(house, found.mark):
            yield make_restore_problem(found)


def is_restoring(house: House, mark: RestoreMark) -> bool:
    """Somebody holds the guest's lock: the restore itself, until it ends or is killed."""
    return house.is_domain_locked(mark.domain, mark.domain)


def refuse_half_restored(house: House, plan: DomainPlan) -> None:
    """With the guest's lock held: a restore may have begun since the plan.

    Raises: DisksHalfRestored; JournalDamaged, StateFailed; CommandFailed, UnexpectedOutput.
    """
    if not _list_writing(house):
        return
    for found in find_half_restored(house, (plan,), house.read_inventory()):
        raise DisksHalfRestored(
            f"{found.domain} was not backed up: {found.clause}.", hint=found.hint
        )


def find_half_restored(
    house: House, plans: Sequence[DomainPlan], inventory: Inventory
) -> tuple[HalfRestored, ...]:
    """One for each guest and restore that have a disk in common.

    Raises: JournalDamaged, StateFailed.
    """
    marks = _list_writing(house)
    if not marks:
        return ()
    reader = TargetReader(house.host, inventory, ())
    disks = [
        (plan.domain.name, disk.vdev, reader.look(disk.path))
        for plan in plans
        for disk in plan.disks
    ]
    return _match(house, inventory, marks, disks)


def _match(
    house: House,
    inventory: Inventory,
    marks: Sequence[RestoreMark],
    disks: Sequence[tuple[str, str, PathSight]],
) -> tuple[HalfRestored, ...]:
    """Of disks (guest, name there, what it is) those that are targets."""
    reader = TargetReader(house.host, inventory, ())
    targets = [
        (mark, target, reader.look(target.path)) for mark in marks for target in mark.targets
    ]
    hit: dict[tuple[str, str], tuple[RestoreMark, dict[str, None]]] = {}
    for domain, vdev, disk_sight in disks:
        for mark, target, sight in targets:
            if is_still(target, sight) and sight.overlaps(disk_sight):
                hit.setdefault((domain, mark.restore), (mark, {}))[1][vdev] = None
    return tuple(
        HalfRestored(
            domain=domain,
            vdevs=tuple(vdevs),
            mark=mark,
            mark_path=f"{house.configuration.state_path}/{MARKS_FOLDER}/{restore}{SUFFIX}",
        )
        for (domain, restore), (mark, vdevs) in hit.items()
    )


def _list_writing(house: House) -> tuple[RestoreMark, ...]:
    """In the later phases of a restore its disks are whole."""
    return tuple(
        mark for mark in open_marks(house).list_marks() if mark.phase is RestorePhase.WRITING
    )


def is_still(target: MarkedTarget, sight: PathSight) -> bool:
    """What stands there now is what was marked, as far as the mark knows what that was."""
    if not sight.exists or sight.kind is None:
        return False
    if target.lv_uuid and sight.volume is not None:
        return target.lv_uuid == sight.volume.uuid
    if target.inode and sight.kind is VolumeKind.IMAGE_FILE:
        return target.inode == sight.inode
    return True
