"""What the simulated `xl` shows: domains, the machine, PCI devices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

from xenbackup.dom0.simulated.options import parse_xl_options
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import NANOSECONDS, Domain, HostState

DOM0_UUID = "00000000-0000-0000-0000-000000000000"
XEN_OVERHEAD_MIB = 42
_REASONS = {"poweroff": 0, "reboot": 1, "suspend": 2, "crash": 3, "watchdog": 4, "soft-reset": 5}
_REASON_LETTERS = "-rscwS"
_LIST_HEADER = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
_DEFAULTS_OMITTED_SINCE = (4, 5)


def free_memory_mib(state: HostState) -> int:
    """What Xen has left; every domain takes its memory and a little more."""
    used = sum(domain.memory_mib + 1 for domain in state.domains)
    return state.total_memory_mib - state.dom0_memory_mib - XEN_OVERHEAD_MIB - used


def state_letters(domain: Domain, clock_ns: int) -> str:
    """The six letters of `xl list`; a healthy guest shows `r`, `b` or nothing as it happens."""
    running = blocked = "-"
    if domain.executing:
        moment = (clock_ns // (NANOSECONDS // 20) + domain.domid) % 5
        running = "r" if moment == 0 and not domain.blocked else "-"
        blocked = "b" if domain.blocked or moment in (1, 2, 3) else "-"
    paused = "p" if domain.pauses or not domain.built else "-"
    shutdown = "s" if domain.shutdown else "-"
    reason = _REASON_LETTERS[_REASONS[domain.shutdown]] if domain.shutdown else "-"
    return running + blocked + paused + shutdown + reason + ("d" if domain.dying else "-")


def run_list(session: Session, words: list[str]) -> int:
    options = parse_xl_options(
        "list", words, "lvhZcn", ["long", "verbose", "context", "cpupool", "numa"], most=1
    )
    session.spend(0.02)
    chosen: list[Domain | None] = [None, *session.state.domains]
    if options.rest:
        domid, found = session.qualify(options.rest[0])
        if found is None and domid != 0:
            raise ToolFailed(1, f"Error: Domain '{options.rest[0]}' does not exist.\n")
        chosen = [found]
    if options.has("-l", "--long"):
        texts = [_long_form(session.state, domain) for domain in chosen]
        body = ",\n".join("    " + text for text in texts if text)
        session.out(f"[\n{body}\n]\n\n")
        return 0
    verbose = options.has("-v", "--verbose")
    extra = "   UUID                            Reason-Code\tSecurity Label" if verbose else ""
    session.out(_LIST_HEADER + extra + "\n")
    for domain in chosen:
        session.out(_list_row(session, domain, verbose=verbose))
    return 0


def _list_row(session: Session, domain: Domain | None, *, verbose: bool) -> str:
    state = session.state
    if domain is None:
        seconds = (state.clock_ns - state.started_ns) / NANOSECONDS / 4
        uuid, reason = DOM0_UUID, "-"
        row = _columns("Domain-0", 0, state.dom0_memory_mib, state.cpus) + "r-----"
    else:
        # A domain in creation or dying has no name in xenstore any more.
        name = "(null)" if domain.dying else domain.name
        letters = state_letters(domain, state.clock_ns)
        seconds = domain.cpu_ns / NANOSECONDS
        row = _columns(name, domain.domid, domain.memory_mib, domain.vcpus) + letters
        uuid = domain.uuid
        reason = f"{_REASONS[domain.shutdown]:x}" if domain.shutdown else "-"
    text = f"{row}  {seconds:8.1f}"
    if verbose:
        text += f" {uuid} {reason:>8} {'-':>16}"
    return text + "\n"


def _columns(name: str, domid: int, memory_mib: int, vcpus: int) -> str:
    return f"{name:<40} {domid:5} {memory_mib:5} {vcpus:5}     "


def _long_form(state: HostState, domain: Domain | None) -> str:
    """One element of `xl list -l`; "" for a domain that libxl has no configuration of."""
    older = state.xen_version < _DEFAULTS_OMITTED_SINCE
    if domain is None:
        if older:
            return ""
        kib = state.dom0_memory_mib * 1024
        schedule = {"sched": "credit2", "weight": 256, "cap": 0}
        build = {"max_memkb": kib, "target_memkb": kib - 1, "sched_params": schedule}
        nothing: dict[str, object] = {"type.pv": {}, "arch_arm": {}, "arch_x86": {}}
        creation = {"type": "pv", "name": "Domain-0"}
        config = {"c_info": creation, "b_info": {**build, **nothing}}
        return print_json({"domid": 0, "config": config}, 4)
    if domain.dying or not domain.built:
        return ""  # libxl keeps a configuration only of what it has finished building
    rendered = _render(domain, older=older)
    return f'{{\n        "domid": {domain.domid},\n        "config": {rendered}\n    }}'


def _render(domain: Domain, *, older: bool) -> str:
    return _render_again(
        domain.configuration_json,
        (domain.name, domain.uuid, domain.memory_mib, domain.maximum_memory_mib),
        (domain.weight, domain.cap, domain.vcpus),
        older,
    )


@lru_cache(maxsize=64)
def _render_again(
    configuration_json: str,
    named: tuple[str, str, int, int],
    scheduled: tuple[int, int, int],
    older: bool,
) -> str:
    configuration = _bring_up_to_date(configuration_json, named, scheduled)
    return print_json(_spell_in_full(configuration) if older else configuration, 8)


def _spell_in_full(configuration: dict[str, object]) -> dict[str, object]:
    """The configuration as libxl before Xen 4.5 printed it: nothing left out, null for no text.

    What belongs to the guest's type, kernel and boot loader of a PV guest among it, is called `u`.
    """
    creation = cast(dict[str, object], configuration["c_info"])
    build = dict(cast(dict[str, object], configuration["b_info"]))
    own = dict(cast(dict[str, object], build.pop(f"type.{creation['type']}", {})))
    for key in ("kernel", "ramdisk", "cmdline", "bootloader"):
        own[key] = build.pop(key, None)
    build["u"] = own
    devices = {
        kind: [
            {"backend_domname": None, "script": None, **device}
            for device in cast(list[dict[str, object]], configuration.get(kind, []))
        ]
        for kind in ("disks", "nics")
    }
    return {**configuration, "b_info": build, **devices}


def current_configuration(domain: Domain) -> dict[str, object]:
    """The domain's configuration as libxl would retrieve it now."""
    return _bring_up_to_date(
        domain.configuration_json,
        (domain.name, domain.uuid, domain.memory_mib, domain.maximum_memory_mib),
        (domain.weight, domain.cap, domain.vcpus),
    )


