"""`xl create`, and the making of a domain that create and restore share."""

from __future__ import annotations

import json

from xenbackup.dom0.simulated.holders import wait_for_toolstack_lock
from xenbackup.dom0.simulated.options import parse_xl_options
from xenbackup.dom0.simulated.session import Machine, Session, ToolFailed
from xenbackup.dom0.simulated.state import Domain
from xenbackup.dom0.simulated.xl_config import (
    ConfigurationUnreadable,
    compose_configuration,
    parse_configuration,
    pci_slots_of,
    vbds_of,
)
from xenbackup.dom0.simulated.xl_list import free_memory_mib, print_json
from xenbackup.dom0.simulated.xl_power import (
    name_taken_line,
    next_domid,
    no_such_domain_lines,
    start_monitor,
)


def run_create(session: Session, words: list[str]) -> int:
    options = parse_xl_options(
        "create", words, "hFnqf:pcdeVA", ["defconfig=", "dryrun", "quiet", "help", "paused"]
    )
    path = options.value("-f", "--defconfig") or next(
        (word for word in options.rest if "=" not in word), ""
    )
    if not path:
        raise ToolFailed(
            2, "'xl create' requires at least 1 argument.\n\nUsage: xl [-vfN] create\n"
        )
    configuration = read_configuration(session, path, unreadable_code=3)
    if options.has("-n", "--dryrun"):
        session.out(print_json(configuration) + "\n\n")
        return 0
    session.spend(0.3)
    wait_for_toolstack_lock(session)
    domid = make_domain(session, configuration, exit_code=3)
    session.boundary("built")
    domain = session.domain(domid)
    for vbd in domain.vbds:
        problem = check_target(session, domain, vbd.target, vbd.cdrom)
        if problem:
            session.state.domains.remove(domain)
            raise ToolFailed(3, problem)
    start_monitor(session, domain, ["create", *words])
    if options.has("-p", "--paused"):
        return 0
    domain.pauses = 0
    session.wake_guest(domain)
    return 0


def read_configuration(
    session: Session, path: str, *, unreadable_code: int = 1
) -> dict[str, object]:
    """The configuration in an xl.cfg. Raises: ToolFailed in xl's words."""
    try:
        text = session.place(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ToolFailed(
            unreadable_code, f"Failed to read config file: {path}: {error.strerror}\n"
        ) from None
    session.err(f"Parsing config from {path}\n")
    try:
        return compose_configuration(parse_configuration(text), session.draw_uuid())
    except ConfigurationUnreadable as error:
        raise ToolFailed(1, f"{path}:{error}\nFailed to parse config: Invalid argument\n") from None


def make_domain(
    session: Session, configuration: dict[str, object], *, exit_code: int, built: bool = True
) -> int:
    """A new domain, paused once, devices at 1 and 2; returns its domid.

    Raises: ToolFailed when the name or the uuid is taken, or memory is short.
    """
    state = session.state
    creation, build = configuration["c_info"], configuration["b_info"]
    if not isinstance(creation, dict) or not isinstance(build, dict):
        raise ToolFailed(exit_code, "libxl: error: configuration is not usable\n")
    domid = next_domid(session)
    name = str(creation["name"])
    for taken in state.domains:
        if taken.name == name and not taken.dying:
            session.err(name_taken_line(domid, name))
            _refuse(session, domid, exit_code)
        if taken.uuid == creation["uuid"]:
            session.err(
                f"libxl: error: libxl_create.c:680:libxl__domain_make: Domain {domid}:"
                "domain creation fail: File exists\n"
            )
            _refuse(session, domid, exit_code)
    memory_mib = int(build["target_memkb"]) // 1024
    if exit_code == 3 and memory_mib + 1 > free_memory_mib(state):
        state.next_domid -= 1
        raise ToolFailed(3, "failed to free memory for the domain\n")
    vcpus = len(build.get("avail_vcpus", [0]))
    schedule = build.get("sched_params", {})
    state.domains.append(
        Domain(
            domid=domid,
            uuid=str(creation["uuid"]),
            name=name,
            kind=str(creation["type"]),
            memory_mib=memory_mib,
            maximum_memory_mib=int(build["max_memkb"]) // 1024,
            vcpus=vcpus,
            configuration_json=json.dumps(configuration),
            created_ns=state.clock_ns,
            next_step_ns=state.clock_ns,
            pauses=1,
            built=built,
            weight=int(schedule.get("weight", 256)),
            cap=int(schedule.get("cap", 0)),
            hard_affinity=["all"] * vcpus,
            soft_affinity=["all"] * vcpus,
            vbds=vbds_of(configuration) if built else [],
            pci=pci_slots_of(configuration),
            pv_drivers=_has_pv_drivers(build),
        )
    )
    return domid


def _has_pv_drivers(build: dict[str, object]) -> bool:
    """Fully virtualised guests find their PV drivers through the platform device."""
    machine = build.get("type.hvm")
    return not (isinstance(machine, dict) and machine.get("xen_platform_pci") == "False")


def check_target(machine: Machine, domain: Domain, target: str, cdrom: bool) -> str:
    """Why the domain cannot have this disk, "" when it can."""
    if not target:
        return "" if cdrom else f"libxl: error: Domain {domain.domid}:no target for a disk\n"
    volume = machine.resolve_volume(target)
    if volume is not None and volume.active:
        others = [
            other
            for other in machine.state.domains
            if other.domid != domain.domid
            and any(
                vbd.target == target and vbd.writable and vbd.backend in (2, 4)
                for vbd in other.vbds
            )
        ]
        if not others or cdrom:
            return ""
        return (
            "libxl: error: libxl_device.c:1301:device_hotplug_child_death_cb: script: "
            f"Device {target} is mounted in a guest domain,\nand so cannot be mounted now.\n"
            f"libxl: error: libxl_create.c:1862:domcreate_launch_dm: Domain {domain.domid}:"
            "unable to add disk devices\n"
        )
    if volume is None and machine.place(target).is_file():
        return ""
    return (
        f"libxl: error: libxl_device.c:375:libxl__device_disk_set_backend: Disk vdev=unknown "
        f"failed to stat: {target}: No such file or directory\n"
        f"libxl: error: libxl_create.c:1862:domcreate_launch_dm: Domain {domain.domid}:"
        "unable to add disk devices\n"
    )


def _refuse(session: Session, domid: int, exit_code: int) -> None:
    session.err(
        f"libxl: error: libxl_create.c:1296:initiate_domain_create: Domain {domid}:"
        "cannot make domain: -6\n"
    )
    raise ToolFailed(exit_code, no_such_domain_lines(domid))
