"""Real daemons on a simulated host: started, watched, struck, and judged by what they leave.

    python -m tests.service.living DIR STRIKE

is the daemon with a `Strike` (as JSON): when the simulated host first comes to that boundary inside
a command, signals are sent to the daemon itself, or the command is held until a file appears. So
tests strike at a known moment, without sleeping for luck.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.house import build_house, find_wrongs
from tests.signals import no_signal_ignored
from xenbackup.dom0.host import Host
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import DaemonAbsent, DaemonGone, DaemonSilent
from xenbackup.model.live import LiveStatus
from xenbackup.model.status import decode_report
from xenbackup.records.catalog_rows import RunEntry
from xenbackup.service.control.client import ControlClient
from xenbackup.service.control.events import StatusTold
from xenbackup.service.control.protocol import StatusRequest

PATIENCE_SECONDS = 100.0
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Strike:
    """At the `nth` time at `boundary`: the file `reached` appears, `signals` are sent, and where
    `holds` the command goes on only when the file `go` is there.
    """

    boundary: str
    nth: int = 1
    signals: tuple[int, ...] = ()
    holds: bool = False


def wait_for(condition: Callable[[], T], what: object = "") -> T:
    """Look until the condition holds; returns what it gave. Fails after far too long a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {PATIENCE_SECONDS:.0f} s in vain for {what or condition}")
        time.sleep(0.02)


@dataclass
class LivingDaemon:
    """A daemon's process on the host in `directory`."""

    directory: Path
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def socket_path(self) -> Path:
        return self.directory / "run/xenbackup/control.sock"

    def read_log(self) -> list[dict[str, object]]:
        """Its events so far."""
        lines = self.log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def find_events(self, name: str, **fields: object) -> list[dict[str, object]]:
        return [
            event
            for event in self.read_log()
            if event["event"] == name and all(event.get(k) == v for k, v in fields.items())
        ]

    def wait_for_event(self, name: str, **fields: object) -> dict[str, object]:
        """Also fails at once when the daemon has ended without it."""

        def look() -> list[dict[str, object]]:
            ended = self.process.poll() is not None
            found = self.find_events(name, **fields)
            assert found or not ended, f"ended without {name}:\n{self.log_path.read_text()}"
            return found

        return wait_for(look, f"{name} {fields} in\n{self.log_path.read_text()}")[0]

    def read_status(self) -> LiveStatus:
        with ControlClient.connect(self.socket_path) as client:
            for event in client.request(StatusRequest()):
                if isinstance(event, StatusTold):
                    live = decode_report(bytes(event.status)).live
                    assert live is not None
                    return live
        raise AssertionError("no status was told")

    def wait_until_ended(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def wait_until_one_waits(self) -> LiveStatus:
        """The status when a run waits for its turn."""
        found: list[LiveStatus] = []

        def look() -> bool:
            found[:] = [self.read_status()]
            return any(waiting.domain for waiting in found[0].waiting)

        wait_for(look, "a run that waits")
        return found[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait_until_ended()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class DaemonHost:
    """A test's simulated host, with its daemons, calls of the command line, and its judgement."""

    directory: Path
    daemons: list[LivingDaemon] = field(default_factory=list)

    @property
    def host(self) -> SimulatedHost:
        return SimulatedHost(self.directory)

    def start(self, strike: Strike | None = None, *, wait: bool = True) -> LivingDaemon:
        """A daemon; by default when it is ready."""
        log_path = self.directory.parent / f"daemon-{len(self.daemons)}.log"
        if strike is None:
            argv = ["-m", "xenbackup", "--simulated", str(self.directory), "daemon"]
        else:
            argv = ["-m", "tests.service.living", str(self.directory), json.dumps(asdict(strike))]
        with log_path.open("wb") as log:
            process = subprocess.Popen([sys.executable, *argv], stdout=log, stderr=log)
        daemon = LivingDaemon(directory=self.directory, process=process, log_path=log_path)
        self.daemons.append(daemon)
        if wait:
            daemon.wait_for_event("daemon-ready")
        return daemon

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command line, in a process of its own."""
        argv = [sys.executable, "-m", "xenbackup", "--simulated", str(self.directory), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)

    def begin_call(self, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "xenbackup", "--simulated", str(self.directory), *words]
        with no_signal_ignored():
            return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def advance(self, seconds: float) -> None:
        self.host.sleep(seconds)

    def write_job(self, name: str, text: str) -> Path:
        path = self.directory / "etc/xenbackup/jobs" / f"{name}.toml"
        put_file(path, text)
        return path

    @property
    def reached(self) -> Path:
        return self.directory.parent / "reached"

    def wait_until_reached(self) -> None:
        wait_for(self.reached.exists, "the strike's boundary")

    def let_go(self) -> None:
        (self.directory.parent / "go").touch()

    def list_runs(self) -> tuple[RunEntry, ...]:
        """What the catalog knows, the oldest first."""
        return build_house(self.host).catalog.list_runs(1000)[::-1]

    def find_wrongs(self) -> list[str]:
        """Every promise that is broken on this host now."""
        house = build_house(self.host)
        left = [f"round {path.name} is left" for path in (house.state_folder / "rounds").glob("*")]
        return [*find_wrongs(house, "web"), *find_wrongs(house, "thinny"), *left]

    def close(self) -> None:
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()


def put_file(path: Path, text: str) -> None:
    """Whole at once: the daemon looks at any moment."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    aside.chmod(0o600)
    aside.rename(path)


def can_connect(path: Path) -> bool:
    with suppress(DaemonAbsent, DaemonSilent, DaemonGone), ControlClient.connect(path):
        return True
    return False


class _Striker:
    """Inside the daemon's own process."""

    def __init__(self, directory: Path, strike: Strike) -> None:
        self._folder = directory.parent
        self._strike = strike
        self._left = strike.nth
        self._lock = threading.Lock()
        self.noted = threading.Event()

    def look(self, boundary: str) -> None:
        with self._lock:
            if boundary != self._strike.boundary or self._left == 0:
                return
            self._left -= 1
            if self._left:
                return
        (self._folder / "reached").touch()
        for number in self._strike.signals:
            os.kill(os.getpid(), number)
        if self._strike.signals:
            assert self.noted.wait(PATIENCE_SECONDS)
        for _ in self._wait_for_go():
            time.sleep(0.01)

    def _wait_for_go(self) -> Iterator[None]:
        while self._strike.holds and not (self._folder / "go").exists():
            yield


def live_with_strike(directory: Path, strike: Strike) -> int:
    from xenbackup import bootstrap
    from xenbackup.cli.main import main
    from xenbackup.service.daemon import Daemon

    striker = _Striker(directory, strike)
    note_stop = Daemon._note_stop

    def note(self: Daemon, number: int, frame: object) -> None:
        note_stop(self, number, None)
        striker.noted.set()

    Daemon._note_stop = note  # type: ignore[method-assign]

    def open_host(simulated: Path | None) -> Host:
        return SimulatedHost(directory, on_boundary=striker.look)

    bootstrap.open_host = open_host
    return main(["--simulated", str(directory), "daemon"])


if __name__ == "__main__":
    document = json.loads(sys.argv[2])
    document["signals"] = tuple(document["signals"])
    sys.exit(live_with_strike(Path(sys.argv[1]), Strike(**document)))
