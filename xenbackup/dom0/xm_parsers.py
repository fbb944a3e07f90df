"""What `xm` prints, turned into values: S-expressions, and tables as old manuals show them.

Tables copied from manuals and terminals have blank ids for domains that are shut off, states of
fewer letters (`r---`), and stray characters; they are read by position of the header where spacing
alone would be ambiguous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from xenbackup.dom0.sexpressions import Expression, compose_expression, parse_expressions
from xenbackup.dom0.tool_output import parse_count, refuse_output, split_lines
from xenbackup.dom0.xl_parsers import (
    CreditShare,
    VcpuRow,
    parse_credit_table,
    spell_pci_address,
)
from xenbackup.model.domain import (
    Disk,
    Domain,
    DomainState,
    GuestKind,
    ShutdownReason,
    VcpuPinning,
)

STOPPED_DOMID = -1

_ROW = re.compile(
    r"(?P<front>.*?\S)\s+(?P<memory>\d{1,12})\s+(?P<vcpus>\d{1,9})"
    r"(?:\s+(?P<state>[rbpscd-]{1,6}))?\s+(?P<time>\d{1,15}(?:\.\d+)?)"
)
_STATE_LETTERS = "rbpscd"
_VCPU_ROW = re.compile(
    r".*?\s+(?:(?P<domid>\d{1,9})\s+)?(?P<vcpu>\d{1,9}|-)\s+(?:\d{1,9}|-)\s+[rbp-]{1,3}"
    r"\s+(?:\d{1,15}(?:\.\d+)?|-)(?:\s+(?P<affinity>any\s+cpu|all|-|\d[\d,-]*))?"
)
_AFFINITY = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")
_CREDIT_PAIR = re.compile(r"'(weight|cap)': (\d{1,9})L?")
_CREDIT_DICT = re.compile(r"\{'(?:weight|cap)': \d{1,9}L?, '(?:weight|cap)': \d{1,9}L?\}")
# xend before 3.1 has words, later ones the hypervisor's numbers.
_SHUTDOWN_REASONS = {
    word: reason
    for number, reason in enumerate(
        (
            ShutdownReason.POWEROFF,
            ShutdownReason.REBOOT,
            ShutdownReason.SUSPEND,
            ShutdownReason.CRASH,
        )
    )
    for word in (str(number), reason.value)
}
# What xend adds of the domain's present life: a domain is created without it.
_OF_ONE_LIFE = (
    "domid",
    "state",
    "status",
    "shutdown_reason",
    "cpu_time",
    "start_time",
    "up_time",
    "online_vcpus",
    "store_mfn",
    "console_mfn",
)
_ODD_SPACES = re.compile(r"[\u00a0\u2007\u202f]")
_ODD_DASHES = re.compile(r"[\u2010-\u2015\u2212\u00ad]")
_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_STRAY_END = re.compile(r"[^\w)]+$")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class XmRow:
    """One row of `xm list`; `domid` is None for a domain that is shut off. Memory in MiB."""

    name: str
    domid: int | None
    memory_mib: int
    vcpus: int
    state: DomainState


def parse_xm_state(command: str, letters: str) -> DomainState:
    """Letters of `rbpscd` in their places: `-b----`, `r---`; short ones count as padded with `-`.

    `s` shut down, `c` crashed, `d` dying. Raises: UnexpectedOutput.
    """
    padded = letters.ljust(len(_STATE_LETTERS), "-")
    if len(padded) != len(_STATE_LETTERS) or any(
        letter not in ("-", place) for letter, place in zip(padded, _STATE_LETTERS, strict=True)
    ):
        raise refuse_output(command, letters, expected="state letters")
    crashed = padded[4] == "c"
    return DomainState(
        letters=letters,
        running=padded[0] == "r",
        blocked=padded[1] == "b",
        paused=padded[2] == "p",
        shutdown=padded[3] == "s" or crashed,
        shutdown_reason=ShutdownReason.CRASH if crashed else None,
        dying=padded[5] == "d",
    )


def parse_xm_list(text: str) -> tuple[XmRow, ...]:
    """Rows of `xm list`, Domain-0 among them.

        Name                                      ID Mem(MiB) VCPUs State   Time(s)
        linux01                                    3      512     1 -b----     46.2
        linux02                                           256     1             0.0

    Raises: UnexpectedOutput.
    """
    command = "xm list"
    lines = [clean for line in split_lines(command, text) if (clean := _clean(line)).strip()]
    header = (
        re.match(r"\s*Name\s+(?P<id>ID)\s+Mem(?:\(MiB\))?\s+VCPUs\s+State\s+Time", lines[0])
        if lines
        else None
    )
    if header is None:
        raise refuse_output(command, lines[0] if lines else "", expected="the header line")
    rows = []
    for line in lines[1:]:
        match = _ROW.fullmatch(_STRAY_END.sub("", line))
        if match is None:
            raise refuse_output(command, line, expected="a domain")
        name, domid = _split_front(match["front"], header.end("id"))
        rows.append(
            XmRow(
                name=name,
                domid=domid,
                memory_mib=parse_count(command, match["memory"]),
                vcpus=parse_count(command, match["vcpus"]),
                state=parse_xm_state(command, match["state"] or ""),
            )
        )
    return tuple(rows)


def parse_xm_domains(text: str) -> tuple[Domain, ...]:
    """Domains of `xm list --long`, without Domain-0; those shut off have STOPPED_DOMID.

        (domain (domid 1) (uuid 66afb5c9-…) (vcpus 1) (memory 96) (name linux01) (state -b----)
         (image (linux …)) (device (vbd (uname phy:/dev/x) (dev xvda:disk) (mode w))))

    Raises: UnexpectedOutput.
    """
    command = "xm list --long"
    domains = []
    for expression in parse_expressions(command, text):
        if expression.head != "domain":
            raise refuse_output(command, expression.head, expected="domain")
        if expression.word("domid") != "0":
            domains.append(_read_domain(command, expression))
    return tuple(domains)


def parse_xm_vcpu_table(text: str, domid: int) -> tuple[VcpuPinning, ...]:
    """Affinities of one domain in `xm vcpu-list`. Raises: UnexpectedOutput."""
    return tuple(row.pinning for row in parse_xm_vcpu_rows(text) if row.domid == domid)


def parse_xm_vcpu_rows(text: str) -> tuple[VcpuRow, ...]:
    """Affinities of all domains in `xm vcpu-list`; `any cpu` becomes `all`, xm has no soft one.

        Name                              ID VCPUs   CPU State   Time(s) CPU Affinity
        linux01                            2     0     1   -b-      14.6 any cpu

    Raises: UnexpectedOutput.
    """
    command = "xm vcpu-list"
    rows = []
    for line in split_lines(command, text):
        clean = _clean(line)
        if not clean.strip() or re.match(r"\s*Name\s+ID\s+VCPU", clean):
            continue
        match = _VCPU_ROW.fullmatch(clean) or _VCPU_ROW.fullmatch(_STRAY_END.sub("", clean))
        if match is None:
            raise refuse_output(command, line, expected="a virtual CPU")
        if match["domid"] is None:
            continue  # shut off: its processors have no affinity to lose
        affinity = " ".join((match["affinity"] or "").split())
        hard = "all" if affinity == "any cpu" else affinity
        if hard != "all" and not _AFFINITY.fullmatch(hard):
            raise refuse_output(command, line, expected="an affinity")
        domid, vcpu = parse_count(command, match["domid"]), parse_count(command, match["vcpu"])
        rows.append(VcpuRow(domid=domid, pinning=VcpuPinning(vcpu=vcpu, hard=hard, soft="all")))
    return tuple(rows)


def parse_xm_credit(text: str, domid: int) -> CreditShare | None:
    """Weight and cap from `xm sched-credit -d ID`: a Python dict before Xen 3.3, then a table.

        {'cap': 0, 'weight': 256}

    Raises: UnexpectedOutput.
    """
    command = "xm sched-credit"
    stripped = text.strip()
    if stripped.startswith("{"):
        numbers = {key: int(number) for key, number in _CREDIT_PAIR.findall(stripped)}
        if not _CREDIT_DICT.fullmatch(stripped) or len(numbers) != 2:
            raise refuse_output(command, stripped, expected="weight and cap")
        return CreditShare(domid=domid, weight=numbers["weight"], cap=numbers["cap"])
    return next((share for share in parse_xm_credit_rows(text) if share.domid == domid), None)


def parse_xm_credit_rows(text: str) -> tuple[CreditShare, ...]:
    """Weights and caps of the table of `xm sched-credit`. Raises: UnexpectedOutput."""
    command = "xm sched-credit"
    cleaned = "\n".join(_clean(line) for line in split_lines(command, text))
    return parse_credit_table(command, cleaned)


def _clean(line: str) -> str:
    # A tab parts columns, as two spaces do.
    plain = _ODD_DASHES.sub("-", _ODD_SPACES.sub(" ", line.replace("\t", "  ")))
    return _CONTROLS.sub("", plain).rstrip()


def _split_front(front: str, id_end: int) -> tuple[str, int | None]:
    """Name and id of a row's front part; a number at a name's end is no id unless set apart.

    Set apart means two spaces before it, or that it ends where the header's `ID` ends.
    """
    match = re.fullmatch(r"(?P<name>.*\S)(?P<gap>\s+)(?P<domid>\d{1,9})", front)
    if match and (len(match["gap"]) > 1 or len(front) == id_end):
        return match["name"].strip(), int(match["domid"])
    return front.strip(), None


def _read_domain(command: str, expression: Expression) -> Domain:
    name = expression.word("name")
    uuid = expression.word("uuid").lower()
    if not name or (uuid and not _UUID.fullmatch(uuid)):
        raise refuse_output(command, f"{name} {uuid}", expected="a name and a UUID")
    state = parse_xm_state(command, expression.word("state"))
    if state.shutdown and state.shutdown_reason is None:
        reason = _SHUTDOWN_REASONS.get(expression.word("shutdown_reason"))
        state = replace(state, shutdown_reason=reason)
    shown = expression.word("domid")
    domid = parse_count(command, shown) if shown not in ("", "-1", "None") else STOPPED_DOMID
    return Domain(
        name=name,
        domid=domid,
        uuid=uuid,
        kind=_read_kind(expression),
        state=state,
        memory_mib=_read_number(command, expression, "memory"),
        vcpus=_read_number(command, expression, "vcpus") or 1,
        disks=tuple(_read_disks(command, expression)),
        pci_devices=tuple(_read_pci(command, expression)),
        maximum_memory_mib=_read_number(command, expression, "maxmem"),
        configuration_sexp=compose_expression(expression, without=_OF_ONE_LIFE),
    )


def _read_number(command: str, expression: Expression, head: str) -> int:
    word = expression.word(head, "0")
    # xend prints some numbers as floats after arithmetic: 512.0
    return parse_count(command, word.removesuffix(".0"))


def _read_kind(expression: Expression) -> GuestKind:
    image = expression.find("image")
    if image is None:
        # A guest that boots through a boot loader has no image of its own until it runs.
        return GuestKind.PV if expression.find("bootloader") else GuestKind.UNKNOWN
    heads = {child.head for child in image.children}
    if "hvm" in heads:
        return GuestKind.HVM
    return GuestKind.PV if "linux" in heads or not heads else GuestKind.UNKNOWN


def _read_disks(command: str, expression: Expression) -> list[Disk]:
    disks = []
    for device in expression.find_all("device"):
        for kind in ("vbd", "tap", "tap2"):
            for block in device.find_all(kind):
                disks.append(_read_disk(command, block))
    return disks


def _read_disk(command: str, block: Expression) -> Disk:
    vdev, _, suffix = read_dev(block).partition(":")
    mode = block.word("mode", "r")
    if not re.fullmatch(r"[A-Za-z0-9/]{1,32}", vdev) or mode.rstrip("!") not in ("r", "w"):
        raise refuse_output(command, f"{block.word('dev')} {mode}", expected="a disk")
    target, form, script = split_uname(block.word("uname"))
    return Disk(
        vdev=vdev,
        target=target,
        format=form,
        writable=mode.startswith("w"),
        cdrom=suffix == "cdrom",
        backend=block.word("backend").replace("Domain-0", "0"),
        script=script,
    )


def read_dev(block: Expression) -> str:
    """`hdc:cdrom` or `xvda`: what a guest of xm has a disk as; `ioemu:hda` is xend's older hda."""
    return block.word("dev").removeprefix("ioemu:")


