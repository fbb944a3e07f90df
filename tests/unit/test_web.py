"""Requests to the outside: what is sent, how long is waited, and where redirects may lead."""

from __future__ import annotations

import json
import socket
import threading
import time
from http import HTTPStatus

import pytest

from tests.unit.rounds import NOW, make_round, make_run
from tests.unit.web_servers import Call, find_closed_port, serve, serve_raw
from xenbackup.errors import TellingFailed
from xenbackup.model.job import Ping, Webhook
from xenbackup.service.messages import EndedRound, compose_message
from xenbackup.service.ping import Signal, send_ping, spell_ping
from xenbackup.service.web import call_url
from xenbackup.service.webhook import send_webhook

MESSAGE = compose_message("dom0", [EndedRound(result=make_round(make_run("web")), ended_at=NOW)])


def fail_calling(
    url: str, *, body: bytes | None = None, timeout_seconds: float = 15
) -> TellingFailed:
    with pytest.raises(TellingFailed) as caught:
        call_url(url, body=body, timeout_seconds=timeout_seconds)
    return caught.value


def test_webhook_posts_the_message_as_json() -> None:
    with serve() as server:
        send_webhook(Webhook(url=f"{server.url}/hook?room=7"), MESSAGE)

    (call,) = server.calls
    assert ("POST", "/hook?room=7", "application/json") == (
        call.method,
        call.path,
        call.content_type,
    )
    told = json.loads(call.body)
    assert ("dom0", "ok", MESSAGE.subject) == (told["host"], told["verdict"], told["text"])
    assert "web" == told["rounds"][0]["runs"][0]["domain"]


@pytest.mark.parametrize(
    ("signal", "path"),
    [(Signal.START, "/p/x/start"), (Signal.SUCCESS, "/p/x"), (Signal.FAIL, "/p/x/fail")],
)
def test_ping_calls_the_address_of_its_signal(signal: Signal, path: str) -> None:
    with serve() as server:
        send_ping(Ping(url=f"{server.url}/p/x"), signal)

    assert [("GET", path)] == [(call.method, call.path) for call in server.calls]


def test_suffix_of_a_ping_stands_before_the_query() -> None:
    assert "https://x/p/fail?a=1" == spell_ping("https://x/p/?a=1", Signal.FAIL)
    assert "https://x/p/?a=1" == spell_ping("https://x/p/?a=1", Signal.SUCCESS)


@pytest.mark.parametrize(
    ("status", "may_pass"), [(500, True), (503, True), (429, True), (404, False), (401, False)]
)
def test_refusal_is_told_with_its_status_and_may_pass_when_it_may(
    status: int, may_pass: bool
) -> None:
    with serve(lambda call: (status, {})) as server:
        error = fail_calling(f"{server.url}/secret-token")

    assert f"127.0.0.1 answered {status} ({HTTPStatus(status).phrase})." == error.message
    assert may_pass is error.may_pass
    assert "secret-token" not in str(error)


def test_refusal_that_no_standard_knows_is_told_by_its_number() -> None:
    with serve(lambda call: (599, {})) as server:
        assert "127.0.0.1 answered 599." == fail_calling(server.url).message


def repeat_the_path(connection: socket.socket, before: bytes, after: bytes) -> None:
    path = connection.recv(4096).split()[1]
    connection.sendall(before + path + after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"HTTP/1.1 404 No\r\n\r\n<pre>Cannot POST ", b"</pre>"),
        (b"HTTP/1.1 404 Cannot POST ", b"\r\n\r\n"),
        (b"HTTP/1.1 302 Moved\r\nLocation: ftp://x", b"\r\n\r\n"),
        (b"No such thing: ", b"\r\n\r\n"),
        (b"HTTP/1.1 ", b"\r\n\r\n"),
    ],
    ids=["body", "phrase", "redirect", "no-http", "no-status"],
)
def test_server_that_repeats_the_secret_path_does_not_get_it_into_the_error(
    before: bytes, after: bytes
) -> None:
    with serve_raw(lambda connection, _: repeat_the_path(connection, before, after)) as url:
        error = fail_calling(f"{url}/hooks/SECRET", body=b"{}")

    assert "SECRET" not in str(error)
    assert "127.0.0.1" in error.message


