"""Verbs `points` and `verify`: what a person reads, and what a program gets."""

from __future__ import annotations

import re

from tests.unit.cli.conftest import Shell

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[a-z0-9]{6}")


def test_points_lists_what_there_is(shell: Shell) -> None:
    called = shell("points")
    assert 0 == called.exit_code
    assert re.search(rf"^{RUN_ID.pattern}  web +memory +\d+ s ago +", called.out, re.M)
    only = shell("points", "router")
    assert "web" not in only.out
    assert "router" in only.out


def test_points_of_a_name_that_nobody_has_says_so_and_who_has_some(shell: Shell) -> None:
    nobody = shell("points", "nobody")
    assert (
        0,
        "There are no recovery points of nobody. Guests that have some: router, web.\n",
    ) == (nobody.exit_code, nobody.out)
    assert "of wbe. Did you mean web? Guests that have some:" in shell("points", "wbe").out
    assert [] == shell("points", "wbe", "--json").json["points"]


def test_points_of_anybody_where_there_are_none(bare: Shell) -> None:
    assert 0 == bare("destination", "init", "local").exit_code
    called = bare("points", "web")
    expected = "There are no recovery points of web. No guest has any.\n"
    assert (0, expected) == (called.exit_code, called.out)


def test_points_as_json(shell: Shell) -> None:
    shape = shell("points", "--json").json
    assert [
        "schema",
        "exit_code",
        "points",
        "damaged",
        "leftovers",
        "unreadable",
        "absent",
    ] == list(shape)
    assert isinstance(shape["points"], list)
    assert [
        "point",
        "destination",
        "domain",
        "identity",
        "job",
        "consistency",
        "created_at",
        "size_bytes",
        "stored_bytes",
        "has_memory",
        "pinned",
    ] == list(shape["points"][0])


def test_points_of_a_missing_destination_are_remembered(shell: Shell) -> None:
    point = shell.latest_point("web")
    (shell.directory / "srv/backup").rename(shell.directory / "srv/away")
    called = shell("points")
    assert 10 == called.exit_code
    assert "Remembered of destination local, which is not there:" in called.out
    assert point in called.out
    assert "Warning:" in called.err


def test_verify_of_sound_points(shell: Shell) -> None:
    called = shell("verify")
    assert 0 == called.exit_code
    assert re.search(rf"^{RUN_ID.pattern}  web +good +", called.out, re.M)
    one = shell("verify", "router@latest", "--json").json
    assert ["schema", "exit_code", "points"] == list(one)
    assert isinstance(one["points"], list)
    assert ["router"] == [found["domain"] for found in one["points"]]
    assert [
        "point",
        "destination",
        "domain",
        "verdict",
        "bytes_checked",
        "duration_seconds",
        "reason",
        "hint",
        "findings",
    ] == list(one["points"][0])


def test_verify_without_points_is_good(bare: Shell) -> None:
    assert 0 == bare("destination", "init", "local").exit_code
    called = bare("verify")
    assert (0, "There are no recovery points to verify.\n") == (called.exit_code, called.out)


def test_verify_names_the_damaged_bytes(shell: Shell) -> None:
    point = shell.latest_point("web")
    image = shell.directory / "srv/backup/web" / point / "xvda.img"
    with image.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"rot")
    called = shell("verify")
    assert 1 == called.exit_code
    assert re.search(rf"^{point}  web +damaged +", called.out, re.M)
    assert re.search(rf"^{point}: xvda.img at byte ", called.out, re.M)
