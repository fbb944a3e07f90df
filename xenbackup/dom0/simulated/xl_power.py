"""Life and death of simulated domains, and the monitors that watch over them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from msgspec.structs import replace

from xenbackup.dom0.simulated.options import parse_xl_options
from xenbackup.dom0.simulated.session import Machine, Session, ToolFailed
from xenbackup.dom0.simulated.state import (
    FIRST_SIMULATED_PID,
    NANOSECONDS,
    Domain,
    SimulatedProcess,
)

XL_PROGRAM = "/usr/lib/xen-4.17/bin/xl"
CLOCK_TICKS = 100
LOGS_KEPT = 10


def run_pause(session: Session, words: list[str]) -> int:
    options = parse_xl_options("pause", words, "h", least=1, most=1)
    session.spend(0.02)
    domid, domain = session.qualify(options.rest[0])
    if domain is None:
        session.err(_libxl("libxl_domain.c:636:libxl_domain_pause", domid, "Pausing domain"))
        return 0
    domain.pauses += 1
    session.boundary("paused")
    return 0


def run_unpause(session: Session, words: list[str]) -> int:
    options = parse_xl_options("unpause", words, "h", least=1, most=1)
    session.spend(0.02)
    domid, domain = session.qualify(options.rest[0])
    if domain is None:
        session.err(_libxl("libxl_domain.c:688:domain_unpause_done", domid, "Unpausing domain"))
        return 0
    if not domain.pauses:
        session.err(
            f"libxl: error: libxl_domain.c:688:domain_unpause_done: Domain {domid}:"
            "Unpausing domain: Invalid argument\n"
        )
        return 0
    domain.pauses -= 1
    if not domain.built and not domain.pauses:
        # What a killed restore left has half of its memory: it runs into the void.
        domain.built, domain.shutdown = True, "crash"
        complaint = "resume: a half-built domain was let run"
        session.state.program_of(domain.name).corruptions.append(complaint)
    session.wake_guest(domain)
    session.boundary("unpaused")
    return 0


def run_destroy(session: Session, words: list[str]) -> int:
    options = parse_xl_options("destroy", words, "hf", least=1, most=1)
    domid, domain = session.qualify(options.rest[0])
    if domid == 0:
        raise ToolFailed(
            1,
            "Not destroying domain 0; use -f to force.\nThis can cause the system to crash.\n",
        )
    if domain is None:
        session.err(no_such_domain_lines(domid))
        raise ToolFailed(1, "destroy failed (rc=-21)\n")
    disconnect(domain)
    domain.dying = True
    session.boundary("dying")
    session.spend(0.2)
    forget_domain(session, domid)
    return 0


def disconnect(domain: Domain) -> None:
    """The toolstack tears the devices down: front-ends leave xenstore, back-ends are closed."""
    for vbd in domain.vbds:
        vbd.frontend, vbd.backend = -1, 6


def forget_domain(machine: Machine, domid: int) -> None:
    """The hypervisor has let go of the domain; its monitor sees that and ends."""
    state = machine.state
    state.domains = [domain for domain in state.domains if domain.domid != domid]
    state.processes = [p for p in state.processes if p.domid != domid or p.stopped or p.real]


def run_shutdown(session: Session, words: list[str]) -> int:
    return _request(session, "shutdown", words, "poweroff")


def run_reboot(session: Session, words: list[str]) -> int:
    return _request(session, "reboot", words, "reboot")


def _request(session: Session, verb: str, words: list[str], reason: str) -> int:
    options = parse_xl_options(verb, words, "hawF", ["all", "wait"], least=0, most=1)
    chosen = list(session.state.domains)
    if not options.has("-a", "--all"):
        if not options.rest:
            raise ToolFailed(2, f"You must specify -a or a domain id.\n\nUsage: xl [-vfN] {verb}\n")
        domid, found = session.qualify(options.rest[0])
        if found is None:
            session.err(_libxl("libxl_domain.c:1000:libxl_domain_shutdown", domid, "Shutting down"))
            raise ToolFailed(1, f"{verb} failed (rc=-6)\n")
        chosen = [found]
    for domain in chosen:
        session.out(
            f"{'Shutting down' if verb == 'shutdown' else 'Rebooting'} domain {domain.domid}\n"
        )
    domids = [domain.domid for domain in chosen]
    session.spend(0.5)
    for domid in domids:
        target = session.state.find_domain(domid)
        if target is not None and target.executing and not target.blocked:
            end_guest(session, target, reason)
    return 0


def end_guest(machine: Machine, domain: Domain, reason: str) -> None:
    """The guest ends by itself (poweroff, reboot, crash); a living monitor acts on it."""
    domain.shutdown = reason
    monitor = monitor_of(machine, domain.domid)
    if machine.state.toolstack == "xm":
        handle_shutdown(machine, domain, None)  # xend watches every domain itself
    elif monitor is not None and not monitor.stopped:
        handle_shutdown(machine, domain, monitor)


def handle_shutdown(machine: Machine, domain: Domain, monitor: SimulatedProcess | None) -> None:
    """What an xl monitor does with a domain that shut down: rebuild it, or clean it away."""
    state = machine.state
    if domain.shutdown != "reboot":
        disconnect(domain)
        forget_domain(machine, domain.domid)
        return
    fresh = Domain(
        domid=next_domid(machine),
        uuid=domain.uuid,
        name=domain.name,
        kind=domain.kind,
        memory_mib=domain.memory_mib,
        maximum_memory_mib=domain.maximum_memory_mib,
        vcpus=domain.vcpus,
        configuration_json=domain.configuration_json,
        created_ns=state.clock_ns,
        next_step_ns=state.clock_ns,
        weight=domain.weight,
        cap=domain.cap,
        hard_affinity=["all"] * domain.vcpus,
        soft_affinity=["all"] * domain.vcpus,
        pci=list(domain.pci),
        pv_drivers=domain.pv_drivers,
        vbds=domain.vbds,
    )
    for vbd in fresh.vbds:
        vbd.frontend, vbd.backend = 1, 2
    state.domains[state.domains.index(domain)] = fresh
    if monitor is not None:
        monitor.domid = fresh.domid
    machine.wake_guest(fresh)


def next_domid(machine: Machine) -> int:
    """Every attempt to make a domain takes a number."""
    machine.state.next_domid += 1
    return machine.state.next_domid - 1


def monitor_of(machine: Machine, domid: int) -> SimulatedProcess | None:
    return next((p for p in machine.state.processes if p.domid == domid and not p.real), None)


def start_monitor(session: Session, domain: Domain, argv: list[str]) -> None:
    """The part of `xl create` or `xl restore` that stays behind and watches the domain."""
    state = session.state
    log_path = f"/var/log/xen/xl-{domain.name}.log"
    for older in state.processes:
        if older.log_path == log_path:
            older.log_path += ".1"  # xl renames the log when the next one is opened
    pid = max(state.next_pid, FIRST_SIMULATED_PID)
    _open_log(
        session.place(log_path),
        f"Waiting for domain {domain.name} (domid {domain.domid}) to die [pid {pid}]\n",
    )
    state.processes.append(
        SimulatedProcess(
            pid=pid,
            start_ticks=(state.clock_ns - state.started_ns) * CLOCK_TICKS // NANOSECONDS,
            argv=[XL_PROGRAM, *argv],
            log_path=log_path,
            run_mark=session.environment.get("XENBACKUP_RUN", ""),
            unit=session.environment.get("XENBACKUP_UNIT", ""),
            domid=domain.domid,
        )
    )
    state.next_pid = pid + 1


def _open_log(log: Path, first_line: str) -> None:
    """A file of its own for each domain, as `libxl_create_logfile`: it keeps ten older ones."""
    kept = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, LOGS_KEPT + 1))]
    for newer, older in reversed(list(pairwise(kept))):
        if newer.exists():
            newer.rename(older)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(first_line, "utf-8", "surrogateescape")


def run_rename(session: Session, words: list[str]) -> int:
    options = parse_xl_options("rename", words, "h", least=2, most=2)
    _, domain = session.qualify(options.rest[0])
    if domain is None:
        raise ToolFailed(1, f"Can't rename domain '{options.rest[0]}'.\n")
    taken = next((d for d in session.state.domains if d.name == options.rest[1]), None)
    if taken is not None:
        session.err(name_taken_line(domain.domid, options.rest[1]))
        raise ToolFailed(1, f"Can't rename domain '{options.rest[0]}'.\n")
    # What runs in a guest lies on its disks: it is the same under either name.
    state, name = session.state, options.rest[1]
    found = state.program_of(name).corruptions
    state.programs[name] = replace(state.program_of(domain.name), corruptions=found)
    domain.name = name
    return 0


def run_sysrq(session: Session, words: list[str]) -> int:
    options = parse_xl_options("sysrq", words, "h", least=2, most=2)
    if len(options.rest[1]) != 1:
        raise ToolFailed(1, "Invalid sysrq.\n\n")
    session.spend(0.05)
    domid, domain = session.qualify(options.rest[0])
    if domain is None:
        session.err(_libxl("libxl_domain.c:1600:libxl_send_sysrq", domid, "Sending sysrq"))
    return 0


def name_taken_line(domid: int, name: str) -> str:
    return (
        f"libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain {domid}:"
        f'Domain with name "{name}" already exists.\n'
    )


def no_such_domain_lines(domid: int) -> str:
    """What libxl says when it destroys a domain that is not there."""
    return (
        f"libxl: error: libxl_domain.c:1183:libxl__destroy_domid: Domain {domid}:"
        "Non-existant domain\n"
        f"libxl: error: libxl_domain.c:1137:domain_destroy_callback: Domain {domid}:"
        "Unable to destroy guest\n"
        f"libxl: error: libxl_domain.c:1064:domain_destroy_cb: Domain {domid}:"
        "Destruction of domain failed\n"
    )


def _libxl(place: str, domid: int, act: str) -> str:
    return f"libxl: error: {place}: Domain {domid}:{act}: No such process\n"
