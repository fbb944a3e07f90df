"""How a socket is reached whose path is longer than the kernel takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS_LIMIT_BYTES = 107
"""`sun_path` holds 108 bytes, the last of which ends the text (unix(7))."""


@contextmanager
def shorten_address(path: Path) -> Iterator[str]:
    """What to bind or connect to: the path, or the same through its folder's open descriptor.

    Raises: OSError when the folder of a long path cannot be opened.
    """
    if len(os.fsencode(path)) <= ADDRESS_LIMIT_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
