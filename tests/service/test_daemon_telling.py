"""What living daemons tell, across their deaths: every night once, and no storm of messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.service.living import DaemonHost, wait_for
from tests.unit.web_servers import WebServer, serve

HOUR = 3600.0


@contextmanager
def listen(host: DaemonHost) -> Iterator[WebServer]:
    """A server that the host's daemons tell by webhook and ping."""
    with serve() as server:
        path = host.directory / "etc/xenbackup/config.toml"
        ways = (("webhook", "hook"), ("ping", "ping"))
        told = "".join(f'[notify.{way}]\nurl = "{server.url}/{end}"\n' for way, end in ways)
        path.write_text(path.read_text() + told)
        yield server


def list_subjects(server: WebServer) -> list[str]:
    return [json.loads(call.body)["text"] for call in server.calls if call.path == "/hook"]


def test_failed_night_is_told_by_the_next_daemon_when_one_is_killed_before_it_could(
    host: DaemonHost,
) -> None:
    with listen(host) as server:
        job = host.directory / "etc/xenbackup/jobs/nightly.toml"
        job.write_text(job.read_text() + "retries = 0\n")
        backup = host.directory / "srv/backup"
        backup.rename(host.directory / "srv/away")
        daemon = host.start()
        host.advance(3 * HOUR)
        daemon.wait_for_event("round-ended")
        # Sent by a thread of its own: a kill could come before it.
        wait_for(lambda: "/ping/start" in server.paths())
        daemon.kill()
        again = host.start()
        assert 0 == again.stop()
        assert 1 == len(list_subjects(server))
        assert list_subjects(server)[0].startswith("FAILED: 2 of 2 guests")
        assert ["/ping/start", "/ping/fail"] == [p for p in server.paths() if p != "/hook"]
        assert 0 == host.start().stop()
        assert 1 == len(list_subjects(server))


def test_daemon_that_cannot_start_tells_so_once_however_often_it_is_started(
    host: DaemonHost,
) -> None:
    with listen(host) as server:
        host.write_job("broken", "schedule = 12\n")
        run = host.directory / "run/xenbackup"
        run.parent.mkdir(parents=True, exist_ok=True)
        run.write_text("in the way of the socket's folder")
        for _ in range(3):
            assert 0 != host.start(wait=False).wait_until_ended()
        (subject,) = list_subjects(server)
        assert "The daemon cannot start" in subject
        assert ["/ping/fail"] == [path for path in server.paths() if path != "/hook"]
        (told,) = [json.loads(call.body) for call in server.calls if call.path == "/hook"]
        assert "broken.toml" in told["remarks"][-1]["text"]
        run.unlink()
        assert 0 == host.start().stop()
        assert "broken.toml" in list_subjects(server)[1]


def test_good_night_beside_a_reload_that_was_refused_is_a_good_night_to_the_switch(
    host: DaemonHost,
) -> None:
    """The old definitions stand, so that no job loses a night."""
    with listen(host) as server:
        daemon = host.start()
        host.write_job("broken", "schedule = 12\n")
        daemon.wait_for_event("reload-refused")
        host.advance(3 * HOUR)
        daemon.wait_for_event("round-ended")
        assert 0 == daemon.stop()
        pings = [path for path in server.paths() if path != "/hook"]
        assert "/ping" == pings[-1]
        assert "/ping/fail" not in pings
        wait_for(lambda: list_subjects(server))
