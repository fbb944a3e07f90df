"""What the marks of `Host.read_write_mark` say, each for itself and compared."""

from __future__ import annotations

UNFINISHED = " unfinished"
"""Ends the mark of a device that has writes on their way: some kernels count them at their end."""


def is_at_rest(mark: str) -> bool:
    """Does the mark count all that was asked to be written until then?"""
    return bool(mark) and not mark.endswith(UNFINISHED)


def is_written_since(noted: str, now: str) -> bool:
    """Was anything written between two marks of a disk in one boot? False where nobody can tell.

    A device that was deactivated and activated again (by a cluster's agent, or a person) counts
    from zero, and may have another number: as long as it counts nothing, nothing was written.
    """
    if now in ("", noted):
        return False
    return now.startswith("file ") or not now.endswith(" 0")
