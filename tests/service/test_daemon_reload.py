"""Reload: all or nothing, said aloud; new files are found without being asked."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from datetime import timedelta

from tests.house import build_house
from tests.service.conftest import NIGHTLY, ON_DEMAND
from tests.service.living import DaemonHost, LivingDaemon, Strike, put_file, wait_for
from xenbackup.records.accepted_rounds import AcceptedRound, RoundFolder

HOUR = 3600.0
ROUND = "20261123T023000Z-abcdef"
BROKEN = ON_DEMAND.replace("checkpoint", "chekpoint")


def list_jobs(daemon: LivingDaemon) -> list[str]:
    loaded = [*daemon.find_events("daemon-ready"), *daemon.find_events("configuration-loaded")]
    jobs = loaded[-1]["jobs"]
    assert isinstance(jobs, list)
    return jobs


def test_new_job_is_found_by_itself_and_runs_when_it_is_due(host: DaemonHost) -> None:
    daemon = host.start()
    host.write_job("hourly", NIGHTLY.replace("30 2 * * *", "0 * * * *"))
    wait_for(lambda: "hourly" in list_jobs(daemon))
    wait_for(lambda: [due for due in daemon.read_status().due if due.job == "hourly"])
    host.advance(HOUR)
    assert "hourly" == daemon.wait_for_event("round-ended")["job"]


def test_one_broken_file_keeps_everything_and_says_so(host: DaemonHost) -> None:
    daemon = host.start()
    path = host.write_job("broken", BROKEN)
    host.write_job("good", ON_DEMAND)
    reloaded = host.call("reload")
    assert 2 == reloaded.returncode
    assert "chekpoint" in reloaded.stderr
    live = daemon.read_status()
    assert 1 == len(live.configuration_problems)
    assert "broken.toml" in live.configuration_problems[0]
    assert 2 == host.call("run", "good").returncode, "the job came with a broken reload"
    assert 0 == host.call("run", "on-demand").returncode
    path.unlink()
    assert 0 == host.call("reload").returncode
    assert () == daemon.read_status().configuration_problems
    assert 0 == host.call("run", "good").returncode


def test_hangup_reloads(host: DaemonHost) -> None:
    daemon = host.start()
    host.write_job("another", ON_DEMAND)
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "another" in list_jobs(daemon))


def test_broken_file_at_the_start_is_told_and_the_good_jobs_run(host: DaemonHost) -> None:
    host.write_job("broken", BROKEN)
    daemon = host.start()
    assert "broken.toml" in daemon.read_status().configuration_problems[0]
    assert 0 == host.call("run", "on-demand").returncode


def test_round_that_waits_for_its_job_to_be_mended_goes_on_then(host: DaemonHost) -> None:
    """An earlier daemon had accepted it; the file was broken before the next one began."""
    house = build_house(host.host)
    path = host.directory / "etc/xenbackup/jobs/nightly.toml"
    due_at = host.host.now() - timedelta(hours=1)
    RoundFolder(house.state_folder / "rounds").keep(
        AcceptedRound(round=ROUND, job="nightly", due_at=due_at)
    )
    good = path.read_text()
    path.write_text("this is no TOML\n")
    daemon = host.start()
    assert ROUND == daemon.wait_for_event("round-put-off")["round"]
    put_file(path, good)
    assert 0 == host.call("reload").returncode
    ended = daemon.wait_for_event("round-ended")
    assert ("nightly", ROUND) == (ended["job"], ended["round"])
    assert {"ok"} == {entry.result.outcome.value for entry in host.list_runs()}
    assert [] == host.find_wrongs()


def test_round_that_waits_for_the_folder_of_jobs_goes_on_then(host: DaemonHost) -> None:
    """Somebody's tool had it away for a moment, just as the daemon began."""
    house = build_house(host.host)
    folder = host.directory / "etc/xenbackup/jobs"
    RoundFolder(house.state_folder / "rounds").keep(
        AcceptedRound(round=ROUND, job="nightly", due_at=host.host.now() - timedelta(hours=1))
    )
    aside = folder.rename(folder.with_name("jobs.aside"))
    daemon = host.start()
    assert ROUND == daemon.wait_for_event("round-put-off")["round"]
    aside.rename(folder)
    assert 0 == host.call("reload").returncode
    ended = daemon.wait_for_event("round-ended")
    assert ("nightly", ROUND) == (ended["job"], ended["round"])
    assert [] == host.find_wrongs()


def test_broken_configuration_ends_the_start_as_a_usage_error(host: DaemonHost) -> None:
    (host.directory / "etc/xenbackup/config.toml").write_text("this is no TOML\n")
    daemon = host.start(wait=False)
    assert 2 == daemon.wait_until_ended()
    assert "Traceback" not in daemon.log_path.read_text()


def test_file_that_was_mended_by_its_mode_alone_is_taken_over(host: DaemonHost) -> None:
    daemon = host.start()
    path = host.write_job("shared", ON_DEMAND)
    path.chmod(0o666)
    daemon.wait_for_event("reload-refused")
    path.chmod(0o600)
    wait_for(lambda: () == daemon.read_status().configuration_problems)
    assert "shared" in list_jobs(daemon)


def test_reload_that_met_a_locked_catalog_is_tried_again_and_told_once(host: DaemonHost) -> None:
    """Nothing about the files changes when the lock goes."""
    daemon = host.start()
    catalog = build_house(host.host).catalog.path
    with closing(sqlite3.connect(catalog, isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")
        host.write_job("nightly-too", NIGHTLY)
        daemon.wait_for_event("reload-refused")
    wait_for(lambda: "nightly-too" in list_jobs(daemon))
    assert () == daemon.read_status().configuration_problems
    assert 1 == len(daemon.find_events("reload-refused"))


def test_run_under_way_keeps_the_definition_that_it_began_with(host: DaemonHost) -> None:
    daemon = host.start(Strike(boundary="lvcreate:begin", holds=True))
    call = host.begin_call("run", "on-demand")
    host.wait_until_reached()
    (host.directory / "etc/xenbackup/jobs/on-demand.toml").unlink()
    assert 0 == host.call("reload").returncode
    assert "on-demand" not in list_jobs(daemon)
    host.let_go()
    call.communicate()
    assert 0 == call.returncode
    assert 2 == host.call("run", "on-demand").returncode


def test_state_folder_cannot_change_under_a_running_daemon(host: DaemonHost) -> None:
    host.start()
    path = host.directory / "etc/xenbackup/config.toml"
    path.write_text('[state]\npath = "/var/lib/elsewhere"\n' + path.read_text())
    reloaded = host.call("reload")
    assert 2 == reloaded.returncode
    assert os.linesep not in reloaded.stdout
