"""The client: no daemon, a hung one and one that goes away are told apart; it stays small."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.unit.control.conftest import WAIT_SECONDS, Serve, make_round, make_run, spell_frame
from xenbackup.errors import (
    DaemonAbsent,
    DaemonGone,
    DaemonSilent,
    FrameRefused,
    RequestRefused,
)
from xenbackup.service.control.client import ControlClient, has_socket
from xenbackup.service.control.events import (
    Alive,
    End,
    Error,
    Event,
    Noted,
    ResultTold,
    Welcome,
    encode_event,
)
from xenbackup.service.control.protocol import RunsRequest
from xenbackup.service.control.relay import round_of, tell_round

WELCOME = Welcome(daemon="1.0")
# Long enough for a busy machine to answer, short enough to wait for when nobody does.
PATIENCE_SECONDS = 0.3


def spell(*events: Event) -> bytes:
    return b"".join(spell_frame(encode_event(event)) for event in events)


@contextmanager
def listening(path: Path, *, backlog: int = 8) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(backlog)
        listener.settimeout(WAIT_SECONDS)
        yield listener


@contextmanager
def playing(path: Path, script: bytes, *, hold: bool = False) -> Iterator[None]:
    """A daemon that says this to its one client, whatever that asks, and leaves or stays."""
    leave = threading.Event()

    def play(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(WAIT_SECONDS)
            accepted.sendall(script)
            with suppress(ConnectionResetError):
                accepted.recv(1000)
            if hold:
                leave.wait(WAIT_SECONDS)

    with listening(path) as listener:
        thread = threading.Thread(target=play, args=(listener,))
        thread.start()
        yield
        leave.set()
        thread.join()


def ask(path: Path, quiet_seconds: float = WAIT_SECONDS) -> list[Event]:
    with ControlClient.connect(path, timeout_seconds=WAIT_SECONDS) as client:
        return list(client.request(RunsRequest(), quiet_seconds=quiet_seconds))


def test_no_daemon_is_told_at_once(folder: Path) -> None:
    path = folder / "control.sock"
    assert not has_socket(path)
    for missing in (path, folder / "nowhere" / "control.sock", Path("/dev/null/control.sock")):
        with pytest.raises(DaemonAbsent, match="No daemon listens"):
            ControlClient.connect(missing)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert has_socket(path)
    with pytest.raises(DaemonAbsent, match="No daemon listens") as caught:
        ControlClient.connect(path)
    assert "systemctl start xenbackup" in caught.value.hint
    path.unlink()
    path.write_text("no socket")
    with pytest.raises(DaemonAbsent):
        ControlClient.connect(path)


def test_long_path_to_nowhere_is_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(DaemonAbsent):
        ControlClient.connect(tmp_path / ("x" * 120) / "control.sock")


def test_daemon_that_does_not_even_accept_is_hung_and_not_absent(folder: Path) -> None:
    path = folder / "control.sock"
    with listening(path, backlog=0), ExitStack() as stack:
        with pytest.raises(DaemonSilent, match="no sign of life"):
            ControlClient.connect(path, timeout_seconds=PATIENCE_SECONDS)
        for _ in range(2):
            filler = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            filler.setblocking(False)
            filler.connect_ex(str(path))
        with pytest.raises(DaemonSilent, match="takes no connections"):
            ControlClient.connect(path, timeout_seconds=PATIENCE_SECONDS)


def test_daemon_that_falls_silent_is_told(folder: Path) -> None:
    path = folder / "control.sock"
    with playing(path, spell(WELCOME, Noted(text="so far")), hold=True):
        with pytest.raises(DaemonSilent, match="no sign of life") as caught:
            ask(path, PATIENCE_SECONDS)
        assert "journalctl" in caught.value.hint


@pytest.mark.parametrize("tail", [b"", b"\0\0", b"\0\0\0\x09", spell(End())[:-1]])
def test_daemon_that_goes_away_before_the_end_is_told(folder: Path, tail: bytes) -> None:
    path = folder / "control.sock"
    script = spell(WELCOME, Noted(text="so far")) + tail
    with playing(path, script), pytest.raises(DaemonGone, match="before its answer was whole"):
        ask(path)


def test_signs_of_life_are_not_given_and_parts_are_joined(folder: Path) -> None:
    path = folder / "control.sock"
    result = make_round(*(make_run(number) for number in range(5)))
    parts = tell_round(result, limit_bytes=1)
    assert 5 == len(parts)
    script = spell(WELCOME, Alive(), *parts[:2], Alive(), *parts[2:], End(exit_code=3))
    with playing(path, script):
        told, end = ask(path)
    assert isinstance(told, ResultTold)
    assert result == round_of(told)
    assert End(exit_code=3) == end


def test_error_of_the_daemon_is_an_error_with_its_words(folder: Path) -> None:
    path = folder / "control.sock"
    error = Error(message="Destination safe is missing.", hint="mount it", exit_code=10)
    script = spell(WELCOME, error, End(exit_code=10))
    with playing(path, script), pytest.raises(RequestRefused, match="safe is missing") as caught:
        ask(path)
    assert (10, "mount it") == (caught.value.exit_code, caught.value.hint)
    assert 1 == RequestRefused("x", exit_code=77).exit_code


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (spell_frame(b'{"event":"welcome","version":2,"greeting":"hi"}'), "speaks version 2"),
        (b"\x7f\xff\xff\xff", "2147483647 bytes is announced"),
        (b"\0\0\0\0", "empty"),
        (b"SSH-2.0-x\r\n", "is announced"),
        (spell_frame(b"nonsense"), "cannot be read"),
        (spell_frame(b"[" * 100_000), "cannot be read"),
    ],
)
def test_what_is_no_daemon_of_ours_is_refused(folder: Path, script: bytes, words: str) -> None:
    path = folder / "control.sock"
    with playing(path, script), pytest.raises(FrameRefused, match=words):
        ControlClient.connect(path, timeout_seconds=WAIT_SECONDS)


def test_socket_out_of_reach_is_told_as_such(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    desk = serve()
    monkeypatch.setattr("xenbackup.service.control.client.shorten_address", forbid)
    with pytest.raises(RequestRefused, match="out of reach for this user"):
        ControlClient.connect(desk.path)


def test_leaving_twice_is_no_mistake(serve: Serve) -> None:
    client = serve().connect()
    client.close()
    client.close()


MEASURE = """
import json, resource, sys
def measure():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = measure()
import xenbackup.service.control.client
print(json.dumps({"kib": measure() - before, "modules": sorted(sys.modules)}))
"""


def test_client_needs_little() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    found = json.loads(done.stdout)
    modules = set(found["modules"])
    heavy = {"sh", "structlog", "click", "rich", "sqlite3", "apscheduler", "asyncio", "subprocess"}
    assert set() == modules & heavy
    assert set() == {name for name in modules if name.startswith("xenbackup.model")}
    assert found["kib"] < 8 * 1024
