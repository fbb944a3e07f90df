"""The simulated host's command line: tools, and what only a simulation has (oracle, clock, faults).

DIR TOOL ARGS…                 a tool of the host (xl, lvs, lvcreate, …)
DIR oracle                     every corruption that guests found; exit 1 if any
DIR clock [advance|step TIME]  show the clock; let time pass; let the wall clock jump
DIR guest NAME ACT             reboot, poweroff, crash, obeys, ignores, acknowledges, cannot
DIR guest NAME scratch BYTES   how much it writes a round beside its count
DIR fault add TOOL KIND …      --verb --nth --times --exit-code --stdout --stderr --seconds
                               --boundary --size-bytes --offset --containing
DIR fault list|clear
DIR commands [MODE]            inside, acts or children: which commands are processes of their own
DIR synced PATH                this saved file would outlive a power cut
DIR reboot-host                a power cut: guests gone, a new boot
DIR xendomains start|stop      the host's service: restore and start guests, or save them
DIR create [demo]              make a host in DIR: one guest, or the demo's three
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from xenbackup.dom0.simulated.building import build_demo_host, create_host
from xenbackup.dom0.simulated.children import (
    CommandsMode,
    read_commands_mode,
    write_commands_mode,
)
from xenbackup.dom0.simulated.execute import TOOLS, Circumstances, execute
from xenbackup.dom0.simulated.faults import Fault, read_faults
from xenbackup.dom0.simulated.host import SimulatedHost
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.simulated.processes import register_child, release_child
from xenbackup.dom0.simulated.state import NANOSECONDS, SimulatorFailed
from xenbackup.dom0.simulated.store import Store
from xenbackup.dom0.simulated.xendomains import start_domains, stop_domains
from xenbackup.dom0.simulated.xl_power import end_guest
from xenbackup.errors import XenbackupError

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_ENDINGS = {"reboot": "reboot", "poweroff": "poweroff", "crash": "crash"}
_MANNERS = ("obeys", "ignores", "acknowledges", "cannot")


def main(words: Sequence[str]) -> int:
    """Exit code of a call; a message instead of a traceback."""
    if len(words) < 2:
        sys.stderr.write(__doc__ or "")
        return 2
    directory, verb, rest = Path(words[0]).absolute(), words[1], list(words[2:])
    try:
        if verb.rpartition("/")[2] in TOOLS:
            return _run_tool(directory, [verb, *rest])
        own = {
            "oracle": _oracle,
            "clock": _clock,
            "guest": _guest,
            "fault": _fault,
            "commands": _commands,
            "synced": _synced,
            "reboot-host": _reboot_host,
            "xendomains": _xendomains,
            "create": _create,
        }.get(verb)
        if own is None:
            sys.stderr.write(f"{verb}: command not found on the simulated host\n")
            return 127
        return own(directory, rest)
    except XenbackupError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _run_tool(directory: Path, argv: list[str]) -> int:
    store = Store(directory)
    host = SimulatedHost(directory)
    with host.machine() as machine:
        register_child(machine, argv)
        machine.commit()
    try:
        result = execute(
            store,
            {},
            argv,
            Circumstances(
                environment=os.environ,
                on_stdout=Writer(sys.stdout.fileno()),
                on_stderr=Writer(sys.stderr.fileno()),
                real_child=True,
                umask=0,  # open(2) applies this process's own
            ),
        )
    finally:
        with host.machine() as machine:
            release_child(machine)
            machine.commit()
    return result.exit_code


class Writer:
    """Text straight to a descriptor: what was printed before a kill has been printed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, text: str) -> None:
        content = memoryview(text.encode("utf-8", "surrogateescape"))
        while content:
            content = content[os.write(self._fd, content) :]


def _oracle(directory: Path, rest: list[str]) -> int:
    report = read_oracle(SimulatedHost(directory))
    sys.stdout.write(report.text)
    return 1 if report.corruptions else 0


