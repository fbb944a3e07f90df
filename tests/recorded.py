"""Recorded outputs of real tools, and a host that answers with them instead of running anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from xenbackup.errors import CommandFailed, SnapshotFailed
from xenbackup.model.command import Command, CommandResult, Process
from xenbackup.system.block_device import BlockDevice, open_block_device

FOLDER = Path(__file__).parent / "fixtures" / "recorded"
_SHAPE = re.compile(
    r"\$ (?P<command>.*?)\n# exit (?P<exit>-?\d+)\n"
    r"# stdout\n(?P<stdout>.*?)# stderr\n?(?P<stderr>.*)",
    re.DOTALL,
)


def load_recording(name: str) -> CommandResult:
    """The recorded file `NAME.txt`: `$ command`, `# exit N`, `# stdout`, `# stderr`."""
    match = _SHAPE.fullmatch((FOLDER / f"{name}.txt").read_text("utf-8"))
    assert match is not None, f"{name}.txt is no recording"
    return answer(
        match["stdout"],
        exit_code=int(match["exit"]),
        stderr=match["stderr"],
        argv=tuple(match["command"].split()),
    )


def answer(
    stdout: str = "",
    *,
    exit_code: int = 0,
    stderr: str = "",
    argv: tuple[str, ...] = (),
    timed_out: bool = False,
) -> CommandResult:
    """A command's result, as a test wants it."""
    return CommandResult(
        argv=argv,
        exit_code=exit_code,
        stdout=stdout,
        stderr=stderr,
        duration_seconds=0.1,
        timed_out=timed_out,
    )


Answer = CommandResult | str | Callable[[Command], CommandResult]


@dataclass
class RecordedHost:
    """Answers commands by the beginning of their argument list, longest first; keeps all calls.

    A list of answers is used up one by one, its last one stays. An unexpected command fails.
    """

    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()
    calls: list[Command] = field(default_factory=list)
    signals: list[tuple[int, int]] = field(default_factory=list)
    current_boot: str = "6b1e7a2c-0000-4000-8000-000000000001"
    elapsed_seconds: float = 0.0

    def run(self, command: Command) -> CommandResult:
        self.calls.append(command)
        line = " ".join(command.argv)
        for start in sorted(self.answers, key=len, reverse=True):
            if line == start or line.startswith(start + " "):
                return self._resolve(self.answers[start], command)
        raise CommandFailed(f"The tool {command.argv[0]} is not installed.")

    def _resolve(self, found: Answer | list[Answer], command: Command) -> CommandResult:
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(found, str):
            found = answer(found)
        result = found if isinstance(found, CommandResult) else found(command)
        return CommandResult(
            argv=command.argv,
            exit_code=result.exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            duration_seconds=result.duration_seconds,
            timed_out=result.timed_out,
        )

    @property
    def lines(self) -> list[str]:
        """Every command so far, as one line each."""
        return [" ".join(command.argv) for command in self.calls]

    def lines_of(self, *tools: str) -> list[str]:
        return [line for line in self.lines if line.split()[0] in tools]

    def open_volume(self, path: str, *, writable: bool = False) -> BlockDevice:
        return open_block_device(path, writable=writable)

    def read_write_mark(self, path: str) -> str:
        return ""

    def clone_file(self, source: str, target: str) -> None:
        raise SnapshotFailed(f"The filesystem of {source} takes no reflink copy.")

    def place(self, path: str) -> Path:
        return Path(path)

    def boot_id(self) -> str:
        return self.current_boot

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 2, 30, tzinfo=UTC)

    def monotonic_seconds(self) -> float:
        return self.elapsed_seconds

    def sleep(self, seconds: float) -> None:
        self.elapsed_seconds += seconds

    def cpu_model(self) -> str:
        return "AMD Opteron 23xx (Gen 3 Class Opteron)"

    def list_processes(self) -> tuple[Process, ...]:
        return self.processes

    def signal_process(self, process: Process, signal_number: int) -> bool:
        self.signals.append((process.pid, signal_number))
        return any(process == known for known in self.processes)


def list_recordings() -> Iterable[str]:
    """Names of all recorded files."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))
