"""Opened volumes whose reads and writes are moments: a seed may strike before and after each."""

from __future__ import annotations

from collections.abc import Callable

from xenbackup.system.block_device import BlockDevice

SOURCE, TARGET = "read", "target"
READ_BEGIN, READ_END = f"{SOURCE}:begin", f"{SOURCE}:end"


class WatchedDevice:
    """A device that tells each read and write of it; `name` says what it is opened for."""

    def __init__(self, device: BlockDevice, name: str, reach: Callable[[str], None]) -> None:
        self._device = device
        self._name = name
        self._reach = reach

    @property
    def path(self) -> str:
        return self._device.path

    @property
    def size_bytes(self) -> int:
        return self._device.size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self._reach(f"{self._name}:begin")
        found = self._device.read_into(offset, buffer)
        self._reach(f"{self._name}:end")
        return found

    def write_at(self, offset: int, content: memoryview) -> None:
        self._reach(f"{self._name}-write:begin")
        self._device.write_at(offset, content)
        self._reach(f"{self._name}-write:end")

    def flush(self) -> None:
        self._device.flush()

    def close(self) -> None:
        self._device.close()
