"""What an administrator tunes with `xl`: affinity, weights, processors, memory."""

from __future__ import annotations

import re

from xenbackup.dom0.simulated.options import Options, parse_xl_options
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import Domain
from xenbackup.dom0.simulated.xl_list import free_memory_mib
from xenbackup.dom0.simulated.xl_power import end_guest

_VCPU_HEADER = (
    "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n"
)
_POOL = "Pool-0"
_CREDIT2_CAPS_SINCE = (4, 10)
_LEAST_SHARE_LEFT = 0.9
_ROOMY_MIB = 128
"""A small guest that loses more than a tenth of its memory dies of it."""
_UNITS_KIB = {"": 1024, "k": 1, "m": 1024, "g": 1 << 20, "t": 1 << 30}


def run_vcpu_list(session: Session, words: list[str]) -> int:
    options = parse_xl_options("vcpu-list", words, "h")
    state = session.state
    chosen = [_existing(session, word) for word in options.rest] or list(state.domains)
    session.out(_VCPU_HEADER)
    if not options.rest:
        for vcpu in range(state.cpus):
            session.out(
                f"{'Domain-0':<32} {0:5} {vcpu:5} {vcpu:4}   {'-b-' if vcpu else 'r--'} "
                f"{88.0:9.1f}  all / all\n"
            )
    for domain in chosen:
        for vcpu in range(domain.vcpus):
            seconds = domain.cpu_ns / 1e9 / domain.vcpus
            session.out(
                f"{domain.name:<32} {domain.domid:5} {vcpu:5} {vcpu % state.cpus:4}   "
                f"{'-b-' if domain.executing else '---'} {seconds:9.1f}  "
                f"{domain.hard_affinity[vcpu]} / {domain.soft_affinity[vcpu]}\n"
            )
    return 0


def run_vcpu_pin(session: Session, words: list[str]) -> int:
    options = parse_xl_options(
        "vcpu-pin", words, "hfi", ["force", "ignore-global-affinity-masks"], least=3, most=4
    )
    domain = _existing(session, options.rest[0])
    which, hard = options.rest[1], options.rest[2]
    soft = options.rest[3] if len(options.rest) == 4 else "-"
    chosen = range(domain.vcpus) if which == "all" else [_vcpu_number(which)]
    for value in (hard, soft):
        if value not in ("-", "all"):
            _check_cpus(value, session.state.cpus)
    for vcpu in chosen:
        if vcpu >= domain.vcpus:
            raise ToolFailed(1, f"libxl: error: Could not set affinity for vcpu `{vcpu}'.\n")
        if hard != "-":
            domain.hard_affinity[vcpu] = hard
        if soft != "-":
            domain.soft_affinity[vcpu] = soft
    session.spend(0.02)
    return 0


def run_vcpu_set(session: Session, words: list[str]) -> int:
    options = parse_xl_options("vcpu-set", words, "hi", ["ignore-host"], least=2, most=2)
    domain = _existing(session, options.rest[0])
    wanted = _vcpu_number(options.rest[1])
    if not 1 <= wanted <= max(len(domain.hard_affinity), 1):
        raise ToolFailed(1, "libxl: error: Requested vcpus exceed the domain's maximum\n")
    domain.vcpus = wanted
    return 0


def run_cpupool_list(session: Session, words: list[str]) -> int:
    """The one pool of this host, with every processor and domain in it."""
    options = parse_xl_options("cpupool-list", words, "hc", ["cpus"], most=1)
    session.spend(0.02)
    if options.rest and options.rest[0] != _POOL:
        raise ToolFailed(1, f"Pool '{options.rest[0]}' does not exist\n")
    state = session.state
    name = f"{_POOL:<19}"
    if options.has("-c", "--cpus"):
        processors = ",".join(str(number) for number in range(state.cpus))
        session.out(f"{'Name':<19}CPU list\n{name}{processors}\n")
        return 0
    session.out(f"{'Name':<19}CPUs   Sched     Active   Domain count\n")
    domains = 1 + len(state.domains)
    session.out(f"{name}{state.cpus:3} {'credit2':>9}       y       {domains:4}\n")
    return 0


def run_sched_credit(session: Session, words: list[str]) -> int:
    parse_xl_options("sched-credit", words, "hd:w:c:p:st:r:", ["domain=", "weight=", "cap="])
    session.spend(0.02)
    return 0  # the host's scheduler is credit2: there is nothing to show