def split_uname(uname: str) -> tuple[str, str, str]:
    """Path, format and script behind xm's way to name a disk.

    `phy:system/root` means `/dev/system/root`; `tap:aio:` and `file:` are raw files, other taps
    name their format; of a network device (`iscsi:…`, `drbd:…`) the whole name is kept.
    """
    scheme, _, rest = uname.partition(":")
    if scheme == "phy":
        return (rest if rest.startswith("/") or not rest else f"/dev/{rest}"), "raw", ""
    if scheme == "file":
        return rest, "raw", ""
    if scheme in ("tap", "tap2"):
        form, _, path = rest.partition(":")
        if form == "tapdisk":
            form, _, path = path.partition(":")
        return path, "raw" if form in ("aio", "sync", "ram") else form, ""
    if rest and re.fullmatch(r"[a-z0-9]{1,16}", scheme):
        return uname, "raw", f"block-{scheme}"
    return uname, "raw", ""


def _read_pci(command: str, expression: Expression) -> list[str]:
    devices = []
    for device in expression.find_all("device"):
        for group in device.find_all("pci"):
            for pci in group.find_all("dev"):
                words = [pci.word(head, "0") for head in ("domain", "bus", "slot", "func")]
                if not all(re.fullmatch(r"(0x)?[0-9a-fA-F]{1,4}", word) for word in words):
                    raise refuse_output(command, " ".join(words), expected="a PCI address")
                devices.append(spell_pci_address(command, *(int(word, 16) for word in words)))
    return devices
