"""Single values of the configuration: durations, sizes, rates, patterns, paths, schedules.

Each reader takes what TOML gave and returns the value, or an `Unfit` that says what was expected.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from xenbackup.model.job import SnapshotSize
from xenbackup.model.pipeline import (
    MAXIMUM_SNAPSHOT_BYTES,
    MAXIMUM_SNAPSHOT_PERCENT,
    MINIMUM_SNAPSHOT_BYTES,
    MINIMUM_SNAPSHOT_PERCENT,
)
from xenbackup.model.printable import show_text


@dataclass(frozen=True, kw_only=True)
class Unfit:
    """A value that cannot be taken: what was expected in its place, and a hint (may be "")."""

    expected: str
    hint: str = ""


SECONDS_IN = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES_IN = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
SHORTEST_AWAY_SECONDS = 1
LONGEST_AWAY_SECONDS = 7 * 86400
LONGEST_CATCH_UP_SECONDS = 366 * 86400
LONGEST_KEPT_SECONDS = 3660 * 86400
# Below this a single 4 MiB read would stand still for over a minute.
LOWEST_RATE = 64 << 10
HIGHEST_RATE = 1 << 40
MOST_POINTS = 100_000
# xendomains restores and then deletes whatever it finds in here at boot.
XENDOMAINS_FOLDER = "/var/lib/xen/save"

# At most 15 digits: int() refuses thousands of them with an error of its own.
_DURATION = re.compile(r"([0-9]{1,15})[ ]?([smhd])")
_WORDY_DURATION = re.compile(r"([0-9]{1,15})[ ]?([smhdSMHD])[A-Za-z]*")
_SIZE = re.compile(r"([0-9]{1,15})[ ]?(B|KiB|MiB|GiB|TiB)")
_PERCENT = re.compile(r"([0-9]{1,15})[ ]?%")
_DECIMAL_UNIT = re.compile(r"([0-9]{1,15})[ ]?([kKMGT])[bB]?(/s)?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_GROUP = re.compile(r"(?:/dev/)?([A-Za-z0-9_+][A-Za-z0-9_+.-]{0,126})")
NAME_RULE = "1 to 64 letters, digits, - and _, with a letter or digit first"


def describe_value(value: object) -> str:
    """What was found, as a message names it; never long, never with control characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{show_text(value, limit=80)}"'
    if isinstance(value, int):
        # str() of an integer with thousands of digits raises ValueError.
        return str(value) if abs(value) < 1 << 63 else "a number beyond 64 bits"
    if isinstance(value, float):
        return str(value)
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "a table"
    return f"{value} (a date or time)"


def suggest(name: str, known: Iterable[str]) -> str:
    """`did you mean …?` when one of the known names is close, else ""."""
    known = tuple(known)
    folded = name[:100].lower().replace("-", "_").replace(" ", "_")
    table = {candidate.lower().replace("-", "_"): candidate for candidate in known}
    close = difflib.get_close_matches(folded, table, n=1, cutoff=0.6)
    return f"did you mean `{table[close[0]]}`?" if close else ""


def is_name(text: str) -> bool:
    """Whether a text may name a job or a destination: it becomes part of unit and file names."""
    return _NAME.fullmatch(text) is not None


def read_text(value: object) -> str | Unfit:
    """One line of text."""
    if not isinstance(value, str):
        return Unfit(expected="text in quotes")
    if len(value) > 1000 or not all(letter.isprintable() for letter in value):
        return Unfit(expected="one line of at most 1000 printable letters")
    return value


def read_pattern(value: object) -> str | Unfit:
    """A pattern for names of guests or disks."""
    if not isinstance(value, str):
        return Unfit(expected="text in quotes", hint='write names and patterns as "web" or "web*"')
    if not value or not all(letter.isprintable() for letter in value) or len(value) > 256:
        return Unfit(
            expected="a name or a pattern, 1 to 256 printable letters", hint='"*" matches all'
        )
    return value


