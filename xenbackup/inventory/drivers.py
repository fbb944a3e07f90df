"""What guests are made of and what follows for a backup, and the modules of dom0 behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from xenbackup.dom0.guest_configuration import ConfigurationFile
from xenbackup.dom0.guest_devices import GuestDevices, read_guest_devices
from xenbackup.dom0.host import Host
from xenbackup.dom0.kernel_modules import read_modules
from xenbackup.inventory.host_storage import HostStorage
from xenbackup.model.devices import DriverInventory, GuestDrivers, NetworkBoard
from xenbackup.model.domain import Disk, Domain, GuestKind

PARAVIRTUAL_DISKS_LIMIT = 16
BOARDS_LIMIT = 3
SMALL_GUEST_MIB = 128
"""A guest of 96 MiB that was told to give back 16 died of it; below this we take none away."""
XVD, EMULATED, MIXED = "xvd", "hd/sd", "mixed"
# QEMU's names for what older manuals call otherwise.
RENAMED_MODELS = {"pcnet32": "pcnet", "ne2000": "ne2k_pci"}
KNOWN_MODELS = frozenset(
    (
        *("rtl8139", "pcnet", "ne2k_pci", "e1000", "e1000e", "virtio", "virtio-net"),
        *("virtio-net-pci", "i82551", "i82557b", "i82559er", "vmxnet3"),
    )
)
_BY_NAME = re.compile(r"(?P<bus>xvd|hd|sd|d(?=[0-9]))(?P<disk>[a-z]*|[0-9]+)")
# xen-vbd-interface(7): the top bits of a number tell the bus; 1 << 28 is the long form of xvd.
_XVD_MAJOR, _EMULATED_MAJORS = 202, frozenset((3, 8, 22, 33, 34, 56, 57, 88, 89, 90, 91))
_LONG_XVD = 1 << 28
_MAJOR_SHIFT = 8


def read_drivers(
    host: Host,
    domains: Iterable[Domain],
    configurations: Iterable[ConfigurationFile],
    *,
    capabilities: str = "",
    storage: HostStorage | None = None,
) -> DriverInventory:
    """Modules of dom0's kernel, and the drivers of every guest; nothing is raised, no command run.

    `capabilities` are the words of `xl info`'s virt_caps, which tell whether a paravirtual guest's
    memory can be streamed. `storage` shares what was read of the kernel already.
    """
    known = {
        found.configuration.name: found.configuration
        for found in configurations
        if found.configuration is not None
    }
    kernel = storage or HostStorage(host, ())
    return DriverInventory(
        modules=read_modules(kernel.find_text),
        guests=tuple(
            describe_guest(domain, read_guest_devices(domain, known.get(domain.name)), capabilities)
            for domain in domains
        ),
    )


def describe_guest(
    domain: Domain, devices: GuestDevices | None, capabilities: str = ""
) -> GuestDrivers:
    """What one guest is made of, and what can be done with it."""
    verdict = _judge(domain, devices or GuestDevices(), capabilities)
    boards = devices.boards if devices is not None else ()
    style, disk_findings = _check_disks(domain)
    renamed = sorted({board.model for board in boards} & RENAMED_MODELS.keys())
    verdict.notes += [
        f"the network board {model} is called {RENAMED_MODELS[model]} today" for model in renamed
    ]
    if devices is None and domain.kind is not GuestKind.UNKNOWN:
        verdict.notes.append("nothing describes its network boards and video")
    return GuestDrivers(
        domain=domain.name,
        kind=domain.kind.value,
        disk_style=style,
        boards=tuple(
            replace(board, model=RENAMED_MODELS.get(board.model, board.model)) for board in boards
        ),
        video=devices.video if devices is not None else "",
        can_save=verdict.can_save,
        can_stream=verdict.can_stream,
        can_balloon=verdict.can_balloon,
        reasons=tuple(verdict.reasons),
        findings=(*disk_findings, *_check_boards(domain, boards)),
        notes=tuple(verdict.notes),
    )


# What can be done


@dataclass
class _Verdict:
    """What can be done with a guest, as far as it was looked at."""

    can_save: bool = True
    can_stream: bool = True
    can_balloon: bool = True
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _judge(domain: Domain, devices: GuestDevices, capabilities: str) -> _Verdict:
    verdict = _Verdict()
    if domain.kind is GuestKind.UNKNOWN:
        verdict.can_save = verdict.can_stream = verdict.can_balloon = False
        verdict.reasons.append("the toolstack does not say what kind of guest it is")
        return verdict
    if domain.pci_devices:
        verdict.can_save = verdict.can_stream = False
        verdict.reasons.append(
            f"PCI device {', '.join(domain.pci_devices)} is passed through to it: its memory can "
            "be neither saved nor streamed"
        )
    if devices.numa_nodes:
        # libxl: "Cannot save a guest with vNUMA configured" (libxl_dom_save.c).
        verdict.can_save = verdict.can_stream = False
        verdict.reasons.append(
            f"it has {devices.numa_nodes} virtual NUMA nodes: libxl neither saves nor streams it"
        )
    if domain.kind is GuestKind.PV:
        _judge_paravirtual(verdict, capabilities.split())
    if domain.kind is GuestKind.HVM:
        _judge_fully_virtual(verdict, devices)
    memory_mib = domain.memory_mib
    if 0 < memory_mib <= SMALL_GUEST_MIB:
        verdict.can_balloon = False
        verdict.reasons.append(
            f"it has {memory_mib} MiB: taking memory from so small a guest can kill it"
        )
    return verdict


def _judge_paravirtual(verdict: _Verdict, capabilities: list[str]) -> None:
    """Following a PV guest's writes (log-dirty) takes shadow paging, which Xen may lack."""
    if "shadow" in capabilities:
        return
    # `hap` and `shadow` came to virt_caps together: with neither, Xen does not tell.
    if "hap" in capabilities:
        verdict.can_stream = False
        verdict.reasons.append(
            "it is paravirtual and this Xen was built without shadow paging: a live stream of its "
            "memory is refused"
        )
    else:
        verdict.notes.append(
            "a live stream of its memory takes a Xen with shadow paging; this one does not say"
        )