def _bring_up_to_date(
    configuration_json: str, named: tuple[str, str, int, int], scheduled: tuple[int, int, int]
) -> dict[str, object]:
    name, uuid, memory_mib, maximum_mib = named
    weight, cap, vcpus = scheduled
    configuration: dict[str, object] = json.loads(configuration_json)
    # That both are objects, the making of the domain has seen.
    creation = cast(dict[str, object], configuration["c_info"])
    build = cast(dict[str, object], configuration["b_info"])
    creation["name"], creation["uuid"] = name, uuid
    build["target_memkb"] = memory_mib * 1024
    build["max_memkb"] = max(maximum_mib, memory_mib) * 1024
    build["sched_params"] = {"sched": "credit2", "weight": weight, "cap": cap}
    build["avail_vcpus"] = list(range(vcpus))
    return configuration


def print_json(value: object, indent: int = 0) -> str:
    """JSON as libxl's generator prints it: four spaces, an empty object over three lines."""
    inner, outer = " " * (indent + 4), " " * indent
    if isinstance(value, Mapping):
        members = [
            f"{inner}{json.dumps(key)}: {print_json(member, indent + 4)}"
            for key, member in value.items()
        ]
        return "{\n" + ",\n".join(members) + f"\n{outer}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [inner + print_json(item, indent + 4) for item in value]
        return "[\n" + ",\n".join(items) + f"\n{outer}]"
    return json.dumps(value)


def run_info(session: Session, words: list[str]) -> int:
    parse_xl_options("info", words, "hn", ["numa"], most=0)
    session.spend(0.02)
    facts = machine_facts(session.state)
    session.out("".join(f"{key:<23}: {value}\n" for key, value in facts.items()))
    return 0


