"""Faults of single commands, kept in DIR/host/faults.json beside the state and under its lock."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from xenbackup.dom0.simulated.state import SimulatorFailed


class FaultKind(StrEnum):
    """What goes wrong. `boundary` names where for those that need a place (default: any inside)."""

    FAIL = "fail"
    """Nothing is done; exit code and stderr are the fault's."""
    LIE_OK = "lie-ok"
    """Nothing is done; exit 0 and the fault's stdout."""
    LIE_FAILED = "lie-failed"
    """Everything is done; exit code and stderr are the fault's."""
    GARBAGE = "garbage"
    """Everything is done; stdout is the fault's (or something unreadable)."""
    HANG = "hang"
    """Never returns: before it begins, or at `boundary`."""
    SLOW = "slow"
    """`seconds` longer; in a real child also so many real seconds, at `boundary`."""
    KILL_BEFORE = "kill-before"
    KILL_MIDDLE = "kill-middle"
    """Killed at `boundary`, or at the first one inside the command."""
    KILL_AFTER = "kill-after"
    ENOSPC = "enospc"
    """The file that the command writes (or the volume group) is full after `size_bytes`."""
    NO_RESUME = "no-resume"
    """`xl save -p|-c` cannot resume the guest and says nothing of it."""
    EIO = "eio"
    """Tool `read` or `write`, verb a volume's path: I/O at `offset` fails."""


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A fault and the calls that it matches: tool, verb ("" is any), `nth` (0 is every one).

    `containing` must be one of the arguments, or a part of one ("" fits all). `times` bounds how
    often it strikes (0: without bound); `calls` and `strikes` are counted here.
    """

    tool: str
    kind: FaultKind
    verb: str = ""
    containing: str = ""
    nth: int = 0
    times: int = 0
    exit_code: int = 1
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    boundary: str = ""
    size_bytes: int = 0
    offset: int = 0
    calls: int = 0
    strikes: int = 0


GARBAGE_TEXT = "\x00\xff{]not what any tool prints\nName ID\n-1\n"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Fault])


def read_faults(directory: Path) -> list[Fault]:
    """Every fault that is set. Raises: SimulatorFailed when the file is not such a list."""
    try:
        content = (directory / "host" / "faults.json").read_bytes()
    except FileNotFoundError:
        return []
    try:
        return _decoder.decode(content)
    except msgspec.DecodeError as error:
        raise SimulatorFailed(f"{directory}/host/faults.json is unreadable: {error}") from error


def write_faults(directory: Path, faults: list[Fault]) -> None:
    """Replace the list; an empty one removes the file."""
    path = directory / "host" / "faults.json"
    if not faults:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_suffix(".new")
    temporary.write_bytes(_encoder.encode(faults))
    temporary.replace(path)


def take_fault(directory: Path, argv: Sequence[str], verb: str) -> Fault | None:
    """The first fault that strikes this call; every matching one counts the call."""
    faults = read_faults(directory)
    tool = argv[0].rpartition("/")[2]
    struck: Fault | None = None
    touched = False
    for fault in faults:
        if fault.tool != tool or fault.verb not in ("", verb):
            continue
        if fault.containing and not any(fault.containing in word for word in argv[1:]):
            continue
        fault.calls += 1
        touched = True
        due = fault.nth in (0, fault.calls) and (not fault.times or fault.strikes < fault.times)
        if struck is None and due:
            fault.strikes += 1
            struck = fault
    if touched:
        write_faults(directory, faults)
    return struck


def find_device_fault(directory: Path, act: str, path: str, offset: int, length: int) -> bool:
    """Does a fault of kind eio lie in this stretch of the device?"""
    return any(
        fault.kind is FaultKind.EIO
        and fault.tool == act
        and path.endswith(fault.verb)
        and offset <= fault.offset < offset + length
        for fault in read_faults(directory)
    )


def stall(seconds: float) -> None:
    """Let real time pass: a real child is to be seen, waited for or killed meanwhile."""
    time.sleep(seconds)


def has_faults(directory: Path) -> bool:
    return os.access(directory / "host" / "faults.json", os.F_OK)
