"""The kernel's table of mounted file systems (`/proc/self/mountinfo`), row by row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_ESCAPE = re.compile(r"\\([0-7]{3})")
_NUMBER = re.compile(r"[0-9]{1,10}:[0-9]{1,10}")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One mounted file system: `number` is MAJOR:MINOR of what it lies on, `point` where it is."""

    number: str
    point: str
    filesystem: str = ""
    source: str = ""


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Rows in the kernel's order, in which a later one hides an earlier one of the same place.

        29 1 8:16 / /data rw,relatime shared:5 - ext4 /dev/sdb rw

    Between the options and the lone `-` stand fields that the kernel may add to. A row that is cut
    short gives what it has, and one without a mount point is left out: whoever reads this table
    asks whether something is in use, and no answer of the rest is worth losing for one row.
    """
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) < 5 or not fields[4] or not _NUMBER.fullmatch(fields[2]):
            continue
        dash = fields.index("-", 5) if "-" in fields[5:] else len(fields)
        filesystem, source, *_ = (*fields[dash + 1 : dash + 3], "", "")
        mounts.append(
            Mount(
                number=fields[2],
                point=_unescape(fields[4]),
                filesystem=filesystem,
                source=_unescape(source),
            )
        )
    return tuple(mounts)


def find_mount(mounts: tuple[Mount, ...], path: str) -> Mount | None:
    """The file system that an absolute path without links lies in; None where none is known."""
    folders = {str(parent) for parent in PurePosixPath(path).parents} | {path}
    found: Mount | None = None
    for mount in mounts:
        if mount.point in folders and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def _unescape(text: str) -> str:
    """Blanks and backslashes in paths are written as octal: `\\040`."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
