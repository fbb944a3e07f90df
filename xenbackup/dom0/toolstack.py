"""The toolstack as the rooms above see it: `xl`, or the older `xm`, behind one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from xenbackup.dom0.acts import SAVE_TIMEOUT_SECONDS, ProgressCallback
from xenbackup.dom0.host import Host
from xenbackup.dom0.resource_tables import CpuPool
from xenbackup.dom0.tuning import compare_tuning
from xenbackup.dom0.xl import Xl
from xenbackup.dom0.xl_parsers import CreditShare, VcpuRow
from xenbackup.dom0.xm import Xm
from xenbackup.errors import CommandFailed, UsageError
from xenbackup.model.command import CommandResult
from xenbackup.model.domain import Domain, DomainStatus, Tuning
from xenbackup.model.xen import XenFacts

__all__ = ["ProgressCallback", "Toolstack", "compare_tuning", "open_toolstack"]

_XM_GONE_SINCE = (4, 5)


class Toolstack(Protocol):
    """Questions raise CommandFailed and UnexpectedOutput; acts return what the tool said.

    Every act addresses a domain by number, and raises UsageError for a number that is no guest's
    and for paths that are not absolute.
    """

    @property
    def name(self) -> str: ...

    def read_facts(self) -> XenFacts: ...

    def can_save_paused(self) -> bool: ...

    def monitors_die_on_suspend(self) -> bool: ...

    def name_while_saving(self, name: str) -> str: ...

    def tell_lock_holder(self) -> str: ...

    def list_domains(self) -> tuple[Domain, ...]: ...

    def list_stopped(self) -> tuple[Domain, ...]: ...

    def find_domain(self, uuid: str) -> Domain | None: ...

    def find_status(self, uuid: str) -> DomainStatus | None: ...

    def list_pci(self, domid: int) -> tuple[str, ...]: ...

    def list_assignable_pci(self) -> tuple[str, ...] | None: ...

    def list_pools(self) -> tuple[CpuPool, ...]: ...

    def list_vcpus(self) -> tuple[VcpuRow, ...]: ...

    def list_shares(self, scheduler: str) -> tuple[CreditShare, ...]: ...

    def read_dom0_memory_mib(self) -> int: ...

    def pause(self, domid: int, *, run_id: str = "") -> CommandResult: ...

    def unpause(self, domid: int, *, run_id: str = "") -> CommandResult: ...

    def destroy(self, domid: int, *, run_id: str = "") -> CommandResult: ...

    def request_sync(self, domid: int, *, run_id: str = "") -> CommandResult: ...

    def save_paused(
        self,
        domid: int,
        path: Path,
        *,
        run_id: str,
        stderr_path: Path | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_seconds: float = SAVE_TIMEOUT_SECONDS,
    ) -> CommandResult: ...

    def save(
        self,
        domid: int,
        path: Path,
        *,
        run_id: str,
        stderr_path: Path | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_seconds: float = SAVE_TIMEOUT_SECONDS,
    ) -> CommandResult: ...

    def save_continue(
        self,
        domid: int,
        path: Path,
        *,
        run_id: str,
        stderr_path: Path | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_seconds: float = SAVE_TIMEOUT_SECONDS,
    ) -> CommandResult: ...

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
    ) -> CommandResult: ...

    def create(
        self, configuration_path: Path, *, paused: bool = False, run_id: str, own_unit: str = ""
    ) -> CommandResult: ...

    def check_configuration(self, configuration_path: Path) -> CommandResult: ...

    def read_tuning(self, domain: Domain) -> Tuning: ...

    def apply_tuning(self, domid: int, tuning: Tuning) -> tuple[str, ...]: ...


def open_toolstack(host: Host, name: str = "auto") -> Toolstack:
    """The named toolstack; `auto` takes the one that commands this host's guests.

    Xen 4.1 to 4.4 have both. There xl answers questions while xend runs, and refuses every act
    (main() in xl.c); xm answers only while xend runs.

    Raises: UsageError for another name, CommandFailed when neither answers.
    """
    if name == "xl":
        return Xl(host)
    if name == "xm":
        return Xm(host)
    if name != "auto":
        raise UsageError(f"There is no toolstack {name!r}.", hint="it is auto, xl or xm")
    xl, xm = Xl(host), Xm(host)
    refusals: list[str] = []
    told_by_xl = _ask_facts(xl, refusals)
    if told_by_xl is not None and told_by_xl.version_tuple >= _XM_GONE_SINCE:
        return xl
    if _ask_facts(xm, refusals) is not None:
        return xm
    if told_by_xl is not None:
        return xl
    raise CommandFailed(
        "Neither xl nor xm answers on this host: " + " ".join(refusals),
        hint="is this a Xen dom0, and are we root?",
    )


def _ask_facts(toolstack: Toolstack, refusals: list[str]) -> XenFacts | None:
    try:
        return toolstack.read_facts()
    except CommandFailed as error:
        refusals.append(error.message)
        return None
