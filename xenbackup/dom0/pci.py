"""PCI devices of the host: asked of `lspci`, and of sysfs where that is not installed."""

from __future__ import annotations

import re
from dataclasses import replace

from xenbackup.dom0.host import Host
from xenbackup.dom0.lspci import RECORDS, normalise_slot, parse_lspci_records
from xenbackup.dom0.tool_output import refuse_output, require_success, split_lines
from xenbackup.errors import CommandFailed
from xenbackup.model.command import Command
from xenbackup.model.devices import PciDevice

SYSFS_FOLDER = "/sys/bus/pci/devices"
_TIMEOUT_SECONDS = 30.0
_ROW = re.compile(r'([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) "')
_HEXADECIMAL = re.compile(r"0x[0-9a-f]{4,6}")


def list_pci_slots(host: Host) -> tuple[str, ...] | None:
    """Slots such as `0000:03:01.0`; None when `lspci` is not installed or fails.

    Raises: UnexpectedOutput.
    """
    command = Command(argv=("lspci", "-D", "-mm"), timeout_seconds=_TIMEOUT_SECONDS)
    try:
        text = require_success(host.run(command)).stdout
    except CommandFailed:
        return None
    return parse_pci_slots(text)


def parse_pci_slots(text: str) -> tuple[str, ...]:
    """Slots of `lspci -D -mm`.

        0000:00:03.0 "SCSI storage controller" "Red Hat, Inc." "Virtio block device" …

    Raises: UnexpectedOutput.
    """
    slots = []
    for line in split_lines("lspci -D -mm", text):
        match = _ROW.match(line)
        if match is None:
            raise refuse_output("lspci -D -mm", line, expected="a slot and a quoted class")
        slots.append(match.group(1))
    return tuple(slots)


def list_pci_devices(host: Host) -> tuple[PciDevice, ...]:
    """Every device with its names, and the driver that holds it now.

    The driver is what sysfs links to; where sysfs does not show the device, what lspci says.
    Raises: CommandFailed when lspci is missing or fails, UnexpectedOutput.
    """
    command = Command(argv=RECORDS, timeout_seconds=_TIMEOUT_SECONDS)
    listed = parse_lspci_records(require_success(host.run(command)).stdout)
    return tuple(_bind(host, device) for device in listed)


def list_sysfs_devices(host: Host) -> tuple[PciDevice, ...]:
    """Every device that sysfs shows, by numbers instead of names; () where there is no sysfs."""
    try:
        names = sorted(entry.name for entry in host.place(SYSFS_FOLDER).iterdir())
    except OSError:
        return ()
    devices = []
    for name in names:
        slot = normalise_slot(name)
        if slot is None:
            continue
        kind = _read_number(host, name, "class")
        device = PciDevice(
            slot=slot,
            class_name=f"Class {kind[:4]}" if kind else "Class unknown",
            vendor=_read_number(host, name, "vendor"),
            device=_read_number(host, name, "device"),
        )
        devices.append(_bind(host, device))
    return tuple(devices)


def _bind(host: Host, device: PciDevice) -> PciDevice:
    folder = host.place(f"{SYSFS_FOLDER}/{device.slot}")
    if not folder.is_dir():
        return device
    try:
        driver = (folder / "driver").readlink().name
    except OSError:
        driver = ""  # no link: no driver holds it
    return replace(device, driver=driver)


def _read_number(host: Host, name: str, key: str) -> str:
    """Hexadecimal digits of a sysfs file such as `0x020000`; "" when it cannot be read."""
    try:
        text = host.place(f"{SYSFS_FOLDER}/{name}/{key}").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text.removeprefix("0x") if _HEXADECIMAL.fullmatch(text) else ""
