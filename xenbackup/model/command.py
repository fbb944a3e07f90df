"""A command of the host's tools, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call of a tool: an argument list, never a shell line.

    `run_id` goes into the child's environment as `XENBACKUP_RUN`, so that recovery can find
    commands that outlived us. `stderr_path` sends stderr to a file instead of a pipe: a long
    command must not die of SIGPIPE half-way when its caller is killed. `on_stderr_line` receives
    each line of stderr as it comes (progress). `own_unit` names a systemd unit to start the
    command in, so that stopping our service cannot take its children along; where systemd does
    not run, or has no bus to be asked over, a session of its own serves. `kill_late` marks a
    command that is dangerous to kill (lvcreate inside its suspended window): past the deadline it
    gets ten times the grace. `environment` is added to the little that every command gets; `stdin`
    is what the command reads.
    """

    argv: tuple[str, ...]
    timeout_seconds: float
    run_id: str = ""
    stderr_path: Path | None = None
    on_stderr_line: Callable[[str], None] | None = None
    own_unit: str = ""
    kill_late: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    stdin: bytes = b""


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What came of a command. `exit_code` is negative for a signal, as Python has it."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    duration_seconds: float
    timed_out: bool = False

    @property
    def succeeded(self) -> bool:
        """The exit code says success: a hint, never a postcondition."""
        return self.exit_code == 0 and not self.timed_out

    @property
    def last_error_line(self) -> str:
        """The last line of stderr that is not a progress line; "" when there is none."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        telling = [line for line in lines if "progress:" not in line]
        return telling[-1] if telling else ""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process of the host that matters to us: an xl monitor, or a command that carries our mark.

    `start_ticks` (field 22 of /proc/PID/stat) with `pid` names a process for good within one boot;
    a pid alone may be reused. `log_path` is where its stdout goes: a monitor of xl has
    `/var/log/xen/xl-NAME.log` there. `run_mark` is its `XENBACKUP_RUN`, "" without one.
    """

    pid: int
    start_ticks: int
    argv: tuple[str, ...]
    log_path: str
    run_mark: str
    stopped: bool
