"""How fast a copy may go, so that a night's backup leaves the disks to the guests."""

from __future__ import annotations

import threading
from collections.abc import Callable

_NAP_SECONDS = 0.25
# A clock that counts in nanoseconds does not move for less than one of them.
_SHORTEST_SECONDS = 1e-6


class BandwidthLimit:
    """A rate in bytes per second, shared by every copy that is given this object.

    `monotonic` and `sleep` are the host's, so that a simulated host waits in its own time. A pause
    between blocks earns no credit: after a stall the copy goes on at the rate, not above it. None
    lets them go as fast as they can, until there is a rate.
    """

    def __init__(
        self,
        bytes_per_second: int | None,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._check(bytes_per_second)
        self._rate = bytes_per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._free_at = monotonic()
        self._lock = threading.Lock()

    @staticmethod
    def _check(bytes_per_second: int | None) -> None:
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError(f"a bandwidth limit is a positive number, not {bytes_per_second}")

    def change_rate(self, bytes_per_second: int | None) -> None:
        """Another rate from the next block on, for all who share this: together they keep to it."""
        self._check(bytes_per_second)
        with self._lock:
            self._rate = bytes_per_second

    def wait_for(self, size_bytes: int, keep_waiting: Callable[[], bool]) -> None:
        """Wait until `size_bytes` more may be moved, or until `keep_waiting` says no."""
        with self._lock:
            now = self._monotonic()
            begin = max(now, self._free_at)
            if self._rate is None:
                return
            self._free_at = begin + size_bytes / self._rate
        while (left := begin - self._monotonic()) > 0 and keep_waiting():
            self._sleep(min(max(left, _SHORTEST_SECONDS), _NAP_SECONDS))
