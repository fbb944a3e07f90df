"""Acts on domains that xl and xm spell alike; each addresses its domain by number.

An act returns what the tool said. Whether it worked is read from the host afterwards: these tools
report success for saves that could not resume, and failure for domains that are well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from xenbackup.dom0.host import Host
from xenbackup.dom0.tool_output import require_success
from xenbackup.dom0.xl_parsers import parse_info, parse_progress
from xenbackup.errors import UsageError
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.xen import XenFacts

ProgressCallback = Callable[[int, int], None]

READ_TIMEOUT_SECONDS = 60.0
ACT_TIMEOUT_SECONDS = 120.0
# Memory moves at the pace of the spool: an hour for what brings a guest back, since ending that
# helps nobody. What takes one away is given `max_away` by its caller.
SAVE_TIMEOUT_SECONDS = 3600.0
# A guest that ignores the request costs xl two waits of 60 s before it gives up by itself, and
# leaves everything tidy: a deadline that comes before that would only make a mess of it.
SAVE_LEAST_SECONDS = 150.0


class DomainActs:
    """One toolstack command (`xl` or `xm`) on one host."""

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self._name = name

    @property
    def name(self) -> str:
        """The tool's name: `xl` or `xm`."""
        return self._name

    def read_facts(self) -> XenFacts:
        """Hypervisor and machine. Raises: CommandFailed, UnexpectedOutput."""
        return parse_info(f"{self._name} info", self.read("info"))

    def pause(self, domid: int, *, run_id: str = "") -> CommandResult:
        """Stop the processors; pauses count: each needs its own unpause."""
        return self.act("pause", str(check_domid(domid)), run_id=run_id)

    def unpause(self, domid: int, *, run_id: str = "") -> CommandResult:
        return self.act("unpause", str(check_domid(domid)), run_id=run_id)

    def destroy(self, domid: int, *, run_id: str = "") -> CommandResult:
        """End the domain at once; it may be listed as dying for a while."""
        return self.act("destroy", str(check_domid(domid)), run_id=run_id)

    def request_sync(self, domid: int, *, run_id: str = "") -> CommandResult:
        """Ask a Linux guest to sync its disks (sysrq s); it may do so later, or never."""
        return self.act("sysrq", str(check_domid(domid)), "s", run_id=run_id)

    def save(
        self,
        domid: int,
        path: Path,
        *,
        run_id: str,
        stderr_path: Path | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_seconds: float = SAVE_TIMEOUT_SECONDS,
    ) -> CommandResult:
        """Save and destroy. The file is neither synced nor checked by the tool."""
        return self.transfer(
            "save",
            str(check_domid(domid)),
            spell_path(path),
            run_id=run_id,
            stderr_path=stderr_path,
            on_progress=on_progress,
            timeout_seconds=timeout_seconds,
        )

    def save_continue(
        self,
        domid: int,
        path: Path,
        *,
        run_id: str,
        stderr_path: Path | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_seconds: float = SAVE_TIMEOUT_SECONDS,
    ) -> CommandResult:
        """Save and resume: the rescue of a domain left suspended with its disks connected."""
        return self.transfer(
            "save",
            "-c",
            str(check_domid(domid)),
            spell_path(path),
            run_id=run_id,
            stderr_path=stderr_path,
            on_progress=on_progress,
            timeout_seconds=timeout_seconds,
        )

    def transfer(
        self,
        *arguments: str,
        run_id: str,
        stderr_path: Path | None,
        on_progress: ProgressCallback | None,
        timeout_seconds: float,
        own_unit: str = "",
    ) -> CommandResult:
        """Run a verb that moves a guest's memory; `on_progress` hears frames done and in all."""
        return self._host.run(
            Command(
                argv=(self._name, *arguments),
                timeout_seconds=timeout_seconds,
                run_id=run_id,
                stderr_path=stderr_path,
                on_stderr_line=_follow(on_progress),
                own_unit=own_unit,
            )
        )

    def create(
        self, configuration_path: Path, *, paused: bool = False, run_id: str, own_unit: str = ""
    ) -> CommandResult:
        """Boot a domain afresh from a configuration file."""
        options = ("-p",) if paused else ()
        return self._host.run(
            Command(
                argv=(self._name, "create", *options, spell_path(configuration_path)),
                timeout_seconds=ACT_TIMEOUT_SECONDS,
                run_id=run_id,
                own_unit=own_unit,
            )
        )

    def act(self, *arguments: str, run_id: str = "") -> CommandResult:
        """Run a short verb of the tool; the caller reads the postcondition."""
        return self._host.run(
            Command(
                argv=(self._name, *arguments),
                timeout_seconds=ACT_TIMEOUT_SECONDS,
                run_id=run_id,
            )
        )

    def act_in_turn(self, acts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
        """Run each; returns those that failed, as sentences."""
        failures = []
        for arguments in acts:
            result = self.act(*arguments)
            if not result.succeeded:
                said = result.last_error_line or f"exit code {result.exit_code}"
                failures.append(f"`{self._name} {' '.join(arguments)}` failed: {said}")
        return tuple(failures)

    def read(self, *arguments: str) -> str:
        """What a reading verb prints. Raises: CommandFailed, CommandTimedOut."""
        command = Command(argv=(self._name, *arguments), timeout_seconds=READ_TIMEOUT_SECONDS)
        return require_success(self._host.run(command)).stdout


def check_domid(domid: int) -> int:
    """Raises: UsageError for dom0 and for numbers that no domain has."""
    if not 0 < domid < 0x7FF0:
        raise UsageError(f"{domid} is not the number of a guest; no command is built from it.")
    return domid


def spell_path(path: Path) -> str:
    """An absolute path for a tool. Raises: UsageError for others: they could pass for options."""
    if not path.is_absolute():
        raise UsageError(f"The path {path} is not absolute.")
    return str(path)


def _follow(on_progress: ProgressCallback | None) -> Callable[[str], None] | None:
    if on_progress is None:
        return None

    def deliver(line: str) -> None:
        progress = parse_progress(line)
        if progress is not None:
            on_progress(*progress)

    return deliver
