"""`xenbackup status`: gathered here or told by a daemon; for a person and for a program."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.unit.cli.conftest import Called, Shell
from tests.unit.cli.status_server import serve
from tests.unit.status_reports import (
    make_bad_morning,
    make_domain,
    make_report,
    make_round,
    make_run,
)
from tests.unit.test_probing import HangingStatvfs
from xenbackup.cli import status_telling
from xenbackup.cli.status_telling import shape_status
from xenbackup.dom0.simulated.administration import main as administrate
from xenbackup.errors import DaemonGone
from xenbackup.model.run import Outcome
from xenbackup.model.status import StatusReport
from xenbackup.operations import status
from xenbackup.operations.probing import Probe
from xenbackup.operations.status import RUNS_TOLD
from xenbackup.service.control.events import StatusTold
from xenbackup.service.control.peers import Peer
from xenbackup.service.control.protocol import AnyRequest
from xenbackup.service.control.server import ControlServer
from xenbackup.service.control.stream import Stream


def find(called: Called, key: str) -> list[dict[str, object]]:
    found = called.json[key]
    assert isinstance(found, list)
    return found


def list_verdicts(called: Called) -> list[tuple[object, object, object]]:
    return [(row["domain"], row["job"], row["verdict"]) for row in find(called, "domains")]


def list_codes(called: Called) -> list[object]:
    return [finding["code"] for finding in find(called, "findings")]


# Gathered without a daemon


def test_after_a_night_the_guests_are_good(shell: Shell) -> None:
    called = shell("status", "--json")
    assert 0 == called.exit_code
    assert [("router", "nightly", "good"), ("web", "nightly", "good")] == list_verdicts(called)
    assert ["daemon-absent"] == list_codes(called)


def age_jobs(shell: Shell, days: float) -> None:
    """Their files were written so long ago, by the clock of the host."""
    written = shell.host.now().timestamp() - days * 86400
    for path in (shell.directory / "etc/xenbackup/jobs").iterdir():
        os.utime(path, (written, written))


@pytest.mark.parametrize("days", [0.0, 0.2, -1.0], ids=["now", "since-midnight", "clock-behind"])
def test_job_that_is_new_promises_nothing_before_its_first_night(bare: Shell, days: float) -> None:
    age_jobs(bare, days)
    verdicts = list_verdicts(bare("status", "--json"))
    assert [("router", "nightly", "awaited"), ("web", "nightly", "awaited")] == verdicts


def test_job_that_no_daemon_ever_kept_does_not_stay_new(bare: Shell) -> None:
    age_jobs(bare, 0.0)
    assert 0 == administrate([str(bare.directory), "clock", "advance", "2d"])
    assert {"never"} == {verdict for *_, verdict in list_verdicts(bare("status", "--json"))}


def test_before_the_first_night_they_never_had_a_point(bare: Shell) -> None:
    age_jobs(bare, 9.0)
    called = bare("status", "--json")
    assert 0 == called.exit_code
    assert [("router", "nightly", "never"), ("web", "nightly", "never")] == list_verdicts(called)
    assert "destination-missing" in list_codes(called)


def test_a_missed_night_makes_them_late(shell: Shell) -> None:
    assert 0 == administrate([str(shell.directory), "clock", "advance", "3d"])
    assert {"late"} == {verdict for *_, verdict in list_verdicts(shell("status", "--json"))}


def test_a_guest_that_no_job_covers_is_unprotected(shell: Shell) -> None:
    for name in ("nightly", "on-demand"):
        path = shell.directory / f"etc/xenbackup/jobs/{name}.toml"
        path.write_text(path.read_text().replace('domains = ["*"]', 'domains = ["web"]'))
    assert ("router", "", "unprotected") in list_verdicts(shell("status", "--json"))


def test_the_page_tells_what_was_gathered(shell: Shell) -> None:
    called = shell("status")
    assert 0 == called.exit_code
    for part in (
        "Guests\n",
        "The last 24 hours\n",
        "Next, if the daemon",
        "Destinations\n",
        "2 ok",
    ):
        assert part in called.out
    assert "" == called.err


def test_a_broken_job_file_is_told_and_the_rest_too(shell: Shell) -> None:
    shell.write_job("weekly", "schedul = 1\n")
    called = shell("status", "--json")
    assert "job-broken" in list_codes(called)
    assert ["weekly"] == [found["job"] for found in find(called, "broken_jobs")]
    assert ("web", "nightly", "good") in list_verdicts(called)


def test_a_run_that_was_cut_off_is_told(shell: Shell) -> None:
    journals = shell.directory / "var/lib/xenbackup/journals"
    newest = max(journals.iterdir())
    whole = newest.read_bytes().splitlines(keepends=True)
    newest.write_bytes(b"".join(whole[:-1]))
    called = shell("status", "--json")
    assert ["cut off"] == [run["state"] for run in find(called, "open_runs")]
    assert "run-unfinished" in list_codes(called)


def test_a_run_at_work_is_no_trouble(shell: Shell) -> None:
    journals = shell.directory / "var/lib/xenbackup/journals"
    newest = max(journals.iterdir())
    whole = newest.read_bytes().splitlines(keepends=True)
    newest.write_bytes(b"".join(whole[:-1]))
    from xenbackup.bootstrap import open_house

    house = open_house(shell.host, None)
    locks = [
        house.lock_domain(identity, "test")
        for identity in ("7b6c97b9-bc1e-4273-8175-79ad2f3505e8", "router", "web")
    ]
    locks.append(house.lock_domain("5a1c0b7e-3f64-4c39-8d0b-2e6f7a9c4d21", "test"))
    for lock in locks:
        lock.acquire()
    try:
        called = shell("status", "--json")
    finally:
        for lock in locks:
            lock.release()
    assert ["at work"] == [run["state"] for run in find(called, "open_runs")]
    assert ["daemon-absent"] == list_codes(called)


def test_a_journal_that_cannot_be_read_is_told(shell: Shell) -> None:
    journals = shell.directory / "var/lib/xenbackup/journals"
    (journals / "20991122T023000Z-zzzzzz.jsonl").write_bytes(b"no journal\n")
    called = shell("status", "--json")
    assert ["unreadable"] == [run["state"] for run in find(called, "open_runs")]


def test_a_destination_that_hangs_keeps_nobody(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = HangingStatvfs(shell.directory / "srv/backup")
    monkeypatch.setattr(os, "statvfs", hanging)
    monkeypatch.setattr(status, "PROBE", Probe(deadline_seconds=0.2))
    try:
        called = shell("status", "--json")
    finally:
        hanging.released.set()
    assert ["silent"] == [place["state"] for place in find(called, "destinations")]
    assert "destination-silent" in list_codes(called)
    assert ("web", "nightly", "good") in list_verdicts(called)


def test_a_damaged_catalog_is_filled_again_at_once(shell: Shell) -> None:
    catalog = shell.directory / "var/lib/xenbackup/catalog.sqlite"
    catalog.write_bytes(b"this is no database at all" * 100)
    called = shell("status", "--json")
    assert [("router", "nightly", "good"), ("web", "nightly", "good")] == list_verdicts(called)
    assert "" == called.json["catalog_problem"]


def test_a_catalog_that_cannot_be_filled_makes_nobody_late(shell: Shell) -> None:
    (shell.directory / "var/lib/xenbackup/catalog.sqlite").write_bytes(b"no database" * 100)
    (shell.directory / "srv/backup").rename(shell.directory / "srv/away")
    called = shell("status", "--json")
    # What is not there holds no point: the catalog is as whole as it can be.
    assert "destination-missing" in list_codes(called)
    assert 0 == called.exit_code


def test_a_catalog_that_takes_too_long_to_fill_is_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    (shell.directory / "var/lib/xenbackup/catalog.sqlite").write_bytes(b"no database" * 100)
    monkeypatch.setattr(status, "list_points", lambda house: released.wait(60))
    monkeypatch.setattr(status, "PROBE", Probe(deadline_seconds=0.2))
    try:
        called = shell("status", "--json")
    finally:
        released.set()
    assert "catalog-incomplete" in list_codes(called)
    assert {"unknown"} == {verdict for *_, verdict in list_verdicts(called)}


def test_a_toolstack_that_does_not_answer_is_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xenbackup.dom0.xl import Xl
    from xenbackup.errors import CommandFailed

    def fail(self: Xl) -> None:
        raise CommandFailed("`xl list -l` failed.")

    monkeypatch.setattr(Xl, "list_domains", fail)
    called = shell("status", "--json")
    assert "guests-unlisted" in list_codes(called)
    assert ("web", "nightly", "good") in list_verdicts(called)


# Told by a daemon


def test_daemon_tells_how_hundreds_of_guests_are_that_five_jobs_failed_to_back_up(
    bare: Shell,
) -> None:
    """As on the morning after the file server was gone, which is when somebody looks."""
    morning = make_report()
    why = "x" * 400
    guests = [f"customer-{number:03}.example.net" for number in range(300)]
    failed = [
        make_run(guest, job=f"job-{job}", outcome=Outcome.FAILED, error=why, hint=why)
        for guest in guests
        for job in range(5)
    ]
    domains = tuple(make_domain(run.domain, job=run.job, last_run=run) for run in failed)
    report = replace(morning, domains=domains, rounds=(make_round(*failed[:RUNS_TOLD]),))
    with serve(bare.directory, report):
        called = bare("status", "--json")
    assert len(domains) == len(find(called, "domains"))
    assert [] == [code for code in list_codes(called) if str(code).startswith("daemon")]


def test_a_daemon_that_runs_is_asked(bare: Shell) -> None:
    with serve(bare.directory, make_bad_morning()):
        called = bare("status", "--json")
    assert 0 == called.exit_code
    assert json.loads(json.dumps(shape_status(make_bad_morning()))) == called.json


def test_a_socket_that_nobody_serves_is_no_daemon(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shell.directory / "run/xenbackup/control.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(path.parent)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(path.name)  # its whole path may be longer than a socket's can be
    assert ["daemon-absent"] == list_codes(shell("status", "--json"))


def test_a_daemon_that_falls_silent_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> StatusReport:
        raise DaemonGone("The daemon ended the connection.")

    monkeypatch.setattr(status_telling, "ask_daemon", fail)
    called = shell("status", "--json")
    assert ["daemon-silent"] == list_codes(called)
    assert "The daemon ended the connection." == called.json["daemon_problem"]


def test_an_answer_that_is_no_report_is_refused(shell: Shell) -> None:
    def handle(request: AnyRequest, peer: Peer, stream: Stream) -> None:
        stream.send(StatusTold(status=msgspec.Raw(b'{"host": 7}')))
        stream.end(0)

    path = shell.directory / "run/xenbackup/control.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    server = ControlServer(path, handle=handle)
    server.start()
    try:
        called = shell("status", "--json")
    finally:
        server.stop()
    assert "cannot be read" in str(called.json["daemon_problem"])
    assert ("web", "nightly", "good") in list_verdicts(called)


HEAVY = ("sh", "sqlite3", "structlog", "apscheduler", "cronsim", "zoneinfo", "rich")


def test_what_the_daemon_answers_costs_no_heavy_import(bare: Shell) -> None:
    code = (
        "import sys; from xenbackup.cli.main import main; "
        f"main(['--simulated', {str(bare.directory)!r}, 'status']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    with serve(bare.directory, make_report()):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
        )
    assert "3 guests have a good point, as promised." in done.stdout
    assert "[]" == done.stdout.splitlines()[-1]


# For programs

KEYS = {
    "": (
        "broken_jobs catalog_problem daemon_problem destinations domains due findings "
        "gone guests_problem host level live now open_runs rounds runs_left_out schema "
        "since version"
    ),
    "findings": "code hint level message subject",
    "live": (
        "active configuration_problems due pid recovery since stopping telling_problems version "
        "waiting"
    ),
    "live.active": (
        "away_since began_at bytes_done bytes_per_second bytes_total cancelling domain "
        "job origin round run step what"
    ),
    "live.waiting": "domain job not_before origin reason round since",
    "domains": (
        "consistency destination domain job last_run level point point_at points "
        "promised_since running verdict"
    ),
    "rounds": "began_at ended_at error hint job outcome round runs under_way",
    "rounds.runs": (
        "away_seconds bytes_read bytes_written domain duration_seconds ended_at error "
        "hint job outcome point round run"
    ),
    "open_runs": "began_at domain job owes run state step",
    "due": "begins_at due_at job",
    "destinations": (
        "free_bytes full_in_days growth_bytes_per_day horizon_days kind name path points "
        "problem state stored_bytes total_bytes"
    ),
    "broken_jobs": "job path problems",
}


@pytest.mark.parametrize("place", sorted(KEYS))
def test_the_keys_are_a_promise(place: str) -> None:
    found: object = json.loads(json.dumps(shape_status(make_bad_morning())))
    for key in place.split(".") if place else ():
        assert isinstance(found, dict)
        found = found[key][0] if isinstance(found[key], list) else found[key]
    assert isinstance(found, dict)
    assert set(KEYS[place].split()) <= set(found)


def test_every_key_is_documented() -> None:
    document = (Path(__file__).parents[3] / "docs/operating.md").read_text(encoding="utf-8")
    table = document.split("### `status --json`")[1].split("\n### ")[0]
    told = {key for keys in KEYS.values() for key in keys.split()} - {"schema"}
    assert [] == sorted(key for key in told if f"`{key}`" not in table)


def test_times_are_in_utc_to_the_second() -> None:
    shape = shape_status(make_report())
    assert ("2026-11-22T07:30:00Z", "2026-11-21T07:30:00Z") == (shape["now"], shape["since"])


def test_without_a_configuration_a_person_hears_why(bare: Shell) -> None:
    (bare.directory / "etc/xenbackup/config.toml").unlink()
    called = bare("status")
    assert 2 == called.exit_code
    assert "config.toml" in called.err
    assert "Traceback" not in called.err
