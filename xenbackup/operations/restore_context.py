"""What every act of one restore works with: the house, the plan, the mark, and what was counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from xenbackup.errors import Interrupted
from xenbackup.model.restore import RestorePlan, RestoreWatcher
from xenbackup.operations.house import House
from xenbackup.records.restore_marks import MarkKeeper
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.destination import PointStore
from xenbackup.storage.spool import Spool


@dataclass(kw_only=True)
class RestoreContext:
    """One restore's hands. `cancelled` gives the reason to stop, "" to go on; `making` are the
    disks whose targets it has made, or begun to; `writes_begun` says that a target may not hold
    any more what it held.
    """

    house: House
    store: PointStore
    plan: RestorePlan
    keeper: MarkKeeper
    watcher: RestoreWatcher
    cancelled: Callable[[], str]
    limit: BandwidthLimit | None = None
    making: set[str] = field(default_factory=set)
    writes_begun: bool = False
    mark_ended: bool = False
    bytes_read: int = 0
    bytes_written: int = 0
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        """Keep a warning for the result, and tell whoever watches."""
        self.warnings.append(message)
        self.watcher.warned(message)

    def check_cancelled(self) -> None:
        """Raises: Interrupted with the reason, when somebody asked to stop."""
        if reason := self.cancelled():
            raise Interrupted(f"The restore of {self.plan.domain} was stopped: {reason}.")

    def report(self, what: str) -> Callable[[int, int], None]:
        """Progress of one act, told to the watcher in bytes."""

        def report(done: int, total: int) -> None:
            self.watcher.amount_done(what, done, total)

        return report

    def end_mark(self) -> None:
        """Everything asked for is done and durable; a second call does nothing.

        The spool is cleared first: what is left there without a mark belongs to nobody.
        """
        if not self.mark_ended:
            self.discard_spooled()
            self.keeper.end()
            self.mark_ended = True

    def discard_spooled(self) -> None:
        """Remove this restore's files from the spool: guest RAM is not left lying about."""
        Spool(self.house.host.place(self.house.configuration.spool_path)).remove(self.plan.restore)
