"""How fast a copy may go, so that a night's backup leaves the disks to the guests."""

from __future__ import annotations

import threading
from collections.abc import Callable

_NAP_SECONDS = 0.25


class BandwidthLimit:
    """A rate in bytes per second, shared by every copy that is given this object.

    `monotonic` and `sleep` are the host's, so that a simulated host waits in its own time. A pause
    between blocks earns no credit: after a stall the copy goes on at the rate, not above it.
    """

    def __init__(
        self,
        bytes_per_second: int,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        if bytes_per_second <= 0:
            raise ValueError(f"a bandwidth limit is a positive number, not {bytes_per_second}")
        self.bytes_per_second = bytes_per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._free_at = monotonic()
        self._lock = threading.Lock()

    def wait_for(self, size_bytes: int, keep_waiting: Callable[[], bool]) -> None:
        """Wait until `size_bytes` more may be moved, or until `keep_waiting` says no."""
        with self._lock:
            now = self._monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + size_bytes / self.bytes_per_second
        while (left := begin - self._monotonic()) > 0 and keep_waiting():
            self._sleep(min(left, _NAP_SECONDS))
