"""Which files a test's own process has synced, for power cuts on the simulated host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from xenbackup.dom0.simulated import SimulatedHost

Synced = set[tuple[int, int]]


@contextmanager
def watch_syncs() -> Iterator[Synced]:
    """Collect device and inode of every file that is synced inside the block."""
    synced: Synced = set()
    fsync, fdatasync = os.fsync, os.fdatasync

    def note(fd: int) -> None:
        status = os.fstat(fd)
        synced.add((status.st_dev, status.st_ino))

    def noted_fsync(fd: int) -> None:
        fsync(fd)
        note(fd)

    def noted_fdatasync(fd: int) -> None:
        fdatasync(fd)
        note(fd)

    os.fsync, os.fdatasync = noted_fsync, noted_fdatasync  # type: ignore[assignment]
    try:
        yield synced
    finally:
        os.fsync, os.fdatasync = fsync, fdatasync


def cut_power(host: SimulatedHost, synced: Synced) -> tuple[str, ...]:
    """Cut the power; saved files that were not synced are lost, and returned."""
    with host.machine() as machine:
        for file in machine.state.saved_files:
            place = host.directory / file.path
            if place.is_file():
                status = place.stat()
                file.synced = file.synced or (status.st_dev, status.st_ino) in synced
        machine.commit()
    return host.cut_power()