def _clock(directory: Path, rest: list[str]) -> int:
    host = SimulatedHost(directory)
    if len(rest) == 2 and rest[0] == "advance":
        host.sleep(parse_duration(rest[1]))
    elif len(rest) == 2 and rest[0] == "step":
        sign = -1 if rest[1].startswith("-") else 1
        with host.machine() as machine:
            seconds = parse_duration(rest[1].lstrip("+-"))
            machine.state.wall_offset_ns += sign * round(seconds * NANOSECONDS)
            machine.commit()
    elif rest:
        raise SimulatorFailed("clock takes nothing, `advance TIME` or `step TIME`.")
    sys.stdout.write(f"{host.now():%Y-%m-%dT%H:%M:%SZ}\n")
    return 0


def parse_duration(text: str) -> float:
    """Seconds of `90`, `250ms`, `30m`, `1d`. Raises: SimulatorFailed."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise SimulatorFailed(f"{text!r} is no duration.", hint="write 250ms, 30s, 5m, 2h, 1d")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def _guest(directory: Path, rest: list[str]) -> int:
    if len(rest) < 2:
        raise SimulatorFailed("guest needs a name and an act.")
    name, act = rest[0], rest[1]
    with SimulatedHost(directory).machine() as machine:
        domain = next((d for d in machine.state.domains if d.name == name), None)
        if act in _MANNERS:
            machine.state.program_of(name).suspend = act
        elif act == "scratch" and len(rest) == 3 and rest[2].isdigit():
            machine.state.program_of(name).scratch_bytes = int(rest[2])
            if domain is not None and domain.ram is not None:
                domain.ram.scratch_bytes = int(rest[2])
        elif act in _ENDINGS:
            if domain is None or not domain.executing:
                raise SimulatorFailed(f"{name} is not running.")
            end_guest(machine, domain, _ENDINGS[act])
        else:
            raise SimulatorFailed(f"A guest cannot {act!r}.")
        machine.commit()
    return 0


def _fault(directory: Path, rest: list[str]) -> int:
    host = SimulatedHost(directory)
    if rest == ["clear"]:
        host.clear_faults()
    elif rest == ["list"]:
        for fault in read_faults(directory):
            sys.stdout.write(msgspec.json.encode(fault).decode() + "\n")
    elif len(rest) >= 3 and rest[0] == "add":
        host.set_fault(parse_fault(rest[1:]))
    else:
        raise SimulatorFailed("fault takes `list`, `clear` or `add TOOL KIND [--option value …]`.")
    return 0


def parse_fault(words: list[str]) -> Fault:
    """`TOOL KIND --option value …`. Raises: SimulatorFailed naming what does not fit."""
    fields: dict[str, str] = {"tool": words[0], "kind": words[1]}
    options = iter(words[2:])
    for option in options:
        value = next(options, None)
        if not option.startswith("--") or value is None:
            raise SimulatorFailed(f"{option} needs a value.")
        fields[option[2:].replace("-", "_")] = value
    try:
        return msgspec.convert(fields, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise SimulatorFailed(f"This is no fault: {error}.") from error


def _commands(directory: Path, rest: list[str]) -> int:
    if len(rest) == 1 and rest[0] in tuple(CommandsMode):
        write_commands_mode(directory, CommandsMode(rest[0]))
    elif rest:
        raise SimulatorFailed("commands takes nothing, `inside`, `acts` or `children`.")
    sys.stdout.write(f"{read_commands_mode(directory)}\n")
    return 0


def _synced(directory: Path, rest: list[str]) -> int:
    host = SimulatedHost(directory)
    for path in rest:
        host.mark_synced(path)
    return 0


def _reboot_host(directory: Path, rest: list[str]) -> int:
    for path in SimulatedHost(directory).cut_power():
        sys.stdout.write(f"lost {path}\n")
    return 0


def _xendomains(directory: Path, rest: list[str]) -> int:
    acts = {"start": start_domains, "stop": stop_domains}
    if len(rest) != 1 or rest[0] not in acts:
        raise SimulatorFailed("xendomains takes `start` or `stop`.")
    problems = acts[rest[0]](Store(directory), {})
    sys.stderr.write("".join(problems))
    return 1 if problems else 0


def _create(directory: Path, rest: list[str]) -> int:
    if rest == ["demo"]:
        build_demo_host(directory)
    elif not rest:
        create_host(directory)
    else:
        raise SimulatorFailed("create takes nothing or `demo`.")
    return 0
