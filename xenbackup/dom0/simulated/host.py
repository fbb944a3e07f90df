"""The port's simulated side: `SimulatedHost`, in this process or through real children."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from xenbackup.dom0.mount_table import Mount, find_mount, parse_mounts
from xenbackup.dom0.simulated.children import CommandsMode, read_commands_mode, run_child
from xenbackup.dom0.simulated.device import SimulatedDevice
from xenbackup.dom0.simulated.exception_store import ExceptionStore
from xenbackup.dom0.simulated.execute import TOOLS, Circumstances, execute
from xenbackup.dom0.simulated.faults import Fault, read_faults, stall, write_faults
from xenbackup.dom0.simulated.power_cut import cut_power, mark_synced
from xenbackup.dom0.simulated.processes import living_processes, signal_simulated
from xenbackup.dom0.simulated.session import Machine, place_below
from xenbackup.dom0.simulated.sparse_files import copy_sparse
from xenbackup.dom0.simulated.state import NANOSECONDS
from xenbackup.dom0.simulated.store import Store
from xenbackup.errors import CommandFailed, SnapshotFailed
from xenbackup.model.command import Command, CommandResult, Process
from xenbackup.system.block_device import BlockDevice
from xenbackup.system.durable import PRIVATE_FILE, translate_errors

GRACE_SECONDS = 10.0
CLONE_SECONDS = 0.02
LATE_FACTOR = 10
REAL_STEP_SECONDS = 0.05
"""Real seconds that a sleep takes while a real child is at work."""


class SimulatedHost:
    """A dom0 in a directory. Several of these, in several processes, see one host.

    `on_boundary(name)` is called at every boundary inside a command (`xl-save:suspended`, …), with
    the lock released; what it raises ends the command there and comes out of `run`. With
    `real_children` commands are processes of their own; None does as DIR/host/commands says.
    """

    def __init__(
        self,
        directory: Path,
        *,
        real_children: bool | None = None,
        on_boundary: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.on_boundary = on_boundary
        if real_children is None:
            self._mode = read_commands_mode(self.directory)
        else:
            self._mode = CommandsMode.CHILDREN if real_children else CommandsMode.INSIDE
        self._store = Store(self.directory)
        self._kept: dict[str, ExceptionStore] = {}

    def run(self, command: Command) -> CommandResult:
        """Run a tool of the host. Raises: CommandFailed when the host has no such tool."""
        tool = command.argv[0].rpartition("/")[2]
        if tool not in TOOLS or not self._has_toolstack(tool):
            raise CommandFailed(
                f"Cannot run {command.argv[0]}: not installed on the simulated host."
            )
        if self._runs_as_child(command):
            return run_child(self.directory, command)
        environment = {}
        if command.run_id:
            environment["XENBACKUP_RUN"] = command.run_id
        if command.own_unit:
            environment["XENBACKUP_UNIT"] = command.own_unit
        deadline = command.timeout_seconds
        if command.kill_late:
            deadline += GRACE_SECONDS * LATE_FACTOR
        listener = _LineListener(command.on_stderr_line)
        result = execute(
            self._store,
            self._kept,
            command.argv,
            Circumstances(
                environment=environment,
                on_stderr=listener,
                deadline_seconds=deadline,
                on_boundary=self.on_boundary,
            ),
        )
        listener.finish()
        stderr = "".join(result.stderr)
        if command.stderr_path is not None:
            with command.stderr_path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(stderr)
        return CommandResult(
            argv=command.argv,
            exit_code=result.exit_code,
            stdout="".join(result.stdout),
            stderr=stderr,
            duration_seconds=result.seconds,
            timed_out=result.timed_out,
        )

    def open_volume(self, path: str, *, writable: bool = False) -> BlockDevice:
        """Open a volume or image file. Raises: CopyFailed naming the path."""
        device = SimulatedDevice(self._store, self._kept, path, writable=writable)
        device.open()
        return device

    def read_write_mark(self, path: str) -> str:
        """As the real one: it counts what guests, devices and the host wrote."""
        with self.machine() as machine:
            volume = machine.resolve_volume(path)
            if volume is not None:
                return f"bytes {volume.uuid} {volume.written_bytes}" if volume.active else ""
            try:
                found = machine.place(path).stat()
            except OSError:
                return ""
            return f"file {found.st_ino} {found.st_size} {found.st_mtime_ns}"

    def clone_file(self, source: str, target: str) -> None:
        """A full copy stands for the shared one; only where the filesystem could share.

        Raises: SnapshotFailed.
        """
        self._reach("clone:begun")
        with self.machine() as machine:
            mount = find_mount(self._read_mounts(), source)
            if mount is None or mount.filesystem not in ("xfs", "btrfs"):
                raise SnapshotFailed(
                    f"The filesystem of {source} takes no reflink copy: Operation not supported.",
                    hint='use preset = "cold" for this guest',
                )
            with translate_errors(SnapshotFailed, f"take a reflink copy of {source}"):
                copy_sparse(self.place(source), self.place(target))
                self.place(target).chmod(PRIVATE_FILE)
            machine.advance(CLONE_SECONDS)
        self._reach("clone:done")

    def _reach(self, boundary: str) -> None:
        if self.on_boundary is not None:
            self.on_boundary(boundary)

    def _read_mounts(self) -> tuple[Mount, ...]:
        try:
            return parse_mounts(self.place("/proc/self/mountinfo").read_text("utf-8"))
        except FileNotFoundError:
            return ()

    def place(self, path: str) -> Path:
        """Absolute paths are below the directory; one that is there already stays as it is."""
        return place_below(self.directory, path)

    def boot_id(self) -> str:
        with self.machine() as machine:
            return machine.state.boot_id

    def now(self) -> datetime:
        """The virtual wall clock, in UTC."""
        with self.machine() as machine:
            nanoseconds = machine.state.clock_ns + machine.state.wall_offset_ns
        return datetime.fromtimestamp(nanoseconds // NANOSECONDS, tz=UTC) + timedelta(
            microseconds=nanoseconds % NANOSECONDS // 1000
        )

    def monotonic_seconds(self) -> float:
        with self.machine() as machine:
            return (machine.state.clock_ns - machine.state.started_ns) / NANOSECONDS

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass: guests tick. Real children that are at work get real time too."""
        with self.machine() as machine:
            machine.advance(max(seconds, 0.0))
            working = any(process.real for process in living_processes(machine))
        if working:
            stall(min(seconds, REAL_STEP_SECONDS))

    def cpu_model(self) -> str:
        with self.machine() as machine:
            return machine.state.cpu_model

    def list_processes(self) -> tuple[Process, ...]:
        with self.machine() as machine:
            return tuple(
                Process(
                    pid=process.pid,
                    start_ticks=process.start_ticks,
                    argv=tuple(process.argv),
                    log_path=process.log_path,
                    run_mark=process.run_mark,
                    stopped=process.stopped,
                )
                for process in living_processes(machine)
            )

    def signal_process(self, process: Process, signal_number: int) -> bool:
        with self.machine() as machine:
            found = signal_simulated(machine, process.pid, process.start_ticks, signal_number)
            machine.commit()
            return found

    def set_fault(self, fault: Fault) -> None:
        """Add a fault; it strikes the calls that it matches from now on."""
        with self.machine():
            write_faults(self.directory, [*read_faults(self.directory), fault])

    def clear_faults(self) -> None:
        with self.machine():
            write_faults(self.directory, [])

    def cut_power(self) -> tuple[str, ...]:
        """Cut the power and boot again; returns the saved files that were lost with it."""
        with self.machine() as machine:
            return cut_power(machine)

    def mark_synced(self, path: str) -> None:
        """A saved file has been synced: it outlives a power cut."""
        with self.machine() as machine:
            mark_synced(machine, path)
            machine.commit()

    def close(self) -> None:
        """Close the files that are kept open for speed; the host may be used again."""
        self._store.close()
        self._kept.clear()

    @contextmanager
    def machine(self) -> Iterator[Machine]:
        """The state under lock, for tests and administration; commit what you change."""
        machine = Machine(self._store, self._kept)
        machine.open()
        try:
            yield machine
        except BaseException:
            machine.close(discard=True)
            raise
        machine.close()

    def _has_toolstack(self, tool: str) -> bool:
        """A host has xl, or the older xm; the other is not installed."""
        if tool not in ("xl", "xm"):
            return True
        with self.machine() as machine:
            return machine.state.toolstack == tool

    def _runs_as_child(self, command: Command) -> bool:
        if self._mode is CommandsMode.ACTS:
            return bool(command.run_id)
        return self._mode is CommandsMode.CHILDREN


class _LineListener:
    """Hands stderr on line by line, as a pipe's reader would; an error of the listener waits."""

    def __init__(self, listener: Callable[[str], None] | None) -> None:
        self._listener = listener
        self._rest = ""
        self._error: Exception | None = None

    def __call__(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(line)

    def finish(self) -> None:
        """Raises: whatever the listener raised while the command ran."""
        if self._error is not None:
            raise self._error

    def _tell(self, line: str) -> None:
        if self._listener is None or self._error is not None:
            return
        try:
            self._listener(line)
        except Exception as error:  # noqa: BLE001 - raised again when the command has ended
            self._error = error
