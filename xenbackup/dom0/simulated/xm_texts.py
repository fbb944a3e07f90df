"""How `xm` prints domains: its table, and the S-expressions of `xm list --long`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from xenbackup.dom0.simulated.state import NANOSECONDS, Domain, HostState

LIST_HEADER = f"{'Name':<40} {'ID':>5} {'Mem':>5} {'VCPUs':>5} {'State':>10} {'Time(s)':>9}\n"
VCPU_HEADER = (
    f"{'Name':<32} {'ID':>5} {'VCPUs':>5} {'CPU':>5} {'State':>5} {'Time(s)':>9} CPU Affinity\n"
)
Node = tuple[object, ...]
_REASONS = {"poweroff": "0", "reboot": "1", "suspend": "2", "crash": "3", "watchdog": "4"}


def list_row_of_domain_zero(state: HostState) -> str:
    seconds = (state.clock_ns - state.started_ns) / NANOSECONDS / 4
    return _row(
        "Domain-0", "0", state.dom0_memory_mib, state.cpus, f"{'r-----':>10} {seconds:9.1f}"
    )


def list_row(domain: Domain, name: str, clock_ns: int) -> str:
    seconds = domain.cpu_ns / NANOSECONDS
    tail = f"{state_letters(domain, clock_ns):>10} {seconds:9.1f}"
    return _row(name, str(domain.domid), domain.memory_mib, domain.vcpus, tail)


def list_row_stopped(configuration: Mapping[str, object]) -> str:
    name, memory_mib, vcpus = _basics(configuration)
    return _row(name, "", memory_mib, vcpus, f"{'':>10} {0.0:9.1f}")


def _row(name: str, domid: str, memory_mib: int, vcpus: int, tail: str) -> str:
    return f"{name:<40} {domid:>5} {memory_mib:5} {vcpus:5} {tail}\n"


def state_letters(domain: Domain, clock_ns: int) -> str:
    """xm's own letters, `rbpscd` in their places; a suspended domain is only shut down."""
    running = "r" if domain.executing and clock_ns % 3 == 0 else "-"
    blocked = "b" if domain.executing and clock_ns % 3 else "-"
    paused = "p" if domain.pauses else "-"
    shutdown = "s" if domain.shutdown else "-"
    crashed = "c" if domain.shutdown == "crash" else "-"
    return running + blocked + paused + shutdown + crashed + ("d" if domain.dying else "-")


def vcpu_rows(domain: Domain, cpus: int) -> str:
    rows = []
    for vcpu in range(domain.vcpus):
        hard = domain.hard_affinity[vcpu]
        affinity = "any cpu" if hard == "all" else hard
        seconds = domain.cpu_ns / NANOSECONDS / domain.vcpus
        rows.append(
            f"{domain.name:<32} {domain.domid:5} {vcpu:5} {vcpu % cpus:5} {'-b-':>5} "
            f"{seconds:8.1f} {affinity}\n"
        )
    return "".join(rows)


def credit_table(domain: Domain) -> str:
    header = f"{'Name':<33} {'ID':>4} {'Weight':>6} {'Cap':>4}\n"
    return header + f"{domain.name:<33} {domain.domid:4} {domain.weight:6} {domain.cap:4}\n"


def long_domain_zero(state: HostState) -> str:
    return _print(
        (
            "domain",
            ("domid", "0"),
            ("cpu_weight", "256"),
            ("cpu_cap", "0"),
            ("uuid", "00000000-0000-0000-0000-000000000000"),
            ("vcpus", str(state.cpus)),
            ("maxmem", str(state.dom0_memory_mib)),
            ("memory", str(state.dom0_memory_mib)),
            ("name", "Domain-0"),
            ("state", "r-----"),
        )
    )


