"""Small text files of a host, read without trust: module settings, the kernel's command line."""

from __future__ import annotations

import os
import stat

from xenbackup.dom0.host import Host

_SIZE_LIMIT_BYTES = 4 * 1024 * 1024


def read_host_text(host: Host, path: str) -> str | None:
    """The text of one ordinary file; None when it is missing, cannot be read, or is no such file.

    Bytes that are not UTF-8 come as surrogates. A pipe or device in a file's place is not waited
    for, and of a file longer than any such file is, nothing is taken.
    """
    try:
        descriptor = os.open(host.place(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            content = file.read(_SIZE_LIMIT_BYTES + 1)
    except OSError:
        return None
    if len(content) > _SIZE_LIMIT_BYTES:
        return None
    return content.decode("utf-8", "surrogateescape")


def list_host_folder(host: Host, folder: str, ending: str) -> tuple[str, ...]:
    """Paths in a folder whose names end so, sorted; () when there is no such folder."""
    try:
        names = sorted(entry.name for entry in host.place(folder).iterdir())
    except OSError:
        return ()
    return tuple(f"{folder}/{name}" for name in names if name.endswith(ending))
