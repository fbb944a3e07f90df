"""Who runs and who holds what: monitors of xl, real children, open volumes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from xenbackup.dom0.simulated.children import CommandsMode, read_child_argv, read_commands_mode
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import Opener, SimulatedProcess, Volume
from xenbackup.dom0.simulated.xl_power import handle_shutdown


def read_start_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat, -1 when there is no such process (or it is a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return -1
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] == "Z" else int(fields[19])


def is_volume_open(machine: Machine, volume: Volume) -> bool:
    """Does a guest's back-end or a living process hold the volume's device open?"""
    for domain in machine.state.domains:
        for vbd in domain.vbds:
            if vbd.backend in (2, 4) and machine.resolve_volume(vbd.target) is volume:
                return True
    return any(
        opener.volume == volume.uuid and is_opener_alive(opener) for opener in machine.state.openers
    )


def is_opener_alive(opener: Opener) -> bool:
    return read_start_ticks(opener.pid) == opener.start_ticks


def register_opener(machine: Machine, volume: Volume) -> int:
    """Note that this process holds the volume open; returns the token to release it with."""
    state = machine.state
    state.openers = [opener for opener in state.openers if is_opener_alive(opener)]
    token = state.next_token
    state.next_token += 1
    pid = os.getpid()
    state.openers.append(
        Opener(token=token, volume=volume.uuid, pid=pid, start_ticks=read_start_ticks(pid))
    )
    return token


def release_opener(machine: Machine, token: int) -> None:
    state = machine.state
    state.openers = [opener for opener in state.openers if opener.token != token]


def register_child(machine: Machine, argv: list[str]) -> None:
    """This real process runs a tool: recovery must be able to find it by its mark."""
    pid = os.getpid()
    machine.state.processes.append(
        SimulatedProcess(
            pid=pid,
            start_ticks=read_start_ticks(pid),
            argv=argv,
            run_mark=os.environ.get("XENBACKUP_RUN", ""),
            real=True,
        )
    )


def release_child(machine: Machine) -> None:
    machine.state.processes = [
        process
        for process in machine.state.processes
        if not (process.real and process.pid == os.getpid())
    ]


def living_processes(machine: Machine) -> list[SimulatedProcess]:
    """Simulated monitors, and the real children that still live."""
    listed = [
        process
        for process in machine.state.processes
        if not process.real or read_start_ticks(process.pid) == process.start_ticks
    ]
    return listed + _find_starting_children(machine, {process.pid for process in listed})


def _find_starting_children(machine: Machine, listed: set[int]) -> list[SimulatedProcess]:
    """Real children that have begun and not yet entered themselves in the list.

    A real tool carries its mark from its first moment on, and whoever looks for survivors finds it.
    """
    directory = machine.store.directory
    if read_commands_mode(directory) is CommandsMode.INSIDE:
        return []
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            argv = read_child_argv(directory, (folder / "cmdline").read_bytes())
            if argv and int(folder.name) not in listed | {os.getpid()}:
                children.append(_describe_child(folder, argv))
    return children


def _describe_child(folder: Path, argv: list[str]) -> SimulatedProcess:
    """Raises: OSError when it has ended."""
    entries = (entry.partition(b"=") for entry in (folder / "environ").read_bytes().split(b"\0"))
    mark = next((value for name, _, value in entries if name == b"XENBACKUP_RUN"), b"")
    pid = int(folder.name)
    return SimulatedProcess(
        pid=pid,
        start_ticks=read_start_ticks(pid),
        argv=argv,
        run_mark=os.fsdecode(mark),
        real=True,
    )


def signal_simulated(machine: Machine, pid: int, start_ticks: int, number: int) -> bool:
    """Send a signal to exactly this process; False when it is gone."""
    process = next(
        (p for p in living_processes(machine) if (p.pid, p.start_ticks) == (pid, start_ticks)),
        None,
    )
    if process is None:
        return False
    if process.real:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True
    if number == signal.SIGSTOP:
        process.stopped = True
    elif number == signal.SIGCONT:
        process.stopped = False
        _look_again(machine, process)
    elif number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP):
        # A stopped process takes only SIGKILL at once; the others wait for SIGCONT. Few care.
        machine.state.processes.remove(process)
    return True


def _look_again(machine: Machine, process: SimulatedProcess) -> None:
    """A monitor that was stopped now sees what became of its domain."""
    domain = machine.state.find_domain(process.domid)
    if domain is None:
        machine.state.processes.remove(process)
    elif domain.shutdown == "suspend":
        machine.notice_shutdown(domain)
    elif domain.shutdown:
        handle_shutdown(machine, domain, process)
