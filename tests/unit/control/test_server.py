"""The server with clients that behave: who they are, what they may, what they are told."""

from __future__ import annotations

import json
import logging
import os
import pwd
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.unit.control.conftest import (
    OPERATOR_GID,
    READER_GID,
    RUN,
    WAIT_SECONDS,
    Desk,
    MadeUpAccounts,
    Serve,
    make_round,
    make_run,
    read_events,
    spell_frame,
)
from xenbackup.errors import Locked, RequestRefused, StateFailed, UsageError
from xenbackup.service.control.binding import ControlSocket
from xenbackup.service.control.connection import ServerLimits
from xenbackup.service.control.events import (
    Alive,
    AmountDone,
    End,
    PageText,
    ResultTold,
    StepDone,
)
from xenbackup.service.control.peers import HostAccounts, Peer, name_user
from xenbackup.service.control.permissions import Role
from xenbackup.service.control.protocol import (
    REQUESTS,
    AnyRequest,
    RunRequest,
    RunsRequest,
    StatusRequest,
    encode_request,
)
from xenbackup.service.control.relay import round_of
from xenbackup.service.control.server import ControlServer
from xenbackup.service.control.stream import Stream

FILLED = {"job": "nightly", "name": RUN, "point": RUN}


def make_request(verb: str) -> AnyRequest:
    kind = REQUESTS[verb]
    names = kind.__struct_fields__
    fields: dict[str, Any] = {key: value for key, value in FILLED.items() if key in names}
    return kind(**fields)


@pytest.fixture
def audit() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries  # type: ignore[misc]


def test_page_arrives_with_both_streams_and_its_exit_code(serve: Serve) -> None:
    desk = serve(lambda _, __, stream: stream.send_page("out\n", "err\n", 4))
    assert [
        PageText(stream="stdout", text="out\n"),
        PageText(stream="stderr", text="err\n"),
        End(exit_code=4),
    ] == desk.ask(RunsRequest(number=7))
    assert [(RunsRequest(number=7), os.getpid())] == [
        (asked, peer.pid) for asked, peer in desk.asked
    ]


@pytest.mark.parametrize("verb", sorted(REQUESTS))
@pytest.mark.parametrize(
    ("uid", "gid", "members", "role"),
    [
        (4242, 4242, frozenset[int](), Role.NOBODY),
        (4242, READER_GID, frozenset[int](), Role.READER),
        (4242, 4242, frozenset({READER_GID}), Role.READER),
        (4242, 4242, frozenset({OPERATOR_GID}), Role.OPERATOR),
        (0, 0, frozenset[int](), Role.ROOT),
        (os.geteuid(), 4242, frozenset[int](), Role.ROOT),
    ],
)
def test_role_of_the_peer_decides(
    serve: Serve,
    as_user: Callable[[int, int], None],
    audit: list[dict[str, object]],
    verb: str,
    uid: int,
    gid: int,
    members: frozenset[int],
    role: Role,
) -> None:
    as_user(uid, gid)
    desk = serve(accounts=MadeUpAccounts(members={4242: members}))
    request = make_request(verb)
    needed = {"reload": 3, "prune": 3, "pin": 3, "unpin": 3, "run": 2, "attach": 2, "cancel": 2}
    allowed = role >= needed.get(verb, 1)
    if allowed:
        assert End(exit_code=0) == desk.ask(request)[-1]
        assert [(request, Peer(pid=os.getpid(), uid=uid, gid=gid, role=role))] == desk.asked
    else:
        with pytest.raises(RequestRefused, match=f"`{verb}` is for root"):
            desk.ask(request)
        assert [] == desk.asked
    (entry,) = [entry for entry in audit if entry["event"] == "control-request"]
    assert (uid, verb, role.name.lower(), "allowed" if allowed else "refused") == (
        entry["uid"],
        entry["verb"],
        entry["role"],
        entry["decision"],
    )


