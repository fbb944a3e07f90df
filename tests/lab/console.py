"""What a guest's console log tells: its counts, its boots and its complaints.

Used on both sides, by the tests and in dom0 by `lab-oracle`: nothing but the standard library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOG_FOLDER = "/var/log/xen/console"


@dataclass(frozen=True, kw_only=True)
class ConsoleReport:
    """A guest's console, since its log began."""

    last_tick: int
    """the last count it printed; 0 before the first"""
    boots: int
    bulk_ok: int
    """how often a disk's unchanging content was found whole: at each boot and each `bulk`"""
    corrupt: tuple[str, ...]
    errors: tuple[str, ...]
    last_line: str

    @property
    def complaints(self) -> tuple[str, ...]:
        """Everything the guest found wrong."""
        return self.corrupt + self.errors


def log_path(name: str) -> str:
    """Where dom0 keeps a guest's console."""
    return f"{LOG_FOLDER}/guest-{name}.log"


def parse_console(text: str) -> ConsoleReport:
    """Read a console log; torn lines and the zero bytes of a power cut are passed over."""
    lines = [line.strip("\r\0 ") for line in text.split("\n")]
    whole = lines[:-1]  # what follows the last newline is still being written
    ticks = [int(line[5:]) for line in whole if re.fullmatch(r"tick \d+", line)]
    return ConsoleReport(
        last_tick=ticks[-1] if ticks else 0,
        boots=sum(line.startswith("boot ") for line in whole),
        bulk_ok=sum(re.fullmatch(r"bulk \w+ ok", line) is not None for line in whole),
        corrupt=tuple(line for line in whole if "CORRUPT" in line),
        errors=tuple(line for line in whole if "ERROR" in line or "I/O error" in line),
        last_line=next((line for line in reversed(whole) if line), ""),
    )
