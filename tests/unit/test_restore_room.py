"""Thin volumes and the room that they need: recreated thin where they can be, never by surprise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from tests.unit.restore_house import Site
from tests.unit.restore_world import (
    DATA,
    DATA_VOLUME,
    MIB,
    ROOT,
    ROOT_VOLUME,
    World,
    acts_of,
    decide,
    make_disk,
    make_point,
    make_volume,
    refuse,
)
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import Manifest, StoredBacking, StoredDisk
from xenbackup.planning.restore_room import count_filled_bytes

BLOCK = 4 * MIB
POOL = make_volume("pool", "poolpo-0000-0000-0000-0000-0000-000000", attributes="twi-aotz--")
THIN = StoredBacking(
    kind=VolumeKind.LOGICAL_VOLUME, group="xenvols", lv_name="web_root", pool="pool"
)


def make_world(**pool: object) -> World:
    world = World()
    world.volumes = [replace(POOL, data_percent=50.0, **pool)]  # type: ignore[arg-type]
    return world


def make_thin_point(filled: int = 8) -> Manifest:
    """Two thin disks of sixteen blocks, of which `filled` hold something."""
    zeros = blake3(bytes(BLOCK)).hexdigest()
    digests = ("a" * 64,) * filled + (zeros,) * (16 - filled)
    disks = (make_disk("xvda", ROOT), make_disk("xvdb", DATA))
    return make_point(
        disks=tuple(replace(disk, backing=THIN, block_digests=digests) for disk in disks)
    )


def test_thin_volumes_that_are_gone_are_made_in_their_pool() -> None:
    plan = decide(make_world(size_bytes=1024 * MIB), make_thin_point())
    assert [(ROOT, "CREATE_VOLUME"), (DATA, "CREATE_VOLUME")] == acts_of(plan)
    assert ["pool", "pool"] == [target.pool for target in plan.targets]
    assert not any("thin" in warning for warning in plan.warnings)


@pytest.mark.parametrize("volumes", [[], [make_volume("pool", "x")]])
def test_without_the_pool_they_become_thick_and_that_is_said(volumes: list[object]) -> None:
    world = World()
    world.volumes = volumes  # type: ignore[assignment]
    plan = decide(world, make_thin_point())
    assert ["", ""] == [target.pool for target in plan.targets]
    assert (
        "xvda was thin, in pool xenvols/pool, which this host does not have: xenvols/web_root will "
        "be a thick volume"
    ) in plan.warnings


def test_in_another_group_they_become_thick_and_that_is_said() -> None:
    plan = decide(make_world(), make_thin_point(), domain="web2", volume_group="fast-disks")
    assert ["", ""] == [target.pool for target in plan.targets]
    assert any("in another group: fast-disks/web_root" in warning for warning in plan.warnings)


def test_points_of_before_it_was_recorded_are_made_thick_in_silence() -> None:
    plan = decide(make_world())
    assert ["", ""] == [target.pool for target in plan.targets]
    assert not any("thin" in warning for warning in plan.warnings)


def test_room_of_the_group_does_not_matter_to_a_thin_volume() -> None:
    world = make_world(size_bytes=1024 * MIB)
    world.groups = [replace(group, free_bytes=0) for group in world.groups]
    assert 2 == len(decide(world, make_thin_point()).targets)
    assert "0 MiB free" in refuse(world)


def test_pool_that_what_is_written_may_overfill_is_refused_with_the_numbers() -> None:
    """Half of 128 MiB is free; the disks have eight filled blocks of 4 MiB each."""
    assert 2 == len(decide(make_world(size_bytes=128 * MIB), make_thin_point(8)).targets)
    message = refuse(make_world(size_bytes=128 * MIB), make_thin_point(9))
    assert "Thin pool xenvols/pool has 64 MiB free, the new volumes need up to 72 MiB" in message
    assert "need up to 128 MiB" in refuse(
        make_world(size_bytes=128 * MIB), make_thin_point(8), whole=True
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", 0),
        (bytes(BLOCK), 0),
        (bytes(BLOCK + 5), 0),
        (b"x" + bytes(BLOCK), BLOCK),
        (bytes(BLOCK) + b"tail", 4),
        (b"x" * (2 * BLOCK + 7), 2 * BLOCK + 7),
    ],
)
def test_only_blocks_with_more_than_zeros_count(content: bytes, expected: int) -> None:
    blocks = [content[start : start + BLOCK] for start in range(0, len(content), BLOCK)]
    disk = StoredDisk(
        vdev="xvda",
        file="xvda.img",
        size_bytes=len(content),
        digest=blake3(content).hexdigest(),
        block_size_bytes=BLOCK,
        block_digests=tuple(blake3(block).hexdigest() for block in blocks),
    )
    assert expected == count_filled_bytes(disk)


# On the simulated host


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def test_what_backed_each_disk_is_in_its_manifest(site: Site) -> None:
    kind = VolumeKind.LOGICAL_VOLUME
    (thin,) = site.back_up(domain="thinny").manifest.disks
    root, _ = site.back_up().manifest.disks
    assert thin.backing == StoredBacking(
        kind=kind, group="xenvols", lv_name="thinny_root", pool="pool"
    )
    assert root.backing == StoredBacking(kind=kind, group="xenvols", lv_name="web_root")


def test_a_thin_volume_that_is_gone_comes_back_thin(site: Site) -> None:
    point = site.back_up(domain="thinny")
    before = {group.name: group.free_bytes for group in site.house.lvm.list_groups()}
    site.lose("thinny_root", domain="thinny")

    site.restore(point, memory=True, start=True)

    made = site.house.lvm.find_volume("/dev/xenvols/thinny_root")
    assert made is not None
    assert (True, "pool") == (made.thin, made.pool)
    assert before == {group.name: group.free_bytes for group in site.house.lvm.list_groups()}
    site.host.sleep(3.0)
    assert {} == site.corruptions()


def test_without_its_pool_it_comes_back_thick(site: Site) -> None:
    point = site.back_up("crash", domain="thinny")
    site.lose("thinny_root", "pool", domain="thinny")

    result = site.restore(point)

    made = site.house.lvm.find_volume("/dev/xenvols/thinny_root")
    assert made is not None
    assert not made.thin
    assert any("will be a thick volume" in warning for warning in result.warnings)
    assert site.stored(point, "xvda.img").read_bytes() == site.read("/dev/xenvols/thinny_root")


@pytest.mark.parametrize(
    ("filled", "whole", "told"), [(8, False, False), (9, False, True), (8, True, True)]
)
def test_pool_that_writing_over_its_volumes_might_fill_is_told_of(
    filled: int, whole: bool, told: bool
) -> None:
    """Half of 128 MiB is free, and two volumes of it are there; what is right stays unwritten."""
    world = make_world(size_bytes=128 * MIB)
    world.volumes += [
        replace(volume, attributes="Vwi-a-tz--", pool="pool")
        for volume in (ROOT_VOLUME, DATA_VOLUME)
    ]
    warnings = decide(world, make_thin_point(filled), whole=whole).warnings
    needed = 128 if whole else filled * 8
    expected = f"thin pool xenvols/pool has 64 MiB free, and up to {needed} MiB are written"
    assert told is any(warning.startswith(expected) for warning in warnings)
    assert told is any("pool" in warning for warning in warnings)
