"""The daemon's life: it starts, works on demand, is looked at, and stops clean."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
from pathlib import Path

import pytest

from tests.service.living import PATIENCE_SECONDS, DaemonHost, Strike, wait_for
from xenbackup.service.daemon import LOCK_FILE
from xenbackup.system.durable import FileLock, make_private_folder

INTERRUPTED = 130
LOCKED = 11


def test_run_is_done_by_the_daemon_and_shown_as_in_the_foreground(host: DaemonHost) -> None:
    host.start()
    called = host.call("run", "nightly")
    assert 0 == called.returncode, called.stderr
    assert "web: snapshot," in called.stderr
    assert "Job nightly: ok, 2 of 2 guests." in called.stdout
    assert ["ok", "ok"] == [entry.result.outcome.value for entry in host.list_runs()]
    assert [] == host.find_wrongs()


def test_json_stream_of_the_daemon_is_that_of_the_foreground(host: DaemonHost) -> None:
    alone = host.call("run", "on-demand", "--json")
    daemon = host.start()
    attached = host.call("run", "on-demand", "--json")
    assert 1 == len(daemon.find_events("round-asked-for"))

    def outline(text: str) -> list[tuple[object, list[str]]]:
        events = [json.loads(line) for line in text.splitlines()]
        return [(found["event"], sorted(found)) for found in events if found["event"] != "progress"]

    assert (alone.returncode, outline(alone.stdout)) == (
        attached.returncode,
        outline(attached.stdout),
    )


def test_unknown_job_and_unknown_guest_are_told_as_in_the_foreground(host: DaemonHost) -> None:
    alone = [host.call("run", "nigthly"), host.call("run", "nightly", "--domain", "wbe")]
    host.start()
    attached = [host.call("run", "nigthly"), host.call("run", "nightly", "--domain", "wbe")]
    assert [2, 2] == [called.returncode for called in attached]
    assert [called.stderr for called in alone] == [called.stderr for called in attached]


def test_second_daemon_is_refused_and_the_first_goes_on(host: DaemonHost) -> None:
    first = host.start()
    second = host.start(wait=False)
    assert LOCKED == second.wait_until_ended()
    assert "run the daemon" in second.log_path.read_text()
    assert first.process.poll() is None
    assert 0 == host.call("run", "on-demand").returncode


def test_daemon_that_systemd_starts_takes_over_once_a_killed_one_lets_go(
    host: DaemonHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel keeps what is left of a killed process for as long as one of its threads hangs."""
    state = make_private_folder(host.directory / "var/lib/xenbackup")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def wait_until_told(text: str) -> None:
            while text not in manager.recv(1 << 16).decode():
                pass

        with FileLock(state / LOCK_FILE, "run the daemon"):
            daemon = host.start(wait=False)
            wait_until_told("STATUS=Waiting for another daemon to end.")
            assert daemon.process.poll() is None
        wait_until_told("READY=1")
    assert 0 == daemon.stop()


def test_idle_daemon_stops_at_once_and_takes_its_socket_along(host: DaemonHost) -> None:
    daemon = host.start()
    assert daemon.socket_path.exists()
    assert 0 == daemon.stop()
    assert not daemon.socket_path.exists()
    assert [] == host.find_wrongs()


def test_status_shows_the_run_under_way_and_why_the_other_waits(host: DaemonHost) -> None:
    daemon = host.start(Strike(boundary="lvcreate:begin", holds=True))
    call = host.begin_call("run", "nightly")
    host.wait_until_reached()
    live = daemon.wait_until_one_waits()
    (active,) = live.active
    assert ("nightly", "snapshot", "demand") == (active.job, active.step, active.origin.value)
    assert active.run and active.away_since is not None
    (waiting,) = live.waiting
    assert "waits for the volume group xenvols: 1 of 1 run" == waiting.reason
    assert {active.domain, waiting.domain} == {"web", "thinny"}
    host.let_go()
    call.communicate()
    assert 0 == call.returncode
    assert () == daemon.read_status().active


