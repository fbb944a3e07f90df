"""What `lspci` prints, as values: machine-readable records, and the plain listing of any age.

Plain listings come out of manuals and tickets too: short ids, lines wrapped by a page's margin,
odd spaces. Ids leave here in full, `0000:03:01.0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from xenbackup.dom0.tool_output import refuse_output, split_lines
from xenbackup.model.devices import PciDevice

RECORDS = ("lspci", "-D", "-vmm", "-nn", "-k")
"""The command that the inventory runs."""

_COMMAND = " ".join(RECORDS)
# Some host bridges have PCI domains above ffff, of which lspci prints up to eight digits.
_SLOT = re.compile(
    r"(?:(?P<domain>[0-9a-f]{4,8}):)?(?P<bus>[0-9a-f]{2}):(?P<device>[01][0-9a-f])\.(?P<function>[0-7])",
    re.IGNORECASE,
)
_FIELD = re.compile(r"(?P<key>[A-Za-z]{1,32}):(?:\s+(?P<value>.*))?")
_NUMBER = re.compile(r"(?<=\S)\s\[[0-9a-f]{4}\]$", re.IGNORECASE)
_UNNAMED = ("Class", "Vendor", "Device")
_DETAIL = re.compile(r"\s+(?P<key>[A-Z][A-Za-z -]{2,30}): (?P<value>.*)")
_DETAILS = ("Kernel driver in use", "Kernel modules", "Subsystem", "DeviceName")
_REVISION = re.compile(r"\s*\((?:rev [0-9a-f]{2}|prog-if [^)]{0,80})\)", re.IGNORECASE)
_ODD_SPACES = re.compile(r"[\t\u00a0\u2007\u202f]")
_STRAYS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u00ad\u200b\ufeff]")


def normalise_slot(text: str) -> str | None:
    """`0000:03:01.0` for `03:01.0` or any spelling with a domain; None for what is no slot."""
    match = _SLOT.fullmatch(text)
    return _spell_slot(match) if match else None


def parse_lspci_records(text: str) -> tuple[PciDevice, ...]:
    """Devices of `lspci -D -vmm -nn -k`: a record of `Key:<tab>value` lines for each.

        Slot:   0000:00:04.0
        Class:  SCSI storage controller [0100]
        Vendor: Red Hat, Inc. [1af4]
        Device: Virtio block device [1001]
        Driver: virtio-pci

    Keys that newer versions add (IOMMUGroup, NUMANode, …) are passed over. A name keeps its number
    only where lspci knows none. Raises: UnexpectedOutput.
    """
    devices = []
    for record in _part_records(split_lines(_COMMAND, text)):
        fields = dict(reversed([_read_field(line) for line in record]))
        slot = normalise_slot(fields.get("Slot", ""))
        if slot is None or "Class" not in fields:
            raise refuse_output(_COMMAND, record[0], expected="a device with Slot and Class")
        devices.append(
            PciDevice(
                slot=slot,
                class_name=_strip_number(fields["Class"]),
                vendor=_strip_number(fields.get("Vendor", "")),
                device=_strip_number(fields.get("Device", "")),
                driver=fields.get("Driver", ""),
            )
        )
    return tuple(devices)


def parse_lspci_listing(text: str) -> tuple[PciDevice, ...]:
    """Devices of a plain `lspci` (also with -D or -k), whole lines or wrapped ones.

        03:01.0 Ethernet controller: Intel Corporation 82541GI Gigabit Ethernet
        Controller (rev 05)

    A line that begins with no id goes on with the name before it. The listing does not part the
    maker's name from the device's: both are in `device`. Raises: UnexpectedOutput.
    """
    entries: list[tuple[str, list[str], str]] = []
    for line in split_lines("lspci", text):
        clean = _STRAYS.sub("", _ODD_SPACES.sub(" ", line)).rstrip()
        if not clean.strip():
            continue
        slot, _, rest = clean.strip().partition(" ")
        found = normalise_slot(slot)
        if found is not None:
            entries.append((found, [rest.strip()], ""))
            continue
        if not entries:
            raise refuse_output("lspci", line, expected="a device's id")
        detail = _DETAIL.fullmatch(clean)
        if detail is None or detail["key"] not in _DETAILS:
            entries[-1][1].append(clean.strip())
        elif detail["key"] == _DETAILS[0]:
            entries[-1] = (*entries[-1][:2], detail["value"].strip())
    return tuple(
        replace(_read_entry(slot, parts), driver=driver) for slot, parts, driver in entries
    )


def _spell_slot(match: re.Match[str]) -> str:
    domain = int(match["domain"] or "0", 16)
    return f"{domain:04x}:{match['bus']}:{match['device']}.{match['function']}".lower()


def _part_records(lines: Iterable[str]) -> Iterator[list[str]]:
    record: list[str] = []
    for line in lines:
        if line.strip():
            record.append(line)
        elif record:
            yield record
            record = []
    if record:
        yield record


def _read_field(line: str) -> tuple[str, str]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise refuse_output(_COMMAND, line, expected="Key: value")
    return match["key"], (match["value"] or "").strip()


def _strip_number(name: str) -> str:
    bare = _NUMBER.sub("", name)
    return name if bare in _UNNAMED else bare


def _read_entry(slot: str, parts: list[str]) -> PciDevice:
    name = " ".join(" ".join(parts).split())
    class_name, colon, device = name.partition(": ")
    if not colon or not class_name:
        raise refuse_output("lspci", f"{slot} {name}", expected="a class, a colon and a name")
    return PciDevice(slot=slot, class_name=class_name, device=_REVISION.sub("", device).strip())
