"""Web servers on an ephemeral port of 127.0.0.1 that answer as a test wants, for whoever calls."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as the server got it."""

    method: str
    path: str
    body: bytes
    content_type: str


@dataclass
class WebServer:
    """What a test sees of a server: its address, and what was asked of it."""

    url: str
    calls: list[Call] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]

    def await_calls(self, count: int) -> None:
        """Wait until so many more have come; a test that waits in vain fails."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=30), f"only {self.paths()} were called"


# What to answer: a status and headers; None to answer nothing until the server ends.
Answer = Callable[[Call], "tuple[int, dict[str, str]]"]


@contextmanager
def serve(answer: Answer = lambda call: (200, {})) -> Iterator[WebServer]:
    class Responder(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            call = Call(
                method=self.command,
                path=self.path,
                body=self.rfile.read(length),
                content_type=self.headers.get("Content-Type") or "",
            )
            server.calls.append(call)
            status, headers = answer(call)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if status >= 400:
                self.wfile.write(b"it is \x1b[31mbroken\nhere")
            server.arrived.release()

        do_GET = respond  # noqa: N815 - the names are http.server's
        do_POST = respond  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Responder)
    server = WebServer(url=f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def serve_raw(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server of bytes: `talk` has the connection, and an event that is set when it is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    talk(connection, over)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            # Closing alone does not wake an accept() of another thread.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=30)


def find_closed_port() -> int:
    """A port on which nobody listens just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
