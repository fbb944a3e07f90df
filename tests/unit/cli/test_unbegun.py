"""`runs` and `show` of what failed before it began: whole rounds, and guests that were refused."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.unit.cli.conftest import Shell
from tests.unit.rounds import make_round
from xenbackup.bootstrap import open_house
from xenbackup.cli.history import KnownRun
from xenbackup.cli.unbegun import list_last_failures
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.records.catalog_rows import FailedRound

LATER = "20991122T023000Z-aaaaaa"
LATEST = "20991123T023000Z-bbbbbb"
NIGHT = datetime(2099, 11, 22, 2, 31, tzinfo=UTC)
FAILED = FailedRound(
    round=LATER, job="nightly", ended_at=NIGHT, outcome=Outcome.FAILED, error="No.", hint=""
)
VETO = """
schedule = "30 2 * * *"
domains = ["*"]
preset = "crash"
destination = "local"
[hooks]
before = ["/bin/false"]
"""


def open_the_house(shell: Shell) -> House:
    return open_house(shell.host, None)


def fail_round(shell: Shell, name: str, error: str = "The disk is away.") -> None:
    result = make_round(
        round=name, runs=(), outcome=Outcome.FAILED, error=error, hint="look for the disk"
    )
    open_the_house(shell).catalog.record_failed_round(result, at=NIGHT)


def read_words(text: str) -> str:
    return " ".join(text.split())


def test_round_whose_guests_had_their_turns_names_its_runs(shell: Shell) -> None:
    result = shell("run", "nightly", "--json").events[-1]
    runs = result["runs"]
    assert isinstance(runs, list)
    shown = shell("show", str(result["round"]))
    assert (2, "") == (shown.exit_code, shown.out)
    listed = ", ".join(f"{run['run']} ({run['domain']})" for run in runs)
    assert f"{result['round']} is a round, and its runs are: {listed}." in shown.err
    assert "`xenbackup show RUN` tells of each" in shown.err


def test_a_veto_is_seen_in_the_list_and_show_says_why(shell: Shell) -> None:
    shell.write_job("vetoed", VETO)
    called = shell("run", "vetoed")
    assert 0 != called.exit_code
    listed = shell("runs")
    (name,) = re.findall(r"^(\S+)  - +vetoed +failed ", listed.out, re.M)
    assert f"Failed: round {name} of job vetoed came to nothing: The hook `before` of job " in (
        read_words(listed.out)
    )
    assert max(len(line) for line in listed.out.splitlines()) <= 80
    shown = shell("show", name)
    assert 0 == shown.exit_code
    assert re.search(r"^job: +vetoed$", shown.out, re.M)
    assert re.search(r"^outcome: +failed$", shown.out, re.M)
    assert "why: The hook `before`" in read_words(shown.out)
    assert shown.out == shell("show", name[:-2]).out


def test_of_runs_and_rounds_together_the_newest_are_listed_by_time(shell: Shell) -> None:
    fail_round(shell, LATER)
    fail_round(shell, LATEST)
    listed = shell("runs", "-n", "3").out
    names = re.findall(r"^(\d{8}T\S+)", listed, re.M)
    assert [LATER, LATEST] == names[1:]
    assert 3 == len(names)
    assert [LATEST] == re.findall(r"^(\d{8}T\S+)", shell("runs", "-n", "1").out, re.M)


def test_a_host_on_which_all_came_to_nothing_says_so(bare: Shell) -> None:
    fail_round(bare, LATER)
    listed = bare("runs").out
    assert "There are no runs yet." not in listed
    assert f"`xenbackup show {LATER}` says more." in read_words(listed)


def test_a_failed_round_as_json_comes_beside_the_runs(shell: Shell) -> None:
    before = shell("runs", "--json").json
    fail_round(shell, LATER)
    after = shell("runs", "--json").json
    told = {
        "round": LATER,
        "job": "nightly",
        "at": "2099-11-22T02:31:00Z",
        "outcome": "failed",
        "error": "The disk is away.",
        "hint": "look for the disk",
    }
    assert before["runs"] == after["runs"]
    assert [told] == after["rounds"]
    assert {"schema": 1, "run": None, "point": None, "round": told} == shell(
        "show", LATER, "--json"
    ).json


def test_several_rounds_of_one_beginning_are_named(shell: Shell) -> None:
    fail_round(shell, LATER)
    fail_round(shell, LATEST)
    called = shell("show", "2099")
    assert 2 == called.exit_code
    assert LATER in called.err
    assert LATEST in called.err


def test_a_run_that_was_refused_is_told_from_the_catalog(shell: Shell) -> None:
    assert 3 == shell("run", "on-demand").exit_code
    runs = shell("runs", "--json").json["runs"]
    assert isinstance(runs, list)
    (refused,) = [known for known in runs if known["outcome"] == "failed"]
    shown = shell("show", refused["run"])
    assert 0 == shown.exit_code
    assert "why: router was not backed up: PCI device" in read_words(shown.out)
    assert re.search(r"^Hint: +give it preset", shown.out, re.M)
    shape = shell("show", refused["run"], "--json").json["run"]
    story = shell("show", "web@latest", "--json").json["run"]
    assert isinstance(shape, dict)
    assert isinstance(story, dict)
    assert list(story) == list(shape)
    assert ("router", "failed", []) == (shape["domain"], shape["outcome"], shape["entries"])


def test_what_nothing_bears_is_still_a_slip(shell: Shell) -> None:
    for name in ("20501122T023000Z-aaaaaa", "", " "):
        assert 2 == shell("show", name).exit_code


def test_a_reason_is_told_until_something_came_after_it() -> None:
    later = replace(FAILED, round=LATEST, ended_at=NIGHT + timedelta(days=1))
    own = KnownRun(run="b", round=LATER, job="nightly", outcome="ok", at=NIGHT + timedelta(hours=1))
    other = replace(own, round="another")
    assert (FAILED,) == list_last_failures((FAILED,), ())
    assert (FAILED,) == list_last_failures((FAILED,), (own,))
    assert (FAILED,) == list_last_failures((FAILED,), (replace(other, job="weekly"),))
    assert (FAILED,) == list_last_failures((FAILED,), (replace(other, at=NIGHT),))
    assert () == list_last_failures((FAILED,), (other,))
    assert (later,) == list_last_failures((FAILED, later), ())
    assert () == list_last_failures((FAILED, replace(later, outcome=Outcome.CANCELLED)), ())
