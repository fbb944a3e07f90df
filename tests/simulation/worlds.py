"""The hosts that seeds play on: built once a process, copied for each seed.

Volumes are of 1 MiB and guests of 8 KiB of memory, so that a whole backup takes milliseconds. Each
host has a second guest, which no run may ever touch. Points go to a folder, or into volumes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.house import DESTINATION
from tests.simulation.quickening import quickened
from tests.simulation.slots import BACKUP_GROUP, GROUP_SPEC, lay_slots
from xenbackup.bootstrap import build_destination
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.dom0.simulated.building import (
    DiskSpec,
    GroupSpec,
    GuestSpec,
    ThinPoolSpec,
    copy_host,
)
from xenbackup.dom0.simulated.lvm_fields import free_bytes
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import KIB, MIB
from xenbackup.dom0.toolstack import open_toolstack
from xenbackup.model.job import (
    Configuration,
    DestinationKind,
    DestinationSpec,
    Job,
    JobSet,
    PipelineSpec,
)
from xenbackup.model.progress import RunWatcher, SilentWatcher
from xenbackup.model.run import RoundResult
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.records.catalog import Catalog
from xenbackup.storage.images import ImagesDestination

IMAGES = "/srv/images"
GROUP = "xenvols"
UUID = "7b6c97b9-bc1e-4273-8175-79ad2f3505e8"
DISK_BYTES = 1 * MIB
SCRATCH_END_BYTES = 384 * KIB
"""From here on a guest writes nothing: what a point holds there must be what was laid there."""
SCRATCH_BYTES = SCRATCH_END_BYTES - 256 * KIB
NEIGHBOUR = "neighbour"
STACKS: dict[str, dict[str, object]] = {
    "xl-4.17": {},
    "xl-4.20": {"xen_version": (4, 20)},
    "xl-4.3": {"xen_version": (4, 3)},
    "xm-3.4": {"toolstack": "xm"},
}
MEMORY_PRESETS = ("snapshot", "checkpoint", "cold")
EXTENT_BYTES = 64 * KIB
ROOMY_EXTENTS = 64
"""Free room in which every snapshot fits, and a larger one after it."""


def _disk(volume: str, *, pool: str = "") -> DiskSpec:
    return DiskSpec(volume=volume, size_bytes=DISK_BYTES, pool=pool)


def _guest(name: str, *disks: DiskSpec, **changes: object) -> GuestSpec:
    spec = GuestSpec(
        name=name,
        disks=disks,
        memory_mib=24,
        ram_bytes=8 * KIB,
        scratch_bytes=4 * KIB,
        tick_seconds=0.25,
        scratch_region_bytes=SCRATCH_BYTES,
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


GUESTS = {
    spec.name: spec
    for spec in (
        _guest("web", _disk("web_root"), _disk("web_data"), uuid=UUID),
        _guest("plain", _disk("plain_root"), kind="hvm"),
        _guest("thinny", _disk("thinny_root", pool="pool")),
        _guest("mixed", _disk("mixed_root", pool="pool"), _disk("mixed_data"), uuid=UUID),
        _guest("pvh", _disk("pvh_root"), kind="pvh", uuid=UUID),
        _guest("filey", _disk(f"{IMAGES}/filey_root.img"), _disk("filey_data")),
        _guest("off", _disk("off_root"), _disk("off_data", pool="pool"), running=False),
    )
}


@dataclass(frozen=True, kw_only=True)
class World:
    """A kind of host, the guest on it that is backed up, and what its points lie in."""

    stack: str
    guest: str
    kind: DestinationKind = DestinationKind.IMAGES

    @property
    def name(self) -> str:
        return f"{self.stack}-{self.guest}-{self.kind}"

    @property
    def into_volumes(self) -> bool:
        return self.kind is DestinationKind.VOLUME

    @property
    def spec(self) -> GuestSpec:
        return GUESTS[self.guest]

    @property
    def tool(self) -> str:
        return "xm" if self.stack.startswith("xm") else "xl"

    @property
    def destroys_what_it_saves(self) -> bool:
        """An xl without `save -p`."""
        return self.stack == "xl-4.3"

    @property
    def presets(self) -> tuple[str, ...]:
        """Pipelines that this host can run for this guest."""
        if self.guest == "off":
            return ("offline",)
        stays = self.stack not in ("xl-4.3", "xm-3.4")
        return (
            ("snapshot", "checkpoint", "cold", "crash") if stays else ("snapshot", "cold", "crash")
        )


def list_worlds(stack: str, kind: DestinationKind = DestinationKind.IMAGES) -> tuple[World, ...]:
    """Every guest that a host of this age can have, with points of one kind."""
    old = stack in ("xl-4.3", "xm-3.4")
    return tuple(
        World(stack=stack, guest=name, kind=kind) for name in GUESTS if not (old and name == "pvh")
    )


class Shelf:
    """Pristine hosts in one folder, built when they are first wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy_to(self, world: World, target: Path) -> None:
        pristine = self.folder / world.name
        if not pristine.exists():
            _build(world, pristine)
        copy_host(pristine, target)


