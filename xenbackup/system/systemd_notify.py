"""What we tell systemd about ourselves: sd_notify(3), in as many lines as it needs.

Nothing is told where nobody listens (`NOTIFY_SOCKET` is not set); nothing here ever raises, for a
backup does not depend on who listens.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """The service manager's socket, taken from the environment when this is made.

    `watchdog_seconds` is how often it wants a sign of life at most, 0 when it wants none.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _read_watchdog(environment) if address else 0.0

    @property
    def is_heard(self) -> bool:
        """Somebody started us who wants to be told."""
        return bool(self._address)

    def tell_ready(self) -> None:
        self._send("READY=1")

    def tell_reloading(self) -> None:
        """`tell_ready` follows when it is done."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def tell_stopping(self) -> None:
        self._send("STOPPING=1")

    def tell_status(self, text: str) -> None:
        """One line for `systemctl status`."""
        line = " ".join(text.split())
        self._send(f"STATUS={line}")

    def extend_timeout(self, seconds: float) -> None:
        """Starting or stopping goes on: this much more is needed from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def feed_watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def set_watchdog(self, seconds: float) -> None:
        """From now on the watchdog waits this long, counted from this very sign of life."""
        self._send(f"WATCHDOG_USEC={round(seconds * 1e6)}\nWATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.settimeout(1.0)
                link.sendto(text.encode(), self._address)
        except OSError:
            return


def _read_watchdog(environment: Mapping[str, str]) -> float:
    """WATCHDOG_USEC, unless it is meant for another process (`WATCHDOG_PID`)."""
    pid = environment.get("WATCHDOG_PID", "")
    text = environment.get("WATCHDOG_USEC", "")
    if (pid and pid != str(os.getpid())) or not text.isdigit():
        return 0.0
    return int(text) / 1e6
