"""What holds locks and volumes on the simulated host, as its /proc and /sys show it to the product.

xl's lock is held by a row in the simulated /proc/locks alone: whoever starts a guest waits for it.
Holders of a volume are laid out when LVM finds it in use; nobody asks for them before.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from xenbackup.dom0.simulated.processes import is_opener_alive
from xenbackup.dom0.simulated.session import Machine, Session
from xenbackup.dom0.simulated.state import Volume

TOOLSTACK_LOCK = "/var/lock/xl"
LOCKS = "/proc/locks"
BACKENDS = "/sys/bus/xen-backend/devices"
MAPPER_MAJOR = 253


def hold_toolstack_lock(directory: Path, *, pid: int, command: str) -> None:
    """A process of this number and command line holds xl's lock until it is released."""
    lock = directory / TOOLSTACK_LOCK.lstrip("/")
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    found = lock.stat()
    system = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    file = f"{system}:{found.st_ino}"
    _lay(
        directory,
        LOCKS,
        # The kernel tells locks of all kinds, and below each those who wait for it.
        f"1: FLOCK  ADVISORY  WRITE 612 {system}:{found.st_ino + 1} 0 EOF\n"
        f"2: POSIX  ADVISORY  WRITE {pid} {file} 0 EOF\n"
        f"2: -> POSIX  ADVISORY  WRITE {pid + 1} {file} 0 EOF\n",
    )
    _lay(directory, f"/proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")


def release_toolstack_lock(directory: Path, *, pid: int) -> None:
    """That process has ended, and its lock with it."""
    (directory / LOCKS.lstrip("/")).unlink()
    shutil.rmtree(directory / "proc" / str(pid))


def wait_for_toolstack_lock(session: Session) -> None:
    """As long as another holds xl's lock, this tool waits. Raises: ToolKilled at its deadline."""
    lock = session.place(TOOLSTACK_LOCK)
    locks = session.place(LOCKS)
    if locks.exists() and f":{lock.stat().st_ino} " in locks.read_text(encoding="ascii"):
        session.spend_all()


def show_holders(machine: Machine, volume: Volume) -> None:
    """Lay out what holds this volume just now: processes with its node open, and back-ends."""
    directory = machine.store.directory
    for opener in machine.state.openers:
        links = directory / "proc" / str(opener.pid) / "fd"
        if opener.volume != volume.uuid or not is_opener_alive(opener):
            continue
        _lay(directory, f"/proc/{opener.pid}/cmdline", "dd\0if=snapshot\0of=copy\0")
        links.mkdir(parents=True, exist_ok=True)
        (links / str(opener.token)).unlink(missing_ok=True)
        (links / str(opener.token)).symlink_to(f"/dev/dm-{volume.minor}")
    for domain in machine.state.domains:
        for vbd in domain.vbds:
            if vbd.backend in (2, 4) and machine.resolve_volume(vbd.target) is volume:
                _lay(
                    directory,
                    f"{BACKENDS}/vbd-{domain.domid}-{vbd.number}/physical_device",
                    f"{MAPPER_MAJOR:x}:{volume.minor:x}\n",
                )


def _lay(directory: Path, path: str, text: str) -> None:
    place = directory / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="ascii")
