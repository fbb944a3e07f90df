"""`docs/control.md` tells of each verb, role, event, key and bound that there is, and no other."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import msgspec

from tests.unit.control.conftest import Desk, Serve
from xenbackup.service.control.connection import ServerLimits
from xenbackup.service.control.events import VERSION, AnyEvent
from xenbackup.service.control.frames import CLIENT_LIMIT_BYTES, DAEMON_LIMIT_BYTES
from xenbackup.service.control.permissions import (
    OPERATOR_GROUP,
    PERMISSIONS,
    READER_GROUP,
    Role,
)
from xenbackup.service.control.protocol import REQUESTS, PointsRequest
from xenbackup.service.control.stream import PAGE_LIMIT_LETTERS
from xenbackup.service.ledger import MOST_ASKED_FOR

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "control.md").read_text(encoding="utf-8")


def find_section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def list_rows(title: str) -> list[list[str]]:
    """The cells of a section's table without its head."""
    lines = [line for line in find_section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def find_words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_verbs_and_their_roles_are_those_of_the_table() -> None:
    expected = {
        verb: found.role.name.lower() for verb, found in PERMISSIONS.items() if found.served
    }
    assert expected == {find_words(row[0])[0]: row[1] for row in list_rows("Requests")}


def test_verbs_that_are_not_served_are_named() -> None:
    (sentence,) = re.findall(r"The verbs (.+?) are not served", PAGE, flags=re.S)
    expected = {verb for verb, found in PERMISSIONS.items() if not found.served}
    assert expected == set(find_words(sentence))


def test_arguments_are_those_of_the_requests() -> None:
    for row in list_rows("Requests"):
        kind = REQUESTS[find_words(row[0])[0]]
        told = [part.partition(":")[0].split()[0].strip("`") for part in row[2].split(";") if part]
        assert sorted(kind.__struct_fields__) == sorted(told), kind.verb
        needed = [part.split()[0].strip("`:") for part in row[2].split(";") if "(needed)" in part]
        required = [found.name for found in msgspec.structs.fields(kind) if found.required]
        assert sorted(required) == sorted(needed), kind.verb


def test_events_and_their_keys_are_those_of_the_code() -> None:
    expected = {
        kind.__struct_config__.tag: sorted(set(kind.__struct_fields__) - {"version"})
        for kind in typing.get_args(AnyEvent)
    }
    assert expected == {
        find_words(row[0])[0]: sorted(find_words(row[1])) for row in list_rows("Events")
    }


def test_roles_are_those_of_the_code() -> None:
    rows = list_rows("Roles")
    assert [role.name.lower() for role in sorted(Role, reverse=True)] == [row[0] for row in rows]
    assert [OPERATOR_GROUP] == find_words(rows[1][1])
    assert [READER_GROUP] == find_words(rows[2][1])


def test_bounds_are_those_of_the_code() -> None:
    limits = ServerLimits()
    rows = {row[0]: row[1] for row in list_rows("Bounds")}
    found = [int(number) for cell in rows.values() for number in re.findall(r"\d+", cell)]
    assert found == [
        limits.frame_seconds,
        limits.clients,
        limits.clients_of_others,
        limits.clients_of_one,
        MOST_ASKED_FOR,
        PAGE_LIMIT_LETTERS >> 20,
        limits.linger_seconds / 60,
    ]
    assert f"up to {CLIENT_LIMIT_BYTES} bytes" in PAGE
    assert f"the daemon up to {DAEMON_LIMIT_BYTES}" in PAGE
    assert f"Nothing happened for {limits.alive_seconds:.0f} seconds" in PAGE


def test_example_works_as_it_is_printed(serve: Serve, capsys: object) -> None:
    desk: Desk = serve()
    (example,) = re.findall(r"```python\n(.+?)```", PAGE, flags=re.S)
    assert f'"version": {VERSION}' in example
    short = example.replace("/run/xenbackup/control.sock", str(desk.path))
    names: dict[str, typing.Any] = {}
    exec(compile(short, "docs/control.md", "exec"), names)
    names["connection"].close()
    assert [PointsRequest(domain="web")] == [request for request, _ in desk.asked]
    assert {"event": "end", "version": VERSION, "exit_code": 0} == names["event"]
