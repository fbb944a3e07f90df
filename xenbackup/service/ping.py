"""The dead man's switch: `URL/start` as a night begins, `URL` when it was good, `URL/fail` if not.

The suffixes are those of healthchecks.io and of what speaks like it. Nothing but the address tells
the outcome, so it is a GET without a body.
"""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from xenbackup.model.job import Ping
from xenbackup.service.web import TIMEOUT_SECONDS, call_url


class Signal(StrEnum):
    """What is signalled; the value is what the path gets at its end."""

    START = "/start"
    SUCCESS = ""
    FAIL = "/fail"


def send_ping(ping: Ping, signal: Signal, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Raises: TellingFailed."""
    call_url(spell_ping(ping.url, signal), timeout_seconds=timeout_seconds)


def spell_ping(url: str, signal: Signal) -> str:
    """The address to call; a query stays where it belongs, behind the path."""
    parts = urlsplit(url)
    if signal is Signal.SUCCESS:
        return url
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + signal.value))
