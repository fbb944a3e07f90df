"""Where the simulated host's commands run: inside the caller, or as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.simulated.hosts import make_host
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.dom0.simulated.administration import main
from xenbackup.dom0.simulated.children import CommandsMode, read_commands_mode
from xenbackup.dom0.simulated.processes import living_processes
from xenbackup.dom0.simulated.state import SimulatorFailed
from xenbackup.model.command import Command

RUN = "20261122T023000Z-k3f9qa"


def pids_of(host: SimulatedHost, run_id: str) -> set[int]:
    """The pids under which `xl pause` was seen at work by somebody else."""
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        other = SimulatedHost(host.directory)
        while not done.is_set():
            seen.update(process.pid for process in other.list_processes() if process.run_mark)
        other.close()

    host.set_fault(Fault(tool="xl", verb="pause", kind=FaultKind.SLOW, seconds=3.0))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        host.run(Command(argv=("xl", "pause", "web"), timeout_seconds=60.0, run_id=run_id))
    finally:
        done.set()
        watcher.join()
    return seen


@pytest.mark.parametrize(
    ("mode", "marked"),
    [(CommandsMode.INSIDE, False), (CommandsMode.ACTS, True), (CommandsMode.CHILDREN, True)],
)
def test_marked_command_is_a_process_where_the_host_says_so(
    tmp_path: Path, mode: CommandsMode, marked: bool
) -> None:
    directory = make_host(tmp_path).directory
    assert 0 == main([str(directory), "commands", mode])
    assert marked == bool(pids_of(SimulatedHost(directory), RUN))


def test_command_that_only_looks_is_none_where_acts_are(tmp_path: Path) -> None:
    """A tool that only exists as a function here cannot be started as a process there."""
    host = make_host(tmp_path)
    main([str(host.directory), "commands", "acts"])
    seen: list[str] = []
    looking = SimulatedHost(host.directory, on_boundary=seen.append)
    looking.run(Command(argv=("xl", "list"), timeout_seconds=60.0))
    assert ["xl-list:begin", "xl-list:end"] == seen
    looking.run(Command(argv=("xl", "pause", "web"), timeout_seconds=60.0, run_id=RUN))
    assert ["xl-list:begin", "xl-list:end"] == seen


def test_child_is_found_by_its_mark_from_its_first_moment_on(tmp_path: Path) -> None:
    """It waits for the host's lock, and has not said yet that it is there."""
    directory = make_host(tmp_path).directory
    main([str(directory), "commands", "acts"])
    host = SimulatedHost(directory)
    argv = [sys.executable, "-m", "xenbackup.dom0.simulated", str(directory), "xl", "pause", "web"]
    with host.machine() as machine:
        environment = {**os.environ, "XENBACKUP_RUN": RUN}
        child = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL)
        # The kernel lets go of the parent a moment before it has put down the child's words.
        while b"pause" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            pass
        found = [process for process in living_processes(machine) if process.run_mark]
    assert 0 == child.wait(60)
    assert [(child.pid, ["xl", "pause", "web"], RUN, True)] == [
        (process.pid, process.argv, process.run_mark, process.real) for process in found
    ]
    assert [] == [process for process in host.list_processes() if process.run_mark]


def test_mode_is_shown_and_anything_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_host(tmp_path).directory
    assert 0 == main([str(directory), "commands"])
    assert "inside\n" == capsys.readouterr().out
    assert 2 == main([str(directory), "commands", "elsewhere"])
    assert "`inside`, `acts` or `children`" in capsys.readouterr().err
    (directory / "host" / "commands").write_text("elsewhere\n")
    with pytest.raises(SimulatorFailed, match="'elsewhere'"):
        read_commands_mode(directory)


def test_an_explicit_wish_beats_what_the_host_says(tmp_path: Path) -> None:
    directory = make_host(tmp_path).directory
    main([str(directory), "commands", "children"])
    seen: list[str] = []
    host = SimulatedHost(directory, real_children=False, on_boundary=seen.append)
    host.run(Command(argv=("xl", "list"), timeout_seconds=60.0))
    assert ["xl-list:begin", "xl-list:end"] == seen
    assert CommandsMode.CHILDREN is read_commands_mode(directory)