CHILD = """
import json, os, sys
from pathlib import Path
from xenbackup.errors import RequestRefused
from xenbackup.service.control.client import ControlClient
from xenbackup.service.control.protocol import REQUESTS
filled = {"job": "nightly", "name": "2026", "point": "2026"}
for identity in json.loads(sys.argv[1]):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    os.setgroups(identity["groups"])
    os.setgid(identity["gid"])
    os.setuid(identity["uid"])
    allowed = []
    for verb, kind in REQUESTS.items():
        fields = {key: filled[key] for key in filled if key in kind.__struct_fields__}
        try:
            with ControlClient.connect(Path("control.sock"), timeout_seconds=60) as client:
                list(client.request(kind(**fields)))
            allowed.append(verb)
        except RequestRefused:
            pass
    print(json.dumps({**identity, "allowed": allowed}), flush=True)
    os._exit(0)
"""


def test_kernel_tells_who_asks(serve: Serve, folder: Path) -> None:
    """Real processes of other users. Groups that a process merely claims count for nothing."""
    assert 0 == os.geteuid(), "this test needs root: it becomes other users"
    accounts = MadeUpAccounts(
        members={61001: frozenset({READER_GID}), 61002: frozenset({OPERATOR_GID})}
    )
    serve(accounts=accounts)
    identities = [
        {"uid": 0, "gid": 0, "groups": []},
        {"uid": 61000, "gid": 61000, "groups": []},
        {"uid": 61000, "gid": 61000, "groups": [READER_GID, OPERATOR_GID]},
        {"uid": 61000, "gid": 0, "groups": [0]},
        {"uid": 61000, "gid": READER_GID, "groups": []},
        {"uid": 61001, "gid": 61001, "groups": []},
        {"uid": 61002, "gid": 61002, "groups": []},
    ]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(identities)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    read = {"status", "inventory", "check", "plan", "runs", "show", "points"}
    run = read | {"run", "attach", "cancel"}
    expected = [set(REQUESTS), set[str](), set[str](), set[str](), read, read, run]
    assert expected == [set(json.loads(line)["allowed"]) for line in done.stdout.splitlines()]


def test_groups_missing_on_the_host_leave_root_alone(
    serve: Serve, as_user: Callable[[int, int], None]
) -> None:
    as_user(4242, 0)
    desk = serve(accounts=MadeUpAccounts(groups={}, members={4242: frozenset({0, 1})}))
    with pytest.raises(RequestRefused):
        desk.ask(StatusRequest())
    as_user(0, 0)
    assert desk.serves()


def test_accounts_of_the_host_know_its_groups_and_miss_what_is_not_there() -> None:
    accounts = HostAccounts()
    entry = pwd.getpwuid(os.geteuid())
    assert entry.pw_gid in accounts.list_groups(entry.pw_uid, entry.pw_gid)
    assert 4242 in accounts.list_groups(os.geteuid(), 4242)
    assert frozenset({7}) == accounts.list_groups(2**31 - 7, 7)
    assert None is accounts.find_group("no-such-group-here")
    assert 0 == accounts.find_group("root")


