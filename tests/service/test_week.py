"""One week of an administrator's life, through the command line, reading `status` every morning."""

from __future__ import annotations

import json
import signal
from datetime import timedelta
from typing import Any

import pytest

from tests.service.conftest import CONFIGURATION, NIGHTLY
from tests.service.living import DaemonHost, LivingDaemon, Strike, wait_for
from xenbackup.dom0.simulated.administration import main as administrate

MARKER = "srv/backup/.xenbackup-destination"
ALL_GOOD = [("thinny", "nightly", "good"), ("web", "nightly", "good")]


class Week:
    """The host, its daemon of the moment, and what an administrator looks at."""

    def __init__(self, host: DaemonHost) -> None:
        self.host = host
        self.daemon = host.start()

    def call(self, *words: str, exit_code: int = 0) -> str:
        done = self.host.call(*words)
        assert exit_code == done.returncode, done.stdout + done.stderr
        return done.stdout

    def look(self) -> dict[str, Any]:
        """What `status --json` says; the page for a person keeps within its columns."""
        page = self.call("status")
        assert [] == [line for line in page.splitlines() if len(line) > 80]
        found: dict[str, Any] = json.loads(self.call("status", "--json"))
        return found

    def simulate(self, *words: str) -> None:
        assert 0 == administrate([str(self.host.directory), *words])

    def sleep_until(self, hour: int) -> None:
        """Until that hour comes by, today or tomorrow."""
        now = self.host.host.now()
        then = now.replace(hour=hour, minute=0, second=0, microsecond=0)
        if then <= now:
            then += timedelta(days=1)
        self.host.advance((then - now).total_seconds())

    def sleep_through(self, *, rounds: int = 1) -> None:
        """A night until seven, and as many rounds as end in it."""
        before = self.count_ended()
        self.sleep_until(7)
        wait_for(lambda: self.count_ended() >= before + rounds, "the night's round")

    def count_ended(self) -> int:
        events = ("round-ended", "round-failed")
        return sum(len(self.daemon.find_events(event)) for event in events)

    def start(self) -> LivingDaemon:
        self.daemon = self.host.start()
        return self.daemon

    def write(self, name: str, text: str) -> None:
        path = self.host.directory / "etc/xenbackup" / name
        path.write_text(text)
        path.chmod(0o600)

    def is_in_order(self) -> bool:
        return not self.host.find_wrongs()


def codes(report: dict[str, Any]) -> list[str]:
    return sorted({finding["code"] for finding in report["findings"]})


def verdicts(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["domain"], row["job"], row["verdict"]) for row in report["domains"]]


def last_round(report: dict[str, Any]) -> tuple[str, list[str]]:
    """Its outcome, and the guests that had runs."""
    told = report["rounds"][-1]
    return told["outcome"], sorted({run["domain"] for run in told["runs"]})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_week_is_told_as_it_was(host: DaemonHost) -> None:
    week = Week(host)
    live_a_good_night(week)
    live_a_night_without_a_daemon(week)
    live_through_changes_of_the_jobs(week)
    live_through_a_failing_save(week)
    live_without_a_destination(week)
    live_through_a_kill(week)
    live_with_a_veto(week)
    live_without_a_guest(week)
    assert 0 == week.daemon.stop()


def live_a_good_night(week: Week) -> None:
    week.sleep_through()
    report = week.look()
    assert ("ok", [], ALL_GOOD) == (report["level"], codes(report), verdicts(report))
    assert ("ok", ["thinny", "web"]) == last_round(report)
    assert ["nightly"] == [due["job"] for due in report["due"]]
    assert week.call("status", "--nagios").startswith("XENBACKUP OK - ")
    assert week.is_in_order()


def live_a_night_without_a_daemon(week: Week) -> None:
    assert 0 == week.daemon.stop()
    week.sleep_until(7)
    report = week.look()
    assert ("critical", None) == (report["level"], report["live"])
    assert ["daemon-absent", "guest-late"] == codes(report)
    assert "Next, if the daemon runs by then" in week.call("status")
    assert week.call("status", "--nagios", exit_code=2).startswith("XENBACKUP CRITICAL - ")
    daemon = week.start()
    wait_for(week.count_ended, "the night that is caught up")
    assert 0 == len(daemon.find_events("round-failed"))
    report = week.look()
    assert ("ok", ALL_GOOD, ("ok", ["thinny", "web"])) == (
        report["level"],
        verdicts(report),
        last_round(report),
    )
    assert week.is_in_order()


