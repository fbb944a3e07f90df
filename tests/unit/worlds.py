"""Worlds for validation: a host on which all is well, and ways to spoil it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tests.builders import MIB, RUNNING
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.devices import DriverInventory, GuestDrivers, KernelModule
from xenbackup.model.domain import Disk, Domain, DomainState, GuestKind
from xenbackup.model.inventory import Inventory, PlaceSight
from xenbackup.model.job import (
    Configuration,
    DestinationKind,
    DestinationSpec,
    Job,
    JobSet,
    PipelineSpec,
)
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.problem import Problem
from xenbackup.model.resources import Dom0Memory, DomainResources, Resources
from xenbackup.model.setting import Setting
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.model.xen import XenFacts
from xenbackup.planning.validation import validate, validate_host

GIB = 1 << 30
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OFF = DomainState(letters="")
FACTS = XenFacts(
    hostname="dom0",
    xen_version="4.17.7",
    version_tuple=(4, 17, 7),
    free_memory_mib=4096,
    total_memory_mib=8192,
    cpus=4,
    cpu_mhz="2400.000",
    hardware_capabilities="",
    scheduler="credit2",
    xen_command_line="dom0_mem=1024M,max:1024M",
)


@dataclass(frozen=True, kw_only=True)
class World:
    """A host, a job, and all that is configured."""

    inventory: Inventory
    job: Job
    setting: Setting

    def problems(self) -> tuple[Problem, ...]:
        of_job = validate(self.job, self.inventory, self.setting)
        return (*of_job, *validate_host(self.inventory, self.setting))

    def codes(self) -> set[str]:
        return {problem.code for problem in self.problems()}

    def find(self, code: str) -> Problem:
        """The first problem with this code."""
        return next(problem for problem in self.problems() if problem.code == code)

    # Ways to spoil it

    def with_host(self, **fields: object) -> World:
        return replace(self, inventory=replace(self.inventory, **fields))  # type: ignore[arg-type]

    def with_job(self, **fields: object) -> World:
        return replace(self, job=replace(self.job, **fields))  # type: ignore[arg-type]

    def with_setting(self, **fields: object) -> World:
        return replace(self, setting=replace(self.setting, **fields))  # type: ignore[arg-type]

    def with_preset(self, preset: str) -> World:
        return self.with_job(pipeline=PipelineSpec(preset=preset))

    def with_guest(self, guest: str = "web", /, **fields: object) -> World:
        """One guest changed."""
        return self.with_host(
            domains=tuple(
                replace(domain, **fields) if domain.name == guest else domain  # type: ignore[arg-type]
                for domain in self.inventory.domains
            )
        )

    def with_place(self, name: str, **fields: object) -> World:
        return self.with_host(
            places=tuple(
                replace(place, **fields) if place.name == name else place  # type: ignore[arg-type]
                for place in self.inventory.places
            )
        )

    def with_backing(self, **fields: object) -> World:
        (backing, *others) = self.inventory.backings
        return self.with_host(backings=(replace(backing, **fields), *others))  # type: ignore[arg-type]

    def with_volumes(self, *volumes: LogicalVolume) -> World:
        return self.with_host(volumes=volumes)

    def with_resources(self, **fields: object) -> World:
        return self.with_host(
            resources=replace(self.inventory.resources, **fields)  # type: ignore[arg-type]
        )

    def with_dom0(self, **fields: object) -> World:
        dom0 = self.inventory.resources.dom0
        return self.with_resources(dom0=replace(dom0, **fields))  # type: ignore[arg-type]

    def with_destination(self, kind: DestinationKind, path: str) -> World:
        """The job's destination is of this kind; the place there is fine."""
        spec = DestinationSpec(name="local", kind=kind, path=path)
        configuration = replace(self.setting.configuration, destinations=(spec,))
        world = self.with_setting(configuration=configuration)
        return world.with_place("local", kind=kind.value, path=path)


def make_volume(name: str = "web_root", **fields: object) -> LogicalVolume:
    volume = LogicalVolume(
        uuid=f"uuid-of-{name}",
        name=name,
        group="xenvols",
        size_bytes=10 * GIB,
        attributes="-wi-ao----",
        path=f"/dev/xenvols/{name}",
        dm_path=f"/dev/mapper/xenvols-{name}",
        open=True,
    )
    return replace(volume, **fields)  # type: ignore[arg-type]


