"""Clients that do not behave: none of them ends the server, holds up a run or leaves anything."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.control.conftest import (
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
from xenbackup.errors import RequestRefused
from xenbackup.service.control.connection import Connection, ServerLimits
from xenbackup.service.control.events import (
    AmountDone,
    AnyEvent,
    End,
    Error,
    Noted,
    PageText,
    ResultTold,
    StepDone,
    Welcome,
)
from xenbackup.service.control.frames import CLIENT_LIMIT_BYTES
from xenbackup.service.control.outbox import COURSE_LIMIT_BYTES
from xenbackup.service.control.peers import Credentials, Peer
from xenbackup.service.control.protocol import (
    AnyRequest,
    PlanRequest,
    RunRequest,
    RunsRequest,
    encode_request,
)
from xenbackup.service.control.server import ControlServer
from xenbackup.service.control.stream import Stream

GOOD = spell_frame(encode_request(RunsRequest()))


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_until(holds: Callable[[], bool]) -> None:
    """The server sees to things in its own time; pytest's timeout is the judge of never."""
    pause = threading.Event()
    while not holds():
        pause.wait(0.005)


def send(desk: Desk, content: bytes, *, half_close: bool = True) -> list[AnyEvent]:
    """Send that, and read all that comes back; sending may fail once the server has had enough."""
    with desk.open_raw() as raw:
        with suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(content)
            if half_close:
                raw.shutdown(socket.SHUT_WR)
        return read_events(raw)


def judge_refusal(events: list[AnyEvent], words: str) -> None:
    welcome, error, end = events
    assert isinstance(welcome, Welcome)
    assert isinstance(error, Error)
    assert words in error.message
    assert End(exit_code=1) == end


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (struct.pack(">I", CLIENT_LIMIT_BYTES + 1), "is announced; the limit is 65536"),
        (struct.pack(">I", CLIENT_LIMIT_BYTES + 1) + b"x" * 5_000_000, "is announced"),
        (b"\xff\xff\xff\xff", "4294967295 bytes is announced"),
        (b"\0\0\0\0", "A frame is empty"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "is announced"),
        (b"\0\0", "ends in the middle"),
        (GOOD[:-1], "ends in the middle"),
        (GOOD + b"\0", "behind the request"),
        (GOOD + GOOD, "behind the request"),
        (spell_frame(b"\xff\xff"), "cannot be read"),
        (spell_frame(b"[" * 60_000), "nested too deeply"),
        (spell_frame(b'{"version":1,"verb":"runs","verb":"prune"}'), "a key is there twice"),
        (spell_frame(b'{"version":9,"verb":"runs"}'), "of version 9"),
        (spell_frame(b'{"version":1,"verb":"restore"}'), "no request 'restore'"),
    ],
)
def test_what_is_no_request_is_refused_in_words(serve: Serve, content: bytes, words: str) -> None:
    proceed = threading.Event()
    desk = serve(lambda _, __, stream: (proceed.wait(WAIT_SECONDS), stream.send_page("", "", 0))[1])
    judge_refusal(send(desk, content, half_close=not content.startswith(b"\xff")), words)
    proceed.set()
    assert desk.serves()


def test_request_with_something_behind_it_is_not_begun(serve: Serve) -> None:
    desk = serve()
    content = spell_frame(encode_request(RunRequest(job="nightly"))) + b"\0"
    judge_refusal(send(desk, content), "behind the request")
    assert [] == desk.asked


def test_one_who_says_nothing_or_too_little_runs_out_of_time(serve: Serve) -> None:
    desk = serve(limits=ServerLimits(frame_seconds=0.2, stop_seconds=0.5))
    for content in (b"", b"\0", GOOD[:20]):
        judge_refusal(send(desk, content, half_close=False), "not there after 0.2 seconds")
    wait_until(lambda: is_welcome(desk))


def test_one_who_drips_bytes_does_not_get_more_time(serve: Serve) -> None:
    desk = serve(limits=ServerLimits(frame_seconds=0.3, stop_seconds=0.5))
    pause = threading.Event()
    with desk.open_raw() as raw, suppress(BrokenPipeError, ConnectionResetError):
        raw.sendall(struct.pack(">I", CLIENT_LIMIT_BYTES))
        while True:
            raw.sendall(b" ")
            pause.wait(0.01)
    wait_until(lambda: is_welcome(desk))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("fuzzed")
    folder.chmod(0o755)
    desk = Desk(path=folder / "control.sock")
    server = ControlServer(desk.path, handle=desk.handle, accounts=MadeUpAccounts())
    server.start()
    yield desk
    server.stop()