def test_two_jobs_of_one_guest_take_turns(host: DaemonHost) -> None:
    daemon = host.start(Strike(boundary="lvcreate:begin", holds=True))
    first = host.begin_call("run", "on-demand")
    host.wait_until_reached()
    second = host.begin_call("run", "nightly", "--domain", "web")
    live = daemon.wait_until_one_waits()
    waiting = wait_for(
        lambda: [w for w in daemon.read_status().waiting if "being backed up" in w.reason]
    )
    assert f"guest web is being backed up by run {live.active[0].run}" == waiting[0].reason
    host.let_go()
    first.communicate()
    second.communicate()
    assert (0, 0) == (first.returncode, second.returncode)
    assert [] == host.find_wrongs()


def test_ctrl_c_only_stops_looking_and_cancel_stops_the_run(host: DaemonHost) -> None:
    daemon = host.start(Strike(boundary="lvcreate:begin", holds=True))
    call = host.begin_call("run", "on-demand")
    host.wait_until_reached()
    call.send_signal(signal.SIGINT)
    _, told = call.communicate()
    assert INTERRUPTED == call.returncode, (told, daemon.read_status().active)
    (active,) = daemon.read_status().active
    assert f"xenbackup cancel {active.round}" in " ".join(told.split())
    cancelled = host.call("cancel", active.run)
    assert 0 == cancelled.returncode, cancelled.stderr
    assert "is being cancelled" in cancelled.stderr
    host.let_go()
    ended = daemon.wait_for_event("round-ended")
    assert "cancelled" == ended["outcome"]
    assert f"cancelled by user {pwd.getpwuid(os.geteuid()).pw_name}" in " ".join(
        host.call("show", active.run).stdout.split()
    )
    assert [] == host.find_wrongs()


def test_whole_round_is_cancelled_by_its_id_with_what_waits(host: DaemonHost) -> None:
    daemon = host.start(Strike(boundary="lvcreate:begin", holds=True))
    call = host.begin_call("run", "nightly", "--json")
    host.wait_until_reached()
    live = daemon.wait_until_one_waits()
    assert 0 == host.call("cancel", live.active[0].round).returncode
    host.let_go()
    out, _ = call.communicate()
    result = json.loads(out.splitlines()[-1])
    assert (INTERRUPTED, "cancelled") == (call.returncode, result["outcome"])
    assert ["cancelled", "cancelled"] == [run["outcome"] for run in result["runs"]]
    assert [] == host.find_wrongs()


def test_a_guest_that_the_job_has_not_is_refused_at_once_as_in_the_foreground(
    host: DaemonHost,
) -> None:
    called = host.directory.parent / "called"
    hook = host.directory.parent / "hook"
    hook.write_text(f'#!/bin/sh\necho "$0 $XENBACKUP_OUTCOME" >> {called}\n')
    hook.chmod(0o755)
    host.write_job(
        "hooked",
        'domains = ["we*"]\npreset = "checkpoint"\ndestination = "local"\n'
        f'[hooks]\nbefore = ["{hook}"]\nafter = ["{hook}"]\nfailed = ["{hook}"]\n',
    )
    alone = [host.call("run", "hooked", "--domain", name) for name in ("wbe", "thinny", "weg")]
    daemon = host.start()
    served = [host.call("run", "hooked", "--domain", name) for name in ("wbe", "thinny", "weg")]
    assert [2, 2, 2] == [call.returncode for call in alone]
    assert [(call.returncode, call.stderr) for call in alone] == [
        (call.returncode, call.stderr) for call in served
    ]
    assert 'Job hooked has no guest "wbe" on this host.' in alone[0].stderr
    assert "did you mean `web`? Its guests are web" in " ".join(alone[0].stderr.split())
    assert not called.exists()
    assert [] == daemon.find_events("round-began")
    assert 0 == host.call("run", "hooked", "--domain", "web").returncode
    assert 2 == len(called.read_text().splitlines())


def test_cancel_of_nothing_is_a_usage_error(host: DaemonHost) -> None:
    host.start()
    called = host.call("cancel", "20261122")
    assert 2 == called.returncode
    assert "No run or round" in called.stderr


@pytest.mark.parametrize("verb", ["cancel", "reload"])
def test_without_a_daemon_it_says_that_there_is_none(host: DaemonHost, verb: str) -> None:
    called = host.call(verb, *(["x"] if verb == "cancel" else []))
    assert 1 == called.returncode
    assert "No daemon listens" in called.stderr
