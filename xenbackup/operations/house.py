"""The house: the real objects of one host, built by `bootstrap` and used by every operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xenbackup.config import choose_job
from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.errors import Locked
from xenbackup.inventory.pci import read_pci
from xenbackup.inventory.places import find_monitored, find_no_suspend, read_places
from xenbackup.inventory.reading import read_inventory
from xenbackup.inventory.resources import read_resources
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import Configuration, Job, JobSet
from xenbackup.model.names import encode_folder_name
from xenbackup.operations.probing import PLACES_PROBE
from xenbackup.records.catalog import Catalog
from xenbackup.storage.bandwidth import BandwidthLimit
from xenbackup.storage.destination import PointStore
from xenbackup.system import durable

JOURNALS_FOLDER = "journals"
LOCKS_FOLDER = "locks"
ROUNDS_FOLDER = "rounds"


@dataclass(frozen=True, kw_only=True)
class House:
    """One host with its configuration, jobs, tools, records and destinations.

    `open_destination` builds a destination by its configured name; `entropy` gives random bytes
    for ids.
    """

    host: Host
    configuration: Configuration
    jobs: JobSet
    toolstack: Toolstack
    lvm: Lvm
    catalog: Catalog
    open_destination: Callable[[str], PointStore]
    entropy: Callable[[int], bytes]

    @property
    def state_folder(self) -> Path:
        return self.host.place(self.configuration.state_path)

    @property
    def journals_folder(self) -> Path:
        return self.state_folder / JOURNALS_FOLDER

    @property
    def rounds_folder(self) -> Path:
        """Where the daemon keeps the scheduled rounds that it accepted and that have not ended."""
        return self.state_folder / ROUNDS_FOLDER

    def find_job(self, name: str) -> Job:
        """Raises: ConfigurationError for a broken file, UsageError for a job that is not there."""
        return choose_job(self.jobs, name)

    def read_inventory(self, *, whole: bool = False) -> Inventory:
        """The host, with the places that we write to and the guests that are watched.

        Memory, processors, PCI devices and what guests obey cost commands of their own: they are
        there when `whole`.

        Raises: CommandFailed, UnexpectedOutput from the tools.
        """
        found = read_inventory(
            self.host,
            self.toolstack,
            self.lvm,
            read_pci=read_pci if whole else None,
            read_resources=read_resources if whole else None,
        )
        return replace(
            found,
            places=read_places(
                self.host, found.volumes, found.groups, self.configuration, PLACES_PROBE.ask
            ),
            monitored=self._find_monitored(found),
            no_suspend=find_no_suspend(self.host, found.domains) if whole else frozenset(),
        )

    def _find_monitored(self, found: Inventory) -> frozenset[str]:
        """With xm, xend itself watches every guest: there are no processes to miss."""
        if self.toolstack.name == "xm":
            return frozenset(domain.name for domain in found.domains if domain.exists)
        return find_monitored(self.host, found.domains)

    def lock_domain(self, identity: str, purpose: str) -> durable.FileLock:
        """The lock of a domain, not yet taken: one run per domain, of whatever job."""
        folder = durable.make_private_folder(self.state_folder / LOCKS_FOLDER)
        return durable.FileLock(folder / f"domain-{encode_folder_name(identity)}.lock", purpose)

    def is_domain_locked(self, identity: str, domain: str) -> bool:
        """Is a process of ours at work on the domain? Asking takes its lock for a moment."""
        lock = self.lock_domain(identity, f"look after {domain}")
        try:
            lock.acquire()
        except Locked:
            return True
        lock.release()
        return False

    def lock_recovery(self) -> durable.FileLock:
        """The lock of recovery, not yet taken: a second one waits outside."""
        folder = durable.make_private_folder(self.state_folder / LOCKS_FOLDER)
        return durable.FileLock(folder / "recover.lock", "recover")

    def make_limit(self) -> BandwidthLimit | None:
        """A rate shared by the copies of one round; None without a configured limit."""
        rate = self.configuration.bandwidth_limit_bytes_per_second
        if not rate:
            return None
        return BandwidthLimit(rate, monotonic=self.host.monotonic_seconds, sleep=self.host.sleep)
