"""The real dom0: this machine, its tools, its devices, its processes, its clock."""

from __future__ import annotations

import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from xenbackup.dom0.write_mark import UNFINISHED
from xenbackup.model.command import Command, CommandResult, Process
from xenbackup.system.block_device import BlockDevice, open_block_device
from xenbackup.system.command import RUN_MARK, SystemCommands
from xenbackup.system.processes import PROC_FOLDER, list_marked_processes, signal_exactly
from xenbackup.system.reflink import clone_file

SYS_FOLDER: Final = Path("/sys")
_MONITOR_PROGRAMS: Final = frozenset({"xl"})


class RealHost:
    """A `Host` over this machine; the folders are /proc and /sys save in tests."""

    def __init__(
        self,
        commands: SystemCommands | None = None,
        *,
        proc_folder: Path = PROC_FOLDER,
        sys_folder: Path = SYS_FOLDER,
    ) -> None:
        self._commands = commands or SystemCommands()
        self._proc_folder = proc_folder
        self._sys_folder = sys_folder

    def run(self, command: Command) -> CommandResult:
        return self._commands.run(command)

    def open_volume(self, path: str, *, writable: bool = False) -> BlockDevice:
        return open_block_device(path, writable=writable)

    def read_write_mark(self, path: str) -> str:
        """Field 7 of /sys/dev/block/MAJOR:MINOR/stat (Documentation/block/stat.rst).

        A newer kernel counts a write to a device of device-mapper when it has ended, not as it
        begins: `inflight` beside the count has those that are on their way, behind the reads.
        """
        try:
            found = Path(path).stat()
            if stat.S_ISREG(found.st_mode):
                return f"file {found.st_ino} {found.st_size} {found.st_mtime_ns}"
            number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
            folder = self._sys_folder / "dev/block" / number
            fields = (folder / "stat").read_text("ascii").split()
            return f"sectors {number} {int(fields[6])}{_read_unfinished(folder)}"
        except (OSError, ValueError, IndexError):
            return ""

    def clone_file(self, source: str, target: str) -> None:
        clone_file(Path(source), Path(target))

    def place(self, path: str) -> Path:
        return Path(path)

    def boot_id(self) -> str:
        return (self._proc_folder / "sys/kernel/random/boot_id").read_text("ascii").strip()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def cpu_model(self) -> str:
        """The first `model name` of /proc/cpuinfo; "" where the machine gives none."""
        text = (self._proc_folder / "cpuinfo").read_text("utf-8", "replace")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
        return ""

    def list_processes(self) -> tuple[Process, ...]:
        return list_marked_processes(RUN_MARK, _MONITOR_PROGRAMS, proc_folder=self._proc_folder)

    def signal_process(self, process: Process, signal_number: int) -> bool:
        return signal_exactly(process, signal_number, proc_folder=self._proc_folder)


def _read_unfinished(folder: Path) -> str:
    try:
        _reads, writes = (folder / "inflight").read_text("ascii").split()
    except (OSError, ValueError):
        return ""
    return "" if writes == "0" else UNFINISHED
