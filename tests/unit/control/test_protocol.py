"""Requests: read strictly, and unable to carry a path or an option."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenbackup.config.values import is_name
from xenbackup.errors import FrameRefused, NameRefused, UsageError
from xenbackup.model.names import DOMAIN_NAME_LIMIT_BYTES
from xenbackup.service.control import protocol
from xenbackup.service.control.protocol import (
    REQUESTS,
    AnyRequest,
    AttachRequest,
    CancelRequest,
    CheckRequest,
    InventoryRequest,
    Layout,
    PinRequest,
    PlanRequest,
    PointsRequest,
    PruneRequest,
    ReloadRequest,
    RunRequest,
    RunsRequest,
    ShowRequest,
    StatusRequest,
    UnpinRequest,
    decode_request,
    encode_request,
)

EXAMPLES: tuple[tuple[AnyRequest, tuple[str, ...] | None], ...] = (
    (StatusRequest(), None),
    (ReloadRequest(), None),
    (RunsRequest(), ("runs", "--number", "30")),
    (PointsRequest(), ("points",)),
    (PointsRequest(domain="web -x"), ("points", "--", "web -x")),
    (ShowRequest(name="web@latest"), ("show", "--", "web@latest")),
    (CheckRequest(job="nightly"), ("check", "--", "nightly")),
    (CheckRequest(nagios=True), ("check", "--nagios")),
    (PlanRequest(job="nightly", layout=Layout(json=True)), ("plan", "--", "nightly")),
    (InventoryRequest(part="pci", every=True), ("inventory", "--all", "--", "pci")),
    (InventoryRequest(), ("inventory",)),
    (PruneRequest(job="nightly", dry_run=True), ("prune", "--dry-run", "--", "nightly")),
    (PinRequest(point="20261122T023000Z-k3f9qa"), ("pin", "--", "20261122T023000Z-k3f9qa")),
    (UnpinRequest(point="2026"), ("unpin", "--", "2026")),
    (RunRequest(job="nightly", domain="web"), None),
    (AttachRequest(name="nightly"), None),
    (CancelRequest(name="2026"), None),
)


def make_request(kind: str, **fields: Any) -> AnyRequest:
    return REQUESTS[kind](**fields)


# Each holds the name of a job where one belongs.
GOOD = {"version": 1, "verb": "plan", "arguments": {"job": "nightly"}}

WRONG_NAMES = (
    "", "-x", "--json", "../etc", "a/b", "a\nb", "a\0b", "\x1b[2J", "a\u202eb", ".hidden", "x" * 72,
    "ü" * 36,
)  # fmt: skip


@pytest.mark.parametrize(("request_", "words"), EXAMPLES)
def test_request_arrives_as_it_was_sent(
    request_: AnyRequest, words: tuple[str, ...] | None
) -> None:
    assert request_ == decode_request(encode_request(request_))
    assert words == getattr(request_, "words", None)


def test_examples_show_every_request() -> None:
    assert set(REQUESTS) == {request.verb for request, _ in EXAMPLES}


@pytest.mark.parametrize("kind", sorted(REQUESTS))
@pytest.mark.parametrize("name", WRONG_NAMES)
def test_name_that_could_pass_for_something_else_is_refused(kind: str, name: str) -> None:
    """Here for whoever makes the request, there for whoever reads it."""
    for field in REQUESTS[kind].__struct_fields__:
        if field not in ("job", "domain", "name", "point"):
            continue
        required = {"name": "web", "point": "web", "job": "nightly"}
        fields = {
            key: value for key, value in required.items() if key in REQUESTS[kind].__struct_fields__
        }
        if name == "" and field == "domain":
            continue
        if name == "" and field == "job" and kind in ("check", "prune"):
            continue
        with pytest.raises(NameRefused):
            make_request(kind, **{**fields, field: name})
        body = {"version": 1, "verb": kind, "arguments": {**fields, field: name}}
        with pytest.raises(FrameRefused):
            decode_request(json.dumps(body).encode())


@given(st.text(max_size=70))
def test_jobs_are_called_as_the_configuration_calls_them(name: str) -> None:
    if is_name(name):
        assert name == protocol.check_job(name)
    else:
        with pytest.raises(UsageError):
            protocol.check_job(name)


def test_longest_name_of_a_domain_may_be_asked_for() -> None:
    name = "ü" * (DOMAIN_NAME_LIMIT_BYTES // 2) + "x"
    assert name == protocol.check_domain(name)
    assert f"{name}@latest" == protocol.check_reference(f"{name}@latest")
    with pytest.raises(NameRefused, match="longer than 63 bytes"):
        protocol.check_domain(name + "x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe{}",
        b'"text"',
        b"[]",
        b"null",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"9" * 60_000,
        b"{}",
        b'{"version":1}',
        b'{"version":1,"verb":"status"} ',
        b'{"version":1,"verb":"status"}\0',
        b'{"version":1,"verb":"status"}{"version":1,"verb":"status"}',
        b'{"version":1,"verb":"status","path":"/etc/passwd"}',
        b'{"version":1,"verb":"status","arguments":{"argv":["rm"]}}',
        b'{"version":1,"verb":"status","verb":"reload"}',
        b'{"version":1,"verb":"plan","arguments":{"job":"a","job":"b"}}',
        b'{"version":1,"verb":"plan","arguments":{"job":"a","j\\u006fb":"b"}}',
        b'{"version":1,"verb":"plan","arguments":{"job":NaN}}',
        b'{"version":1,"verb":"plan","arguments":{"job":1}}',
        b'{"version":1,"verb":"plan","arguments":{"job":null}}',
        b'{"version":1,"verb":"plan","arguments":[]}',
        b'{"version":1,"verb":"plan"}',
        b'{"version":1,"verb":"show","arguments":{"name":"\\ud800"}}',
        b'{"version":1,"verb":"runs","arguments":{"number":0}}',
        b'{"version":1,"verb":"runs","arguments":{"number":-1}}',
        b'{"version":1,"verb":"runs","arguments":{"number":1e99}}',
        b'{"version":1,"verb":"runs","arguments":{"number":true}}',
        b'{"version":1,"verb":"runs","arguments":{"layout":{"width":1000000000}}}',
        b'{"version":true,"verb":"status"}',
        b'{"version":"1","verb":"status"}',
        b'{"version":1,"verb":"restore","arguments":{}}',
        b'{"version":1,"verb":""}',
    ],
)
def test_anything_but_exactly_one_request_is_refused(body: bytes) -> None:
    if body.endswith(b"} "):
        # Space around a document is part of it.
        assert StatusRequest() == decode_request(body)
        return
    with pytest.raises(FrameRefused):
        decode_request(body)


def test_another_version_is_told_apart_from_nonsense() -> None:
    with pytest.raises(FrameRefused, match="of version 2; this daemon speaks version 1"):
        decode_request(b'{"version":2,"verb":"teleport","cargo":[1]}')


@given(st.binary(max_size=2000))
def test_noise_is_refused_and_nothing_else_is_raised(noise: bytes) -> None:
    with pytest.raises(FrameRefused):
        decode_request(noise)


@given(st.data())
def test_spoilt_request_is_refused_or_is_a_request(data: st.DataObject) -> None:
    request, _ = data.draw(st.sampled_from(EXAMPLES))
    body = bytearray(encode_request(request))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        act = data.draw(st.sampled_from(["change", "remove", "insert", "truncate"]))
        if act == "change":
            body[at] = data.draw(st.integers(0, 255))
        elif act == "remove":
            del body[at : at + data.draw(st.integers(1, 10))]
        elif act == "insert":
            body[at:at] = data.draw(st.binary(max_size=10))
        else:
            del body[at:]
        if not body:
            break
    try:
        found = decode_request(bytes(body))
    except FrameRefused:
        return
    assert found == decode_request(encode_request(found))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(REQUESTS)), JSON)
def test_arguments_of_a_wrong_shape_are_refused(verb: str, arguments: object) -> None:
    body = json.dumps({**GOOD, "verb": verb, "arguments": arguments}).encode()
    if (
        arguments == {}
        and not any(field in REQUESTS[verb].__struct_fields__ for field in ("name", "point"))
        and verb not in ("plan", "run")
    ):
        assert verb == decode_request(body).verb
        return
    with pytest.raises(FrameRefused):
        decode_request(body)
