"""Verbs `prune`, `pin` and `unpin`: what a person reads, what a program gets, and exit codes."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.unit.cli.conftest import NIGHTLY, Shell
from tests.unit.rounds import make_round, make_run
from xenbackup.records.catalog import Catalog

RETENTION = "\n[retention]\nlast = 1\n"


@pytest.fixture
def twice(shell: Shell) -> Shell:
    """Two nights of points, of which one is to keep by now."""
    assert 0 == shell("run", "nightly", "--domain", "web").exit_code
    head, override, tail = NIGHTLY.partition("\n[[override]]")
    shell.write_job("nightly", head + RETENTION + override + tail)
    return shell


def list_points(shell: Shell) -> list[str]:
    listed = shell("points", "web", "--json").json["points"]
    assert isinstance(listed, list)
    return [found["point"] for found in listed]


def test_dry_run_tells_the_reason_for_every_point_within_80_columns(twice: Shell) -> None:
    older, newer = list_points(twice)
    called = twice("prune", "--dry-run")
    assert 0 == called.exit_code
    assert re.search(
        rf"^{older}  web +\S+ \S+  goes: older than the newest to keep$", called.out, re.M
    )
    assert re.search(rf"^{newer}  web +\S+ \S+  kept: among the newest \(last 1", called.out, re.M)
    assert re.search(r"^\S+  router +\S+ \S+  kept: ", called.out, re.M)
    assert re.search(r"^1 would go and free [\d.]+ [KM]?i?B; 2 kept\.$", called.out, re.M)
    assert 80 >= max(len(line) for line in called.out.splitlines())
    assert [older, newer] == list_points(twice)


def test_prune_tells_what_it_removed_and_how_much_that_freed(twice: Shell) -> None:
    older, newer = list_points(twice)
    called = twice("prune", "nightly")
    assert 0 == called.exit_code
    assert re.search(rf"^{older} .* removed: older than the newest to keep$", called.out, re.M)
    assert newer not in called.out
    assert re.search(r"^1 removed, .* freed; 2 kept\.$", called.out, re.M)
    assert [newer] == list_points(twice)
    assert "Nothing was removed; 2 kept.\n" == twice("prune").out


def test_prune_as_json(twice: Shell) -> None:
    shape = twice("prune", "--json").json
    assert [
        "schema",
        "exit_code",
        "job",
        "dry_run",
        "freed_bytes",
        "points",
        "damaged",
        "finished",
        "troubles",
        "absent",
        "journals",
        "forgotten_runs",
        "forgotten_rounds",
    ] == list(shape)
    points = shape["points"]
    assert isinstance(points, list)
    assert ["fate", "reason", "trouble", "hint"] == list(points[0])[-4:]
    assert {"kept", "removed"} == {found["fate"] for found in points}


def test_prune_without_the_destination_ends_with_10_and_says_what_helps(twice: Shell) -> None:
    (twice.directory / "srv/backup").rename(twice.directory / "srv/away")
    called = twice("prune")
    assert 10 == called.exit_code
    assert "Warning: Destination local:" in called.err
    assert "mount its disk" in called.err
    assert 10 == twice("prune", "--json").json["exit_code"]


def test_prune_of_a_job_that_there_is_not(shell: Shell) -> None:
    called = shell("prune", "nigthly")
    assert (2, True) == (called.exit_code, "nightly" in called.err)


def test_prune_where_there_are_no_points(bare: Shell) -> None:
    assert 0 == bare("destination", "init", "local").exit_code
    assert (0, "There are no recovery points.\n") == (bare("prune").exit_code, bare("prune").out)


def test_point_that_cannot_be_removed_is_told_with_what_helps(twice: Shell) -> None:
    older, newer = list_points(twice)
    (twice.directory / "srv/backup/web" / older / "notes.txt").write_text("mine")
    called = twice("prune")
    assert 3 == called.exit_code
    assert re.search(rf"^{older} .* failed: older than the newest to keep$", called.out, re.M)
    assert re.search(r"^Nothing was removed; 2 kept, 1 not removed\.$", called.out, re.M)
    said = " ".join(called.out.split())
    assert f"{older}: " in said
    assert "notes.txt (file). Hint: nothing of it was removed; move those away." in said
    assert [older, newer] == list_points(twice)


def test_pinned_point_is_told_everywhere_and_kept(twice: Shell) -> None:
    older, newer = list_points(twice)
    assert f"{older} of web in local is pinned.\n" == twice("pin", older).out
    assert f"{older} of web in local was pinned already.\n" == twice("pin", older).out
    assert f"Pinned: {older} of web: never pruned." in twice("points").out
    assert "pinned" in twice("show", older).out
    assert 0 == twice("prune").exit_code
    assert [older, newer] == list_points(twice)
    assert 0 == twice("verify", older).exit_code
    shape = twice("unpin", older, "--json").json
    assert ["schema", "changed", "point"] == list(shape)
    assert shape["changed"] is True
    assert f"{older} of web in local was not pinned.\n" == twice("unpin", older).out
    assert 0 == twice("prune").exit_code
    assert [newer] == list_points(twice)


def test_pin_takes_the_latest_of_a_guest_and_refuses_what_there_is_not(shell: Shell) -> None:
    assert 0 == shell("pin", "web@latest").exit_code
    called = shell("pin", "20990101")
    assert (2, True) == (called.exit_code, "No recovery point is called" in called.err)


def test_prune_tells_how_much_of_the_history_is_forgotten(shell: Shell) -> None:
    catalog = Catalog(shell.directory / "var/lib/xenbackup/catalog.sqlite")
    runs = [f"2020010{day}T023000Z-aaaaaa" for day in (1, 2, 3)]
    for day, run in enumerate(runs, start=1):
        at = datetime(2020, 1, day, tzinfo=UTC)
        failed = make_run("gone", "No.", run=run)
        catalog.record_run(failed, job="nightly", round=run, at=at)
        catalog.record_failed_round(make_round(job="gone", round=run, error="No."), at=at)
    told = "2 old runs, 2 old failed rounds"
    assert shell("prune", "--dry-run").out.endswith(f" {told} would be forgotten.\n")
    shape = shell("prune", "--json").json
    assert (runs[:2], runs[:2]) == (shape["forgotten_runs"], shape["forgotten_rounds"])
    assert "forgotten" not in shell("prune").out
