"""A made-up host for tests of planning a restore: changed first, then looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.unit.points import make_manifest
from xenbackup.errors import RestoreRefused
from xenbackup.model.domain import Disk, Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import Consistency
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import Manifest, StoredDisk, StoredMemory
from xenbackup.model.restore import (
    RestoreOptions,
    RestorePlan,
)
from xenbackup.model.restore_sight import DiskUse, PathSight, RestoreSight
from xenbackup.model.volume import LogicalVolume, VolumeGroup
from xenbackup.model.xen import XenFacts
from xenbackup.planning.restore_candidates import propose_candidates
from xenbackup.planning.restore_configuration import read_recorded_guest
from xenbackup.planning.restore_plan import (
    RestoreRequest,
    decide_restore,
)

MIB = 1 << 20
WEB_UUID = "11111111-2222-3333-4444-555555555555"
FRESH_UUID = "99999999-2222-4333-8444-555555555555"
RESTORE = "20261124T080000Z-aaaaaa"
EARLIER = "20261124T070000Z-bbbbbb"
ROOT_UUID = "rootrt-0000-0000-0000-0000-0000-000000"
DATA_UUID = "datada-0000-0000-0000-0000-0000-000000"
ROOT = "/dev/xenvols/web_root"
DATA = "/dev/xenvols/web-data"


def make_volume(name: str, uuid: str, *, group: str = "xenvols", **changes: Any) -> LogicalVolume:
    fields: dict[str, Any] = {
        "uuid": uuid,
        "name": name,
        "group": group,
        "size_bytes": 64 * MIB,
        "attributes": "-wi-a-----",
        "path": f"/dev/{group}/{name}",
        "dm_path": f"/dev/mapper/{group}-{name.replace('-', '--')}",
    }
    return LogicalVolume(**(fields | changes))


ROOT_VOLUME = make_volume("web_root", ROOT_UUID)
DATA_VOLUME = make_volume("web-data", DATA_UUID)


def make_disk(vdev: str, source: str, size_bytes: int = 64 * MIB) -> StoredDisk:
    return StoredDisk(
        vdev=vdev,
        file=f"{vdev}.img",
        size_bytes=size_bytes,
        digest="0" * 64,
        block_size_bytes=4 * MIB,
        block_digests=("0" * 64,) * (size_bytes // (4 * MIB)),
        source=source,
    )


def make_point(*, memory: bool = True, **changes: Any) -> Manifest:
    stored = StoredMemory(file="memory.save", size_bytes=MIB, digest="1" * 64) if memory else None
    fields: dict[str, Any] = {
        "disks": (make_disk("xvda", ROOT), make_disk("xvdb", DATA)),
        "consistency": Consistency.MEMORY if memory else Consistency.CRASH,
        "memory": stored,
        "memory_mib": 96,
        "identity": WEB_UUID,
    }
    return make_manifest(**(fields | changes))


def make_configuration(**changes: Any) -> str:
    config: dict[str, Any] = {
        "c_info": {"type": "pv", "name": "web", "uuid": WEB_UUID},
        "b_info": {"kernel": "/srv/domu/vmlinuz", "target_memkb": 98304},
        "disks": [
            {"vdev": "xvda", "pdev_path": ROOT, "readwrite": 1},
            {"vdev": "xvdb", "pdev_path": DATA, "readwrite": 1},
        ],
    }
    return json.dumps(config | changes)


FACTS = XenFacts(
    hostname="dom0",
    xen_version="4.17.7",
    version_tuple=(4, 17, 7),
    free_memory_mib=2048,
    total_memory_mib=4095,
    cpus=2,
    cpu_mhz="2596.120",
    hardware_capabilities="178bf3ff:76f8320b",
    scheduler="credit2",
    xen_command_line="dom0_mem=512M",
)


def see_volume(volume: LogicalVolume, path: str = "", **changes: Any) -> PathSight:
    fields: dict[str, Any] = {
        "path": path or volume.path,
        "exists": True,
        "kind": VolumeKind.LOGICAL_VOLUME,
        "tokens": frozenset((f"lv:{volume.uuid}", f"path:{path or volume.path}")),
        "size_bytes": volume.size_bytes,
        "volume": volume,
        "held": "open in dom0" if volume.open else "",
    }
    return PathSight(**(fields | changes))


def see_nothing(path: str, **changes: Any) -> PathSight:
    fields: dict[str, Any] = {
        "path": path,
        "exists": False,
        "tokens": frozenset((f"path:{path}",)),
        "folder_exists": True,
        "folder_free_bytes": 1 << 40,
    }
    return PathSight(**(fields | changes))


def see_file(path: str, size_bytes: int = 64 * MIB, inode: int = 7, **changes: Any) -> PathSight:
    fields: dict[str, Any] = {
        "path": path,
        "exists": True,
        "kind": VolumeKind.IMAGE_FILE,
        "tokens": frozenset((f"file:1:{inode}", f"path:{path}")),
        "size_bytes": size_bytes,
        "inode": inode,
        "folder_exists": True,
    }
    return PathSight(**(fields | changes))


def make_domain(name: str, *targets: str, domid: int = 4, **changes: Any) -> Domain:
    disks = tuple(
        Disk(vdev=f"xvd{chr(ord('a') + number)}", target=target)
        for number, target in enumerate(targets)
    )
    domain = builders.make_domain(domid=domid, name=name, uuid=f"{name}-uuid")
    return replace(domain, **({"disks": disks} | changes))


class World:
    """A host to be changed before it is looked at: web is shut off, its two volumes are there."""

    def __init__(self) -> None:
        self.volumes: list[LogicalVolume] = [ROOT_VOLUME, DATA_VOLUME]
        self.domains: list[Domain] = []
        self.groups = [
            VolumeGroup(
                uuid="g1",
                name="xenvols",
                size_bytes=1024 * MIB,
                free_bytes=512 * MIB,
                extent_size_bytes=4 * MIB,
            ),
            VolumeGroup(
                uuid="g2",
                name="fast-disks",
                size_bytes=1024 * MIB,
                free_bytes=512 * MIB,
                extent_size_bytes=4 * MIB,
            ),
        ]
        self.sights: dict[str, PathSight] = {}
        self.facts = FACTS
        self.extra: dict[str, Any] = {}

    def look(self, request: RestoreRequest) -> RestoreSight:
        inventory = Inventory(
            facts=self.facts,
            can_save_paused=True,
            domains=tuple(self.domains),
            volumes=tuple(self.volumes),
            groups=tuple(self.groups),
        )
        candidates = propose_candidates(request.manifest, request.options, inventory)
        paths = [found.path for listed in candidates.values() for found in listed]
        paths += [disk.source for disk in request.manifest.disks]
        uses = [
            DiskUse(domain=domain, vdev=disk.vdev, writable=True, sight=self.see(disk.target))
            for domain in self.domains
            for disk in domain.disks
        ]
        fields: dict[str, Any] = {
            "inventory": inventory,
            "paths": tuple(self.see(path) for path in dict.fromkeys(paths)),
            "uses": tuple(uses),
            "marks": (),
            "boot_id": builders.BOOT,
            "cpu_model": "EPYC",
            "spool_free_bytes": 1 << 40,
        }
        return RestoreSight(**(fields | self.extra))

    def see(self, path: str) -> PathSight:
        if path in self.sights:
            return self.sights[path]
        for volume in self.volumes:
            if path in (volume.path, volume.dm_path):
                return see_volume(volume, path)
        return see_nothing(path)


def make_request(
    manifest: Manifest | None = None, configuration: str | None = None, **options: Any
) -> RestoreRequest:
    recorded = make_configuration() if configuration is None else configuration
    return RestoreRequest(
        manifest=manifest or make_point(),
        destination="local",
        options=RestoreOptions(**options),
        restore=RESTORE,
        fresh_uuid=FRESH_UUID,
        guest=read_recorded_guest(recorded),
        configuration_json=recorded,
        direct_memory_path="/srv/backup/web/memory.save",
        spool_path="/var/lib/xenbackup/spool",
        configuration_path="/var/lib/xenbackup/restored/web.cfg",
        fresh_macs=("00:16:3e:00:00:01",),
    )


def decide(world: World, manifest: Manifest | None = None, **options: Any) -> RestorePlan:
    configuration = options.pop("configuration", None)
    request = make_request(manifest, configuration, **options)
    return decide_restore(request, world.look(request))


def refuse(world: World, manifest: Manifest | None = None, **options: Any) -> str:
    with pytest.raises(RestoreRefused) as caught:
        decide(world, manifest, **options)
    return caught.value.message


def acts_of(plan: RestorePlan) -> list[tuple[str, str]]:
    return [(target.path, target.act.name) for target in plan.targets]