def long_form(domain: Domain, name: str, clock_ns: int) -> str:
    """The S-expression of a running domain, devices at its end; `name` is xend's for it now."""
    configuration = json.loads(domain.configuration_json)
    return _print(
        (
            "domain",
            ("domid", str(domain.domid)),
            ("cpu_weight", str(domain.weight)),
            ("cpu_cap", str(domain.cap)),
            ("bootloader",),
            ("on_crash", "restart"),
            ("uuid", domain.uuid),
            ("bootloader_args",),
            ("vcpus", str(domain.vcpus)),
            ("name", name),
            ("on_poweroff", "destroy"),
            ("on_reboot", "restart"),
            ("maxmem", str(domain.maximum_memory_mib)),
            ("memory", str(domain.memory_mib)),
            ("features",),
            ("start_time", f"{domain.created_ns / NANOSECONDS:.2f}"),
            ("cpu_time", f"{domain.cpu_ns / NANOSECONDS:.9f}"),
            ("online_vcpus", str(domain.vcpus)),
            _image(configuration),
            ("status", "2"),
            ("state", state_letters(domain, clock_ns)),
            *((("shutdown_reason", _REASONS[domain.shutdown]),) if domain.shutdown else ()),
            *_devices(configuration),
        )
    )


def long_form_stopped(configuration: Mapping[str, object]) -> str:
    """The S-expression of a guest that xend knows and that is shut off: it has no domid."""
    name, memory_mib, vcpus = _basics(configuration)
    creation = configuration["c_info"]
    uuid = creation["uuid"] if isinstance(creation, dict) else ""
    return _print(
        (
            "domain",
            ("on_crash", "restart"),
            ("uuid", str(uuid)),
            ("vcpus", str(vcpus)),
            ("name", name),
            ("on_poweroff", "destroy"),
            ("on_reboot", "restart"),
            ("maxmem", str(memory_mib)),
            ("memory", str(memory_mib)),
            _image(configuration),
            ("status", "0"),
            *_devices(configuration),
        )
    )


def _basics(configuration: Mapping[str, object]) -> tuple[str, int, int]:
    # Whoever reads a configuration gives it both objects.
    creation = cast(Mapping[str, object], configuration["c_info"])
    build = cast(Mapping[str, int], configuration["b_info"])
    return str(creation["name"]), build["target_memkb"] // 1024, build["max_vcpus"]


def _image(configuration: Mapping[str, object]) -> Node:
    creation, build = configuration["c_info"], configuration["b_info"]
    kind = creation.get("type") if isinstance(creation, dict) else "pv"
    told: list[Node] = []
    for word, key in (("kernel", "kernel"), ("ramdisk", "ramdisk"), ("args", "cmdline")):
        value = build.get(key, "") if isinstance(build, dict) else ""
        if value:
            told.append((word, str(value)))
    name = "hvm" if kind == "hvm" else "linux"
    return ("image", (name, *told, ("notes",)))


def _devices(configuration: Mapping[str, object]) -> list[Node]:
    disks = configuration.get("disks", [])
    devices: list[Node] = []
    for disk in disks if isinstance(disks, list) else []:
        target = str(disk.get("pdev_path") or "")
        prefix = "phy:" if target.startswith("/dev/") else "file:"
        devices.append(
            (
                "device",
                (
                    "vbd",
                    ("bootable", "1" if not devices else "0"),
                    ("dev", f"{disk['vdev']}:{'cdrom' if disk.get('is_cdrom') else 'disk'}"),
                    ("uname", prefix + target),
                    ("mode", "w" if disk.get("readwrite") else "r"),
                    ("backend", "0"),
                ),
            )
        )
    cards = configuration.get("pcidevs", [])
    for card in cards if isinstance(cards, list) else []:
        slot = [f"0x{card.get(key, 0):x}" for key in ("domain", "bus", "dev", "func")]
        keys = ("domain", "bus", "slot", "func")
        devices.append(("device", ("pci", ("dev", *zip(keys, slot, strict=True)))))
    return devices


def _print(node: Node, depth: int = 0) -> str:
    """An S-expression as xend prints it: four spaces a level, short ones on one line."""
    margin = " " * (4 * depth)
    if all(isinstance(part, str) for part in node):
        return f"{margin}({' '.join(_word(str(part)) for part in node)})\n"
    children = "".join(_print(part, depth + 1) for part in node[1:] if isinstance(part, tuple))
    return f"{margin}({node[0]}\n{children}{margin})\n"


def _word(text: str) -> str:
    if text and not set(text) & set(" ()'\"\\"):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
