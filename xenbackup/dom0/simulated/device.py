"""A volume or image file of the simulated host, opened as a block device; reading takes time."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from xenbackup.dom0.simulated.exception_store import ExceptionStore
from xenbackup.dom0.simulated.faults import find_device_fault, has_faults
from xenbackup.dom0.simulated.processes import register_opener, release_opener
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import Volume
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.volumes import VolumeBroken, VolumeSuspended
from xenbackup.errors import CopyFailed


class SimulatedDevice:
    """An opened volume: `read_into` and `write_at` let guests tick for as long as they take."""

    def __init__(
        self, store: Store, kept: dict[str, ExceptionStore], path: str, *, writable: bool
    ) -> None:
        self._store = store
        self._kept = kept
        self._path = path
        self._writable = writable
        self._uuid = ""
        self._file = -1
        self._token = 0

    def open(self) -> None:
        """Find the volume or file. Raises: CopyFailed naming the path."""
        machine = Machine(self._store, self._kept)
        machine.open()
        try:
            volume = machine.resolve_volume(self._path)
            if volume is None:
                self._open_file(machine.place(self._path))
                return
            if not volume.active:
                absent = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                raise CopyFailed(
                    f"Cannot open {self._path}: {absent.strerror}.",
                    hint="the logical volume is not active",
                ) from absent
            self._uuid = volume.uuid
            self._token = register_opener(machine, volume)
            machine.commit()
        finally:
            machine.close()

    @property
    def path(self) -> str:
        return self._path

    @property
    def size_bytes(self) -> int:
        """Size as of now. Raises: CopyFailed when the volume is gone."""
        if not self._uuid:
            return os.fstat(self._file).st_size
        machine = Machine(self._store, self._kept)
        machine.open()
        try:
            return machine.volumes.visible_bytes(self._volume(machine, 0))
        finally:
            machine.close()

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer`, short only at the end. Raises: CopyFailed naming offset and device."""
        machine = Machine(self._store, self._kept)
        machine.open()
        try:
            self._meet_fault("read", offset, len(buffer))
            if self._uuid:
                got = machine.volumes.read(self._volume(machine, offset), offset, buffer)
            else:
                got = os.preadv(self._file, [buffer], offset) if len(buffer) else 0
            machine.advance(got / machine.state.read_bytes_per_second)
            return got
        except (OSError, VolumeBroken, VolumeSuspended) as error:
            raise CopyFailed(
                f"Cannot read {self._path} at byte {offset}: {_reason(error)}."
            ) from error
        finally:
            machine.close()

    def write_at(self, offset: int, content: memoryview) -> None:
        """Write all of `content`. Raises: CopyFailed naming offset and device."""
        if not self._writable:
            raise CopyFailed(f"Cannot write {self._path} at byte {offset}: opened for reading.")
        machine = Machine(self._store, self._kept)
        machine.open()
        try:
            self._meet_fault("write", offset, len(content))
            if self._uuid:
                volume = self._volume(machine, offset)
                if offset + len(content) > machine.volumes.visible_bytes(volume):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                machine.volumes.write(volume, offset, content)
            else:
                _write_all(self._file, offset, content)
            machine.advance(len(content) / machine.state.write_bytes_per_second)
        except (OSError, VolumeBroken, VolumeSuspended) as error:
            raise CopyFailed(
                f"Cannot write {self._path} at byte {offset}: {_reason(error)}."
            ) from error
        finally:
            machine.close()

    def flush(self) -> None:
        """Everything written is in the file already; an image file is synced for real."""
        if self._file >= 0:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise CopyFailed(f"Cannot sync {self._path}: {error.strerror}.") from error

    def close(self) -> None:
        """Let go of the volume; closing twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._token:
            machine = Machine(self._store, self._kept)
            machine.open()
            try:
                release_opener(machine, self._token)
                machine.commit()
            finally:
                machine.close()
            self._token = 0

    def _open_file(self, place: Path) -> None:
        flags = os.O_CLOEXEC | (os.O_RDWR if self._writable else os.O_RDONLY)
        try:
            self._file = os.open(place, flags)
        except OSError as error:
            raise CopyFailed(f"Cannot open {self._path}: {error.strerror}.") from error

    def _volume(self, machine: Machine, offset: int) -> Volume:
        volume = machine.state.volumes.get(self._uuid)
        if volume is None:
            raise CopyFailed(f"Cannot access {self._path} at byte {offset}: the volume is gone.")
        return volume

    def _meet_fault(self, act: str, offset: int, length: int) -> None:
        directory = self._store.directory
        if has_faults(directory) and find_device_fault(directory, act, self._path, offset, length):
            raise VolumeBroken("Input/output error")


def _write_all(fd: int, offset: int, content: memoryview) -> None:
    while content:
        done = os.pwrite(fd, content, offset)
        offset, content = offset + done, content[done:]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, VolumeSuspended):
        return f"{error} is suspended, the call would not return"
    return f"Input/output error ({error})"
