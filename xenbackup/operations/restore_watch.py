"""Nobody else writes what a restore writes: looked at while it does, not only before.

A restore takes hours, and the kernel opens its targets for a guest's back-end as well. Whoever
starts the guest meanwhile (a cluster that sees it down, a person who cannot wait) mixes the point
with what the guest makes of a disk that is half there.
"""

from __future__ import annotations

from xenbackup.dom0.monitor import NO_LOG, is_same_log, read_log_mark
from xenbackup.errors import CommandFailed, RestoreFailed, RestoreRefused, UnexpectedOutput
from xenbackup.inventory.targets import TargetReader
from xenbackup.model.restore_sight import DiskUse
from xenbackup.operations.restore_context import RestoreContext

LOOKS = 5
LOOK_AGAIN_SECONDS = 5.0


class TargetWatch:
    """Made before the first write; asked behind each disk, before it is called whole.

    Raises: RestoreRefused when a guest runs already; CommandFailed, UnexpectedOutput.
    """

    def __init__(self, context: RestoreContext) -> None:
        self._context = context
        uses = self._list_uses()
        for use in uses:
            if use.domain.exists:
                name = use.domain.name or "A guest"
                raise RestoreRefused(
                    f"{name} (domain {use.domain.domid}) runs on disks that would be written: "
                    "nothing was.",
                    hint=f"shut {use.domain.name or 'it'} down first",
                )
        # A guest that ran and ended between two looks has left a new log of xl.
        names = {use.domain.name for use in uses}
        if any(target.path == target.disk.source for target in context.plan.targets):
            names.add(context.plan.manifest.domain)  # its own file may lie where nobody looks
        host = context.house.host
        self._logs = {name: read_log_mark(host, name) for name in sorted(names)}

    def refuse_written(self) -> None:
        """Raises: RestoreFailed naming the guest; CommandFailed, UnexpectedOutput."""
        for use in self._list_uses():
            if use.domain.exists:
                self._refuse(use.domain.name, f" (domain {use.domain.domid})")
        for name, before in self._logs.items():
            found = read_log_mark(self._context.house.host, name)
            if found != NO_LOG and not is_same_log(before, found):
                self._refuse(name, "")

    def _refuse(self, name: str, number: str) -> None:
        raise RestoreFailed(
            f"{name or 'A guest'}{number} was started while its disks were written: they hold what "
            "it made of them, mixed with the point.",
            hint=f"shut {name or 'it'} down",
        )

    def _list_uses(self) -> list[DiskUse]:
        """Disks of guests, running or shut off, that are the targets.

        Hours of writing do not end because one tool stumbles once.
        """
        for _ in range(LOOKS - 1):
            try:
                return self._look()
            except (CommandFailed, UnexpectedOutput):
                self._context.house.host.sleep(LOOK_AGAIN_SECONDS)
        return self._look()

    def _look(self) -> list[DiskUse]:
        house = self._context.house
        reader = TargetReader(house.host, house.read_inventory(), ())
        targets = [reader.look(target.path) for target in self._context.plan.targets]
        return [
            use
            for use in reader.list_uses()
            if any(use.sight.overlaps(target) for target in targets)
        ]
