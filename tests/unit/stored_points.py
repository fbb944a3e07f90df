"""Points in a destination of images, for tests that store and look at them."""

from __future__ import annotations

import random
from pathlib import Path

from tests.unit.devices import MemoryDevice
from tests.unit.points import POINT, make_manifest
from xenbackup.model.domain import GuestKind
from xenbackup.storage.copying import BLOCK_SIZE_BYTES
from xenbackup.storage.images import ImagesDestination

MIB = 1 << 20


def make_content(seed: int = 1) -> bytes:
    """Two and a bit blocks: data, zeros, data."""
    data = random.Random(seed).randbytes(MIB)
    return data + bytes(BLOCK_SIZE_BYTES) + data + b"tail"


def store_point(
    destination: ImagesDestination,
    *,
    domain: str = "web",
    identity: str = "web",
    point: str = POINT,
    content: bytes | None = None,
    memory: Path | None = None,
    kind: GuestKind = GuestKind.PV,
    configuration: str = 'name = "web"\n',
) -> Path:
    """Stage and publish a point with one disk; returns its folder."""
    content = make_content() if content is None else content
    staged = destination.stage_point(domain, identity, point)
    copied = staged.add_disk(
        "xvda", MemoryDevice(content), size_bytes=len(content), source_name="/dev/vg/web"
    )
    stored = staged.add_memory(memory) if memory else None
    staged.write_domain('{"name": "web"}\n')
    if configuration:
        staged.write_configuration(configuration)
    staged.publish(
        make_manifest(
            point=point,
            domain=domain,
            identity=identity,
            disks=(copied.stored,),
            memory=stored,
            kind=kind,
        )
    )
    return destination.point_folder(point)


def list_ids(destination: ImagesDestination) -> list[str]:
    return [summary.point for summary in destination.list_points()]
