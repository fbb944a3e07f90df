"""The older `xm` toolstack: the same verbs, S-expressions for JSON, no `save -p`, no monitors.

Its daemon xend watches every domain itself, so a suspend costs no monitor; and it knows domains
that are shut off, which xl does not. xend also does the work: whoever kills `xm save` does not end
the save.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xenbackup.dom0.acts import (
    ACT_TIMEOUT_SECONDS,
    SAVE_TIMEOUT_SECONDS,
    DomainActs,
    ProgressCallback,
    check_domid,
    spell_path,
)
from xenbackup.dom0.host import Host
from xenbackup.dom0.resource_tables import CpuPool, parse_assignable_list
from xenbackup.dom0.tool_output import refuse_output
from xenbackup.dom0.tuning import compare_tuning
from xenbackup.dom0.xl_parsers import CreditShare, VcpuRow, parse_pci_list
from xenbackup.dom0.xm_parsers import (
    STOPPED_DOMID,
    parse_xm_credit,
    parse_xm_credit_rows,
    parse_xm_domains,
    parse_xm_list,
    parse_xm_vcpu_rows,
    parse_xm_vcpu_table,
)
from xenbackup.errors import CommandFailed, UsageError
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.domain import (
    Domain,
    DomainState,
    DomainStatus,
    ShutdownReason,
    Tuning,
)

EXPRESSION_SUFFIX = ".sxp"
SAVING_PREFIX = "migrating-"


class Xm(DomainActs):
    """Every act and question of the toolstack, through `xm`."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "xm")

    def can_save_paused(self) -> bool:
        return False

    def monitors_die_on_suspend(self) -> bool:
        return False

    def name_while_saving(self, name: str) -> str:
        """xend renames a domain for as long as it is saved, whether or not its caller lives."""
        return f"{SAVING_PREFIX}{name}"

    def tell_lock_holder(self) -> str:
        """Nobody: xend does one thing after another, and no file is locked for it."""
        return ""

    def list_domains(self) -> tuple[Domain, ...]:
        """All guests that exist in the hypervisor. Raises: CommandFailed, UnexpectedOutput."""
        return tuple(domain for domain in self._list_all() if domain.domid != STOPPED_DOMID)

    def list_stopped(self) -> tuple[Domain, ...]:
        """Guests that xend knows and that are shut off; their domid is -1."""
        return tuple(domain for domain in self._list_all() if domain.domid == STOPPED_DOMID)

    def find_domain(self, uuid: str) -> Domain | None:
        return next((domain for domain in self.list_domains() if domain.uuid == uuid.lower()), None)

    def find_status(self, uuid: str) -> DomainStatus | None:
        """Name, number and state alone."""
        domain = self.find_domain(uuid)
        if domain is None:
            return None
        return DomainStatus(
            name=domain.name, domid=domain.domid, uuid=domain.uuid, state=domain.state
        )

    def list_pci(self, domid: int) -> tuple[str, ...]:
        """Devices that are passed through now. Raises: CommandFailed, UnexpectedOutput."""
        return parse_pci_list(self.read("pci-list", str(check_domid(domid))))

    def list_assignable_pci(self) -> tuple[str, ...] | None:
        """Devices that pciback holds for guests; None where this xm is too old to be asked.

        Raises: UnexpectedOutput.
        """
        verb = "pci-list-assignable-devices"
        try:
            text = self.read(verb)
        except CommandFailed:
            return None
        return parse_assignable_list(f"xm {verb}", text)

    def list_pools(self) -> tuple[CpuPool, ...]:
        """None: hosts of xm's time have one pool, without a name that would mean anything."""
        return ()

    def list_vcpus(self) -> tuple[VcpuRow, ...]:
        """Affinities of all domains, of one instant. Raises: CommandFailed, UnexpectedOutput."""
        return parse_xm_vcpu_rows(self.read("vcpu-list"))

    def list_shares(self, scheduler: str) -> tuple[CreditShare, ...]:
        """Weights and caps of all domains; () for a scheduler other than credit.

        Before Xen 3.3 xm wants to be asked for each domain.
        Raises: CommandFailed, UnexpectedOutput.
        """
        if scheduler != "credit":
            return ()
        try:
            return parse_xm_credit_rows(self.read("sched-credit"))
        except CommandFailed:
            domids = [
                row.domid for row in parse_xm_list(self.read("list")) if row.domid is not None
            ]
        found = (parse_xm_credit(self.read("sched-credit", "-d", str(n)), n) for n in domids)
        return tuple(share for share in found if share is not None)

    def read_dom0_memory_mib(self) -> int:
        """What Domain-0 has now, in MiB. Raises: CommandFailed, UnexpectedOutput."""
        for row in parse_xm_list(self.read("list")):
            if row.domid == 0:
                return row.memory_mib
        raise refuse_output("xm list", "", expected="Domain-0")

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
        """Raises: UsageError always: xm cannot."""
        raise UsageError(
            "xm has no `save -p`: a guest cannot be saved and kept.",
            hint="use preset snapshot or crash on this host",
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
        """Rebuild a saved guest, paused. Raises: UsageError for another configuration."""
        if configuration_path is not None:
            raise UsageError("xm restores a guest only with the configuration it was saved with.")
        return self.transfer(
            "restore",
            "--paused",
            spell_path(path),
            run_id=run_id,
            stderr_path=stderr_path,
            on_progress=on_progress,
            timeout_seconds=timeout_seconds,
            own_unit=own_unit,
        )

    def create(
        self, configuration_path: Path, *, paused: bool = False, run_id: str, own_unit: str = ""
    ) -> CommandResult:
        """Boot a domain afresh from a file of settings, or of an S-expression (`.sxp`)."""
        path = spell_path(configuration_path)
        is_expression = configuration_path.suffix == EXPRESSION_SUFFIX
        options = ("-p",) if paused else ()
        return self._host.run(
            Command(
                argv=("xm", "create", *options, f"--config={path}" if is_expression else path),
                timeout_seconds=ACT_TIMEOUT_SECONDS,
                run_id=run_id,
                own_unit=own_unit,
            )
        )

    def check_configuration(self, configuration_path: Path) -> CommandResult:
        """Let xm parse a configuration file without creating anything (`xm create -n`)."""
        return self.act("create", "--dryrun", spell_path(configuration_path))

    def read_tuning(self, domain: Domain) -> Tuning:
        """Pinning, weight, cap and virtual CPUs. Raises: CommandFailed, UnexpectedOutput."""
        number = str(check_domid(domain.domid))
        scheduler = self.read_facts().scheduler
        share = None
        if scheduler == "credit":
            share = parse_xm_credit(self.read("sched-credit", "-d", number), domain.domid)
        return Tuning(
            pinning=parse_xm_vcpu_table(self.read("vcpu-list", number), domain.domid),
            scheduler=scheduler,
            weight=share.weight if share else None,
            cap=share.cap if share else None,
            vcpus=domain.vcpus,
        )

    def apply_tuning(self, domid: int, tuning: Tuning) -> tuple[str, ...]:
        """Set again what differs; returns what could not be set, as sentences.

        Raises: CommandFailed, UnexpectedOutput while reading.
        """
        number = str(check_domid(domid))
        now = self._read_tuning_of(domid)
        acts: list[tuple[str, ...]] = []
        if tuning.vcpus and tuning.vcpus != now.vcpus:
            acts.append(("vcpu-set", number, str(tuning.vcpus)))
        for pinning in tuning.pinning:
            if pinning not in now.pinning:
                acts.append(("vcpu-pin", number, str(pinning.vcpu), pinning.hard))
        if tuning.weight is not None and (tuning.weight, tuning.cap) != (now.weight, now.cap):
            share = ("-w", str(tuning.weight), "-c", str(tuning.cap or 0))
            acts.append(("sched-credit", "-d", number, *share))
        failures = self.act_in_turn(acts)
        return (*failures, *compare_tuning(tuning, self._read_tuning_of(domid))) if acts else ()

    def _read_tuning_of(self, domid: int) -> Tuning:
        domain = next((domain for domain in self.list_domains() if domain.domid == domid), None)
        if domain is None:
            raise CommandFailed(f"Domain {domid} is gone: its tuning cannot be read or applied.")
        return self.read_tuning(domain)

    def _list_all(self) -> tuple[Domain, ...]:
        configured = parse_xm_domains(self.read("list", "--long"))
        rows = {row.domid: row for row in parse_xm_list(self.read("list")) if row.domid is not None}
        stopped = [domain for domain in configured if domain.domid == STOPPED_DOMID]
        # Memory and processors of the long form are the configured ones; the table has today's.
        existing = [
            replace(
                domain,
                state=_add_reason(row.state, domain.state.shutdown_reason),
                memory_mib=row.memory_mib,
                vcpus=row.vcpus,
            )
            for domain in configured
            if (row := rows.get(domain.domid)) is not None
        ]
        return (*existing, *stopped)


def _add_reason(state: DomainState, reason: ShutdownReason | None) -> DomainState:
    """The table tells that a domain is shut down, the long form why."""
    if not state.shutdown or state.shutdown_reason is not None:
        return state
    return replace(state, shutdown_reason=reason)
