"""Rules about the storage behind disks, for any guest, of a job or not."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from xenbackup.model.inventory import Inventory
from xenbackup.model.problem import Problem
from xenbackup.planning.sharing import find_shared
from xenbackup.planning.validation.codes import make_problem


def check_holders(inventory: Inventory, names: Collection[str]) -> Iterator[Problem]:
    """Disks that dom0 itself uses: two writers who do not know of each other."""
    for backing in inventory.backings:
        if backing.held and backing.domain in names:
            yield make_problem(
                "disk-held-in-dom0",
                subject=f"{backing.domain}:{backing.vdev}",
                message=(
                    f"{backing.domain}: disk {backing.vdev} ({backing.target}) is {backing.held}."
                ),
                hint="let go of it in dom0 before the guest runs: a file system that is mounted "
                "twice gets lost",
                domain=backing.domain,
            )


def check_sharing(inventory: Inventory, names: Collection[str]) -> Iterator[Problem]:
    """Storage that two guests can write, one of them at least among these."""
    for group in find_shared(inventory.backings):
        writers = tuple(backing for backing in group if backing.writable)
        guests = dict.fromkeys(backing.domain for backing in writers)
        if len(guests) > 1 and any(name in names for name in guests):
            disks = ", ".join(f"{backing.domain}:{backing.vdev}" for backing in writers)
            yield make_problem(
                "disk-shared",
                subject=disks,
                message=f"{' and '.join(guests)} can write the same storage ({disks}).",
                hint="give each guest its own, or let all but one have it read-only",
            )
