"""Regenerates every picture of the documents from real runs: a pty of 80 columns, drawn as SVG.

Each scene is a list of commands; they run one after the other on one simulated host, and what a
terminal of 80 columns would show at the end is drawn. Nothing is typed in by hand. Scenes with the
daemon come last, and it has lived through some nights before.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from xenbackup.dom0.simulated import SimulatedHost

COLUMNS = 80
HERE = Path(__file__).parent
XENBACKUP = Path(sys.executable).with_name("xenbackup")
SCENES: dict[str, list[list[str]]] = {
    "demo": [["demo"]],
    "night": [
        ["--simulated", "DIR", "plan", "nightly"],
        ["--simulated", "DIR", "run", "nightly"],
        ["--simulated", "DIR", "points"],
    ],
    "restore": [
        ["--simulated", "DIR", "show", "web@latest"],
        ["--simulated", "DIR", "verify", "web@latest"],
    ],
    "morning": [["--simulated", "DIR", "status"]],
}
NIGHTS = 4
MORNING_HOUR = 7
WITH_DAEMON = frozenset({"morning"})
PATIENCE_SECONDS = 120.0


def run_in_terminal(argv: list[str]) -> str:
    """Everything a command wrote to a terminal of 80 columns; it must succeed."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    pieces = []
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(leader)
    if process.wait() != 0:
        raise SystemExit(
            f"{' '.join(argv)}: exit {process.returncode}\n{b''.join(pieces).decode()}"
        )
    return b"".join(pieces).decode()


def settle_lines(text: str) -> str:
    """What stays on the screen: a line redrawn after a carriage return keeps its last drawing."""
    settled = []
    for line in text.replace("\r\n", "\n").split("\n"):
        drawn = re.split(r"\r|\x1b\[2K|\x1b\[K", line)
        kept = [part for part in drawn if part.strip()]
        if kept or len(drawn) == 1:
            settled.append(kept[-1] if kept else line)
    return "\n".join(settled)


def draw(name: str, text: str, folder: str) -> None:
    """Write NAME.svg; names of the temporary folder and of this machine give way to stable ones."""
    clean = settle_lines(text).replace(folder, "/tmp/xen-demo")
    # The page of `status` begins with the host's name, in bold.
    clean = clean.replace(f"\x1b[1m{os.uname().nodename}\x1b[0m", "\x1b[1mxen1\x1b[0m")
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(clean))
        console.save_svg(str(HERE / f"{name}.svg"), title="xenbackup", unique_id=f"xb-{name}")


@contextmanager
def live_with_daemon(folder: str) -> Iterator[None]:
    """A daemon that runs meanwhile, after some nights have passed."""
    argv = [str(XENBACKUP), "--simulated", folder, "daemon"]
    with Path(os.devnull).open("w") as nowhere:
        daemon = subprocess.Popen(argv, stdout=nowhere, stderr=nowhere)
    try:
        wait_until(folder, lambda status: status["live"] is not None)
        for _ in range(NIGHTS):
            pass_night(folder)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def pass_night(folder: str) -> None:
    """The schedule's time comes by, its round ends, and then it is morning."""
    host = SimulatedHost(Path(folder))
    night = host.now().replace(hour=2, minute=30, second=0, microsecond=0)
    night += timedelta(days=1) if night <= host.now() else timedelta()
    host.sleep((night - host.now()).total_seconds())
    wait_until(folder, lambda status: has_run_since(status, night))
    morning = night.replace(hour=MORNING_HOUR, minute=0)
    host.sleep((morning - host.now()).total_seconds())


def has_run_since(status: dict[str, Any], night: datetime) -> bool:
    since = f"{night:%Y-%m-%dT%H:%M:%SZ}"
    live, rounds = status["live"], status["rounds"]
    busy = live is None or live["active"] or live["waiting"]
    return not busy and any(told["began_at"] >= since for told in rounds)


def wait_until(folder: str, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Until the daemon's status is so; gives up after far too long a while."""
    argv = [str(XENBACKUP), "--simulated", folder, "status", "--json"]
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition(json.loads(subprocess.check_output(argv))):
        if time.monotonic() > until:
            raise SystemExit("the daemon did not do its night's work")
        time.sleep(0.2)


def main() -> None:
    wanted = sys.argv[1:] or list(SCENES)
    with tempfile.TemporaryDirectory(prefix="xenbackup-pictures-") as parent:
        folder = f"{parent}/host"
        run_in_terminal([str(XENBACKUP), "demo", "--directory", folder])
        for name in (name for name in wanted if name not in WITH_DAEMON):
            draw_scene(name, folder)
        late = [name for name in wanted if name in WITH_DAEMON]
        with live_with_daemon(folder) if late else nullcontext():
            for name in late:
                draw_scene(name, folder)


def draw_scene(name: str, folder: str) -> None:
    shown = []
    for arguments in SCENES[name]:
        spelled = [folder if part == "DIR" else part for part in arguments]
        shown.append(f"\x1b[1m# xenbackup {' '.join(spelled)}\x1b[0m\n")
        shown.append(run_in_terminal([str(XENBACKUP), *spelled]))
    draw(name, "".join(shown), folder)


if __name__ == "__main__":
    main()
