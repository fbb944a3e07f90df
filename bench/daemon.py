"""What the daemon costs while it has nothing to do, and what a verb costs that it answers.

python -m bench.daemon      starts one on a simulated host of its own, with a real host's pace

It runs in an environment of its own that holds what a dom0 gets and no more: with rich there, which
only development needs, structlog would load it too, and the daemon would weigh 5 MiB more.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

IDLE_MIB = 48
WAKE_UPS_A_MINUTE = 1.0
VERB_MIB = 25
VERB_MILLISECONDS = 150
_MEASURED_SECONDS = float(os.environ.get("XENBACKUP_BENCH_SECONDS", "180"))
_SOURCE = Path(__file__).parents[1]
_SETTLE_SECONDS = 5.0
_CALLS = 7

_PACED = """
import sys
from datetime import UTC, datetime
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.service import daemon
daemon.SIMULATED_LOOK_SECONDS = daemon.LOOK_SECONDS
SimulatedHost.now = lambda host: datetime.now(UTC)
from xenbackup.cli.main import main
sys.exit(main())
"""
"""On a simulated host the daemon looks every second at a clock that stands still; here as on a real
one: every minute, at one that goes."""


def measure_daemon() -> Iterator[str]:
    """A line for each figure, with what it should be."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "host")
        python = make_environment(Path(folder, "environment"))
        call = [python, "-m", "xenbackup"]
        subprocess.run(
            [*call, "demo", "--directory", str(directory)], check=True, capture_output=True
        )
        log = Path(folder, "log")
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [python, "-c", _PACED, "--simulated", str(directory), "daemon"],
                stdout=stream,
                stderr=stream,
            )
        try:
            yield from _measure(process.pid, log, [*call, "--simulated", str(directory)])
        finally:
            process.terminate()
            process.wait()


def make_environment(folder: Path) -> str:
    """The Python of a new environment with the libraries of packaging/requirements.lock, and us."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    lock = _SOURCE / "packaging" / "requirements.lock"
    subprocess.run([*install, "--require-hashes", "--requirement", lock], check=True)
    (place,) = folder.glob("lib/python3*/site-packages")
    (place / "xenbackup.pth").write_text(f"{_SOURCE}\n")
    subprocess.run([python, "-m", "compileall", "-q", place], check=True)
    return python


def _measure(pid: int, log: Path, call: list[str]) -> Iterator[str]:
    while b'"daemon-ready"' not in log.read_bytes():
        time.sleep(0.1)
    time.sleep(_SETTLE_SECONDS)
    before = count_wake_ups(pid)
    time.sleep(_MEASURED_SECONDS)
    wake_ups = (count_wake_ups(pid) - before) * 60 / _MEASURED_SECONDS
    yield judge("idle daemon, resident", read_resident_mib(pid), IDLE_MIB, "MiB")
    yield judge("idle daemon, wake-ups a minute", wake_ups, WAKE_UPS_A_MINUTE, "")
    figures = [measure_verb([*call, "status"]) for _ in range(_CALLS)]
    milliseconds = statistics.median(figure[0] for figure in figures)
    peak = max(figure[1] for figure in figures)
    yield judge("`status` of the daemon, first output", milliseconds, VERB_MILLISECONDS, "ms")
    yield judge("`status` of the daemon, peak", peak, VERB_MIB, "MiB")
    yield judge("daemon after that, resident", read_resident_mib(pid), IDLE_MIB, "MiB")


def judge(what: str, found: float, bound: float, unit: str) -> str:
    verdict = "within" if found <= bound else "NOT within"
    return f"{what}: {found:.1f} {unit}, {verdict} {bound:g}".replace("  ", " ").replace(" ,", ",")


def read_resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no VmRSS")


def count_wake_ups(pid: int) -> int:
    """Voluntary context switches of all threads: how often one went to sleep again."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def measure_verb(argv: list[str]) -> tuple[float, float]:
    """Milliseconds to the first byte of output, and the peak in MiB."""
    code = (
        "import json, os, subprocess, sys, time\n"
        "began = time.monotonic()\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
        "os.read(child.stdout.fileno(), 1)\n"
        "first = time.monotonic() - began\n"
        "child.stdout.read()\n"
        "_, _, usage = os.wait4(child.pid, 0)\n"
        "print(json.dumps([first * 1000, usage.ru_maxrss / 1024]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], check=True, capture_output=True)
    first, peak = json.loads(done.stdout)
    return float(first), float(peak)


if __name__ == "__main__":
    for line in measure_daemon():
        print(line, flush=True)
