"""What every step of one run works with: the host, the journal, the plan, the staged point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.errors import AwayTooLong, DomainChanged, Interrupted
from xenbackup.model import entries as e
from xenbackup.model.domain import Domain, DomainStatus
from xenbackup.model.plan import DomainPlan
from xenbackup.model.progress import RunWatcher
from xenbackup.model.record import RunRecord
from xenbackup.records.journal import Journal
from xenbackup.storage.copying import BandwidthLimit
from xenbackup.storage.destination import Destination
from xenbackup.storage.spool import Spool

Found = TypeVar("Found", Domain, DomainStatus)


@dataclass(kw_only=True)
class RunContext:
    """One run's hands. `cancelled` gives the reason to stop, "" to go on.

    `away_since_seconds` is the host's monotonic time of the guest's suspend or pause, None while
    the guest runs; `away_seconds` what the last absence came to.
    """

    host: Host
    toolstack: Toolstack
    lvm: Lvm
    journal: Journal
    destination: Destination
    watcher: RunWatcher
    cancelled: Callable[[], str]
    limit: BandwidthLimit | None = None
    away_since_seconds: float | None = None
    away_seconds: float = 0.0

    @property
    def record(self) -> RunRecord:
        return self.journal.record

    @property
    def plan(self) -> DomainPlan:
        return self.record.start.plan

    @property
    def run_id(self) -> str:
        return self.record.start.run

    @property
    def memory_image(self) -> Path:
        """The image in the spool, as a real path of this process."""
        return self.host.place(self.record.start.memory_image_path)

    @property
    def spool(self) -> Spool:
        """The folder that the memory image lies in."""
        return Spool(self.memory_image.parent)

    @property
    def restore_unit(self) -> str:
        """Fixed name of the unit that restored guests live in: recovery can stop it by name."""
        return f"xenbackup-restore-{self.run_id}"

    def find_own_domain(self) -> Domain:
        """The domain of the run's start, and no other: same boot, same UUID, same domid.

        Raises: DomainChanged when it is gone, or somebody (or the guest itself) replaced it.
        """
        return self._require_own(self.toolstack.find_domain(self.plan.domain.uuid))

    def find_own_status(self) -> DomainStatus:
        """State of the domain of the run's start, by one command. Raises: DomainChanged."""
        return self._require_own(self.toolstack.find_status(self.plan.domain.uuid))

    def _require_own(self, found: Found | None) -> Found:
        """Same boot, and the domid of the start. Raises: DomainChanged."""
        start = self.record.start
        name = start.plan.domain.name
        if self.host.boot_id() != start.boot_id:
            raise DomainChanged(f"The host rebooted while {name} was backed up.")
        if found is None:
            raise DomainChanged(
                f"Domain {name} is gone: destroyed, powered off or migrated during the run."
            )
        if found.domid != start.plan.domain.domid:
            raise DomainChanged(
                f"Domain {name} is now domain {found.domid}, was {start.plan.domain.domid}: "
                "it rebooted or was re-created during the run."
            )
        return found

    def check_cancelled(self) -> None:
        """Raises: Interrupted with the reason, when somebody asked the run to stop."""
        reason = self.cancelled()
        if reason:
            raise Interrupted(f"The run of {self.plan.domain.name} was stopped: {reason}.")

    def begin_absence(self) -> None:
        """The guest is about to stand still: time away counts from here (an upper bound)."""
        if self.away_since_seconds is None:
            self.away_since_seconds = self.host.monotonic_seconds()

    def end_absence(self) -> float:
        """The guest runs again; returns seconds away."""
        if self.away_since_seconds is not None:
            self.away_seconds += self.host.monotonic_seconds() - self.away_since_seconds
            self.away_since_seconds = None
        return self.away_seconds

    def explain_overdue_absence(self) -> str:
        """Why the guest has been away too long, "" while it has not."""
        if self.away_since_seconds is None:
            return ""
        away = self.host.monotonic_seconds() - self.away_since_seconds
        bound = self.plan.max_away_seconds
        if away <= bound:
            return ""
        return f"{self.plan.domain.name} has been away for {away:.0f}s, max_away is {bound:.0f}s"

    def check_away(self) -> None:
        """Asked before each act that would keep the guest away. Raises: AwayTooLong."""
        reason = self.explain_overdue_absence()
        if reason:
            raise AwayTooLong(
                f"{reason}: the run gives up and brings it back.",
                hint="raise `max_away`, or choose a preset that takes the guest away for less",
            )

    def warn_long_absence(self) -> None:
        """The guest is back, all is done that kept it away, and it took too long all the same."""
        bound = self.plan.max_away_seconds
        if self.away_seconds > bound:
            self.warn(
                f"{self.plan.domain.name} was away for {self.away_seconds:.0f}s, max_away is "
                f"{bound:.0f}s: nothing was left to give up but its return."
            )

    def warn(self, message: str) -> None:
        """Write a warning where it lasts, and tell whoever watches."""
        self.journal.write(e.Warned(message=message))
        self.watcher.warned(self.run_id, message)
