"""Memory that a long-lived process gives back: a dom0 has little, and a daemon idles all day.

glibc keeps freed memory, in up to eight arenas for each processor, one a thread: a daemon that has
once run four copies would stay as large as it was then. On another libc nothing is done.
"""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8  # malloc.h of glibc
_ARENAS = 2

_LIBRARY = ctypes.CDLL(None)


def bound_arenas() -> None:
    """Let all threads share two arenas. To be called before there are threads."""
    if hasattr(_LIBRARY, "mallopt"):
        _LIBRARY.mallopt(_M_ARENA_MAX, _ARENAS)


def give_memory_back() -> None:
    """Collect what is not reachable any more, and hand free pages back to the kernel."""
    gc.collect()
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(0)
