"""Memory and processors of a host and its guests, each question asked once for all guests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from xenbackup.dom0.dom0_memory import (
    find_dom0_memory_values,
    parse_dom0_memory_rule,
)
from xenbackup.dom0.guest_configuration import ConfigurationFile, GuestConfiguration
from xenbackup.dom0.host import Host
from xenbackup.dom0.resource_tables import (
    ConfiguredSizes,
    CpuPool,
    read_configured_sizes,
    read_expression_sizes,
)
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.dom0.xl_parsers import CreditShare, VcpuRow
from xenbackup.errors import CommandFailed, ConfigurationError, UnexpectedOutput
from xenbackup.inventory.host_texts import read_host_text
from xenbackup.model.domain import Domain, Tuning
from xenbackup.model.resources import Dom0Memory, DomainResources, Resources
from xenbackup.model.xen import XenFacts

_KERNEL_LINE = "/proc/cmdline"
_NUMBER_LIMIT = 0xFFFF
_Answer = TypeVar("_Answer")


def read_resources(
    host: Host,
    toolstack: Toolstack,
    facts: XenFacts,
    domains: Sequence[Domain],
    configurations: Sequence[ConfigurationFile],
) -> Resources:
    """The host's memory and processors, and the share of each domain, running or shut off.

    Four commands whatever the number of guests: the domains' table (for Domain-0), `vcpu-list`,
    the scheduler's table, `cpupool-list`; one more for each other scheduler of a cpupool. What
    fails leaves a sentence in `problems` and its part empty; nothing is raised.
    """
    return _Reading(host, toolstack, facts).read(domains, configurations)


class _Reading:
    """One reading of a host: its answers, and the questions that it did not answer."""

    def __init__(self, host: Host, toolstack: Toolstack, facts: XenFacts) -> None:
        self._host = host
        self._toolstack = toolstack
        self._facts = facts
        self._problems: list[str] = []
        self._pools: tuple[CpuPool, ...] = ()
        self._vcpus: tuple[VcpuRow, ...] = ()
        self._shares: dict[int, tuple[str, CreditShare]] = {}

    def read(
        self, domains: Sequence[Domain], configurations: Sequence[ConfigurationFile]
    ) -> Resources:
        facts, toolstack = self._facts, self._toolstack
        self._pools = self._ask(toolstack.list_pools, ())
        self._vcpus = self._ask(toolstack.list_vcpus, ())
        self._read_shares()
        dom0 = self._read_dom0()
        by_name = {
            file.configuration.name: file.configuration
            for file in configurations
            if file.configuration is not None
        }
        found = tuple(
            self._describe_running(domain)
            if domain.exists
            else self._describe_stopped(domain, by_name.get(domain.name))
            for domain in domains
        )
        return Resources(
            total_mib=facts.total_memory_mib,
            free_mib=facts.free_memory_mib,
            cpus=facts.cpus,
            scheduler=facts.scheduler,
            numa_nodes=facts.numa_nodes,
            pools=tuple(pool.name for pool in self._pools),
            dom0=dom0,
            domains=found,
            problems=tuple(self._problems),
        )

    def _ask(self, question: Callable[[], _Answer], default: _Answer) -> _Answer:
        try:
            return question()
        except (CommandFailed, UnexpectedOutput) as error:
            self._problems.append(error.message)
            return default

    def _read_shares(self) -> None:
        """Each domain's weight, in the table of its own pool's scheduler."""
        others = (pool.scheduler for pool in self._pools)
        for scheduler in dict.fromkeys((self._facts.scheduler, *others)):
            nothing: tuple[CreditShare, ...] = ()
            ask = partial(self._toolstack.list_shares, scheduler)
            for share in self._ask(ask, nothing):
                self._shares.setdefault(share.domid, (scheduler, share))

    def _read_dom0(self) -> Dom0Memory:
        xen = find_dom0_memory_values(self._facts.xen_command_line)
        linux = find_dom0_memory_values(read_host_text(self._host, _KERNEL_LINE) or "")
        limit_mib = None
        if xen:
            try:
                # Xen reads each such word over what the ones before it set.
                rule = parse_dom0_memory_rule(",".join(xen))
                limit_mib = rule.promise_mib(self._facts.total_memory_mib)
            except ConfigurationError as error:
                self._problems.append(f"On Xen's command line: {error.message}")
        return Dom0Memory(
            current_mib=self._ask(self._toolstack.read_dom0_memory_mib, 0),
            on_xen_line=" ".join(xen),
            on_linux_line=" ".join(linux),
            limit_mib=limit_mib,
        )

    def _describe_running(self, domain: Domain) -> DomainResources:
        sizes = self._ask(lambda: _read_sizes(domain), ConfiguredSizes())
        scheduler, share = self._shares.get(domain.domid, (self._facts.scheduler, None))
        only_pool = self._pools[0].name if len(self._pools) == 1 else ""
        return DomainResources(
            domain=domain.name,
            domid=domain.domid,
            memory_mib=domain.memory_mib,
            maximum_mib=max(domain.maximum_memory_mib, domain.memory_mib),
            vcpus=domain.vcpus,
            target_mib=sizes.target_mib,
            tuning=Tuning(
                pinning=tuple(row.pinning for row in self._vcpus if row.domid == domain.domid),
                scheduler=scheduler,
                weight=share.weight if share else None,
                cap=share.cap if share else None,
                vcpus=domain.vcpus,
                pool=share.pool if share else "",
            ),
            pool=(share.pool if share else "") or sizes.pool or only_pool,
            numa_nodes=sizes.numa_nodes,
            kind=domain.kind,
        )

    def _describe_stopped(
        self, domain: Domain, known: GuestConfiguration | None
    ) -> DomainResources:
        """What a guest that is shut off will ask for; pinning is not foretold."""
        return DomainResources(
            domain=domain.name,
            domid=domain.domid,
            memory_mib=domain.memory_mib,
            maximum_mib=max(domain.maximum_memory_mib, domain.memory_mib),
            vcpus=domain.vcpus,
            tuning=Tuning(
                weight=_read_number(known, "cpu_weight"),
                cap=_read_number(known, "cap"),
                vcpus=domain.vcpus,
            ),
            pool=_read_text(known, "pool"),
            numa_nodes=_count_entries(known, "vnuma"),
            kind=domain.kind,
        )


def _read_sizes(domain: Domain) -> ConfiguredSizes:
    if domain.configuration_json:
        return read_configured_sizes(domain.configuration_json)
    if domain.configuration_sexp:
        return read_expression_sizes(domain.configuration_sexp)
    return ConfiguredSizes()


def _read_number(known: GuestConfiguration | None, key: str) -> int | None:
    setting = known.find_setting(key) if known is not None else None
    if setting is None:
        return None
    text = setting.text.strip()
    if isinstance(setting.value, int):
        number = setting.value
    elif text.isascii() and text.isdigit() and len(text) <= len(str(_NUMBER_LIMIT)):
        number = int(text)
    else:
        return None
    return number if 0 <= number <= _NUMBER_LIMIT else None


def _read_text(known: GuestConfiguration | None, key: str) -> str:
    setting = known.find_setting(key) if known is not None else None
    return setting.text if setting is not None else ""


def _count_entries(known: GuestConfiguration | None, key: str) -> int:
    setting = known.find_setting(key) if known is not None else None
    return len(setting.value) if setting is not None and isinstance(setting.value, tuple) else 0
