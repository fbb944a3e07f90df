"""What `xl` and `xm` tell of a host's shares beyond single guests: cpupools, assignable devices,
and the sizes that only a guest's own configuration has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xenbackup.dom0.lspci import normalise_slot
from xenbackup.dom0.sexpressions import parse_expressions
from xenbackup.dom0.tool_output import (
    as_object,
    parse_count,
    parse_json,
    pick_list,
    pick_number,
    pick_object,
    pick_text,
    refuse_output,
    split_lines,
)

_POOL_HEADER = re.compile(r"Name\s+CPUs\s+Sched\s+Active\s+Domain count\s*")
_POOL_ROW = re.compile(
    r"(?P<name>\S.*?)\s+(?P<cpus>\d{1,9})\s+(?P<scheduler>[a-z][a-z0-9_]{0,31})\s+[yn]"
    r"\s+(?P<domains>\d{1,9})\s*"
)
# "Not set" of libxl's 64-bit memory sizes, as JSON has it.
_UNSET_KIB = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class CpuPool:
    """One cpupool: how many processors it has, and how many domains live in it."""

    name: str
    cpus: int
    scheduler: str
    domains: int


@dataclass(frozen=True, kw_only=True)
class ConfiguredSizes:
    """What a running guest's configuration says of its shares; `pool` "" for the default one."""

    target_mib: int | None = None
    numa_nodes: int = 0
    pool: str = ""


def parse_pool_table(text: str) -> tuple[CpuPool, ...]:
    """Rows of `xl cpupool-list`.

        Name               CPUs   Sched     Active   Domain count
        Pool-0               2   credit2       y          3

    Raises: UnexpectedOutput.
    """
    command = "xl cpupool-list"
    lines = split_lines(command, text)
    if not lines or not _POOL_HEADER.fullmatch(lines[0]):
        raise refuse_output(command, lines[0] if lines else "", expected="the header line")
    pools = []
    for line in lines[1:]:
        match = _POOL_ROW.fullmatch(line)
        if match is None:
            raise refuse_output(command, line, expected="a cpupool")
        pools.append(
            CpuPool(
                name=match["name"],
                cpus=parse_count(command, match["cpus"]),
                scheduler=match["scheduler"],
                domains=parse_count(command, match["domains"]),
            )
        )
    return tuple(pools)


def parse_assignable_list(command: str, text: str) -> tuple[str, ...]:
    """Slots that pciback holds for guests, one a line; a name may follow the slot.

    `xl pci-assignable-list` prints nothing and succeeds where pciback is not loaded; what it says
    on stderr is no part of the list. Raises: UnexpectedOutput.
    """
    slots = []
    for line in split_lines(command, text):
        if not line.strip():
            continue
        slot = normalise_slot(line.split(maxsplit=1)[0])
        if slot is None:
            raise refuse_output(command, line, expected="a PCI device")
        slots.append(slot)
    return tuple(slots)


def read_configured_sizes(configuration_json: str) -> ConfiguredSizes:
    """Target memory, virtual NUMA nodes and cpupool of one `config` object of `xl list -l`.

    Raises: UnexpectedOutput.
    """
    command = "xl list -l"
    config = as_object(command, parse_json(command, configuration_json))
    build = pick_object(command, config, "b_info")
    target_kib = None
    if build.get("target_memkb") not in (None, _UNSET_KIB):
        target_kib = pick_number(command, build, "target_memkb")
    return ConfiguredSizes(
        target_mib=None if target_kib is None else target_kib // 1024,
        numa_nodes=len(pick_list(command, build, "vnuma_nodes")),
        pool=pick_text(command, pick_object(command, config, "c_info"), "pool_name"),
    )


def read_expression_sizes(configuration_sexp: str) -> ConfiguredSizes:
    """Target memory of one domain of `xm list --long`; xend has no virtual NUMA nodes.

    Raises: UnexpectedOutput.
    """
    command = "xm list --long"
    target_mib = None
    for expression in parse_expressions(command, configuration_sexp):
        word = expression.word("memory").removesuffix(".0")
        if word:
            target_mib = parse_count(command, word)
    return ConfiguredSizes(target_mib=target_mib)
