"""Standing back behind the guests: nice and I/O priority of one thread, not of the process.

On Linux both belong to the thread (setpriority(2) and ioprio_set(2), each under NOTES), and threads
and children that it starts inherit them. So only the thread that copies stands back, threads that
it starts for the copy with it, and commands that it starts put themselves forward again: an
`lvextend` that holds a guest's writes up must not queue behind anybody.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from xenbackup.model.job import IoClass, Politeness

_LOG = logging.getLogger(__name__)

# The numbers of ioprio_set(2): asm/unistd_64.h of x86, asm-generic/unistd.h of the others.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "i686": 289, "ppc64le": 273}
_IOPRIO_GET = {"x86_64": 252, "aarch64": 31, "riscv64": 31, "i686": 290, "ppc64le": 274}
_WHO_PROCESS = 1
_CLASS_SHIFT = 13
_CLASS_NUMBERS = {IoClass.BEST_EFFORT: 2, IoClass.IDLE: 3}

# Loaded here, before any fork: nothing may be loaded between fork and exec.
_LIBRARY = ctypes.CDLL(None, use_errno=True)
_MACHINE = platform.machine()

_standing_back = threading.local()
_told: set[str] = set()


@contextmanager
def stand_back(politeness: Politeness | None) -> Iterator[None]:
    """Within, this thread and what it starts stand back; afterwards it is as it was before.

    A machine that refuses is told of in the log, once, and harms nothing.
    """
    if politeness is None or getattr(_standing_back, "now", False):
        yield
        return
    thread = threading.get_native_id()
    nice_before = os.getpriority(os.PRIO_PROCESS, thread)
    io_before = _read_io_priority(thread)
    _standing_back.now = True
    _set_nice(thread, max(politeness.nice, nice_before))
    if politeness.io_class is not IoClass.NONE:
        level = politeness.io_level if politeness.io_class is IoClass.BEST_EFFORT else 0
        _set_io_priority(thread, _CLASS_NUMBERS[politeness.io_class] << _CLASS_SHIFT | level)
    try:
        yield
    finally:
        _standing_back.now = False
        _set_nice(thread, nice_before)
        if politeness.io_class is not IoClass.NONE:
            _set_io_priority(thread, io_before)


def put_child_forward() -> None:
    """In a child between fork and exec: undo what it inherited from a thread that stands back."""
    if not getattr(_standing_back, "now", False):
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    _call_kernel(_IOPRIO_SET, _WHO_PROCESS, 0, 0)


def read_priorities() -> tuple[int, int]:
    """Nice and I/O priority (as ioprio_get(2) gives it) of this thread."""
    thread = threading.get_native_id()
    return os.getpriority(os.PRIO_PROCESS, thread), _read_io_priority(thread)


def _set_nice(thread: int, nice: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, thread, nice)
    except OSError as error:
        _tell("nice", os.strerror(error.errno or 0))


def _read_io_priority(thread: int) -> int:
    return max(_call_kernel(_IOPRIO_GET, _WHO_PROCESS, thread), 0)


def _set_io_priority(thread: int, priority: int) -> None:
    if _call_kernel(_IOPRIO_SET, _WHO_PROCESS, thread, priority) < 0:
        _tell("ionice", "the kernel refused")


def _call_kernel(numbers: dict[str, int], *arguments: int) -> int:
    """-1 where it failed, or the machine's number of the call is not known."""
    number = numbers.get(_MACHINE)
    if number is None:
        return -1
    return int(_LIBRARY.syscall(number, *arguments))


def _tell(what: str, reason: str) -> None:
    if what not in _told:
        _told.add(what)
        _LOG.warning("politeness-refused", extra={"what": what, "reason": reason})
