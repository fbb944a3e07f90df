"""A house with points of many nights, stored without any backup: for retention and removal."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from tests.house import DESTINATION, build_house
from tests.unit.devices import MemoryDevice
from tests.unit.points import make_manifest
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.model.job import (
    Configuration,
    Consistency,
    DestinationKind,
    DestinationSpec,
    Job,
    JobSet,
    PipelineSpec,
    Retention,
)
from xenbackup.model.names import make_run_id
from xenbackup.operations.house import House
from xenbackup.storage.images import ImagesDestination

OFFSITE = "/srv/offsite"
CONTENT = b"data" * 512


def make_job(name: str = "nightly", **changes: object) -> Job:
    job = Job(
        name=name,
        pipeline=PipelineSpec(preset="crash"),
        destination="local",
        domains=("*",),
        timezone="UTC",
        retention=Retention(daily=2),
    )
    return replace(job, **changes)  # type: ignore[arg-type]


class Attic:
    """The house, its two destinations (`local`, `offsite`), and points put there by hand."""

    def __init__(self, directory: Path, *jobs: Job, hostname: str = "dom0") -> None:
        if not directory.exists():
            create_host(directory, hostname=hostname)
        self.hostname = hostname
        self.host = SimulatedHost(directory)
        configuration = Configuration(
            destinations=(
                DestinationSpec(name="local", kind=DestinationKind.IMAGES, path=DESTINATION),
                DestinationSpec(name="offsite", kind=DestinationKind.IMAGES, path=OFFSITE),
            ),
        )
        places = {spec.name: spec.path for spec in configuration.destinations}
        for name, place in places.items():
            self.host.place(place).parent.mkdir(parents=True, exist_ok=True)
            made = ImagesDestination(self.host.place(place), name)
            made.initialise()
            made.close()
        self.house: House = replace(
            build_house(self.host),
            configuration=configuration,
            jobs=JobSet(jobs=jobs or (make_job(),)),
            open_destination=lambda name: ImagesDestination(self.host.place(places[name]), name),
        )

    @property
    def folder(self) -> Path:
        return self.host.place(DESTINATION)

    def share_folder_of(self, other: Attic) -> None:
        """Let `local` be that of another host, as over NFS."""
        shutil.rmtree(self.folder)
        self.folder.symlink_to(other.folder)

    def configure(self, **changes: object) -> None:
        changed = replace(self.house.configuration, **changes)  # type: ignore[arg-type]
        self.house = replace(self.house, configuration=changed)

    def night(self, ago: int) -> datetime:
        return self.host.now() - timedelta(days=ago)

    def store(
        self,
        ago: int,
        *,
        domain: str = "web",
        job: str = "nightly",
        destination: str = "local",
        consistency: Consistency = Consistency.CRASH,
        identity: str = "",
    ) -> str:
        """A point of so many nights ago (negative: to come); returns its id."""
        at = self.night(ago)
        point = make_run_id(at, domain.encode().ljust(6, b"\0"))
        store = self.house.open_destination(destination)
        assert isinstance(store, ImagesDestination)
        store.open()
        staged = store.stage_point(domain, identity or domain, point)
        copied = staged.add_disk(
            "xvda", MemoryDevice(CONTENT), size_bytes=len(CONTENT), source_name="/dev/vg/x"
        )
        staged.write_domain("{}\n")
        staged.publish(
            make_manifest(
                point=point,
                domain=domain,
                identity=identity or domain,
                host=replace(make_manifest().host, hostname=self.hostname),
                job=job,
                created_at=at,
                consistency=consistency,
                disks=(copied.stored,),
            )
        )
        store.close()
        return point

    def store_nights(self, nights: int, **more: str) -> list[str]:
        """Newest last: of the nights before last, and of last night (0)."""
        return [self.store(ago, **more) for ago in reversed(range(nights))]  # type: ignore[arg-type]

    def list_ids(self, destination: str = "local") -> list[str]:
        store = self.house.open_destination(destination)
        store.open()
        found = [summary.point for summary in store.scan().points]
        store.close()
        return found

    def place(self, point: str, domain: str = "web") -> Path:
        return self.folder / domain / point
