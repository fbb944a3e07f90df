"""PCI devices of the host, by slot."""

from __future__ import annotations

import re

from xenbackup.dom0.host import Host
from xenbackup.dom0.tool_output import refuse_output, require_success, split_lines
from xenbackup.errors import CommandFailed
from xenbackup.model.command import Command

_TIMEOUT_SECONDS = 30.0
_ROW = re.compile(r'([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) "')


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