def test_a_user_is_named_where_the_host_knows_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "root" == name_user(0)
    assert str(2**31 - 7) == name_user(2**31 - 7)
    strange = pwd.struct_passwd(("a\nb" + "c" * 80, "x", 1, 1, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: strange)
    assert "a\\nb" + "c" * 60 + "…" == name_user(1)


def test_errors_of_whoever_answers_reach_the_client_with_their_exit_code(serve: Serve) -> None:
    def answer(request: AnyRequest, peer: Peer, stream: Stream) -> None:
        if request.verb == "runs":
            raise UsageError("There is none.", hint="make one")
        raise RuntimeError("a defect")

    desk = serve(answer)
    with pytest.raises(RequestRefused, match="There is none") as caught:
        desk.ask(RunsRequest())
    assert (2, "make one") == (caught.value.exit_code, caught.value.hint)
    logging.disable(logging.CRITICAL)
    try:
        with pytest.raises(RequestRefused, match="failed to answer: RuntimeError"):
            desk.ask(StatusRequest())
    finally:
        logging.disable(logging.NOTSET)


def test_run_is_streamed_from_another_thread_after_its_request_returned(serve: Serve) -> None:
    result = make_round(*(make_run(number, warnings=("w" * 900,) * 40) for number in range(40)))

    def run(stream: Stream) -> None:
        for number in range(2000):
            stream.send(AmountDone(run=RUN, what="xvda", done=number, total=1999))
        stream.send(StepDone(run=RUN, step="copy"))
        stream.send_result(result)
        stream.end(3)

    def answer(request: AnyRequest, peer: Peer, stream: Stream) -> None:
        threading.Thread(target=run, args=(stream,)).start()

    *events, told, end = serve(answer).ask(RunRequest(job="nightly"))
    amounts = [event.done for event in events if isinstance(event, AmountDone)]
    assert sorted(set(amounts)) == amounts
    assert 1999 == amounts[-1]
    assert StepDone(run=RUN, step="copy") == events[-1]
    assert isinstance(told, ResultTold)
    assert result == round_of(told)
    assert End(exit_code=3) == end


def test_quiet_answer_is_kept_alive(serve: Serve) -> None:
    """The client's patience is far shorter than the answer takes, counted in signs of life."""
    proceed = threading.Event()
    desk = serve(
        lambda _, __, stream: (proceed.wait(WAIT_SECONDS), stream.end(0))[1],
        limits=ServerLimits(alive_seconds=0.05, stop_seconds=0.5),
    )
    with desk.open_raw() as raw:
        raw.sendall(spell_frame(encode_request(RunsRequest())))
        received = raw.recv(1000)
        while received.count(b'"alive"') < 3:
            received += raw.recv(1000)
        proceed.set()
        tail = read_events(raw)
        assert End(exit_code=0) == tail[-1]
        assert {Alive, End} >= {type(event) for event in tail}


def test_stop_gives_attached_clients_last_words_and_removes_the_socket(folder: Path) -> None:
    desk = Desk(path=folder / "control.sock", answer=lambda *_: None)
    server = ControlServer(desk.path, handle=desk.handle, accounts=MadeUpAccounts())
    server.start()
    with desk.connect() as client:
        answer = client.request(RunRequest(job="nightly"))

        def stop_when_asked() -> None:
            desk.came.wait(WAIT_SECONDS)
            server.stop(130, "Going.", "wait")

        threading.Thread(target=stop_when_asked).start()
        with pytest.raises(RequestRefused, match="Going") as caught:
            list(answer)
    assert (130, "wait") == (caught.value.exit_code, caught.value.hint)
    server.stop()
    assert not desk.path.exists()


def test_socket_is_open_to_all_in_a_folder_that_is_not(serve: Serve, folder: Path) -> None:
    desk = serve()
    assert 0o666 == stat.S_IMODE(desk.path.stat().st_mode)
    assert 0o755 == stat.S_IMODE(folder.stat().st_mode)


def test_folder_is_made_and_one_that_others_can_write_is_refused(tmp_path: Path) -> None:
    bound = ControlSocket.bind(tmp_path / "a" / "b" / "control.sock")
    bound.close()
    assert 0o755 & ~0o022 == stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) & 0o755
    (tmp_path / "a" / "b").chmod(0o777)
    with pytest.raises(StateFailed, match="others than root can write"):
        ControlSocket.bind(tmp_path / "a" / "b" / "control.sock")


def test_socket_of_a_dead_daemon_is_replaced_and_that_of_a_live_one_is_not(folder: Path) -> None:
    path = folder / "control.sock"
    dead = ControlSocket.bind(path)
    dead.listener.close()
    assert path.is_socket()
    live = ControlSocket.bind(path)
    with pytest.raises(Locked, match="another daemon answers"):
        ControlSocket.bind(path)
    dead.close()
    assert path.is_socket(), "the dead one's late close must not remove the live one's socket"
    live.close()
    assert not path.exists()
    live.close()


def test_what_is_no_socket_is_left_where_it_is(folder: Path) -> None:
    path = folder / "control.sock"
    path.write_text("precious")
    with pytest.raises(StateFailed, match="is no socket"):
        ControlSocket.bind(path)
    assert "precious" == path.read_text()
    path.unlink()
    path.symlink_to("elsewhere")
    with pytest.raises(StateFailed, match="is no socket"):
        ControlSocket.bind(path)
    assert path.is_symlink()


@pytest.mark.parametrize("depth", [1, 8])
def test_path_longer_than_an_address_is_served(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["a-folder-with-a-long-name"] * depth)
    folder.mkdir(parents=True, mode=0o755)
    desk = Desk(path=folder / "control.sock")
    server = ControlServer(desk.path, handle=desk.handle, accounts=MadeUpAccounts())
    server.start()
    try:
        assert desk.serves()
        with pytest.raises(Locked):
            ControlSocket.bind(desk.path)
    finally:
        server.stop()
    assert not desk.path.exists()