def _judge_fully_virtual(verdict: _Verdict, devices: GuestDevices) -> None:
    # libxl_dom_suspend.c: without the PV drivers' callback it shuts the domain down for the
    # suspend by itself, "the guest does not (need to) respond".
    if devices.has_platform_device:
        verdict.notes.append(
            "only the guest knows whether it has PV drivers: with them it answers a save itself "
            "and its memory can be changed, without them the toolstack suspends it from outside "
            "and its memory stays as it is"
        )
        return
    verdict.can_balloon = False
    verdict.reasons.append(
        "xen_platform_pci is off, so it can have no PV drivers: its memory cannot be changed"
    )
    verdict.notes.append("without PV drivers the toolstack suspends it from outside to save it")


# Rules for disks and boards


def _check_disks(domain: Domain) -> tuple[str, tuple[str, ...]]:
    """The style of a guest's disks, and the rules that they break.

    Drives for CDs are emulated in any fully virtual guest, so they make no mixture.
    """
    styles = {
        style for disk in domain.disks if not disk.cdrom and (style := name_disk_style(disk.vdev))
    }
    style = MIXED if len(styles) > 1 else next(iter(styles), "")
    findings = []
    paravirtual = {_name_whole_disk(disk) for disk in domain.disks} - {""}
    if len(paravirtual) > PARAVIRTUAL_DISKS_LIMIT:
        findings.append(
            f"it has {len(paravirtual)} paravirtual disks (xvd): the first drivers know "
            f"{PARAVIRTUAL_DISKS_LIMIT}, xvda to xvdp; only those of today know more"
        )
    if style == MIXED:
        without = (
            "without PV drivers it sees the hd and sd ones alone"
            if domain.kind is GuestKind.HVM
            else "a paravirtual guest may see one sort alone"
        )
        findings.append(
            "it mixes xvd disks with hd or sd: all block devices should be one kind or the other; "
            + without
        )
    return style, tuple(findings)


def name_disk_style(vdev: str) -> str:
    """`xvd` or `hd/sd` for a name or number of xen-vbd-interface(7); "" for anything else."""
    match = _BY_NAME.match(vdev)
    if match is not None:
        return EMULATED if match["bus"] in ("hd", "sd") else XVD
    number = _read_vdev_number(vdev)
    if number is None:
        return ""
    if number & _LONG_XVD or number >> _MAJOR_SHIFT == _XVD_MAJOR:
        return XVD
    return EMULATED if number >> _MAJOR_SHIFT in _EMULATED_MAJORS else ""


def _name_whole_disk(disk: Disk) -> str:
    """The paravirtual disk that a vdev is, or is a partition of; "" for others."""
    if name_disk_style(disk.vdev) != XVD:
        return ""
    match = _BY_NAME.match(disk.vdev)
    if match is None:
        number = _read_vdev_number(disk.vdev) or 0
        shift = _MAJOR_SHIFT if number & _LONG_XVD else 4
        return f"number {number >> shift}"
    return match["bus"] + match["disk"]


def _read_vdev_number(vdev: str) -> int | None:
    try:
        return int(vdev, 0) if re.fullmatch(r"0x[0-9a-f]{1,8}|[0-9]{1,9}", vdev) else None
    except ValueError:
        return None


def _check_boards(domain: Domain, boards: tuple[NetworkBoard, ...]) -> tuple[str, ...]:
    findings = []
    if len(boards) > BOARDS_LIMIT:
        findings.append(
            f"it has {len(boards)} network boards: guests of xm's time take {BOARDS_LIMIT} at "
            "most, and QEMU emulates eight"
        )
    for board in boards:
        emulated = domain.kind is GuestKind.HVM or board.kind == "ioemu"
        model = RENAMED_MODELS.get(board.model, board.model)
        if emulated and model and model not in KNOWN_MODELS:
            findings.append(
                f"the model {board.model!r} of its network board {board.mac or 'without a MAC'} is "
                "unknown; rtl8139, pcnet, ne2k_pci, e1000 and virtio are known"
            )
    return tuple(findings)