def read_disk_pattern(value: object) -> str | Unfit:
    """`DISK` or `GUEST:DISK`."""
    pattern = read_pattern(value)
    if isinstance(pattern, Unfit):
        return pattern
    guest, colon, disk = pattern.rpartition(":")
    if not disk or (colon and not guest):
        return Unfit(
            expected="a disk such as xvdb, or GUEST:DISK", hint='"*:xvdb" is the same as "xvdb"'
        )
    return pattern


@dataclass(frozen=True)
class Choice:
    """Reads one of a few words."""

    choices: tuple[str, ...]

    def __call__(self, value: object) -> str | Unfit:
        if isinstance(value, str) and value in self.choices:
            return value
        return Unfit(
            expected="one of " + ", ".join(f'"{choice}"' for choice in self.choices),
            hint=suggest(value, self.choices) if isinstance(value, str) else "",
        )


def read_name(value: object) -> str | Unfit:
    """The name of a destination."""
    if isinstance(value, str) and is_name(value):
        return value
    return Unfit(expected=NAME_RULE)


@dataclass(frozen=True)
class Duration:
    """Reads seconds, or a text such as "10m"; `words` say the bounds to a person."""

    least_seconds: int
    most_seconds: int
    words: str
    zero: bool = False
    """Whether 0 is taken too, though it is below the least."""

    def __call__(self, value: object) -> int | Unfit:
        expected = f'a duration such as "90s", "10m", "2h" or "1d" ({self.words})'
        seconds: int | None = None
        hint = ""
        if isinstance(value, int) and not isinstance(value, bool):
            seconds = value
        elif isinstance(value, str):
            found = _DURATION.fullmatch(value)
            if found:
                seconds = int(found.group(1)) * SECONDS_IN[found.group(2)]
            else:
                hint = _suggest_duration(value)
        if seconds == 0 and self.zero:
            return 0
        if seconds is None or not self.least_seconds <= seconds <= self.most_seconds:
            return Unfit(expected=expected, hint=hint)
        return seconds


def _suggest_duration(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,15}", text):
        return f'add the unit, as in "{text}s"'
    wordy = _WORDY_DURATION.fullmatch(text)
    if wordy:
        return f'did you mean "{wordy.group(1)}{wordy.group(2).lower()}"?'
    parts = _DURATION.findall(text)
    if len(parts) > 1 and _DURATION.sub("", text).strip() == "":
        seconds = sum(int(count) * SECONDS_IN[unit] for count, unit in parts)
        unit = next(unit for unit in ("d", "h", "m", "s") if seconds % SECONDS_IN[unit] == 0)
        return f'did you mean "{seconds // SECONDS_IN[unit]}{unit}"?'
    return ""


read_away_time = Duration(SHORTEST_AWAY_SECONDS, LONGEST_AWAY_SECONDS, "1s to 7d")
read_catch_up = Duration(0, LONGEST_CATCH_UP_SECONDS, "0 to 366d")
read_jitter = Duration(0, 12 * 3600, "0 to 12h")
read_time_limit = Duration(60, 30 * 86400, "1m to 30d")
read_retry_wait = Duration(1, 86400, "1s to 1d")
read_greatest_age = Duration(60, LONGEST_CATCH_UP_SECONDS, "1m to 366d")
read_hook_time = Duration(1, 86400, "1s to 1d")
read_keeping_time = Duration(3600, LONGEST_KEPT_SECONDS, "1h to 3660d, or 0 for all", zero=True)


@dataclass(frozen=True)
class WholeNumber:
    """Reads a whole number within bounds, both included."""

    least: int
    most: int

    def __call__(self, value: object) -> int | Unfit:
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.least <= value <= self.most
        ):
            return value
        return Unfit(expected=f"a whole number from {self.least} to {self.most}")


read_count = WholeNumber(0, MOST_POINTS)