def _build(world: World, folder: Path) -> None:
    neighbour = _guest(NEIGHBOUR, _disk("neighbour_root"), tick_seconds=5.0)
    create_host(
        folder,
        groups=(
            GroupSpec(
                name=GROUP,
                size_bytes=16 * MIB,
                extent_bytes=EXTENT_BYTES,
                pools=(ThinPoolSpec(name="pool", size_bytes=4 * MIB),),
            ),
            *((GROUP_SPEC,) if world.into_volumes else ()),
        ),
        guests=(world.spec, neighbour),
        **STACKS[world.stack],  # type: ignore[arg-type]
    )
    host = SimulatedHost(folder)
    host.place(DESTINATION).mkdir(parents=True)
    destination = ImagesDestination(host.place(DESTINATION), "local")
    destination.initialise()
    destination.close()
    host.place("/proc/self").mkdir(parents=True, exist_ok=True)
    mounts = host.place("/proc/self/mountinfo")
    mounts.write_text(f"36 25 0:40 / {IMAGES} rw,relatime - btrfs /dev/sdb1 rw\n")
    for disk in world.spec.disks:
        with host.machine() as machine:
            volume = machine.resolve_volume(disk.target)
            if volume is not None:
                machine.volumes.write(volume, SCRATCH_END_BYTES, _noise(disk))
        if disk.volume.startswith("/"):
            with host.place(disk.volume).open("r+b") as file:
                file.seek(SCRATCH_END_BYTES)
                file.write(_noise(disk))
    host.sleep(3.0)
    if world.into_volumes:
        lay_slots(host, world.guest, world.spec.disks)
        _lay_point(host, world)
    host.close()


def _lay_point(host: SimulatedHost, world: World) -> None:
    """The point of last night: the next one is written over it."""
    house = build_house(host, world, random.Random(world.name).randbytes)
    with quickened():
        result = run_nightly(house, world, world.presets[-1], SilentWatcher(), lambda: "")
    if [run.error for run in result.runs if not run.point] or not result.runs:
        raise AssertionError(f"no earlier point on {world.name}: {result}")
    host.sleep(60.0)


def run_nightly(
    house: House, world: World, preset: str, watcher: RunWatcher, cancelled: Callable[[], str]
) -> RoundResult:
    """One round for the guest, as `xenbackup run JOB` does it."""
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset=preset),
        destination="local",
        domains=(world.guest,),
    )
    return run_round(house, job, plan_job(house, job), watcher, cancelled)


def leave_free(machine: Machine, extents: int) -> None:
    """The guests' group has so many extents for snapshots from here on. The caller commits."""
    group = next(group for group in machine.state.groups if group.name == GROUP)
    group.size_bytes += extents * EXTENT_BYTES - free_bytes(machine, group)


def _noise(disk: DiskSpec) -> bytes:
    """What lies on a disk where its guest never writes."""
    return (disk.volume.encode() * 4096)[: 64 * KIB]


def expect_tail(disk: DiskSpec) -> bytes:
    """What every good copy of the disk holds from SCRATCH_END_BYTES on."""
    return _noise(disk).ljust(disk.size_bytes - SCRATCH_END_BYTES, b"\0")


def build_house(host: SimulatedHost, world: World, entropy: Callable[[int], bytes]) -> House:
    """As `bootstrap` does, with ids that the seed decides."""
    path = BACKUP_GROUP if world.into_volumes else DESTINATION
    configuration = Configuration(
        destinations=(DestinationSpec(name="local", kind=world.kind, path=path),),
    )
    lvm = Lvm(host)
    host.place(configuration.state_path).mkdir(parents=True, exist_ok=True)
    return House(
        host=host,
        configuration=configuration,
        jobs=JobSet(jobs=()),
        toolstack=open_toolstack(host, world.tool),
        lvm=lvm,
        catalog=Catalog(host.place(configuration.state_path) / "catalog.sqlite"),
        open_destination=lambda name: build_destination(host, lvm, configuration, name),
        entropy=entropy,
    )