def make_guest(name: str = "web", domid: int = 6, **fields: object) -> Domain:
    domain = Domain(
        name=name,
        domid=domid,
        uuid=f"uuid-of-{name}",
        configured_uuid=f"uuid-of-{name}",
        kind=GuestKind.PV,
        state=RUNNING if domid >= 0 else OFF,
        memory_mib=1024,
        vcpus=1,
        disks=(Disk(vdev="xvda", target=f"/dev/xenvols/{name}_root"),),
    )
    return replace(domain, **fields)  # type: ignore[arg-type]


def make_backing(name: str = "web", **fields: object) -> DiskBacking:
    backing = DiskBacking(
        domain=name,
        vdev="xvda",
        target=f"/dev/xenvols/{name}_root",
        kind=BackingKind.LOGICAL_VOLUME,
        path=f"/dev/xenvols/{name}_root",
        size_bytes=10 * GIB,
        group="xenvols",
        lv_uuid=f"uuid-of-{name}_root",
        snapshot=SnapshotKind.THICK,
        tokens=frozenset((f"lv:uuid-of-{name}_root",)),
    )
    return replace(backing, **fields)  # type: ignore[arg-type]


def make_group(free_bytes: int = 100 * GIB) -> VolumeGroup:
    return VolumeGroup(
        uuid="uuid-of-group",
        name="xenvols",
        size_bytes=200 * GIB,
        free_bytes=free_bytes,
        extent_size_bytes=4 * MIB,
    )


def make_pool(data: float | None = 10.0, metadata: float | None = 5.0) -> LogicalVolume:
    return make_volume(
        "pool", attributes="twi-aotz--", data_percent=data, metadata_percent=metadata
    )


def make_module(name: str, state: str = "loaded") -> KernelModule:
    return KernelModule(name=name, purpose="a test", state=state)


def make_modules(**states: str) -> DriverInventory:
    wanted = {"dm_snapshot": "loaded", "dm_thin_pool": "loaded", "xen_blkback": "built-in"} | states
    return DriverInventory(
        modules=tuple(make_module(name, state) for name, state in wanted.items()),
        guests=(GuestDrivers(domain="web", kind="pv"),),
    )


def make_world() -> World:
    """One running guest on a plain logical volume, `checkpoint` to a folder; nothing is wrong."""
    local = DestinationSpec(name="local", kind=DestinationKind.IMAGES, path="/srv/backup")
    job = Job(
        name="nightly",
        pipeline=PipelineSpec(preset="checkpoint"),
        destination="local",
        domains=("*",),
        schedule="30 2 * * *",
    )
    inventory = Inventory(
        facts=FACTS,
        can_save_paused=True,
        domains=(make_guest(),),
        volumes=(make_volume(),),
        groups=(make_group(),),
        backings=(make_backing(),),
        resources=Resources(
            total_mib=8192,
            free_mib=4096,
            cpus=4,
            dom0=Dom0Memory(current_mib=1024, on_xen_line="1024M,max:1024M", limit_mib=1024),
            domains=(
                DomainResources(domain="web", domid=6, memory_mib=1024, maximum_mib=1024, vcpus=1),
            ),
        ),
        drivers=make_modules(),
        places=(
            PlaceSight(
                name="local",
                kind="images",
                path="/srv/backup",
                free_bytes=500 * GIB,
                total_bytes=900 * GIB,
                mount_point="/srv/backup",
                mount_source="/dev/sdb1",
                tokens=frozenset(("block:8:17",)),
            ),
            PlaceSight(
                name="",
                kind="spool",
                path="/var/lib/xenbackup/spool",
                free_bytes=50 * GIB,
                total_bytes=90 * GIB,
                mount_point="/",
                mount_source="/dev/sda1",
                tokens=frozenset(("block:8:1",)),
            ),
        ),
        monitored=frozenset(("web",)),
    )
    return World(
        inventory=inventory,
        job=job,
        setting=Setting(
            configuration=Configuration(destinations=(local,)), jobs=JobSet(jobs=(job,)), now=NOW
        ),
    )


GOOD = make_world()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A code, a world that has the problem, and one that nearly has it."""

    code: str
    bad: World
    good: World = GOOD
    domain: str = ""

    def __str__(self) -> str:
        return self.code
