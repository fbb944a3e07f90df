"""Files copied with their holes as holes: a simulated host is mostly holes."""

from __future__ import annotations

import os
from pathlib import Path


def copy_sparse(source: Path, target: Path) -> None:
    """Copy content to a file that does not exist yet. Raises: OSError."""
    with source.open("rb") as old, target.open("xb") as new:
        size_bytes = os.fstat(old.fileno()).st_size
        os.ftruncate(new.fileno(), size_bytes)
        end = 0
        while True:
            try:
                begin = os.lseek(old.fileno(), end, os.SEEK_DATA)
            except OSError:  # nothing but a hole up to the end
                break
            end = os.lseek(old.fileno(), begin, os.SEEK_HOLE)
            os.lseek(new.fileno(), begin, os.SEEK_SET)
            while begin < end:
                done = os.sendfile(new.fileno(), old.fileno(), begin, end - begin)
                if done == 0:
                    break
                begin += done
