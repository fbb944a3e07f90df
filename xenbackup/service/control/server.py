"""The daemon's side of the control socket: one loop for all clients, a short thread per request.

The loop never waits for a client, a handler or the host's name service: what a client sends is
bounded before it is read, what it does not take waits in a bounded outbox, and nothing that a
client does ends the loop or holds up a run.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from xenbackup.errors import FrameRefused, RequestRefused, XenbackupError
from xenbackup.service.control.binding import ControlSocket
from xenbackup.service.control.connection import Connection, ServerLimits
from xenbackup.service.control.peers import (
    Accounts,
    Credentials,
    HostAccounts,
    Peer,
    read_credentials,
)
from xenbackup.service.control.permissions import (
    OPERATOR_GROUP,
    READER_GROUP,
    Role,
    decide,
    find_role,
)
from xenbackup.service.control.protocol import AnyRequest
from xenbackup.service.control.stream import Stream

Handle = Callable[[AnyRequest, Peer, Stream], None]

_OUT_OF_MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_SECONDS = 1.0
_FULL = "The daemon has as many clients as it can serve."
_CROWD_HINT = "try again in a moment"

_log = structlog.get_logger("xenbackup.control")


class ControlServer:
    """Serves the socket at `path` from `start` to `stop`.

    `handle` is called in a thread of its own for each request that is allowed, and may return
    before its answer is whole: whoever ends the stream ends the connection.
    """

    def __init__(
        self,
        path: Path,
        *,
        handle: Handle,
        reader_group: str = READER_GROUP,
        operator_group: str = OPERATOR_GROUP,
        accounts: Accounts | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        self.path = path
        self._handle = handle
        self._reader_group = reader_group
        self._operator_group = operator_group
        self._accounts = accounts or HostAccounts()
        self._limits = limits or ServerLimits()
        self._daemon_uid = os.geteuid()
        self._connections: dict[int, Connection] = {}
        self._poll = select.poll()
        self._dirty: deque[Connection] = deque()
        self._wake_lock = threading.Lock()
        self._answering: list[int] = []
        self._answering_lock = threading.Lock()
        self._wake_descriptor = -1
        self._socket: ControlSocket | None = None
        self._thread: threading.Thread | None = None
        self._stop_lock = threading.Lock()
        self._last_words: XenbackupError | None = None
        self._stop_at: float | None = None
        self._accept_at: float | None = None

    def start(self) -> None:
        """Listen, and serve in a thread. Call it with the daemon's lock held.

        Raises: StateFailed when the socket cannot be made; Locked when somebody answers there.
        """
        self._socket = ControlSocket.bind(self.path)
        self._poll = select.poll()
        self._wake_descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake_descriptor, select.POLLIN)
        self._poll.register(self._socket.listener, select.POLLIN)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def stop(self, exit_code: int = 130, message: str = "", hint: str = "") -> None:
        """End what clients are still being told with these last words, and serve no more.

        Clients get `stop_seconds` to take them. Safe to repeat, from any thread but the
        loop's own. Runs go on, or end by other means.
        """
        with self._stop_lock:
            if self._thread is None:
                return
            if self._stop_at is None:
                self._last_words = RequestRefused(
                    message or "The daemon stops.", hint=hint, exit_code=exit_code
                )
                self._stop_at = time.monotonic() + self._limits.stop_seconds
        self._wake()
        self._thread.join()

    def _serve(self) -> None:
        try:
            while not self._is_over():
                try:
                    self._turn()
                except Exception:  # noqa: BLE001 - without this loop nobody reaches the daemon
                    _log.exception("control-loop-failed")
                    time.sleep(_PAUSE_SECONDS)
        finally:
            for connection in tuple(self._connections.values()):
                self._drop(connection)
            if self._socket is not None:
                self._socket.close()
            with self._wake_lock:
                os.close(self._wake_descriptor)
                self._wake_descriptor = -1

    def _is_over(self) -> bool:
        """After `stop`: once all clients have taken their last words, or had the time to."""
        if self._stop_at is None:
            return False
        if self._last_words is not None:
            last_words, self._last_words = self._last_words, None
            if self._socket is not None:
                self._poll.unregister(self._socket.listener)
                self._socket.close()
            for connection in tuple(self._connections.values()):
                connection.stream.fail(last_words)
        return not self._connections or time.monotonic() >= self._stop_at

    def _turn(self) -> None:
        """Wait for something to happen, and see to all that has."""
        for descriptor, mask in self._poll.poll(self._find_patience()):
            if descriptor == self._wake_descriptor:
                with suppress(BlockingIOError):
                    os.eventfd_read(descriptor)
            elif descriptor in self._connections:
                connection = self._connections[descriptor]
                self._guard(connection, lambda: self._attend(connection, mask))  # noqa: B023 - called at once
            else:
                self._accept_all()
        while self._dirty:
            self._guard_flush(self._dirty.popleft())
        now = time.monotonic()
        if self._accept_at is not None and now >= self._accept_at and self._stop_at is None:
            self._accept_at = None
            self._listen(select.POLLIN)
        for connection in tuple(self._connections.values()):
            if connection.deadline is not None and now >= connection.deadline:
                self._guard(connection, lambda: self._expire(connection))  # noqa: B023 - called at once

    def _find_patience(self) -> float | None:
        """Milliseconds until the next deadline, None while there is none."""
        deadlines = [connection.deadline for connection in self._connections.values()]
        times = [at for at in (*deadlines, self._stop_at, self._accept_at) if at is not None]
        if not times:
            return None
        # Rounded up: a wait that ends a little early would only be begun again.
        return max(min(times) - time.monotonic(), 0.0) * 1000 + 1

    def _guard(self, connection: Connection, act: Callable[[], None]) -> None:
        """Whatever a client brings about stays its own affair."""
        try:
            act()
        except FrameRefused as error:
            self._refuse(connection, error)
        except OSError:
            self._drop(connection)
        except Exception:  # noqa: BLE001 - a defect costs one client, not the daemon's ears
            _log.exception("control-connection-failed", uid=connection.credentials.uid)
            self._drop(connection)

    def _guard_flush(self, connection: Connection) -> None:
        if connection.socket.fileno() in self._connections:
            self._guard(connection, lambda: self._flush(connection))

    def _attend(self, connection: Connection, mask: int) -> None:
        if mask & (select.POLLERR | select.POLLNVAL) or (
            mask & select.POLLHUP and not mask & select.POLLIN
        ):
            self._drop(connection)
            return
        if mask & select.POLLIN:
            request = connection.receive()
            if request is not None:
                self._begin(connection, request)
        self._flush(connection)

    def _begin(self, connection: Connection, request: AnyRequest) -> None:
        """A client that leaves does not end its request: those are bounded by themselves."""
        uid = connection.credentials.uid
        with self._answering_lock:
            crowded = self._answering.count(uid) >= self._limits.clients_of_one
            if self._is_roots(uid) or not crowded:
                self._answering.append(uid)
                crowded = False
        if crowded:
            reason = "As many of your requests are being answered as one user may have."
            connection.refuse(RequestRefused(reason, hint=_CROWD_HINT))
            return
        try:
            threading.Thread(
                target=self._answer,
                args=(connection.credentials, request, connection.stream),
                name=f"control-{request.verb}",
                daemon=True,
            ).start()
        except RuntimeError:
            self._note_answered(uid)
            connection.refuse(RequestRefused(_FULL, hint=_CROWD_HINT))

    def _flush(self, connection: Connection) -> None:
        connection.flush(time.monotonic())
        if connection.finished:
            self._drop(connection)
        else:
            self._poll.modify(connection.socket, connection.events)

    def _expire(self, connection: Connection) -> None:
        if not connection.expire():
            _log.info("control-client-cut", uid=connection.credentials.uid)
            self._drop(connection)

    def _refuse(self, connection: Connection, error: FrameRefused) -> None:
        credentials = connection.credentials
        _log.warning(
            "control-frame-refused", uid=credentials.uid, pid=credentials.pid, reason=error.message
        )
        connection.refuse(error)
        self._guard_flush(connection)

    def _drop(self, connection: Connection) -> None:
        descriptor = connection.socket.fileno()
        if self._connections.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
        connection.close()

    def _accept_all(self) -> None:
        while self._socket is not None:
            try:
                accepted, _ = self._socket.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_MEANS:
                    _log.warning("control-accept-failed", reason=os.strerror(error.errno or 0))
                    self._listen(0)
                    self._accept_at = time.monotonic() + _PAUSE_SECONDS
                    return
                continue
            self._welcome(accepted)

    def _welcome(self, accepted: socket.socket) -> None:
        try:
            credentials = read_credentials(accepted)
        except OSError:
            accepted.close()
            return
        now = time.monotonic()
        connection = Connection(accepted, credentials, self._limits, self._note_dirty, now)
        self._connections[accepted.fileno()] = connection
        self._poll.register(accepted, connection.events)
        crowd = self._find_crowd(credentials)
        if crowd:
            _log.warning("control-client-refused", uid=credentials.uid, reason=crowd)
            connection.refuse(RequestRefused(crowd, hint=_CROWD_HINT))
        self._guard_flush(connection)

    def _find_crowd(self, newcomer: Credentials) -> str:
        """Why there is no room for one more client (who is counted already), "" when there is."""
        if len(self._connections) > self._limits.clients:
            return _FULL
        if self._is_roots(newcomer.uid):
            return ""
        others = [
            known.credentials.uid
            for known in self._connections.values()
            if not self._is_roots(known.credentials.uid)
        ]
        if others.count(newcomer.uid) > self._limits.clients_of_one:
            return "You have as many connections to the daemon as one user may have."
        if len(others) > self._limits.clients_of_others:
            return _FULL
        return ""

    def _is_roots(self, uid: int) -> bool:
        return uid in (0, self._daemon_uid)

    def _listen(self, events: int) -> None:
        if self._socket is not None:
            self._poll.modify(self._socket.listener, events)

    def _note_dirty(self, connection: Connection) -> None:
        """From any thread: something waits to be sent to that client."""
        self._dirty.append(connection)
        self._wake()

    def _wake(self) -> None:
        with self._wake_lock:
            if self._wake_descriptor >= 0:
                os.eventfd_write(self._wake_descriptor, 1)

    def _answer(self, credentials: Credentials, request: AnyRequest, stream: Stream) -> None:
        """The request's own thread: who asks, whether they may, and then the answer."""
        try:
            peer = self._find_peer(credentials)
            if self._permit(request, peer, stream):
                self._handle(request, peer, stream)
        except XenbackupError as error:
            stream.fail(error)
        except Exception as error:  # noqa: BLE001 - the client hears of it, and the log
            _log.exception("control-request-failed", verb=request.verb, uid=credentials.uid)
            stream.fail(
                XenbackupError(
                    f"The daemon failed to answer: {type(error).__name__}.",
                    hint="this is a defect of xenbackup; `journalctl -u xenbackup` has the details",
                )
            )
        finally:
            self._note_answered(credentials.uid)

    def _note_answered(self, uid: int) -> None:
        with self._answering_lock:
            self._answering.remove(uid)

    def _find_peer(self, credentials: Credentials) -> Peer:
        uid, gid = credentials.uid, credentials.gid
        role = Role.ROOT
        if not self._is_roots(uid):
            role = find_role(
                uid,
                self._accounts.list_groups(uid, gid),
                daemon_uid=self._daemon_uid,
                reader_gid=self._accounts.find_group(self._reader_group),
                operator_gid=self._accounts.find_group(self._operator_group),
            )
        return Peer(pid=credentials.pid, uid=uid, gid=gid, role=role)

    def _permit(self, request: AnyRequest, peer: Peer, stream: Stream) -> bool:
        """Decide, and leave a trace of the decision."""
        decision = decide(
            request.verb,
            peer.role,
            reader_group=self._reader_group,
            operator_group=self._operator_group,
        )
        _log.info(
            "control-request",
            uid=peer.uid,
            gid=peer.gid,
            pid=peer.pid,
            role=peer.role.name.lower(),
            verb=request.verb,
            arguments=request.spell_arguments(),
            decision="allowed" if decision.allowed else "refused",
        )
        if not decision.allowed:
            stream.fail(RequestRefused(decision.reason, hint=decision.hint))
        return decision.allowed
