"""The udev cookie that a hanging command of LVM waits for: found only while that one waits.

A cookie is a System V semaphore. LVM makes one for each change, counts it up for every device that
udev is to see to, and waits until udev's rules have counted it down to nothing. Where udev lost an
event (it ends its own workers after three minutes) that wait has no end.

A cookie does not say whose it is, and `dmsetup udevcookies` lists those of everybody: only the
process that waits tells, by the system call that it sleeps in. So one that a killed command left
behind is never touched. Nobody waits for it, and it holds nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from xenbackup.system.processes import PROC_FOLDER

# libdevmapper's DM_COOKIE_MAGIC: the upper half of every cookie's key.
_MAGIC: Final = 0x0D4D
# semop and semtimedop, which libcs call for one another: asm/unistd.h of each machine.
_WAITING_CALLS: Final = {"x86_64": (65, 220), "aarch64": (193, 192)}
_CALL = re.compile(r"(?P<number>\d{1,4}) 0x(?P<semid>[0-9a-f]{1,16}) .*", re.DOTALL)


def find_awaited_cookie(pid: int, *, proc_folder: Path = PROC_FOLDER) -> int | None:
    """The cookie that this process sleeps over just now, from /proc/PID/syscall, proc(5).

        220 0x7 0x7ffd5e0c1a40 0x1 0x0 0x55de320bc980 0x7f45134bf780 0x7fff3a6bac48 0x7f4513b295da

    None when it waits for something else, has ended, or the kernel does not tell. The caller must
    be its parent, so that the pid cannot have become another process.
    """
    match = _CALL.fullmatch(_read_text(proc_folder / str(pid) / "syscall"))
    numbers = _WAITING_CALLS.get(os.uname().machine, ())
    if match is None or int(match["number"]) not in numbers:
        return None
    key = _find_key(int(match["semid"], 16), _read_text(proc_folder / "sysvipc" / "sem"))
    return key if key is not None and key >> 16 == _MAGIC else None


def _find_key(semid: int, table: str) -> int | None:
    """Key of a semaphore in /proc/sysvipc/sem, whose first two columns are key and semid."""
    for line in table.splitlines():
        fields = line.split()
        if fields[1:2] == [str(semid)] and fields[0].isdecimal():
            return int(fields[0])
    return None


def _read_text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
