"""Where the state lies: two slots below DIR/host, the newer whole one is the truth; one lock.

Each write goes to the slot that is not the truth, with its length and checksum in front, so a
SIGKILL at any moment leaves the one truth readable. In-place slots cost six microseconds where a
rename costs two hundred, and the state is written several times a command.
"""

from __future__ import annotations

import fcntl
import os
import threading
import zlib
from pathlib import Path

import msgspec

from xenbackup.dom0.simulated.state import HostState, SimulatorFailed

_HEADER_BYTES = 44
"""`%016d %016d %08x\\n`: sequence, length, CRC-32 of the JSON that follows; padded with a space."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(HostState)


class Store:
    """The files of one simulated host. `lock` and `unlock` bracket every look and every change.

    The lock excludes other processes (flock), other threads, and other `Store` objects alike.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "host"
        self._thread_lock = threading.Lock()
        self._pid = 0
        self._lock_fd = -1
        self._slots = (-1, -1)
        self._volume_fds: dict[str, int] = {}
        self._state: HostState | None = None
        self._raw_header = b""

    def lock(self) -> HostState:
        """Take the lock and return the state as it is now.

        Raises: SimulatorFailed when the directory holds no simulated host.
        """
        self._thread_lock.acquire()
        try:
            self._attach()
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            return self._load()
        except BaseException:
            self._state = None
            self._thread_lock.release()
            raise

    def unlock(self, *, discard: bool = False) -> None:
        """Give the lock back; `discard` forgets what was changed in memory and not written."""
        if discard:
            self._state = None
        if self._lock_fd >= 0:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        self._thread_lock.release()

    def write(self, state: HostState) -> None:
        """Make `state` the truth. The lock must be held."""
        state.sequence += 1
        body = _encoder.encode(state)
        header = b"%016d %016d %08x\n" % (state.sequence, len(body), zlib.crc32(body))
        header = header.rjust(_HEADER_BYTES)
        os.pwrite(self._slots[state.sequence & 1], header + body, 0)
        self._state, self._raw_header = state, header

    def open_file(self, name: str, *, create: bool = False) -> int:
        """Descriptor of a file below DIR/host/volumes, kept open for the next time."""
        fd = self._volume_fds.get(name)
        if fd is None:
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
            fd = os.open(self.home / "volumes" / name, flags, 0o600)
            self._volume_fds[name] = fd
        return fd

    def remove_file(self, name: str) -> None:
        """Close and unlink a file below DIR/host/volumes; missing is fine."""
        fd = self._volume_fds.pop(name, None)
        if fd is not None:
            os.close(fd)
        (self.home / "volumes" / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Close every descriptor; the store opens them again when it is next used."""
        if self._pid == os.getpid():
            for fd in (self._lock_fd, *self._slots, *self._volume_fds.values()):
                os.close(fd)
        self._forget()

    def __del__(self) -> None:
        self.close()

    def _forget(self) -> None:
        self._pid, self._lock_fd, self._slots = 0, -1, (-1, -1)
        self._volume_fds = {}
        self._state = None

    def _attach(self) -> None:
        if self._pid == os.getpid():
            return
        # After a fork the descriptors share their parent's lock: they must be opened anew.
        self._forget()
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            self._lock_fd = os.open(self.home / "lock", flags)
            first, second = (os.open(self.home / f"state.{n}", flags) for n in "ab")
            self._slots = (first, second)
        except FileNotFoundError:
            raise SimulatorFailed(
                f"{self.directory} holds no simulated host.",
                hint="make one with `xenbackup demo` or `create`",
            ) from None
        self._pid = os.getpid()

    def _load(self) -> HostState:
        headers = [os.pread(fd, _HEADER_BYTES, 0) for fd in self._slots]
        if self._state is not None and max(headers) == self._raw_header:
            return self._state
        for fd, header in sorted(zip(self._slots, headers, strict=True), key=lambda pair: pair[1])[
            ::-1
        ]:
            state = self._decode(fd, header)
            if state is not None:
                self._state, self._raw_header = state, header
                return state
        raise SimulatorFailed(f"The state of the simulated host in {self.directory} is unreadable.")

    def _decode(self, fd: int, header: bytes) -> HostState | None:
        fields = header.split()
        if len(fields) != 3:
            return None
        body = os.pread(fd, int(fields[1]), _HEADER_BYTES)
        if zlib.crc32(body) != int(fields[2], 16):
            return None
        return _decoder.decode(body)


def create_store(directory: Path, state: HostState) -> None:
    """Lay out DIR/host and write the first state into both slots."""
    home = directory / "host"
    (home / "volumes").mkdir(parents=True, exist_ok=True)
    for name in ("lock", "state.a", "state.b"):
        (home / name).touch(mode=0o600)
    store = Store(directory)
    store._thread_lock.acquire()
    try:
        store._attach()
        store.write(state)
        store.write(state)
    finally:
        store._thread_lock.release()
        store.close()
