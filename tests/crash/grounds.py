"""Hosts as an administrator has them, configuration and jobs in files: copied for each story."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from tests.simulation.worlds import Shelf, World, build_house
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.building import copy_host
from xenbackup.dom0.simulated.children import CommandsMode, write_commands_mode
from xenbackup.model.job import Job, PipelineSpec
from xenbackup.model.progress import SilentWatcher
from xenbackup.operations.backup import run_round
from xenbackup.operations.plan import plan_job

_CONFIGURATION = '[destination.local]\nkind = "images"\npath = "/srv/backup"\n'
_JOB = 'domains = ["{guest}"]\npreset = "{preset}"\ndestination = "local"\n'
_entropy = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A kind of host, and what is done on it: `run` of a preset, or `restore` of a point of it."""

    world: World
    preset: str
    verb: str = "run"
    with_memory: bool = False
    mode: CommandsMode = CommandsMode.INSIDE

    @property
    def words(self) -> tuple[str, ...]:
        """The command line that is killed."""
        if self.verb == "run":
            return ("run", self.preset)
        memory = ("--memory",) if self.with_memory else ()
        return ("restore", f"{self.world.guest}@latest", *memory, "--start", "--overwrite")

    @property
    def name(self) -> str:
        words = (self.world.stack, self.world.guest, self.preset, self.verb, self.mode)
        return "-".join((*words, "memory") if self.with_memory else words)

    def describe(self) -> str:
        what = " ".join(self.words)
        return f"{self.world.stack}, {self.world.guest}, {what} ({self.preset}), {self.mode}"


class Grounds:
    """Pristine hosts in one folder, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def copy_to(self, ground: Ground, target: Path) -> None:
        """A host of this kind at `target`, which must not exist."""
        pristine = self.folder / ground.name
        if not pristine.exists():
            self._build(ground, pristine)
        copy_host(pristine, target)

    def _build(self, ground: Ground, pristine: Path) -> None:
        """Built aside, so that no process ever sees the half of it; the first one wins."""
        aside = self.folder / f".{ground.name}.{os.getpid()}"
        shelf = Shelf(self.folder / f".shelf.{os.getpid()}")
        shelf.folder.mkdir(exist_ok=True)
        shelf.copy_to(ground.world, aside)
        rmtree(shelf.folder)
        jobs = aside / "etc/xenbackup/jobs"
        jobs.mkdir(parents=True)
        (jobs.parent / "config.toml").write_text(_CONFIGURATION)
        job = _JOB.format(guest=ground.world.guest, preset=ground.preset)
        (jobs / f"{ground.preset}.toml").write_text(job)
        if ground.verb == "restore":
            _back_up(aside, ground)
        write_commands_mode(aside, ground.mode)
        try:
            aside.rename(pristine)
        except OSError:
            rmtree(aside)


def _back_up(directory: Path, ground: Ground) -> None:
    """A point that can be restored."""
    host = SimulatedHost(directory)
    house = build_house(host, ground.world, lambda size: next(_entropy).to_bytes(size, "little"))
    job = Job(
        name=ground.preset,
        pipeline=PipelineSpec(preset=ground.preset),
        destination="local",
        domains=(ground.world.guest,),
    )
    (run,) = run_round(house, job, plan_job(house, job), SilentWatcher(), lambda: "").runs
    host.close()
    if not run.point:
        raise AssertionError(f"no point to restore on {ground.name}: {run.error}")
