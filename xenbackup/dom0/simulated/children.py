"""Commands of the simulated host as processes of their own, and how a host says that it wants that.

DIR/host/commands holds a word of `CommandsMode`; without that file commands run inside the caller.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path

from xenbackup.dom0.simulated.state import SimulatorFailed
from xenbackup.model.command import Command, CommandResult
from xenbackup.system.command import SystemCommands

_MODULE = "xenbackup.dom0.simulated"


class CommandsMode(StrEnum):
    """Where the host's tools run. Only a process of its own outlives a caller that is killed."""

    INSIDE = "inside"
    ACTS = "acts"
    """Those that act for a run, and carry its mark, are processes; those that only look are not."""
    CHILDREN = "children"
    """Every one is a process."""


def read_commands_mode(directory: Path) -> CommandsMode:
    """What DIR/host/commands says. Raises: SimulatorFailed when it is no such word."""
    try:
        word = _place(directory).read_text("utf-8").strip()
    except FileNotFoundError:
        return CommandsMode.INSIDE
    try:
        return CommandsMode(word)
    except ValueError:
        known = ", ".join(CommandsMode)
        raise SimulatorFailed(
            f"{_place(directory)} says {word!r}.", hint=f"it may say {known}"
        ) from None


def write_commands_mode(directory: Path, mode: CommandsMode) -> None:
    """How every SimulatedHost that is opened from now on runs its commands."""
    _place(directory).write_text(f"{mode}\n", "utf-8")


def run_child(directory: Path, command: Command) -> CommandResult:
    """Run the tool as `python -m xenbackup.dom0.simulated DIR TOOL …`, with its real deadline.

    Raises: CommandFailed when it cannot be started.
    """
    prefix = (sys.executable, "-m", _MODULE, str(directory))
    # The systemd of this machine knows nothing of the simulated one.
    result = SystemCommands(systemd_folder=directory / "run/systemd/system").run(
        Command(
            argv=(*prefix, *command.argv),
            timeout_seconds=command.timeout_seconds,
            run_id=command.run_id,
            stderr_path=command.stderr_path,
            on_stderr_line=command.on_stderr_line,
            own_unit=command.own_unit,
            kill_late=command.kill_late,
        )
    )
    return CommandResult(
        argv=command.argv,
        exit_code=result.exit_code,
        stdout=result.stdout,
        stderr=result.stderr,
        duration_seconds=result.duration_seconds,
        timed_out=result.timed_out,
    )


def read_child_argv(directory: Path, command_line: bytes) -> list[str]:
    """The tool and its arguments in /proc/PID/cmdline; nothing when it is no child of this host."""
    words = command_line.removesuffix(b"\0").split(b"\0")
    if words[1:4] != [b"-m", _MODULE.encode(), os.fsencode(directory)]:
        return []
    return [os.fsdecode(word) for word in words[4:]]


def _place(directory: Path) -> Path:
    return directory / "host" / "commands"
