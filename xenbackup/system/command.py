"""Commands of the host's tools, run through `sh` (whose only importer this is) and watched here.

`sh` starts the child; its own reading, waiting and timeouts are not used: it would keep all output
in memory, end only the direct child, and wait for grandchildren that hold a pipe. So the child gets
our pipes, its exit is seen on its own, and what a daemon left behind still holds is not waited for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from xenbackup.errors import CommandFailed
from xenbackup.model.command import Command, CommandResult
from xenbackup.system.child import Child, ChildStreams, open_exit_descriptor, signal_group
from xenbackup.system.politeness import put_child_forward
from xenbackup.system.udev_cookies import find_awaited_cookie

# Last, what was built from source (Xen's own `make install`): a host's packages go before it.
SEARCH_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
RUN_MARK: Final = "XENBACKUP_RUN"
DEFAULT_GRACE_SECONDS: Final = 10.0
LATE_FACTOR: Final = 10
COOKIES_LIMIT: Final = 12
SYSTEMD_FOLDER: Final = Path("/run/systemd/system")
"""There while systemd rules, sd_booted(3)."""
BUS_SOCKET: Final = "dbus/system_bus_socket"
"""Below /run, like the folder above."""

_LOG = logging.getLogger(__name__)
_PRIVATE_UMASK = 0o077
_EXHAUSTED: Final[tuple[type[Exception], ...]] = (
    OSError,
    UnicodeError,
    RuntimeError,
    MemoryError,
)

# sh runs Python between fork and exec: two starts at once could fork each other's half-open pipes.
_START_LOCK = threading.Lock()


class SystemCommands:
    """Runs commands on this machine; one deadline each, nothing inherited, output bounded."""

    def __init__(
        self,
        *,
        search_path: str = SEARCH_PATH,
        grace_seconds: float = DEFAULT_GRACE_SECONDS,
        systemd_folder: Path = SYSTEMD_FOLDER,
        find_cookie: Callable[[int], int | None] = find_awaited_cookie,
    ) -> None:
        self._search_path = search_path
        self._grace_seconds = grace_seconds
        self._systemd_folder = systemd_folder
        self._bus_socket = systemd_folder.parent.parent / BUS_SOCKET
        self._find_cookie = find_cookie

    def run(self, command: Command) -> CommandResult:
        """Run to the end or past the deadline; a non-zero exit code is a result, not an error.

        Raises: CommandFailed when the tool is not installed or cannot be started.
        """
        if command.own_unit and not self._can_start_units():
            command = replace(command, own_unit="")
        argv = self._complete_argv(command)
        began = time.monotonic()
        with contextlib.ExitStack() as resources:
            with _failing_to_start(argv[0]):
                streams = ChildStreams(command, resources)
            child = self._start(argv, command, streams, resources)
            timed_out = self._await_end(child, command, streams, began)
            exit_code = child.process.wait() if child.has_ended() else -signal.SIGKILL
            streams.finish()
        result = CommandResult(
            argv=command.argv,
            exit_code=exit_code,
            stdout=streams.stdout.text(),
            stderr=streams.stderr.text(),
            duration_seconds=time.monotonic() - began,
            timed_out=timed_out,
        )
        _log_result(command, result)
        streams.raise_callback_error()
        return result

    def _can_start_units(self) -> bool:
        """systemd-run waits for its unit over the system bus, which not every host has.

        Without one the command begins in our own service, whose KillMode=process lets a monitor
        that it leaves behind live on.
        """
        return self._systemd_folder.is_dir() and self._bus_socket.exists()

    def _complete_argv(self, command: Command) -> tuple[str, ...]:
        program = self._locate(command.argv[0])
        if not command.own_unit:
            return (program, *command.argv[1:])
        settings = [f"--setenv={key}={value}" for key, value in self._environment(command).items()]
        return (
            self._locate("systemd-run"),
            *("--wait", "--collect", "--quiet", "--pipe"),
            f"--unit={command.own_unit}",
            # The monitor that xl leaves behind must outlive the unit's main process.
            "--property=KillMode=process",
            # While the host shuts down systemd refuses units that the shutdown would stop.
            "--property=DefaultDependencies=no",
            *settings,
            "--",
            program,
            *command.argv[1:],
        )

    def _locate(self, program: str) -> str:
        found = shutil.which(program, path=self._search_path)
        if found is None:
            raise CommandFailed(
                f"The tool {program} is not installed (searched {self._search_path}).",
                hint=f"install the package that holds {program}",
            )
        return found

    def _environment(self, command: Command) -> dict[str, str]:
        environment = {"PATH": self._search_path, "LC_ALL": "C", "LANGUAGE": ""}
        environment.update(command.environment)
        if command.run_id:
            environment[RUN_MARK] = command.run_id
        return environment

    def _start(
        self,
        argv: tuple[str, ...],
        command: Command,
        streams: ChildStreams,
        resources: contextlib.ExitStack,
    ) -> Child:
        import sh  # noqa: PLC0415 - 15 MB that verbs without a command need not pay

        logging.getLogger("sh").setLevel(logging.WARNING)
        with (
            _START_LOCK,
            _failing_to_start(argv[0], sh.CommandNotFound, sh.ForkException),
            streams.child_ends() as (stdin, stdout, stderr),
        ):
            running = sh.Command(argv[0])(
                *argv[1:],
                _in=stdin,
                _out=stdout,
                _err=stderr,
                _tty_in=False,
                _tty_out=False,
                _new_session=True,
                _bg=True,
                _bg_exc=False,
                _no_pipe=True,
                _close_fds=True,
                _env=self._environment(command),
                _preexec_fn=_prepare_child,
            )
        descriptor = open_exit_descriptor(running.pid)
        if descriptor is not None:
            resources.callback(os.close, descriptor)
        return Child(pid=running.pid, process=running.process, exit_descriptor=descriptor)

    def _await_end(
        self, child: Child, command: Command, streams: ChildStreams, began: float
    ) -> bool:
        """Read until the child ends; past the deadline end its group. True when it was late."""
        if streams.pump_until(child.has_ended, child, began + command.timeout_seconds):
            return False
        if command.kill_late and self._free_of_udev(child, command, streams):
            return False
        grace = self._grace_seconds * (LATE_FACTOR if command.kill_late else 1)
        self._stop_unit(command)
        signal_group(child, signal.SIGTERM)
        if not streams.pump_until(child.group_has_ended, child, time.monotonic() + grace):
            signal_group(child, signal.SIGKILL)
            # A process that the kernel holds (a hung NFS server) outlives even that: not waited
            # for longer, it is left to end when it can.
            streams.pump_until(child.has_ended, child, time.monotonic() + self._grace_seconds)
        return True

    def _free_of_udev(self, child: Child, command: Command, streams: ChildStreams) -> bool:
        """Let a command of LVM go on that waits for a udev that does not answer; True when it ends.

        Killed in that wait it would leave its change half made. It has one cookie after the other,
        and each may count several devices.
        """
        for _ in range(COOKIES_LIMIT):
            cookie = self._find_cookie(child.pid)
            if cookie is None:
                return False
            _LOG.warning(
                "udev-cookie-completed", extra={"tool": command.argv[0], "cookie": f"{cookie:#x}"}
            )
            complete = ("dmsetup", "udevcomplete", f"{cookie:#x}")
            with contextlib.suppress(CommandFailed):
                self.run(Command(argv=complete, timeout_seconds=self._grace_seconds))
            if streams.pump_until(child.has_ended, child, time.monotonic() + self._grace_seconds):
                return True
        return False

    def _stop_unit(self, command: Command) -> None:
        """End the command inside its own unit: ending systemd-run alone would leave it running."""
        if command.own_unit:
            stop = ("systemctl", "stop", f"{command.own_unit.removesuffix('.service')}.service")
            # Without systemctl the group is ended all the same.
            with contextlib.suppress(CommandFailed):
                self.run(Command(argv=stop, timeout_seconds=6 * self._grace_seconds))


@contextlib.contextmanager
def _failing_to_start(program: str, *kinds: type[Exception]) -> Iterator[None]:
    """Whatever is exhausted (descriptors, processes, threads, memory), the tool was not started.

    Raises: CommandFailed.
    """
    try:
        yield
    except (*kinds, *_EXHAUSTED) as error:
        reason = str(error).strip().splitlines()
        raise CommandFailed(
            f"Cannot start {program}: {reason[-1] if reason else type(error).__name__}."
        ) from error


def _prepare_child() -> None:
    """In the child, before exec: guest memory must never be written world-readable."""
    os.umask(_PRIVATE_UMASK)
    put_child_forward()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _log_result(command: Command, result: CommandResult) -> None:
    # The standard logger, because structlog costs 18 MB; its pipeline takes the fields over.
    _LOG.debug(
        "command-ended",
        extra={
            "argv": list(command.argv),
            "exit_code": result.exit_code,
            "duration_seconds": round(result.duration_seconds, 3),
            "timed_out": result.timed_out,
            "error": "" if result.succeeded else result.last_error_line,
        },
    )
