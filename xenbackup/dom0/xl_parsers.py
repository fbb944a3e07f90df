"""What `xl` prints, turned into values: tables read from the right, JSON where xl has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from xenbackup.dom0.tool_output import (
    as_list,
    as_object,
    parse_count,
    parse_json,
    pick_flag,
    pick_list,
    pick_number,
    pick_object,
    pick_text,
    refuse_output,
    split_lines,
)
from xenbackup.errors import UnexpectedOutput
from xenbackup.model.domain import Disk, DomainState, GuestKind, ShutdownReason, VcpuPinning
from xenbackup.model.xen import XenFacts

UNNAMED = "(null)"

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DOMAIN_ROW = re.compile(
    r"(?P<name>.*?)\s+(?P<domid>\d{1,9})\s+(?P<memory>\d{1,12})\s+(?P<vcpus>\d{1,9})"
    r"\s+(?P<state>\S{6})\s+(?P<time>\d{1,15}\.\d)\s+(?P<uuid>" + _UUID + r")"
    r"(?:\s+(?P<reason>\S+)(?:\s+(?P<label>\S+))?)?\s*"
)
_STATE = re.compile(r"[r-][b-][p-][s-][rscwS?-][d-]")
_REASONS = {
    "-": ShutdownReason.POWEROFF,
    "r": ShutdownReason.REBOOT,
    "s": ShutdownReason.SUSPEND,
    "c": ShutdownReason.CRASH,
    "w": ShutdownReason.WATCHDOG,
    "S": ShutdownReason.SOFT_RESET,
}
_KINDS = {"pv": GuestKind.PV, "hvm": GuestKind.HVM, "pvh": GuestKind.PVH}
_VCPU_ROW = re.compile(
    r".*?\s+(?P<domid>\d{1,9})\s+(?P<vcpu>\d{1,9})\s+(?:\d{1,9}|-)\s+[rbp-]{3}"
    r"\s+\d{1,15}\.\d\s+(?P<hard>any cpu|\S+)(?:\s+/\s+(?P<soft>\S+))?\s*"
)
_AFFINITY = re.compile(r"all|none|\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")
_SCHEDULER_HEADER = re.compile(r"Name\s+ID\s+Weight(?P<cap>\s+Cap)?\s*")
_SHARE = r".*?\s+(?P<domid>\d{1,9})\s+(?P<weight>\d{1,9}|-1)"
_CAPPED_ROW = re.compile(_SHARE + r"\s+(?P<cap>\d{1,9}|-1)\s*")
_UNCAPPED_ROW = re.compile(_SHARE + r"(?P<cap>)\s*")
_POOL_LINE = re.compile(r"Cpupool (?P<pool>\S.*):(?:\s.*)?")
_PCI_ROW = re.compile(
    r"[0-9a-fA-F]{1,2}\.[0-7]\s+"
    r"(?P<domain>[0-9a-fA-F]{4}):(?P<bus>[0-9a-fA-F]{2}):(?P<slot>[0-9a-fA-F]{2})\.(?P<function>[0-7])"
)
_PCI_LIMITS = (0xFFFF, 0xFF, 0x1F, 7)
_PROGRESS = re.compile(r"xc: progress: .*?(\d{1,15})/(\d{1,15})\s+\d{1,3}%\s*")


@dataclass(frozen=True, kw_only=True)
class DomainRow:
    """One row of `xl list -v`; memory in MiB."""

    name: str
    domid: int
    memory_mib: int
    vcpus: int
    state: DomainState
    uuid: str


@dataclass(frozen=True, kw_only=True)
class DomainConfiguration:
    """One element of `xl list -l`; memory in MiB."""

    domid: int
    name: str
    uuid: str
    kind: GuestKind
    disks: tuple[Disk, ...]
    pci_devices: tuple[str, ...]
    maximum_memory_mib: int
    configuration_json: str


@dataclass(frozen=True, kw_only=True)
class CreditShare:
    """Weight and cap of one domain under the credit or credit2 scheduler, and its cpupool."""

    domid: int
    weight: int
    cap: int
    pool: str = ""


@dataclass(frozen=True, kw_only=True)
class VcpuRow:
    """One row of `vcpu-list`."""

    domid: int
    pinning: VcpuPinning


def parse_state(command: str, letters: str) -> DomainState:
    """Six letters `rbps`, reason, `d`: `-b----`, `--p---`, `---ss-` (suspended), `---s--` (off).

    The fifth letter is one of `-rscwS` (xl's own table: `-` is poweroff), `?` a reason newer than
    that. Raises: UnexpectedOutput.
    """
    if not _STATE.fullmatch(letters):
        raise refuse_output(command, letters, expected="six state letters")
    shutdown = letters[3] == "s"
    return DomainState(
        letters=letters,
        running=letters[0] == "r",
        blocked=letters[1] == "b",
        paused=letters[2] == "p",
        shutdown=shutdown,
        shutdown_reason=_REASONS.get(letters[4]) if shutdown else None,
        dying=letters[5] == "d",
    )


def parse_domain_table(text: str) -> tuple[DomainRow, ...]:
    """Rows of `xl list -v`, Domain-0 and `(null)` among them.

        linux01       4    96     1     r-----      46.5 66afb5c9-37b1-4244-86b8-765ada17fb18  -  -

    Names may hold spaces, so a row is read from its right end. Raises: UnexpectedOutput.
    """
    command = "xl list -v"
    lines = split_lines(command, text)
    if not lines or not re.match(r"Name\s+ID\s+Mem\s+VCPUs\s+State\s+Time\(s\)\s+UUID\b", lines[0]):
        raise refuse_output(command, lines[0] if lines else "", expected="the header line")
    rows = []
    for line in lines[1:]:
        match = _DOMAIN_ROW.fullmatch(line)
        if match is None:
            raise refuse_output(command, line, expected="a domain")
        rows.append(
            DomainRow(
                name=match["name"],
                domid=parse_count(command, match["domid"]),
                memory_mib=parse_count(command, match["memory"]),
                vcpus=parse_count(command, match["vcpus"]),
                state=parse_state(command, match["state"]),
                uuid=match["uuid"],
            )
        )
    return tuple(rows)


def parse_configurations(text: str) -> tuple[DomainConfiguration, ...]:
    """Elements of `xl list -l`; Domain-0 is left out, half-built domains are not in it at all.

        [{"domid": 4, "config": {"c_info": {"type": "pv", "name": …, "uuid": …}, "b_info": {…},
          "disks": [{"pdev_path": "/dev/xenvols/linux01", "vdev": "xvda", "format": "raw",
                     "readwrite": 1}], "pcidevs": […]}}]

    libxl leaves out fields that have their default; before Xen 4.5 it printed them all, texts that
    are not set as null, and had another name for the part that belongs to the guest's type.
    Raises: UnexpectedOutput.
    """
    command = "xl list -l"
    if text.lstrip().startswith("("):
        raise UnexpectedOutput(
            "`xl list -l` printed S-expressions where JSON was expected.",
            hint='take output_format="sxp" out of /etc/xen/xl.conf',
        )
    records = []
    for element in as_list(command, parse_json(command, text)):
        entry = as_object(command, element)
        if "domid" not in entry or "config" not in entry:
            raise refuse_output(command, sorted(entry), expected="domid and config")
        domid = pick_number(command, entry, "domid")
        if domid:
            records.append(
                _read_configuration(command, domid, pick_object(command, entry, "config"))
            )
    return tuple(records)


def parse_info(command: str, text: str) -> XenFacts:
    """Facts of `xl info` (and `xm info`, which has the same shape).

        free_memory            : 2420
        xen_version            : 4.17.7

    xm prints no xen_version: it is put together from xen_major, xen_minor and xen_extra.
    Raises: UnexpectedOutput.
    """
    facts = {}
    for line in split_lines(command, text):
        key, colon, value = line.partition(":")
        if line[:1] == " " or not line.strip():
            continue  # xm wraps long values; none of them is one of ours
        if not colon:
            raise refuse_output(command, line, expected="key : value")
        facts[key.strip()] = value.strip()
    missing = [
        key
        for key in ("total_memory", "free_memory", "nr_cpus", "xen_major", "xen_minor")
        if key not in facts
    ]
    if missing:
        raise refuse_output(command, sorted(facts), expected=", ".join(missing))
    major, minor = (parse_count(command, facts[key]) for key in ("xen_major", "xen_minor"))
    extra = facts.get("xen_extra", "")
    version = facts.get("xen_version", f"{major}.{minor}{extra}")
    patch = re.match(r"\.(\d{1,5})", extra)
    return XenFacts(
        hostname=facts.get("host", ""),
        xen_version=version,
        version_tuple=(major, minor, int(patch[1])) if patch else (major, minor),
        free_memory_mib=parse_count(command, facts["free_memory"]),
        total_memory_mib=parse_count(command, facts["total_memory"]),
        cpus=parse_count(command, facts["nr_cpus"]),
        cpu_mhz=facts.get("cpu_mhz", ""),
        hardware_capabilities=facts.get("hw_caps", ""),
        scheduler=facts.get("xen_scheduler", ""),
        xen_command_line=facts.get("xen_commandline", ""),
        numa_nodes=parse_count(command, facts.get("nr_nodes", "0")),
        virtual_capabilities=facts.get("virt_caps", ""),
    )


def parse_vcpu_table(text: str, domid: int) -> tuple[VcpuPinning, ...]:
    """Affinities of one domain in `xl vcpu-list`, in xl's spelling. Raises: UnexpectedOutput."""
    return tuple(row.pinning for row in parse_vcpu_rows(text) if row.domid == domid)


def parse_vcpu_rows(text: str) -> tuple[VcpuRow, ...]:
    """Affinities of all domains in `xl vcpu-list`, Domain-0 among them.

        linux01                              2     0    1   r--      14.6  1 / all

    Before Xen 4.5 there is no soft affinity: it counts as `all`, as does the `any cpu` of older
    ones. Raises: UnexpectedOutput.
    """
    command = "xl vcpu-list"
    rows = []
    for line in split_lines(command, text):
        if re.match(r"Name\s+ID\s+VCPU\b", line):
            continue
        match = _VCPU_ROW.fullmatch(line)
        if match is None:
            raise refuse_output(command, line, expected="a virtual CPU")
        hard = "all" if match["hard"] == "any cpu" else match["hard"]
        soft = match["soft"] or "all"
        if not (_AFFINITY.fullmatch(hard) and _AFFINITY.fullmatch(soft)):
            raise refuse_output(command, line, expected="an affinity")
        vcpu = parse_count(command, match["vcpu"])
        rows.append(
            VcpuRow(
                domid=parse_count(command, match["domid"]),
                pinning=VcpuPinning(vcpu=vcpu, hard=hard, soft=soft),
            )
        )
    return tuple(rows)


def parse_credit_table(command: str, text: str) -> tuple[CreditShare, ...]:
    """Rows of `xl sched-credit` and `xl sched-credit2`, under the line of their cpupool.

        Cpupool Pool-0: ratelimit=1000us
        Name                                ID Weight  Cap
        linux01                              4    256    0

    xm prints -1 for a domain that the scheduler has no answer for: it is left out. Before Xen 4.10
    credit2 has no caps, and no column of them: each is 0, which is none.
    Raises: UnexpectedOutput.
    """
    shares = []
    pool = ""
    row = _CAPPED_ROW
    for line in split_lines(command, text):
        named = _POOL_LINE.fullmatch(line)
        if named is not None:
            pool = named["pool"]
            continue
        header = _SCHEDULER_HEADER.fullmatch(line)
        if header is not None:
            row = _CAPPED_ROW if header["cap"] else _UNCAPPED_ROW
            continue
        if not line.strip():
            continue
        match = row.fullmatch(line)
        if match is None:
            raise refuse_output(command, line, expected="a domain's weight and cap")
        if "-1" in (match["weight"], match["cap"]):
            continue
        domid, weight, cap = (
            parse_count(command, match[key] or "0") for key in ("domid", "weight", "cap")
        )
        shares.append(CreditShare(domid=domid, weight=weight, cap=cap, pool=pool))
    return tuple(shares)


def parse_pci_list(text: str) -> tuple[str, ...]:
    """Devices of `xl pci-list` as `0000:03:01.0`; nothing at all is printed without any.

        Vdev Device
        05.0 0000:03:01.0

    Raises: UnexpectedOutput.
    """
    devices = []
    for line in split_lines("xl pci-list", text):
        if re.fullmatch(r"Vdev\s+Device\s*", line) or not line.strip():
            continue
        match = _PCI_ROW.fullmatch(line.strip())
        if match is None:
            raise refuse_output("xl pci-list", line, expected="a PCI device")
        parts = (int(match[key], 16) for key in ("domain", "bus", "slot", "function"))
        devices.append(spell_pci_address("xl pci-list", *parts))
    return tuple(devices)


def parse_progress(line: str) -> tuple[int, int] | None:
    """Frames done and in all, from a progress line of libxc; None for any other line.

    xc: progress: Frames: 2048/24576    8%
    """
    match = _PROGRESS.fullmatch(line)
    if match is None or int(match[2]) == 0:
        return None
    return int(match[1]), int(match[2])


def spell_pci_address(command: str, *parts: int) -> str:
    """`0000:03:01.0` from domain, bus, slot and function. Raises: UnexpectedOutput."""
    if not all(0 <= part <= most for part, most in zip(parts, _PCI_LIMITS, strict=True)):
        raise refuse_output(command, parts, expected="a PCI address")
    domain, bus, slot, function = parts
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _read_configuration(
    command: str, domid: int, config: Mapping[str, object]
) -> DomainConfiguration:
    creation = pick_object(command, config, "c_info")
    build = pick_object(command, config, "b_info")
    name, uuid = pick_text(command, creation, "name"), pick_text(command, creation, "uuid")
    kind = pick_text(command, creation, "type")
    if kind not in _KINDS or not name or not re.fullmatch(_UUID, uuid.lower()):
        raise refuse_output(command, dict(creation), expected="a type, a name and a UUID")
    return DomainConfiguration(
        domid=domid,
        name=name,
        uuid=uuid.lower(),
        kind=_KINDS[kind],
        disks=tuple(_read_disk(command, disk) for disk in pick_list(command, config, "disks")),
        pci_devices=tuple(_read_pci(command, pci) for pci in pick_list(command, config, "pcidevs")),
        maximum_memory_mib=pick_number(command, build, "max_memkb") // 1024,
        configuration_json=json.dumps(_name_part_of_type(config, build, kind), indent=4),
    )


def _name_part_of_type(
    config: Mapping[str, object], build: Mapping[str, object], kind: str
) -> Mapping[str, object]:
    """The configuration with `b_info.u`, as libxl before Xen 4.5 has it, called `type.pv`."""
    if "u" not in build:
        return config
    renamed = {f"type.{kind}" if key == "u" else key: value for key, value in build.items()}
    return {**config, "b_info": renamed}


def _read_disk(command: str, value: object) -> Disk:
    disk = as_object(command, value)
    backend = pick_text(command, disk, "backend_domname")
    number = pick_number(command, disk, "backend_domid")
    vdev = pick_text(command, disk, "vdev")
    if not re.fullmatch(r"[A-Za-z0-9/]{1,32}", vdev):
        raise refuse_output(command, dict(disk), expected="a disk's vdev")
    return Disk(
        vdev=vdev,
        target=pick_text(command, disk, "pdev_path"),
        format=pick_text(command, disk, "format", "raw"),
        writable=pick_flag(command, disk, "readwrite"),
        cdrom=pick_flag(command, disk, "is_cdrom"),
        backend=backend or (str(number) if number else ""),
        script=pick_text(command, disk, "script"),
    )


def _read_pci(command: str, value: object) -> str:
    device = as_object(command, value)
    parts = (pick_number(command, device, key) for key in ("domain", "bus", "dev", "func"))
    return spell_pci_address(command, *parts)
