"""Verbs `points` and `verify`: what a person reads, and what a program gets."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.cli.conftest import Shell
from xenbackup.errors import DestinationFailed
from xenbackup.storage.images import ImagesDestination

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
        "damage",
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
        "mark_problem",
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


def test_damaged_point_is_told_everywhere_until_it_is_good_again(shell: Shell) -> None:
    point = shell.latest_point("web")
    image = shell.directory / "srv/backup/web" / point / "xvda.img"
    whole = image.read_bytes()
    with image.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"rot")
    assert 1 == shell("verify", point).exit_code
    listed = shell("points")
    assert re.search(rf"^{point}  web +damaged +", listed.out, re.M)
    assert f"Damaged: {point} of web in local, found just now: xvda.img:" in listed.out
    shape = json.dumps(shell("points", "web", "--json").json["points"])
    assert '"reason": "xvda.img: differs from its digests' in shape
    assert "damaged" in shell("show", point).out
    called = shell("status", "--nagios")
    assert 2 == called.exit_code
    assert f"web: Point {point} in local was found damaged" in called.out
    assert "damaged_points=1" in called.out
    assert "(point-damaged)" in shell("check").out
    assert "kept: damaged, stands" in shell("prune", "--dry-run").out
    assert 2 == shell("show", "web@latest").exit_code
    assert [] == [line for line in listed.out.splitlines() if len(line) > 80]

    image.write_bytes(whole)
    assert 0 == shell("verify", point).exit_code
    assert "amaged" not in shell("points").out
    assert "damaged_points=0" in shell("status", "--nagios").out


def test_verdict_that_could_not_be_kept_is_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = shell.latest_point("web")
    (shell.directory / "srv/backup/web" / point / "xvda.img").unlink()

    def refuse(*_: object) -> None:
        raise DestinationFailed("Cannot write there: it is mounted read-only.")

    monkeypatch.setattr(ImagesDestination, "mark_damaged", refuse)
    called = shell("verify", point)
    assert 1 == called.exit_code
    assert f"Not marked: the verdict on {point} could not be written" in called.out


def test_none_is_not_said_of_destinations_that_could_not_be_looked_into(shell: Shell) -> None:
    (shell.directory / "srv/backup").rename(shell.directory / "srv/away")
    for words in (("points",), ("prune",)):
        called = shell(*words)
        assert 10 == called.exit_code
        assert called.out.startswith("There are no recovery points that could be looked into.")