def _suggest_binary_unit(text: str) -> str:
    found = _DECIMAL_UNIT.fullmatch(text)
    if not found:
        return ""
    return f'did you mean "{found.group(1)}{found.group(2).upper()}iB{found.group(3) or ""}"?'


def read_snapshot_size(value: object) -> SnapshotSize | Unfit:
    """`size` of a snapshot: a share of its origin, or bytes."""
    expected = (
        f'a share such as "20%" ({MINIMUM_SNAPSHOT_PERCENT}% to {MAXIMUM_SNAPSHOT_PERCENT}%), '
        'or a size such as "512MiB" or "1GiB" (1MiB or more)'
    )
    hint = ""
    size_bytes: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        size_bytes = value
        hint = f'a bare number is bytes; write "{value}%" for a share' if 0 < value <= 100 else ""
    elif isinstance(value, str):
        share = _PERCENT.fullmatch(value)
        if share:
            percent = int(share.group(1))
            if MINIMUM_SNAPSHOT_PERCENT <= percent <= MAXIMUM_SNAPSHOT_PERCENT:
                return SnapshotSize(percent=percent)
            return Unfit(expected=expected, hint="10% is the default")
        found = _SIZE.fullmatch(value)
        if found:
            size_bytes = int(found.group(1)) * BYTES_IN[found.group(2)]
        else:
            hint = _suggest_binary_unit(value)
    if size_bytes is None or not MINIMUM_SNAPSHOT_BYTES <= size_bytes <= MAXIMUM_SNAPSHOT_BYTES:
        return Unfit(expected=expected, hint=hint)
    return SnapshotSize(size_bytes=size_bytes)


def read_rate(value: object) -> int | Unfit:
    """`bandwidth_limit`, in bytes per second."""
    expected = 'a rate such as "50MiB/s" (64KiB/s to 1TiB/s), or a number of bytes per second'
    rate: int | None = None
    hint = ""
    if isinstance(value, int) and not isinstance(value, bool):
        rate = value
        hint = "leave the key out for no limit" if value == 0 else ""
    elif isinstance(value, str):
        found = _SIZE.fullmatch(value.removesuffix("/s"))
        if found and value.endswith("/s"):
            rate = int(found.group(1)) * BYTES_IN[found.group(2)]
        elif found:
            hint = f'did you mean "{value}/s"?'
        else:
            hint = _suggest_binary_unit(value)
    if rate is None or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return Unfit(expected=expected, hint=hint)
    return rate


def read_path(value: object) -> str | Unfit:
    """An absolute path of a folder other than `/`, without `..`; doubled and last slashes go."""
    expected = 'an absolute path without `..`, such as "/srv/backup"'
    if not isinstance(value, str):
        return Unfit(expected=expected)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if (
        not value.startswith("/")
        or not parts
        or ".." in parts
        or len(value) > 1024
        or not all(letter.isprintable() for letter in value)
    ):
        hint = (
            f'did you mean "/{show_text(value, limit=80)}"?'
            if re.match(r"[A-Za-z0-9]", value)
            else ""
        )
        return Unfit(expected=expected, hint=hint)
    return "/" + "/".join(parts)


def read_spool_path(value: object) -> str | Unfit:
    """The spool's folder, which must not be the one that xendomains empties at boot."""
    path = read_path(value)
    if isinstance(path, str) and (path + "/").startswith(XENDOMAINS_FOLDER + "/"):
        return Unfit(
            expected=f"a folder outside of {XENDOMAINS_FOLDER}",
            hint="xendomains restores and deletes what it finds there at boot; "
            "/var/lib/xenbackup/spool is the default",
        )
    return path


def read_volume_group(value: object) -> str | Unfit:
    """A volume group's name, given as `backupvols` or as `/dev/backupvols`."""
    found = _GROUP.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return Unfit(expected='a volume group, such as "backupvols"', hint="`vgs` lists them")
    return found.group(1)
