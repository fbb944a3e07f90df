"""What Nagios and its kin read: one line, performance data behind a bar, an exit code of theirs."""

from __future__ import annotations

from enum import IntEnum

from xenbackup.cli.invocation import Invocation
from xenbackup.model.printable import show_text

# What one line of a status page holds.
_LIMIT_LETTERS = 400


class NagiosCode(IntEnum):
    """Exit codes that monitoring plugins have agreed on."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def tell_nagios(invocation: Invocation, code: NagiosCode, text: str, performance: str = "") -> int:
    """Say the line. A bar in the text would begin performance data, a break the long output."""
    line = show_text(" ".join(text.split()), limit=_LIMIT_LETTERS).replace("|", "/")
    behind = f" | {performance}" if performance else ""
    invocation.output.say(f"XENBACKUP {code.name} - {line}{behind}")
    return int(code)
