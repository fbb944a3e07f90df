"""A whole house around a small simulated host, for tests of pipelines and recovery."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xenbackup.bootstrap import VOLUMES_FOLDER
from xenbackup.dom0 import health
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.monitor import find_monitors
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.dom0.simulated.building import DiskSpec, GroupSpec, GuestSpec, ThinPoolSpec
from xenbackup.dom0.simulated.oracle import read_oracle
from xenbackup.dom0.simulated.state import KIB, MIB
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.model.job import (
    Configuration,
    DestinationKind,
    DestinationSpec,
    Job,
    JobSet,
    PipelineSpec,
    StepName,
)
from xenbackup.model.progress import SilentWatcher
from xenbackup.model.run import RoundResult
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.recover import RecoveredRun, recover_runs
from xenbackup.records.catalog import Catalog
from xenbackup.records.journal import list_journals, read_journal, read_record
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.volume import VolumeDestination

DESTINATION = "/srv/backup"
WEB_UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
GUESTS = (
    GuestSpec(
        name="web",
        disks=(
            DiskSpec(volume="web_root", size_bytes=8 * MIB),
            DiskSpec(volume="web_data", size_bytes=4 * MIB),
        ),
        uuid=WEB_UUID,
        scratch_region_bytes=256 * KIB,
    ),
    GuestSpec(
        name="thinny",
        disks=(DiskSpec(volume="thinny_root", size_bytes=8 * MIB, pool="pool"),),
        scratch_region_bytes=256 * KIB,
    ),
)
GROUPS = (
    GroupSpec(
        name="xenvols",
        size_bytes=128 * MIB,
        extent_bytes=1 * MIB,
        pools=(ThinPoolSpec(name="pool", size_bytes=32 * MIB),),
    ),
)


@dataclass
class Watcher(SilentWatcher):
    """Keeps what it is told; `on_step` is called as each step begins."""

    on_step: Callable[[StepName], None] | None = None
    steps: list[StepName] = field(default_factory=list)
    rescues: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def step_began(self, run_id: str, step: StepName) -> None:
        self.steps.append(step)
        if self.on_step is not None:
            self.on_step(step)

    def rescue_began(self, run_id: str, reason: str) -> None:
        self.rescues.append(reason)

    def warned(self, run_id: str, message: str) -> None:
        self.warnings.append(message)


def build_host(directory: Path, **options: object) -> SimulatedHost:
    """The small host: web on two thick volumes, thinny on a thin one."""
    create_host(directory, groups=GROUPS, guests=GUESTS, **options)  # type: ignore[arg-type]
    host = SimulatedHost(directory)
    host.place("/srv").mkdir(parents=True, exist_ok=True)
    destination = ImagesDestination(host.place(DESTINATION), "local")
    destination.initialise()
    destination.close()
    return host


def copy_host(source: Path, target: Path) -> None:
    """Copy a simulated host with its holes: its volumes are mostly that."""
    subprocess.run(["cp", "--archive", "--sparse=always", source, target], check=True)


_seeds = itertools.count(1)


def build_house(host: SimulatedHost, toolstack: str = "xl") -> House:
    """A house as `bootstrap` would build it, around any host."""
    configuration = Configuration(
        destinations=(
            DestinationSpec(name="local", kind=DestinationKind.IMAGES, path=DESTINATION),
        ),
    )
    host.place(configuration.state_path).mkdir(parents=True, exist_ok=True)
    return House(
        host=host,
        configuration=configuration,
        jobs=JobSet(jobs=()),
        toolstack=open_toolstack(host, toolstack),
        lvm=Lvm(host),
        catalog=Catalog(host.place(configuration.state_path) / "catalog.sqlite"),
        open_destination=lambda name: ImagesDestination(host.place(DESTINATION), name),
        entropy=lambda size: next(_seeds).to_bytes(size, "little"),
    )


def make_job(preset: str, domain: str = "web") -> Job:
    return Job(
        name="test",
        pipeline=PipelineSpec(preset=preset),
        destination="local",
        domains=(domain,),
    )


def back_up(
    house: House,
    preset: str,
    *,
    watcher: Watcher | None = None,
    cancelled: Callable[[], str] = lambda: "",
    domain: str = "web",
) -> RoundResult:
    """One round of a preset for one domain."""
    job = make_job(preset, domain)
    return run_round(house, job, plan_job(house, job), watcher or Watcher(), cancelled)


def recover(house: House) -> tuple[RecoveredRun, ...]:
    return recover_runs(house, Watcher())


def find_wrongs(house: House, domain: str = "web", *, runs: bool = True) -> list[str]:
    """Every way in which the promise is broken on this host now; [] when it is kept.

    The guest runs (or, where it is shut off, does not) and ticks with its disks connected and one
    waking monitor; no volume of ours, no clone, no file in the spool, no unfinished point; every
    listed point verifies and is of no run whose snapshot filled up; no guest found corruption.
    """
    host = house.host
    assert isinstance(host, SimulatedHost)
    wrongs = []
    found = next((d for d in house.toolstack.list_domains() if d.name == domain), None)
    if not runs:
        wrongs += [f"{domain} was started"] if found is not None else []
    elif found is None:
        wrongs.append(f"{domain} is down")
    else:
        baseline = health.take_baseline(host, house.toolstack, found)
        if not found.state.alive:
            wrongs.append(f"{domain} is {found.state.letters}")
        wrongs += [
            f"disk {end.vdev_number} is {end.frontend_state}/{end.backend_state}"
            for end in baseline.connections
            if end.rank != (True, True)
        ]
        if len(baseline.connections) != len(found.disks):
            wrongs.append("disks are missing")
        monitors = find_monitors(host, domain)
        if any(process.stopped for process in monitors):
            wrongs.append("its monitor is still held")
        before = count_of(host, domain)
        host.sleep(2.0)
        if count_of(host, domain) <= before:
            wrongs.append(f"{domain} does not tick")
    wrongs += [
        f"volume {v.name} is left" for v in house.lvm.list_volumes() if "xenbackup" in v.tags
    ]
    wrongs += [f"clone {path} is left" for path in host.place("/srv").rglob(".xb-*")]
    spool = host.place(house.configuration.spool_path)
    wrongs += [f"spool holds {path.name}" for path in (spool.iterdir() if spool.exists() else ())]
    wrongs += find_wrong_points(house)
    wrongs += [f"oracle: {name}: {text}" for name, text in read_oracle(host).corruptions.items()]
    return wrongs


def find_wrong_points(house: House) -> list[str]:
    """Every point, in a folder or in volumes, that is listed and should not be; and half ones."""
    wrongs = []
    overflowed = list_overflowed(house)
    names = [spec.name for spec in house.configuration.destinations] or ["local"]
    for name in names:
        with open_store(house, name) as store:
            for point in store.list_points():
                report = store.verify_point(point.point)
                wrongs += [f"point {point.point}: {text}" for text in report.findings]
                if point.point in overflowed:
                    wrongs.append(f"point {point.point} was read from a snapshot that filled up")
            wrongs += [f"partial point {path}" for path in store.folder.rglob(".partial-*")]
    return wrongs


def open_store(house: House, name: str) -> ImagesDestination | VolumeDestination:
    """A destination of the house as it is, whatever a test has put before it."""
    host, spec = house.host, house.configuration.find_destination(name)
    if spec is not None and spec.kind is DestinationKind.VOLUME:
        folder = host.place(house.configuration.state_path) / VOLUMES_FOLDER
        return VolumeDestination(host, Lvm(host), spec, folder / name)
    return ImagesDestination(host.place(DESTINATION), name)


def list_overflowed(house: House) -> set[str]:
    """Runs of which a snapshot filled up, or would have, before its last read."""
    paths = [path for path in list_journals(house.journals_folder) if read_journal(path)]
    return {path.stem for path in paths if read_record(path).too_small}


def count_of(host: SimulatedHost, domain: str) -> int:
    """The counter in the guest's RAM; -1 when it is not there."""
    with host.machine() as machine:
        for found in machine.state.domains:
            if found.name == domain and found.ram is not None:
                return found.ram.counter
    return -1