def machine_facts(state: HostState) -> dict[str, object]:
    """What `xl info` tells, in its order."""
    version = f"{state.xen_major}.{state.xen_minor}"
    return {
        "host": state.hostname,
        "release": "6.1.0-56-amd64",
        "version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
        "machine": "x86_64",
        "nr_cpus": state.cpus,
        "max_cpu_id": state.cpus - 1,
        "nr_nodes": 1,
        "cores_per_socket": state.cpus,
        "threads_per_core": 1,
        "cpu_mhz": "2596.120",
        "hw_caps": "178bf3fd:80802001:28100800:00000067:00000000:00000000:00000000:00000000",
        "virt_caps": "pv hvm hap gnttab-v1 gnttab-v2",
        "total_memory": state.total_memory_mib,
        "free_memory": free_memory_mib(state),
        "sharing_freed_memory": 0,
        "sharing_used_memory": 0,
        "outstanding_claims": 0,
        "free_cpus": 0,
        "xen_major": state.xen_major,
        "xen_minor": state.xen_minor,
        "xen_extra": ".7",
        "xen_version": f"{version}.7",
        "xen_caps": "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ",
        "xen_scheduler": "credit2",
        "xen_pagesize": 4096,
        "platform_params": "virt_start=0xffff800000000000",
        "xen_changeset": "",
        "xen_commandline": f"dom0_mem={state.dom0_memory_mib}M,max:{state.dom0_memory_mib}M ",
        "cc_compiler": "x86_64-linux-gnu-gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
        "cc_compile_by": "pkg-xen-devel",
        "cc_compile_domain": "lists.alioth.debian.org",
        "cc_compile_date": "Wed Nov  4 16:52:28 UTC 2026",
        "build_id": "151b373fd64b321593bf987fd923cd10dabadac4",
        "xend_config_format": 4,
    }


def run_domid(session: Session, words: list[str]) -> int:
    options = parse_xl_options("domid", words, "h", least=1, most=1)
    name = options.rest[0]
    found = next((d for d in session.state.domains if d.name == name and not d.dying), None)
    if found is None and name != "Domain-0":
        raise ToolFailed(
            1, f"Can't get domid of domain name '{name}', maybe this domain does not exist.\n"
        )
    session.out(f"{found.domid if found else 0}\n")
    return 0


def run_domname(session: Session, words: list[str]) -> int:
    options = parse_xl_options("domname", words, "h", least=1, most=1)
    text = options.rest[0]
    if not text.isdigit():
        raise ToolFailed(1, f"Invalid domain ID: '{text}'\n\n")
    found = session.state.find_domain(int(text))
    if found is None and int(text) != 0:
        raise ToolFailed(
            1, f"Can't get domain name of domain id '{text}', maybe this domain does not exist.\n"
        )
    session.out(f"{found.name if found else 'Domain-0'}\n")
    return 0


def run_uptime(session: Session, words: list[str]) -> int:
    parse_xl_options("uptime", words, "sh", ["short"])
    state = session.state
    session.out("Name                                ID Uptime\n")
    rows = [("Domain-0", 0, state.started_ns)]
    rows += [(domain.name, domain.domid, domain.created_ns) for domain in state.domains]
    for name, domid, since_ns in rows:
        seconds = (state.clock_ns - since_ns) // NANOSECONDS
        days, rest = divmod(seconds, 86400)
        lasting = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
        prefix = f"{days} days, " if days > 1 else ("1 day, " if days else "")
        session.out(f"{name:<33} {domid:>4}  {prefix}{lasting}\n")
    return 0


def run_vm_list(session: Session, words: list[str]) -> int:
    parse_xl_options("vm-list", words, "h", most=0)
    session.out("UUID                                  ID    name\n")
    session.out(f"{DOM0_UUID}  0    {'Domain-0':<30}\n")
    for domain in session.state.domains:
        session.out(f"{domain.uuid}  {domain.domid:<4} {domain.name:<30}\n")
    return 0


def run_pci_list(session: Session, words: list[str]) -> int:
    options = parse_xl_options("pci-list", words, "h", least=1, most=1)
    session.spend(0.02)
    _, domain = session.qualify(options.rest[0])
    if domain is not None and domain.pci:
        session.out("Vdev Device\n")
        for number, slot in enumerate(domain.pci):
            vdev = f"{number + 5:02x}.0" if domain.kind == "hvm" else f"{number:02x}.0"
            session.out(f"{vdev} {slot}\n")
    return 0


def run_pci_assignable_list(session: Session, words: list[str]) -> int:
    parse_xl_options("pci-assignable-list", words, "hn", most=0)
    devices = session.state.pci
    if not any(device.driver == "pciback" for device in devices):
        session.err(
            "libxl: error: libxl_pci.c:444:libxl_device_pci_assignable_list: "
            "Looks like pciback driver not loaded\n"
        )
        return 0
    taken = {slot for domain in session.state.domains for slot in domain.pci}
    for device in devices:
        if device.driver == "pciback" and device.slot not in taken:
            session.out(f"{device.slot}\n")
    return 0
