"""The host as the daemon uses it: each command that a run waits for is known by its deadline."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from xenbackup.dom0.host import Host
from xenbackup.model.command import Command, CommandResult, Process
from xenbackup.service.attention import Attention
from xenbackup.system.block_device import BlockDevice


class WatchedHost:
    """A `Host` that is another one, and tells `attention` when commands begin and end."""

    def __init__(self, host: Host, attention: Attention) -> None:
        self._host = host
        self._attention = attention

    def run(self, command: Command) -> CommandResult:
        self._attention.begin_command(command.timeout_seconds)
        try:
            return self._host.run(command)
        finally:
            self._attention.end_command()

    def open_volume(self, path: str, *, writable: bool = False) -> BlockDevice:
        return self._host.open_volume(path, writable=writable)

    def read_write_mark(self, path: str) -> str:
        return self._host.read_write_mark(path)

    def clone_file(self, source: str, target: str) -> None:
        self._host.clone_file(source, target)

    def place(self, path: str) -> Path:
        return self._host.place(path)

    def boot_id(self) -> str:
        return self._host.boot_id()

    def now(self) -> datetime:
        return self._host.now()

    def monotonic_seconds(self) -> float:
        return self._host.monotonic_seconds()

    def sleep(self, seconds: float) -> None:
        self._host.sleep(seconds)

    def cpu_model(self) -> str:
        return self._host.cpu_model()

    def list_processes(self) -> tuple[Process, ...]:
        return self._host.list_processes()

    def signal_process(self, process: Process, signal_number: int) -> bool:
        return self._host.signal_process(process, signal_number)