SPOILT = st.one_of(
    st.binary(max_size=300),
    st.binary(min_size=1, max_size=300).map(spell_frame),
    st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=100)).map(
        lambda pair: struct.pack(">I", pair[0]) + pair[1]
    ),
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
        lambda pair: GOOD[: pair[0]] + bytes([pair[1]]) + GOOD[pair[0] + 1 :]
    ),
    st.integers(0, len(GOOD)).map(lambda at: GOOD[:at]),
    st.binary(max_size=50).map(lambda tail: GOOD + tail),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=SPOILT, leaves=st.booleans())
def test_server_outlives_anything_that_is_sent(fuzzed: Desk, content: bytes, leaves: bool) -> None:
    if leaves:
        with fuzzed.open_raw() as raw, suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(content)
    else:
        events = send(fuzzed, content)
        assert isinstance(events[0], Welcome)
        if len(events) > 1:
            assert isinstance(events[-1], End)
    assert fuzzed.serves()


def test_one_who_reads_nothing_holds_up_no_run_and_gets_the_result(serve: Serve) -> None:
    """What is told of the course is bounded; what it was about comes whole, however late."""
    told = threading.Event()
    largest = 0
    result = make_round(make_run())

    def answer(request: AnyRequest, peer: Peer, stream: Stream) -> None:
        nonlocal largest
        for number in range(30_000):
            assert stream.send(StepDone(run=f"{RUN}{number}", step="copy"))
            stream.send(AmountDone(run=RUN, what=f"disk {number}", done=number, total=30_000))
            if number % 100 == 0:
                largest = max(largest, stream.waiting_bytes)
        stream.send_result(result)
        stream.end(0)
        told.set()

    desk = serve(answer)
    with desk.open_raw() as raw:
        raw.sendall(spell_frame(encode_request(RunRequest(job="nightly"))))
        assert told.wait(WAIT_SECONDS)
        desk.connect().close()
        *course, end = read_events(raw)
    assert End(exit_code=0) == end
    assert [result.round] == [event.round for event in course if isinstance(event, ResultTold)]
    assert any(isinstance(event, Noted) and "left out" in event.text for event in course)
    assert COURSE_LIMIT_BYTES // 4 < largest < COURSE_LIMIT_BYTES + 10_000


def test_one_who_never_takes_a_finished_answer_is_cut(serve: Serve) -> None:
    desk = serve(
        lambda _, __, stream: stream.send_page("x" * 3_000_000, "", 0),
        limits=ServerLimits(linger_seconds=0.2, stop_seconds=0.5),
    )
    with desk.open_raw() as raw:
        raw.sendall(GOOD)
        wait_until(lambda: bool(desk.streams) and desk.streams[0].gone)
    desk.answer = None
    assert desk.serves()


def test_one_who_leaves_is_noticed_and_cancels_nothing(serve: Serve) -> None:
    sent: list[bool] = []
    done = threading.Event()

    def answer(request: AnyRequest, peer: Peer, stream: Stream) -> None:
        wait_until(lambda: stream.gone)
        sent.append(stream.send(StepDone(run=RUN, step="copy")))
        sent.append(stream.send_result(make_round(make_run())))
        stream.end(0)
        done.set()

    desk = serve(answer)
    with desk.open_raw() as raw:
        raw.sendall(spell_frame(encode_request(RunRequest(job="nightly"))))
        assert desk.came.wait(WAIT_SECONDS)
    assert done.wait(WAIT_SECONDS)
    assert [False, False] == sent


def test_one_who_only_closes_its_sending_side_still_gets_its_answer(serve: Serve) -> None:
    proceed = threading.Event()
    desk = serve(
        lambda _, __, stream: (proceed.wait(WAIT_SECONDS), stream.send_page("late", "", 0))[1]
    )
    with desk.open_raw() as raw:
        raw.sendall(GOOD)
        raw.shutdown(socket.SHUT_WR)
        assert desk.came.wait(WAIT_SECONDS)
        proceed.set()
        *_, page, end = read_events(raw)
    assert (PageText(stream="stdout", text="late"), End(exit_code=0)) == (page, end)


