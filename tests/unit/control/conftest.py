"""A live control server in a folder of its own, with accounts that the test makes up."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.service.control.address import shorten_address
from xenbackup.service.control.client import ControlClient
from xenbackup.service.control.connection import ServerLimits
from xenbackup.service.control.events import AnyEvent, decode_event
from xenbackup.service.control.frames import DAEMON_LIMIT_BYTES, FrameReader, encode_frame
from xenbackup.service.control.peers import Credentials, Peer
from xenbackup.service.control.protocol import AnyRequest, RunsRequest
from xenbackup.service.control.server import ControlServer
from xenbackup.service.control.stream import Stream

READER_GID = 70001
OPERATOR_GID = 70002
RUN = "20261122T023000Z-k3f9qa"
WAIT_SECONDS = 60.0


@dataclass
class MadeUpAccounts:
    """Groups by name and users by id; a group that is not here is not on the host."""

    groups: dict[str, int] = field(
        default_factory=lambda: {"xenbackup": READER_GID, "xenbackup-operators": OPERATOR_GID}
    )
    members: dict[int, frozenset[int]] = field(default_factory=dict)

    def find_group(self, name: str) -> int | None:
        return self.groups.get(name)

    def list_groups(self, uid: int, gid: int) -> frozenset[int]:
        return self.members.get(uid, frozenset()) | {gid}


@dataclass
class Desk:
    """Where requests of a live server come in; `answer` is what is done about each."""

    path: Path
    answer: Callable[[AnyRequest, Peer, Stream], None] | None = None
    asked: list[tuple[AnyRequest, Peer]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def handle(self, request: AnyRequest, peer: Peer, stream: Stream) -> None:
        self.asked.append((request, peer))
        self.streams.append(stream)
        self.came.set()
        if self.answer is None:
            stream.send_page("good\n", "", 0)
        else:
            self.answer(request, peer, stream)

    def connect(self) -> ControlClient:
        return ControlClient.connect(self.path, timeout_seconds=WAIT_SECONDS)

    def ask(self, request: AnyRequest) -> list[AnyEvent]:
        with self.connect() as client:
            return list(client.request(request))

    def serves(self) -> bool:
        """Whether a good client gets its answer."""
        return [
            event.exit_code for event in self.ask(RunsRequest()) if hasattr(event, "exit_code")
        ] == [0]

    def open_raw(self) -> socket.socket:
        """A connection without a client's manners."""
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Without a timeout it waits for room in the queue; with one it would give up at once.
        with shorten_address(self.path) as address:
            raw.connect(address)
        raw.settimeout(WAIT_SECONDS)
        return raw


Serve = Callable[..., Desk]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a daemon's socket lies."""
    made = tmp_path / "run"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Starts a server; what it was told to answer it answers until the test is over."""
    servers: list[ControlServer] = []

    def start(
        answer: Callable[[AnyRequest, Peer, Stream], None] | None = None,
        *,
        limits: ServerLimits | None = None,
        accounts: MadeUpAccounts | None = None,
    ) -> Desk:
        desk = Desk(path=folder / "control.sock", answer=answer)
        server = ControlServer(
            desk.path,
            handle=desk.handle,
            limits=limits or ServerLimits(stop_seconds=0.5),
            accounts=accounts or MadeUpAccounts(),
        )
        server.start()
        servers.append(server)
        return desk

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """From here on whoever connects is that user, for all that the server sees."""

    def become(uid: int, gid: int) -> None:
        monkeypatch.setattr(
            "xenbackup.service.control.server.read_credentials",
            lambda _: Credentials(pid=os.getpid(), uid=uid, gid=gid),
        )

    return become


def read_events(raw: socket.socket) -> list[AnyEvent]:
    """Everything up to the end of the connection; a frame that is cut off is an error."""
    events: list[AnyEvent] = []
    reader = FrameReader(DAEMON_LIMIT_BYTES)
    while True:
        try:
            piece = raw.recv(reader.wanted_bytes)
        except ConnectionResetError:
            # The server had not read all that was sent: what it said itself came before this.
            piece = b""
        if not piece:
            assert reader.between_frames, "the last frame is cut off"
            return events
        body = reader.feed(piece)
        if body is not None:
            events.append(decode_event(body))


def spell_frame(body: bytes) -> bytes:
    return encode_frame(body, limit_bytes=DAEMON_LIMIT_BYTES)


def make_run(number: int = 0, **fields: object) -> RunResult:
    content: dict[str, object] = {
        "run": RUN,
        "domain": f"web{number}",
        "uuid": "5f9dd1b5-2b1c-4b3e-9c55-000000000001",
        "outcome": Outcome.OK,
        "exit_code": 0,
        **fields,
    }
    return RunResult(**content)  # type: ignore[arg-type]


def make_round(*runs: RunResult) -> RoundResult:
    return RoundResult(round=RUN, job="nightly", outcome=Outcome.OK, exit_code=0, runs=runs)
