"""One request over HTTP, with a deadline for the whole of it and a few safe redirects."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from xenbackup import __version__
from xenbackup.config.outside import read_url
from xenbackup.config.values import Unfit
from xenbackup.errors import TellingFailed
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from http.client import HTTPConnection

TIMEOUT_SECONDS = 15.0
_MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
# These alone say that the same request goes to the new address (RFC 9110, 15.4).
_KEEP_METHOD = (307, 308)
_TOO_MANY_REQUESTS = 429
_LONGEST_REASON = 200


def call_url(
    url: str, *, body: bytes | None = None, timeout_seconds: float = TIMEOUT_SECONDS
) -> None:
    """GET the URL, or POST a JSON body to it, until a status of 2xx.

    Errors name the host alone: the rest of such a URL is often the key to it. For the same reason
    they quote nothing that came back, since many servers repeat the path that they do not know.

    Raises: TellingFailed; `may_pass` when the other side was unreachable, slow or in trouble.
    """
    deadline = time.monotonic() + timeout_seconds
    for _ in range(_MOST_REDIRECTS + 1):
        status, location = _exchange(url, body, deadline)
        if 200 <= status < 300:
            return
        if status not in _REDIRECTS:
            raise TellingFailed(
                f"{name_host(url)} answered {_name_status(status)}.",
                hint="check the URL in [notify]",
                may_pass=status >= 500 or status == _TOO_MANY_REQUESTS,
            )
        url = _choose_redirect(url, location, status, has_body=body is not None)
    raise TellingFailed(
        f"{name_host(url)} redirected more than {_MOST_REDIRECTS} times.",
        hint="check the URL in [notify]",
    )


def name_host(url: str) -> str:
    """The host of a URL, as errors and logs name it."""
    return urlsplit(url).hostname or "the host"


def _name_status(status: int) -> str:
    """The number with the phrase that the standard has for it, not the one that came with it."""
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _choose_redirect(url: str, location: str, status: int, *, has_body: bool) -> str:
    """Where to ask next. Raises: TellingFailed for what would leave the web, TLS, or the method."""
    target = read_url(urljoin(url, location)) if location else Unfit(expected="")
    if isinstance(target, Unfit):
        raise TellingFailed(
            f"{name_host(url)} redirected to what is no web address.",
            hint="check the URL in [notify]",
        )
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise TellingFailed(
            f"{name_host(url)} redirected from https to http, where everybody could read along.",
            hint="check the URL in [notify]",
        )
    if has_body and status not in _KEEP_METHOD:
        raise TellingFailed(
            f"{name_host(url)} has moved ({status}); what was sent there did not arrive.",
            hint="put the new address into [notify]",
        )
    return target


def _exchange(url: str, body: bytes | None, deadline: float) -> tuple[int, str]:
    """Status and Location. Raises: TellingFailed."""
    from http.client import HTTPException  # noqa: PLC0415 - 3 MB that few daemons need

    parts = urlsplit(url)
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise _tell_slowness(url)
    late = threading.Event()
    connection = _open_connection(parts.scheme, parts.netloc, remaining)
    try:
        connection.connect()
        with _cut_at(connection, deadline, late):
            answer = _ask(connection, url, body)
    except (OSError, HTTPException, UnicodeError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise _tell_slowness(url) from error
        raise TellingFailed(
            f"{name_host(url)} cannot be reached: {_explain(error)}.",
            hint="check the URL in [notify], the name service and the network",
            may_pass=_may_pass(error),
        ) from error
    finally:
        connection.close()
    if late.is_set():
        # What was cut off reads like an answer that ended.
        raise _tell_slowness(url)
    return answer


def _ask(connection: HTTPConnection, url: str, body: bytes | None) -> tuple[int, str]:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"User-Agent": f"xenbackup/{__version__}", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request("POST" if body is not None else "GET", target, body, headers)
    with connection.getresponse() as response:
        return response.status, response.getheader("Location") or ""


@contextlib.contextmanager
def _cut_at(connection: HTTPConnection, deadline: float, late: threading.Event) -> Iterator[None]:
    """End the connection at the deadline, below whoever reads from it; `late` is set then.

    A socket's timeout is for each read: one who sends a byte now and then would hold us for ever.
    """
    with socket.socket(fileno=os.dup(connection.sock.fileno())) as twin:

        def cut() -> None:
            late.set()
            with contextlib.suppress(OSError):
                twin.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(max(deadline - time.monotonic(), 0.0), cut)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()


def _open_connection(scheme: str, netloc: str, timeout_seconds: float) -> HTTPConnection:
    import http.client  # noqa: PLC0415 - see _exchange

    if scheme == "http":
        return http.client.HTTPConnection(netloc, timeout=timeout_seconds)
    import ssl  # noqa: PLC0415 - the library of TLS is larger still

    context = ssl.create_default_context()
    return http.client.HTTPSConnection(netloc, timeout=timeout_seconds, context=context)


def _tell_slowness(url: str) -> TellingFailed:
    return TellingFailed(
        f"{name_host(url)} did not answer in time.",
        hint="check the URL in [notify], and whether a firewall drops what is sent",
        may_pass=True,
    )


def _explain(error: Exception) -> str:
    if not isinstance(error, OSError | UnicodeError):
        # What http.client says of an answer that is no HTTP holds the answer.
        return f"what answers there does not speak HTTP ({type(error).__name__})"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return show_text(reason, limit=_LONGEST_REASON).rstrip(".") or type(error).__name__


def _may_pass(error: Exception) -> bool:
    """A certificate that is not right will not be in half a minute."""
    return "CERTIFICATE_VERIFY_FAILED" not in str(error) and not isinstance(error, UnicodeError)
