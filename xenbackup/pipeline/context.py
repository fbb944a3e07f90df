"""What every step of one run works with: the host, the journal, the plan, the staged point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.errors import (
    AwayTooLong,
    DomainChanged,
    Interrupted,
    TimeLimitPassed,
    XenbackupError,
)
from xenbackup.model import entries as e
from xenbackup.model.domain import Domain, DomainStatus, was_migrated_away
from xenbackup.model.job import Politeness
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
    """One run's hands. `cancelled` gives the reason to stop, "" to go on; `overdue` the same when
    the run has taken longer than it may. `failure` is what ended it, None while nothing has.
    `politeness` None copies as fast as anybody.

    `away_since_seconds` is the host's monotonic time of the guest's suspend or pause, None while
    the guest runs; `away_seconds` what the last absence came to. `destination_stalled` says that a
    copy was left behind there: nothing more is asked of it in this run.
    """

    host: Host
    toolstack: Toolstack
    lvm: Lvm
    journal: Journal
    destination: Destination
    watcher: RunWatcher
    cancelled: Callable[[], str]
    overdue: Callable[[], str] = lambda: ""
    limit: BandwidthLimit | None = None
    politeness: Politeness | None = None
    failure: XenbackupError | None = None
    away_since_seconds: float | None = None
    away_seconds: float = 0.0
    destination_stalled: bool = False

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
        if was_migrated_away(found.name):
            raise DomainChanged(
                f"Domain {name} was migrated to another host during the run: what is left of it "
                f"here is {found.name} (domain {found.domid})."
            )
        if found.domid != start.plan.domain.domid:
            raise DomainChanged(
                f"Domain {name} is now domain {found.domid}, was {start.plan.domain.domid}: "
                "it rebooted or was re-created during the run."
            )
        return found

    def mark_image_stale(self, entry: e.Resuming | e.ImageStale) -> None:
        """Write, before the guest runs, that its memory image must never be restored again.

        In an undo whose journal cannot be written the image is removed instead: what is not there
        is restored by nobody. Raises: StateFailed when neither can be done.
        """
        self.journal.write(entry, instead=lambda: self.spool.remove(self.run_id))

    def explain_stop(self) -> str:
        """Why the run must stop: it was asked to, or has no time left; "" to go on."""
        return self.cancelled() or self.overdue()

    def check_cancelled(self) -> None:
        """Raises: Interrupted with the reason, when somebody asked the run to stop; TimeLimitPassed
        when it has no time left.
        """
        name = self.plan.domain.name
        if reason := self.cancelled():
            raise Interrupted(f"The run of {name} was stopped: {reason}.")
        if reason := self.overdue():
            raise TimeLimitPassed(
                f"The run of {name} was stopped: {reason}.", hint="raise the job's `time_limit`"
            )

    def begin_absence(self) -> None:
        """The guest is about to stand still: time away counts from here (an upper bound)."""
        if self.away_since_seconds is None:
            self.away_since_seconds = self.host.monotonic_seconds()
            self.watcher.absence_began(self.run_id)

    def end_absence(self) -> float:
        """The guest runs again; returns seconds away."""
        if self.away_since_seconds is not None:
            self.away_seconds += self.host.monotonic_seconds() - self.away_since_seconds
            self.away_since_seconds = None
            self.watcher.absence_ended(self.run_id)
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