def test_two_hundred_clients_at_once_leave_no_descriptor_behind(serve: Serve) -> None:
    proceed = threading.Event()
    desk = serve(
        lambda _, __, stream: (proceed.wait(WAIT_SECONDS), stream.send_page("x", "", 0))[1]
    )
    before = count_descriptors()
    with ExitStack() as stack:
        raws = [stack.enter_context(desk.open_raw()) for _ in range(200)]
        for number, raw in enumerate(raws):
            # Every fifth one leaves half-way, every fifth one asks nonsense.
            raw.sendall({3: GOOD[:9], 4: b"\xff" * 9}.get(number % 5, GOOD))
            if number % 5 == 3:
                raw.close()
        wait_until(lambda: len(desk.asked) == 120)
        proceed.set()
        for number, raw in enumerate(raws):
            if number % 5 < 3:
                assert End(exit_code=0) == read_events(raw)[-1]
    wait_until(lambda: count_descriptors() <= before)
    assert desk.serves()


def test_there_is_a_bound_for_all_and_words_beyond_it(serve: Serve) -> None:
    desk = serve(limits=ServerLimits(clients=3, stop_seconds=0.5))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(desk.connect())
        with pytest.raises(RequestRefused, match="as many clients as it can serve"):
            desk.connect()
    wait_until(lambda: is_welcome(desk))


def is_welcome(desk: Desk) -> bool:
    try:
        return desk.serves()
    except RequestRefused:
        return False


def test_others_fill_their_own_room_and_never_that_of_root(
    serve: Serve, as_user: Callable[[int, int], None]
) -> None:
    limits = ServerLimits(clients=9, clients_of_others=3, clients_of_one=2, stop_seconds=0.5)
    desk = serve(limits=limits)
    with ExitStack() as stack:
        as_user(4242, 4242)
        stack.enter_context(desk.connect())
        stack.enter_context(desk.connect())
        with pytest.raises(RequestRefused, match="one user may have"):
            desk.connect()
        as_user(4343, 4343)
        stack.enter_context(desk.connect())
        as_user(4444, 4444)
        with pytest.raises(RequestRefused, match="as many clients as it can serve"):
            desk.connect()
        as_user(0, 0)
        assert desk.serves()


def test_requests_of_those_who_left_count_against_them(
    serve: Serve, as_user: Callable[[int, int], None]
) -> None:
    """Or a reader could have any number of pages rendered at once, by never waiting for one."""
    proceed = threading.Event()
    accounts = MadeUpAccounts(members={4242: frozenset({70001})})
    desk = serve(
        lambda _, __, stream: (proceed.wait(WAIT_SECONDS), stream.end(0))[1],
        limits=ServerLimits(clients_of_one=2, stop_seconds=0.5),
        accounts=accounts,
    )
    as_user(4242, 4242)
    for number in range(2):
        with desk.open_raw() as raw:
            raw.sendall(GOOD)
            wait_until(lambda: len(desk.asked) == number + 1)  # noqa: B023 - called at once
        wait_until(lambda: desk.streams[-1].gone)
    with pytest.raises(RequestRefused, match="requests are being answered"):
        desk.ask(PlanRequest(job="nightly"))
    proceed.set()
    wait_until(lambda: is_welcome(desk))


def test_defect_in_the_loop_costs_one_client(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = serve()
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        broken.setattr("xenbackup.service.control.connection.decode_request", fail)
        assert [Welcome] == [type(event) for event in send(desk, GOOD)]
    assert desk.serves()


def test_no_descriptors_left_is_survived(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepting pauses, and goes on when there are some again; nothing spins meanwhile."""
    monkeypatch.setattr("xenbackup.service.control.server._PAUSE_SECONDS", 0.05)
    desk = serve()
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
    spare: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        with suppress(OSError):
            while True:
                spare.append(os.dup(0))
        raw.settimeout(WAIT_SECONDS)
        raw.connect(str(desk.path))
        threading.Event().wait(0.2)
        for descriptor in spare[-4:]:
            os.close(descriptor)
        del spare[-4:]
        raw.sendall(GOOD)
        assert End(exit_code=0) == read_events(raw)[-1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in spare:
            os.close(descriptor)
        raw.close()
    assert desk.serves()


def test_outlasted_request_is_due() -> None:
    """From connecting on, whatever came meanwhile; the sign of life is due only afterwards."""
    ours, theirs = socket.socketpair()
    with theirs:
        credentials = Credentials(pid=1, uid=0, gid=0)
        limits = ServerLimits(frame_seconds=10, alive_seconds=15)
        connection = Connection(ours, credentials, limits, lambda _: None, now=100.0)
        theirs.sendall(GOOD[:9])
        assert None is connection.receive()
        connection.flush(now=109.0)
        assert 110.0 == connection.deadline
        theirs.sendall(GOOD[9:])
        assert RunsRequest() == connection.receive()
        assert 124.0 == connection.deadline
        connection.close()