def test_nobody_listening_may_pass() -> None:
    error = fail_calling(f"http://127.0.0.1:{find_closed_port()}/")

    assert "127.0.0.1 cannot be reached: Connection refused." == error.message
    assert error.may_pass


def test_one_that_never_answers_is_given_up_in_time() -> None:
    def keep_silent(connection: socket.socket, over: threading.Event) -> None:
        over.wait(60)

    with serve_raw(keep_silent) as url:
        error = fail_calling(url, timeout_seconds=0.3)

    assert "127.0.0.1 did not answer in time." == error.message
    assert error.may_pass


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 500 X\r\nX: "])
def test_one_that_drips_its_answer_is_given_up_in_time(beginning: bytes) -> None:
    """Each byte comes within a socket's timeout; the deadline is for the whole."""

    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(beginning)
        while not over.wait(0.1):
            try:
                connection.sendall(b"y")
            except OSError:
                return

    began = time.monotonic()
    with serve_raw(drip) as url:
        error = fail_calling(url, timeout_seconds=0.5)

    assert "127.0.0.1 did not answer in time." == error.message
    # Undripped, the header's line of 64 KiB would take an hour.
    assert time.monotonic() - began < 60


def test_answer_that_is_not_http_is_an_error_of_ours() -> None:
    def babble(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"\x00\xffSSH-2.0\r\n\r\n")

    with serve_raw(babble) as url:
        error = fail_calling(url)

    assert "127.0.0.1 cannot be reached" in error.message


def redirect(status: int, location: str) -> tuple[int, dict[str, str]]:
    return status, {"Location": location}


def test_ping_follows_a_redirect_on_the_web() -> None:
    def answer(call: Call) -> tuple[int, dict[str, str]]:
        return redirect(302, "/new") if call.path == "/old" else (200, {})

    with serve(answer) as server:
        call_url(f"{server.url}/old")

    assert ["/old", "/new"] == server.paths()


def test_body_is_sent_again_where_the_redirect_says_so_and_nowhere_else() -> None:
    def answer(call: Call) -> tuple[int, dict[str, str]]:
        status = int(call.path[1:])
        return redirect(status, "/200") if status != 200 else (200, {})

    with serve(answer) as server:
        call_url(f"{server.url}/308", body=b"{}")
        assert [b"{}", b"{}"] == [call.body for call in server.calls]
        error = fail_calling(f"{server.url}/302", body=b"{}")

    assert "127.0.0.1 has moved (302); what was sent there did not arrive." == error.message
    assert ["/308", "/200", "/302"] == server.paths()


@pytest.mark.parametrize(
    "location", ["file:///etc/shadow", "ftp://x/y", "gopher://x", "", "//a b/", "x:y"]
)
def test_redirect_that_leaves_the_web_is_refused(location: str) -> None:
    with serve(lambda call: redirect(301, location)) as server:
        error = fail_calling(server.url)

    assert "127.0.0.1 redirected to what is no web address." == error.message
    assert not error.may_pass


def test_redirects_without_end_are_ended() -> None:
    with serve(lambda call: redirect(302, "/again")) as server:
        error = fail_calling(server.url)

    assert "redirected more than 3 times" in error.message
    assert 4 == len(server.calls)


def test_redirect_from_tls_to_plain_text_is_refused() -> None:
    from xenbackup.service.web import _choose_redirect

    with pytest.raises(TellingFailed, match="from https to http"):
        _choose_redirect("https://a/x", "http://a/x", 301, has_body=False)


def test_host_that_no_name_service_could_know_is_an_error_of_ours() -> None:
    error = fail_calling(f"http://{'a' * 64}.invalid/")

    assert "cannot be reached" in error.message or "in time" in error.message