def live_through_changes_of_the_jobs(week: Week) -> None:
    broken = week.host.write_job("broken", 'domains = ["web"]\npreset = "snapshott"\n')
    week.call("reload", exit_code=2)
    report = week.look()
    assert ("warning", ["reload-refused"]) == (report["level"], codes(report))
    assert "did you mean `snapshot`?" in report["findings"][0]["hint"]
    assert ALL_GOOD == verdicts(report)
    broken.unlink()
    week.host.write_job("nightly", NIGHTLY.replace("30 2", "15 3"))
    week.call("reload")
    report = week.look()
    assert ("ok", True) == (report["level"], report["due"][0]["due_at"].endswith("T03:15:00Z"))
    week.call("run", "on-demand")
    week.call("pin", "web@latest")
    pruned = json.loads(week.call("prune", "--dry-run", "--json"))
    assert [True] == [point["pinned"] for point in pruned["points"] if point["job"] == "on-demand"]


def live_through_a_failing_save(week: Week) -> None:
    week.simulate("fault", "add", "xl", "fail", "--verb", "save", "--stderr", "no memory")
    week.sleep_through()
    week.simulate("fault", "clear")
    report = week.look()
    assert ("warning", ["guest-failing"]) == (report["level"], codes(report))
    assert {"failing"} == {verdict for *_, verdict in verdicts(report)}
    assert ("failed", ["thinny", "web"]) == last_round(report)
    assert week.is_in_order()
    week.call("run", "nightly")
    report = week.look()
    assert ("ok", ALL_GOOD) == (report["level"], verdicts(report))


def live_without_a_destination(week: Week) -> None:
    marker = week.host.directory / MARKER
    kept = marker.read_bytes()
    marker.unlink()
    week.sleep_until(7)
    wait_for(lambda: len(week.daemon.find_events("run-postponed")) >= 2, "both guests wait")
    report = week.look()
    assert "critical" == report["level"]
    assert "destination-unmarked" == report["findings"][0]["code"]
    assert {"thinny", "web"} == {waits["domain"] for waits in report["live"]["waiting"]}
    assert report["rounds"][-1]["under_way"]
    assert "failed for want of destination local" in " ".join(week.call("status").split())
    marker.write_bytes(kept)
    before = week.count_ended()
    week.host.advance(20 * 60)
    wait_for(lambda: week.count_ended() > before, "the second try")
    report = week.look()
    assert ("ok", ALL_GOOD, ("ok", ["thinny", "web"])) == (
        report["level"],
        verdicts(report),
        last_round(report),
    )
    assert not report["rounds"][-1]["under_way"]
    assert week.is_in_order()


def live_through_a_kill(week: Week) -> None:
    assert 0 == week.daemon.stop()
    week.daemon = week.host.start(Strike(boundary="xl-save:suspended", holds=True))
    week.sleep_until(7)
    week.host.wait_until_reached()
    week.daemon.process.send_signal(signal.SIGKILL)
    week.daemon.process.wait()
    week.host.let_go()
    report = week.look()
    assert "critical" == report["level"]
    assert {"daemon-absent", "run-unfinished"} <= set(codes(report))
    week.start()
    wait_for(week.count_ended, "the round that goes on")
    report = week.look()
    assert ("ok", ALL_GOOD) == (report["level"], verdicts(report))
    (told,) = report["rounds"][-1:]
    cut_off = [run["error"] for run in told["runs"] if run["outcome"] == "failed"]
    assert ["It was cut off in the middle, and recovery has undone what it had begun."] == cut_off
    assert "ok" == told["outcome"]
    assert week.is_in_order()


def live_with_a_veto(week: Week) -> None:
    week.write("config.toml", f'{CONFIGURATION}\n[hooks]\nbefore = ["/bin/false"]\n')
    week.call("reload")
    week.sleep_through()
    report = week.look()
    assert ("warning", ["round-failed"]) == (report["level"], codes(report))
    assert ("failed", []) == last_round(report)
    assert "/bin/false" in report["rounds"][-1]["error"]
    week.write("config.toml", f'{CONFIGURATION}\n[metrics]\ntextfile = "/proc/nowhere/x.prom"\n')
    week.call("reload")
    week.call("run", "nightly")
    wait_for(lambda: week.daemon.read_status().telling_problems, "the metrics' failure")
    report = week.look()
    assert ("warning", ["telling-failed"]) == (report["level"], codes(report))
    assert week.call("status", "--nagios", exit_code=1).startswith("XENBACKUP WARNING - telling")
    week.write("config.toml", CONFIGURATION)
    assert 0 == week.daemon.stop()
    week.start()


def live_without_a_guest(week: Week) -> None:
    week.simulate("xl", "destroy", "thinny")
    week.sleep_through()
    report = week.look()
    assert [("thinny", "nightly", "off"), ("web", "nightly", "good")] == verdicts(report)
    assert ("ok", ("ok", ["web"])) == (report["level"], last_round(report))
    assert "1 guest has a good point, as promised. 1 not due or shut off." in week.call("status")
