"""The rule `dom0_mem=` of Xen's command line: how much memory dom0 is promised.

Xen reads `dom0_mem=[min:AMOUNT,][max:AMOUNT,][AMOUNT]` (xen-command-line(7), dom0_build.c). An
amount is a number with a unit (B, K, M, G, T; KiB without one), since Xen 4.12 also a share of the
host (`50%`, `1G+25%`); with a minus it is what dom0 does *not* get of the host's memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xenbackup.errors import ConfigurationError

_KIB = 1024
_UNITS = {"b": 1, "k": _KIB, "m": _KIB**2, "g": _KIB**3, "t": _KIB**4}
_PART = re.compile(r"(?P<number>0x[0-9a-f]{1,15}|[0-9]{1,18})(?P<unit>[bkmgt%]?)", re.IGNORECASE)
_PARTS_LIMIT = 2
_RESERVE_SHARE = 16
_RESERVE_MIB = 128
"""What Xen keeps of the host's memory where nothing gives dom0 a size (dom0_build.c)."""


@dataclass(frozen=True, kw_only=True)
class MemoryAmount:
    """Bytes plus a share of the host's memory; `negative` means all of the host's but that."""

    size_bytes: int = 0
    percent: int = 0
    negative: bool = False

    def resolve_mib(self, total_mib: int) -> int:
        """Whole MiB on a host with so much memory."""
        amount_mib = self.size_bytes // _KIB**2 + total_mib * self.percent // 100
        return max(total_mib - amount_mib, 0) if self.negative else amount_mib


@dataclass(frozen=True, kw_only=True)
class Dom0MemoryRule:
    """The amounts of `dom0_mem=`; None where one is not given."""

    size: MemoryAmount | None = None
    minimum: MemoryAmount | None = None
    maximum: MemoryAmount | None = None

    def promise_mib(self, total_mib: int) -> int | None:
        """What dom0 gets at least at boot; None when the rule gives no amount at all.

        Xen's own order: a minimum above the maximum is ignored, the size is kept between both, and
        nobody gets more than there is. Without a size dom0 gets all but a reserve of a sixteenth,
        128 MiB at most; of that the maximum leaves it so much, and a minimum alone promises only
        itself.
        """
        size, minimum, maximum = (
            amount.resolve_mib(total_mib) if amount else None
            for amount in (self.size, self.minimum, self.maximum)
        )
        if minimum is not None and maximum is not None and minimum > maximum:
            minimum = None
        promised = size if size is not None else minimum
        if promised is None:
            if maximum is None:
                return None
            promised = total_mib - min(total_mib // _RESERVE_SHARE, _RESERVE_MIB)
        promised = max(promised, minimum or 0)
        return min(promised, total_mib if maximum is None else maximum, total_mib)


def find_dom0_memory_values(command_line: str) -> tuple[str, ...]:
    """The values of every `dom0_mem=` word on a command line, Xen's or Linux', as written."""
    found = []
    for word in command_line.split():
        key, sign, value = word.partition("=")
        if sign and key.replace("-", "_") == "dom0_mem":
            found.append(value)
    return tuple(found)


def parse_dom0_memory_rule(value: str) -> Dom0MemoryRule:
    """The rule that `1536M,max:1536M` or any other value of `dom0_mem=` gives.

    Of amounts of one sort the last counts. Raises: ConfigurationError for what Xen cannot read
    either: it keeps what it read up to there.
    """
    size = minimum = maximum = None
    for part in value.split(","):
        if part.startswith("min:"):
            minimum = _parse_amount(part.removeprefix("min:"), value)
        elif part.startswith("max:"):
            maximum = _parse_amount(part.removeprefix("max:"), value)
        else:
            size = _parse_amount(part, value)
    return Dom0MemoryRule(size=size, minimum=minimum, maximum=maximum)


def _parse_amount(text: str, value: str) -> MemoryAmount:
    parts = text.removeprefix("-").split("+")
    matches = [match for part in parts if (match := _PART.fullmatch(part))]
    sizes = [match for match in matches if match["unit"] != "%"]
    shares = [match for match in matches if match["unit"] == "%"]
    numbers = [_read_number(match["number"]) for match in (*sizes, *shares)]
    if (
        len(matches) != len(parts)
        or len(parts) > _PARTS_LIMIT
        or max(len(sizes), len(shares)) > 1
        or None in numbers
    ):
        raise _refuse(value)
    size_bytes = percent = 0
    for match in matches:
        number = _read_number(match["number"]) or 0
        if match["unit"] == "%":
            percent = number
        else:
            size_bytes = number * _UNITS[match["unit"].lower() or "k"]
    if percent >= 100:
        raise _refuse(value)
    return MemoryAmount(size_bytes=size_bytes, percent=percent, negative=text.startswith("-"))


def _read_number(text: str) -> int | None:
    """A number as C reads it: 0x is hexadecimal, a leading 0 octal; None for `09`."""
    if text.lower().startswith("0x"):
        return int(text, 16)
    if text.startswith("0") and len(text) > 1:
        return int(text, 8) if re.fullmatch(r"[0-7]+", text) else None
    return int(text)


def _refuse(value: str) -> ConfigurationError:
    return ConfigurationError(
        (f"dom0_mem={value[:80]!r}: expected amounts such as 1024M, min:512M or max:2G.",),
        hint="see dom0_mem in xen-command-line(7)",
    )
