"""A command that outlives its caller: the caller's locks fall, the command waits, and then goes on.

The process that plays the caller becomes the command, at a boundary inside it. The process that
plays the seed lets it go on when a later one of ours has waited for it so many times.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.processes import read_start_ticks, release_child
from xenbackup.dom0.simulated.state import SimulatedProcess
from xenbackup.model.command import Command, CommandResult

ALIVE, GO = b"a", b"g"


@dataclass(kw_only=True)
class Leash:
    """Two pipes between a command that lives on and whoever lets it go on; `waits` as drawn.

    The second pipe ends when the command does, however that comes.
    """

    waits: int
    telling: tuple[int, int] = field(default_factory=os.pipe)
    letting_go: tuple[int, int] = field(default_factory=os.pipe)

    def become_caller(self) -> None:
        """In the process that is to be killed."""
        os.close(self.telling[0])
        os.close(self.letting_go[1])

    def become_watcher(self) -> bool:
        """In the process that plays the seed, once the other runs: True if a command lives on."""
        os.close(self.telling[1])
        os.close(self.letting_go[0])
        return os.read(self.telling[0], 1) == ALIVE

    def let_go(self) -> None:
        """The command goes on, and is over when this returns; a second call does nothing."""
        with suppress(BrokenPipeError):
            os.write(self.letting_go[1], GO)
        while os.read(self.telling[0], 1):
            pass

    def wrap(self, sleep: Callable[[float], None]) -> Callable[[float], None]:
        """`host.sleep` of a process that may wait for the command."""
        count = itertools.count(1)

        def sleep_and_let_go(seconds: float) -> None:
            if next(count) == self.waits:
                self.let_go()
            sleep(seconds)

        return sleep_and_let_go

    def close(self) -> None:
        for descriptor in (self.telling[0], self.letting_go[1]):
            os.close(descriptor)


class Survivor:
    """In the process that is to be killed: knows the command that runs, and becomes it."""

    def __init__(self, host: SimulatedHost, leash: Leash) -> None:
        self._directory = host.directory
        self._leash = leash
        self._command: Command | None = None
        self._lives_on = False

    def wrap(self, run: Callable[[Command], CommandResult]) -> Callable[[Command], CommandResult]:
        """`host.run`, which ends this process after the command that lived on."""

        def run_to_the_end(command: Command) -> CommandResult:
            self._command = command
            try:
                return run(command)
            finally:
                self._command = None
                if self._lives_on:
                    self._end()

        return run_to_the_end

    @property
    def can_live_on(self) -> bool:
        """Only what acts for a run carries its mark."""
        return self._command is not None and bool(self._command.run_id)

    def live_on(self) -> None:
        """The caller is dead from here on; returns when the command may go on."""
        assert self._command is not None
        self._lives_on = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _drop_what_the_caller_held()
        other = SimulatedHost(self._directory)
        with other.machine() as machine:
            machine.state.processes.append(
                SimulatedProcess(
                    pid=os.getpid(),
                    start_ticks=read_start_ticks(os.getpid()),
                    argv=list(self._command.argv),
                    run_mark=self._command.run_id,
                    real=True,
                )
            )
            opened = machine.state.openers
            machine.state.openers = [opener for opener in opened if opener.pid != os.getpid()]
            machine.commit()
        other.close()
        os.write(self._leash.telling[1], ALIVE)
        os.read(self._leash.letting_go[0], 1)

    def _end(self) -> None:
        other = SimulatedHost(self._directory)
        with other.machine() as machine:
            release_child(machine)
            machine.commit()
        os._exit(0)


def _drop_what_the_caller_held() -> None:
    """Its locks fall with it; so does its journal."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            path = link.readlink()
            if path.parent.name in ("locks", "journals"):
                os.close(int(link.name))
