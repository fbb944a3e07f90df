"""What the tests of the catalogue strike with: acts at one moment, kills, and power cuts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.house import Watcher, back_up, build_house, find_wrongs
from tests.pipeline.test_kills_on_simulation import Killed
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost
from xenbackup.model.command import Command
from xenbackup.model.job import StepName
from xenbackup.model.record import RunRecord
from xenbackup.model.run import Outcome, RunResult
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.records.journal import list_journals, read_record


@dataclass
class At(Watcher):
    """Acts once, as `step` begins; `act` is given the run's id. Keeps what is read, too."""

    step: StepName = StepName.COPY
    act: Callable[[str], object] = field(default=lambda run_id: None)
    done: bool = False

    def step_began(self, run_id: str, step: StepName) -> None:
        super().step_began(run_id, step)
        if step is self.step and not self.done:
            self.done = True
            self.act(run_id)


def at_moment(host: SimulatedHost, moment: str, act: Callable[[], object]) -> None:
    """Do it the first time that a command reaches this boundary (`xl-save:writing`)."""
    reached: list[str] = []

    def reach(name: str) -> None:
        if name == moment and not reached:
            reached.append(name)
            act()

    host.on_boundary = reach


def run_killed_at(house: House, preset: str, moment: str, domain: str = "web") -> House:
    """A backup whose process dies at this boundary; returns the house of the next process."""
    host = house.host
    assert isinstance(host, SimulatedHost)

    def die() -> None:
        raise Killed(moment)

    at_moment(host, moment, die)
    with pytest.raises(Killed):
        back_up(house, preset, domain=domain)
    host.on_boundary = None
    return build_house(host, house.toolstack.name)


def call(host: SimulatedHost, *argv: str) -> str:
    """A command of the administrator, which works; returns what it printed."""
    done = host.run(Command(argv=argv, timeout_seconds=60))
    assert 0 == done.exit_code, done.stderr
    return done.stdout


def set_fault(house: House, kind: FaultKind, tool: str, verb: str = "", **more: object) -> None:
    host = house.host
    assert isinstance(host, SimulatedHost)
    host.set_fault(Fault(tool=tool, verb=verb, kind=kind, **more))  # type: ignore[arg-type]


def strike_and_fail(house: House, preset: str, watcher: Watcher | None = None) -> RunResult:
    """The one run of a backup that must fail and leave everything as it promised to."""
    (run,) = back_up(house, preset, watcher=watcher).runs
    assert Outcome.FAILED is run.outcome, run
    assert "" == run.point
    assert run.error
    assert [] == find_wrongs(house), run
    assert () == find_unfinished(house)
    told = [failure for record in read_records(house) for failure in record.failures]
    assert run.error in told, "the journal says what happened"
    return run


def read_records(house: House) -> tuple[RunRecord, ...]:
    """What each journal of the host came to."""
    return tuple(read_record(path) for path in list_journals(house.journals_folder))


@contextmanager
def noting_syncs(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only a memory image that was really synced outlives the power cut of this host."""
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.suffix == ".save":
            host.mark_synced(str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        yield