def run_sched_credit2(session: Session, words: list[str]) -> int:
    capped = session.state.xen_version >= _CREDIT2_CAPS_SINCE
    options = parse_xl_options(
        "sched-credit2",
        words,
        "hd:w:c:p:sr:" if capped else "hd:w:p:sr:",
        ["domain=", "weight=", "cap=", "cpupool=", "schedparam", "ratelimit_us="],
    )
    session.spend(0.02)
    chosen = options.value("-d", "--domain")
    weight, cap = options.value("-w", "--weight"), options.value("-c", "--cap")
    if not chosen:
        if weight or cap:
            raise ToolFailed(1, "Must specify a domain.\n")
        session.out(f"Cpupool {_POOL}: ratelimit=1000us\n")
        session.out(_weight_header(capped=capped))
        session.out(_weight_row("Domain-0", 0, 256, 0, capped=capped))
        for domain in session.state.domains:
            session.out(_weight_row_of(domain, capped=capped))
        return 0
    domain = _existing(session, chosen)
    if not weight and not cap:
        session.out(_weight_header(capped=capped) + _weight_row_of(domain, capped=capped))
        return 0
    _set_weight(options, domain)
    return 0


def _weight_header(*, capped: bool) -> str:
    return f"{'Name':<33} {'ID':>4} {'Weight':>6}{'  Cap' if capped else ''}\n"


def _weight_row_of(domain: Domain, *, capped: bool) -> str:
    return _weight_row(domain.name, domain.domid, domain.weight, domain.cap, capped=capped)


def _weight_row(name: str, domid: int, weight: int, cap: int, *, capped: bool) -> str:
    return f"{name:<33} {domid:4} {weight:6}{f' {cap:4}' if capped else ''}\n"


def _set_weight(options: Options, domain: Domain) -> None:
    weight, cap = options.value("-w", "--weight"), options.value("-c", "--cap")
    if weight:
        if not weight.isdigit() or not 1 <= int(weight) <= 65535:
            raise ToolFailed(
                1, "libxl: error: Cpu weight out of range, valid range is from 1 to 65535\n"
            )
        domain.weight = int(weight)
    if cap:
        if not cap.isdigit() or int(cap) > domain.vcpus * 100:
            raise ToolFailed(1, "libxl: error: Cpu cap out of range\n")
        domain.cap = int(cap)


def run_mem_set(session: Session, words: list[str]) -> int:
    options = parse_xl_options("mem-set", words, "h", least=2, most=2)
    domain = _existing(session, options.rest[0])
    wanted = _memory_mib(options.rest[1])
    if wanted > domain.maximum_memory_mib or wanted - domain.memory_mib > free_memory_mib(
        session.state
    ):
        raise ToolFailed(
            1,
            "libxl: error: memory_dynamic_max must be less than or equal to memory_static_max\n"
            f"cannot set domid {domain.domid} dynamic max to : {options.rest[1]}\n",
        )
    starved = wanted < domain.memory_mib * _LEAST_SHARE_LEFT and wanted < _ROOMY_MIB
    domain.memory_mib = wanted
    session.spend(0.05)
    if starved and domain.executing:
        end_guest(session, domain, "crash")  # its kernel runs out of memory
    return 0


def run_mem_max(session: Session, words: list[str]) -> int:
    options = parse_xl_options("mem-max", words, "h", least=2, most=2)
    domain = _existing(session, options.rest[0])
    wanted = _memory_mib(options.rest[1])
    if wanted < domain.memory_mib:
        raise ToolFailed(1, f"cannot set domid {domain.domid} static max to : {options.rest[1]}\n")
    domain.maximum_memory_mib = wanted
    return 0


def _existing(session: Session, text: str) -> Domain:
    _, domain = session.qualify(text)
    if domain is None:
        raise ToolFailed(1, f"libxl: error: Domain {text}:No such process\n")
    return domain


def _vcpu_number(text: str) -> int:
    if not text.isdigit():
        raise ToolFailed(1, f"Error: Invalid argument {text} as VCPU.\n")
    return int(text)


def _check_cpus(text: str, cpus: int) -> None:
    for part in text.split(","):
        match = re.fullmatch(r"\^?(\d+)(?:-(\d+))?", part)
        if match is None or int(match.group(2) or match.group(1)) >= cpus:
            raise ToolFailed(1, f"Error: Invalid argument {text} as pcpu\n")


def _memory_mib(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kmgt]?)b?", text.lower())
    if match is None:
        raise ToolFailed(1, f"invalid memory size: {text}\n")
    return int(match.group(1)) * _UNITS_KIB[match.group(2)] // 1024
