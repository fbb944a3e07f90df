"""The port: everything the product needs of the machine it runs on.

Two sides stand behind it: the real dom0 (`dom0/real.py`) and a simulated one in a directory
(`dom0/simulated/`). Rooms above receive a `Host` and never ask which it is.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol

from xenbackup.model.command import Command, CommandResult, Process
from xenbackup.system.block_device import BlockDevice


class Host(Protocol):
    """A dom0: commands, devices, processes, clock and the placing of paths."""

    def run(self, command: Command) -> CommandResult:
        """Run a tool to its end or its deadline; never raises for a non-zero exit code.

        Raises: CommandFailed when the tool cannot be started at all (not installed).
        """

    def open_volume(self, path: str, *, writable: bool = False) -> BlockDevice:
        """Open what lies behind a disk target or snapshot path, unbuffered (O_DIRECT).

        Raises: CopyFailed naming the path when it cannot be opened.
        """

    def read_write_mark(self, path: str) -> str:
        """A text that differs once anything was written to a disk target since; "" where none is.

        Of a device it is the kernel's count of written sectors, which begins anew with each boot,
        and which neither reading nor a snapshot moves; of a file its number, size and time.
        `dom0/write_mark.py` compares them.
        """

    def clone_file(self, source: str, target: str) -> None:
        """Make a reflink copy of an image file: two paths of the host, on one filesystem.

        Raises: SnapshotFailed when it cannot be made; nothing is left then.
        """

    def place(self, path: str) -> Path:
        """Where a configured absolute path really is: itself, or below the simulated root."""

    def boot_id(self) -> str:
        """Random id of this boot of the host (/proc/sys/kernel/random/boot_id)."""

    def now(self) -> datetime:
        """Wall clock, in UTC; virtual on a simulated host."""

    def monotonic_seconds(self) -> float:
        """A clock that never steps; virtual on a simulated host."""

    def sleep(self, seconds: float) -> None:
        """Let time pass; a simulated host's guests tick meanwhile."""

    def cpu_model(self) -> str:
        """The processor as the machine names it, for manifests: `AMD Opteron 23xx`."""

    def list_processes(self) -> tuple[Process, ...]:
        """xl processes, and all that carry the mark `XENBACKUP_RUN`."""

    def signal_process(self, process: Process, signal_number: int) -> bool:
        """Send a signal to exactly this process (pid and start time); False when it is gone."""
