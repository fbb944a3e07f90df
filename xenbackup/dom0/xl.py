"""The `xl` toolstack: domains by number, configuration from its JSON, state from its table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from xenbackup.dom0.acts import (
    SAVE_TIMEOUT_SECONDS,
    DomainActs,
    ProgressCallback,
    check_domid,
    spell_path,
)
from xenbackup.dom0.host import Host
from xenbackup.dom0.resource_tables import CpuPool, parse_assignable_list, parse_pool_table
from xenbackup.dom0.tool_output import refuse_output
from xenbackup.dom0.toolstack_lock import tell_lock_holder
from xenbackup.dom0.tuning import compare_tuning
from xenbackup.dom0.xenstore import serves_guests
from xenbackup.dom0.xl_parsers import (
    UNNAMED,
    CreditShare,
    DomainConfiguration,
    DomainRow,
    VcpuRow,
    parse_configurations,
    parse_credit_table,
    parse_domain_table,
    parse_pci_list,
    parse_vcpu_rows,
    parse_vcpu_table,
)
from xenbackup.errors import CommandFailed
from xenbackup.model.command import CommandResult
from xenbackup.model.domain import Domain, DomainStatus, GuestKind, Tuning

_SAVE_PAUSED_SINCE = (4, 4)
_MONITOR_SURVIVES_SINCE = (4, 20)
_CREDIT_SCHEDULERS = ("credit", "credit2")


class Xl(DomainActs):
    """Every act and question of the toolstack, through `xl`."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "xl")
        self._version: tuple[int, ...] = ()

    def can_save_paused(self) -> bool:
        """`save -p` came with Xen 4.4. Raises: CommandFailed, UnexpectedOutput."""
        return self._read_version() >= _SAVE_PAUSED_SINCE

    def monitors_die_on_suspend(self) -> bool:
        """Before Xen 4.20 a domain's monitor takes a suspend for the domain's end."""
        return self._read_version() < _MONITOR_SURVIVES_SINCE

    def name_while_saving(self, name: str) -> str:
        """None of its own: xl does the work itself, and a save ends with its process."""
        return ""

    def tell_lock_holder(self) -> str:
        """Who holds the lock that starts of guests wait for, as a sentence's end; "" if nobody."""
        return tell_lock_holder(self._host)

    def list_domains(self) -> tuple[Domain, ...]:
        """All guests, without Domain-0 and the nameless rows of domains coming or going.

        Left out too are stub domains and that of xenstore: nobody backs them up. A domain that
        libxl has no configuration for (half-built) is listed with kind UNKNOWN, no disks, and an
        empty `configuration_json`: nothing may be planned from it.
        Raises: CommandFailed, UnexpectedOutput.
        """
        named = (domain for domain in self._list_all() if domain.name)
        return tuple(domain for domain in named if domain.disks or not self._serves_guests(domain))

    def list_stopped(self) -> tuple[Domain, ...]:
        """None: xl forgets a domain that is shut off; its configuration file remembers."""
        return ()

    def find_domain(self, uuid: str) -> Domain | None:
        """The domain with this UUID, even while it is being built or torn down (name "" then)."""
        return next((domain for domain in self._list_all() if domain.uuid == uuid.lower()), None)

    def find_status(self, uuid: str) -> DomainStatus | None:
        """Name, number and state alone: one command, for questions asked while a guest waits."""
        return next(
            (
                DomainStatus(name=row.name, domid=row.domid, uuid=row.uuid, state=row.state)
                for row in self._read_rows()
                if row.domid != 0 and row.uuid == uuid.lower()
            ),
            None,
        )

    def list_pci(self, domid: int) -> tuple[str, ...]:
        """Devices that are passed through now. Raises: CommandFailed, UnexpectedOutput."""
        return parse_pci_list(self.read("pci-list", str(check_domid(domid))))

    def list_assignable_pci(self) -> tuple[str, ...] | None:
        """Devices that pciback holds for guests; () where pciback is not loaded.

        Raises: CommandFailed, UnexpectedOutput.
        """
        verb = "pci-assignable-list"
        return parse_assignable_list(f"xl {verb}", self.read(verb))

    def list_pools(self) -> tuple[CpuPool, ...]:
        """All cpupools. Raises: CommandFailed, UnexpectedOutput."""
        return parse_pool_table(self.read("cpupool-list"))

    def list_vcpus(self) -> tuple[VcpuRow, ...]:
        """Affinities of all domains, of one instant. Raises: CommandFailed, UnexpectedOutput."""
        return parse_vcpu_rows(self.read("vcpu-list"))

    def list_shares(self, scheduler: str) -> tuple[CreditShare, ...]:
        """Weights, caps and pools of all domains; () for a scheduler that has no weights.

        Raises: CommandFailed, UnexpectedOutput.
        """
        if scheduler not in _CREDIT_SCHEDULERS:
            return ()
        verb = f"sched-{scheduler}"
        return parse_credit_table(f"xl {verb}", self.read(verb))

    def read_dom0_memory_mib(self) -> int:
        """What Domain-0 has now, in MiB. Raises: CommandFailed, UnexpectedOutput."""
        for row in self._read_rows():
            if row.domid == 0:
                return row.memory_mib
        raise refuse_output("xl list -v", "", expected="Domain-0")

    def save_paused(
        self,
        domid: int,
        path: Path,
        *,
        run_id: str,
        stderr_path: Path | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_seconds: float = SAVE_TIMEOUT_SECONDS,
    ) -> CommandResult:
        """Save and leave the domain paused, its disks connected."""
        return self.transfer(
            "save",
            "-p",
            str(check_domid(domid)),
            spell_path(path),
            run_id=run_id,
            stderr_path=stderr_path,
            on_progress=on_progress,
            timeout_seconds=timeout_seconds,
        )

    def restore_paused(
        self,
        path: Path,
        *,
        run_id: str,
        own_unit: str = "",
        stderr_path: Path | None = None,
        configuration_path: Path | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_seconds: float = SAVE_TIMEOUT_SECONDS,
    ) -> CommandResult:
        """Rebuild a saved guest, paused; `configuration_path` takes the saved one's place."""
        configuration = (spell_path(configuration_path),) if configuration_path else ()
        return self.transfer(
            "restore",
            "-p",
            *configuration,
            spell_path(path),
            run_id=run_id,
            stderr_path=stderr_path,
            on_progress=on_progress,
            timeout_seconds=timeout_seconds,
            own_unit=own_unit,
        )

    def check_configuration(self, configuration_path: Path) -> CommandResult:
        """Let xl parse a configuration file without creating anything (`xl -N`)."""
        return self.act("-N", "create", spell_path(configuration_path))

    def read_tuning(self, domain: Domain) -> Tuning:
        """Cpupool, pinning, weight, cap and virtual CPUs.

        Pool and weight of a guest in a pool whose scheduler has no weights are not known.
        Raises: CommandFailed, UnexpectedOutput.
        """
        number = str(check_domid(domain.domid))
        scheduler, share = self._find_share(domain.domid)
        return Tuning(
            pinning=parse_vcpu_table(self.read("vcpu-list", number), domain.domid),
            scheduler=scheduler,
            weight=share.weight if share else None,
            cap=share.cap if share else None,
            vcpus=domain.vcpus,
            pool=share.pool if share else "",
        )

    def _find_share(self, domid: int) -> tuple[str, CreditShare | None]:
        """The domain's row, and the scheduler in whose table it stands; the host's own without one.

        Asked with `-d`, the verb of one scheduler fails for a domain in a pool of another one.
        """
        own = self.read_facts().scheduler
        for scheduler in dict.fromkeys((own, *_CREDIT_SCHEDULERS)):
            for share in self._read_shares(scheduler):
                if share.domid == domid:
                    return scheduler, share
        return own, None

    def _read_shares(self, scheduler: str) -> tuple[CreditShare, ...]:
        """All rows of a scheduler, asked again once: a domain that ends just then ends the table.

        xl fails for the whole table then. Raises: CommandFailed, UnexpectedOutput.
        """
        try:
            return self.list_shares(scheduler)
        except CommandFailed:
            return self.list_shares(scheduler)

    def apply_tuning(self, domid: int, tuning: Tuning) -> tuple[str, ...]:
        """Set again what differs; returns what could not be set, as sentences.

        Raises: CommandFailed, UnexpectedOutput while reading.
        """
        number = str(check_domid(domid))
        now = self._read_tuning_of(domid)
        failures: tuple[str, ...] = ()
        moves = tuning.pool not in ("", now.pool)
        if moves:
            # First of all: another pool has its own scheduler, and processors to be pinned to.
            failures = self.act_in_turn([("cpupool-migrate", number, tuning.pool)])
            now = self._read_tuning_of(domid)
        acts: list[tuple[str, ...]] = []
        if tuning.vcpus and tuning.vcpus != now.vcpus:
            acts.append(("vcpu-set", number, str(tuning.vcpus)))
        for pinning in tuning.pinning:
            if pinning not in now.pinning:
                acts.append(("vcpu-pin", number, str(pinning.vcpu), pinning.hard, pinning.soft))
        same_share = (tuning.weight, tuning.cap) == (now.weight, now.cap)
        if tuning.weight is not None and tuning.scheduler == now.scheduler and not same_share:
            share = ["-w", str(tuning.weight)]
            if (tuning.cap or 0) != (now.cap or 0):
                # Not every xl knows the option: before Xen 4.10 credit2 had no caps.
                share += ["-c", str(tuning.cap or 0)]
            acts.append((f"sched-{tuning.scheduler}", "-d", number, *share))
        failures += self.act_in_turn(acts)
        if not (moves or acts):
            return ()
        return (*failures, *compare_tuning(tuning, self._read_tuning_of(domid)))

    def _read_tuning_of(self, domid: int) -> Tuning:
        row = next((row for row in self._read_rows() if row.domid == domid), None)
        if row is None:
            raise CommandFailed(f"Domain {domid} is gone: its tuning cannot be read or applied.")
        return self.read_tuning(_without_configuration(row))

    def _read_version(self) -> tuple[int, ...]:
        # Neither Xen nor xl changes under a running host without a reboot.
        if not self._version:
            self._version = self.read_facts().version_tuple
        return self._version

    def _read_rows(self) -> tuple[DomainRow, ...]:
        return parse_domain_table(self.read("list", "-v"))

    def _serves_guests(self, domain: Domain) -> bool:
        with suppress(CommandFailed):
            return serves_guests(self._host, domain.domid)
        return False

    def _list_all(self) -> tuple[Domain, ...]:
        configurations = {
            (record.domid, record.uuid): record
            for record in parse_configurations(self.read("list", "-l"))
        }
        return tuple(
            _join(row, configurations.get((row.domid, row.uuid)))
            for row in self._read_rows()
            if row.domid != 0
        )


def _join(row: DomainRow, record: DomainConfiguration | None) -> Domain:
    if record is None:
        return _without_configuration(row)
    return Domain(
        # The table pads names with spaces, so a name that ends in one is whole only in the JSON.
        name="" if row.name == UNNAMED else record.name,
        domid=row.domid,
        uuid=row.uuid,
        kind=record.kind,
        state=row.state,
        memory_mib=row.memory_mib,
        vcpus=row.vcpus,
        disks=record.disks,
        pci_devices=record.pci_devices,
        maximum_memory_mib=record.maximum_memory_mib,
        configuration_json=record.configuration_json,
    )


def _without_configuration(row: DomainRow) -> Domain:
    return Domain(
        name="" if row.name == UNNAMED else row.name,
        domid=row.domid,
        uuid=row.uuid,
        kind=GuestKind.UNKNOWN,
        state=row.state,
        memory_mib=row.memory_mib,
        vcpus=row.vcpus,
    )
