"""Restores that were cut off, and what planning the same one again makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.unit.points import POINT
from tests.unit.restore_world import (
    DATA,
    DATA_VOLUME,
    EARLIER,
    MIB,
    RESTORE,
    ROOT,
    ROOT_VOLUME,
    WEB_UUID,
    World,
    decide,
    make_domain,
    make_volume,
    refuse,
    see_file,
)
from xenbackup.model.command import Process
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore import (
    DiskPlacement,
    MarkedTarget,
    RestoreMark,
    RestorePhase,
    TargetAct,
)
from xenbackup.model.volume import LogicalVolume
from xenbackup.planning.restore_plan import (
    compose_mark,
    is_half_built,
)


@pytest.fixture
def world() -> World:
    return World()


# Interrupted restores


def make_mark(*targets: MarkedTarget, **changes: Any) -> RestoreMark:
    fields: dict[str, Any] = {
        "restore": EARLIER,
        "point": POINT,
        "destination": "local",
        "source_domain": "web",
        "domain": "web",
        "uuid": WEB_UUID,
        "boot_id": builders.BOOT,
        "phase": RestorePhase.WRITING,
        "targets": targets,
    }
    return RestoreMark(**(fields | changes))


def mark_volume(vdev: str, volume: LogicalVolume, **changes: Any) -> MarkedTarget:
    fields: dict[str, Any] = {
        "vdev": vdev,
        "path": volume.path,
        "kind": VolumeKind.LOGICAL_VOLUME,
        "created": True,
        "group": volume.group,
        "lv_name": volume.name,
        "lv_uuid": volume.uuid,
        "capacity_bytes": volume.size_bytes,
    }
    return MarkedTarget(**(fields | changes))


FAST_ROOT = make_volume("web_root", "fast01", group="fast-disks")
FAST_DATA = make_volume("web-data", "fast02", group="fast-disks")


def test_volumes_that_an_interrupted_restore_made_are_gone_on_with(world: World) -> None:
    world.volumes += [FAST_ROOT, FAST_DATA]
    world.extra["marks"] = (
        make_mark(mark_volume("xvda", FAST_ROOT), mark_volume("xvdb", FAST_DATA, lv_uuid="")),
    )

    plan = decide(world, volume_group="fast-disks")

    assert [target.act for target in plan.targets] == [TargetAct.CONTINUE, TargetAct.CONTINUE]
    assert (plan.restore, plan.completes) == (EARLIER, True)


@pytest.mark.parametrize(
    "change",
    [
        {"lv_uuid": "another"},
        {"lv_uuid": "", "capacity_bytes": 60 * MIB},
        {"created": False},
        {"lv_uuid": "", "lv_name": "else"},
    ],
)
def test_a_volume_that_is_not_the_marked_one_is_foreign(
    world: World, change: dict[str, Any]
) -> None:
    precious = make_volume("precious", "prec01")
    world.volumes.append(precious)
    world.extra["marks"] = (make_mark(mark_volume("xvda", precious, **change)),)

    placed = (DiskPlacement(vdev="xvda", path=precious.path),)

    assert "exists already and does not belong" in refuse(world, disks=placed)


@pytest.mark.parametrize(
    ("inode", "size_bytes", "marked_inode", "adopted"),
    [(7, 64 * MIB, 7, True), (7, 0, 0, True), (7, 5, 0, False), (8, 64 * MIB, 7, False)],
)
def test_a_file_is_gone_on_with_only_if_it_is_the_one_we_made(
    world: World, inode: int, size_bytes: int, marked_inode: int, adopted: bool
) -> None:
    path = "/srv/a.img"
    world.sights[path] = see_file(path, size_bytes, inode)
    marked = MarkedTarget(
        vdev="xvda",
        path=path,
        kind=VolumeKind.IMAGE_FILE,
        created=True,
        inode=marked_inode,
        capacity_bytes=64 * MIB,
    )
    world.extra["marks"] = (make_mark(marked),)
    placed = (DiskPlacement(vdev="xvda", path=path),)

    if adopted:
        assert decide(world, disks=placed).targets[0].act is TargetAct.CONTINUE
    else:
        assert "exists already" in refuse(world, disks=placed)


def test_what_one_restore_left_may_be_written_over_by_another_point(world: World) -> None:
    world.volumes += [FAST_ROOT, FAST_DATA]
    world.extra["marks"] = (
        make_mark(
            mark_volume("xvda", FAST_ROOT), mark_volume("xvdb", FAST_DATA), point="other-point"
        ),
    )

    plan = decide(world, volume_group="fast-disks")

    assert [target.act for target in plan.targets] == [TargetAct.CONTINUE, TargetAct.CONTINUE]
    assert (plan.restore, plan.completes) == (RESTORE, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"point": "other-point", "phase": RestorePhase.REBUILDING},
        {"point": "other-point", "phase": RestorePhase.RESUMING},
        {"domain": "web2"},
    ],
    ids=["whole", "about to run", "of another guest"],
)
def test_what_may_be_somebodys_by_now_is_not_gone_on_with(
    world: World, changes: dict[str, Any]
) -> None:
    world.volumes.append(FAST_ROOT)
    world.extra["marks"] = (make_mark(mark_volume("xvda", FAST_ROOT), **changes),)
    placed = (DiskPlacement(vdev="xvda", path=FAST_ROOT.path),)

    assert "exists already and does not belong" in refuse(world, disks=placed)


def test_a_new_name_keeps_the_uuid_of_the_restore_that_it_completes(world: World) -> None:
    world.volumes += [FAST_ROOT, FAST_DATA]
    world.extra["marks"] = (
        make_mark(
            mark_volume("xvda", FAST_ROOT),
            mark_volume("xvdb", FAST_DATA),
            domain="web2",
            uuid=builders.OTHER_UUID,
        ),
    )

    plan = decide(world, volume_group="fast-disks", domain="web2", memory=True)

    assert plan.uuid == builders.OTHER_UUID


def test_a_half_built_domain_of_ours_goes_and_does_not_hold_its_disks(world: World) -> None:
    half_built = make_domain("web", ROOT, DATA, domid=12, uuid=WEB_UUID, state=builders.PAUSED)
    world.volumes = [replace(ROOT_VOLUME, open=True), replace(DATA_VOLUME, open=True)]
    world.domains = [half_built]
    world.extra["half_built"] = half_built
    world.extra["living"] = half_built

    plan = decide(world, memory=True)

    assert plan.half_built_domid == 12
    assert any("half-built" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("phase", "state", "boot", "expected"),
    [
        (RestorePhase.REBUILDING, builders.PAUSED, builders.BOOT, True),
        (RestorePhase.REBUILDING, builders.RUNNING, builders.BOOT, False),
        (RestorePhase.REBUILDING, builders.PAUSED, builders.OTHER_BOOT, False),
        (RestorePhase.RESUMING, builders.PAUSED, builders.BOOT, False),
        (RestorePhase.WRITING, builders.PAUSED, builders.BOOT, False),
    ],
)
def test_only_a_paused_domain_that_never_ran_is_half_built(
    phase: RestorePhase, state: Any, boot: str, expected: bool
) -> None:
    living = make_domain("web", uuid=WEB_UUID, state=state)

    assert expected is is_half_built(make_mark(phase=phase), living, boot)


def test_a_command_that_outlived_its_restore_is_waited_for(world: World) -> None:
    world.extra["survivors"] = (
        Process(
            pid=77,
            start_ticks=1,
            argv=("xl", "restore", "-p"),
            log_path="",
            run_mark=EARLIER,
            stopped=False,
        ),
    )

    assert "still works (process 77, xl restore)" in refuse(world)


def test_the_mark_names_every_target_and_who_made_it(world: World) -> None:
    world.volumes = [ROOT_VOLUME]

    mark = compose_mark(decide(world), builders.BOOT)

    assert [(t.path, t.created) for t in mark.targets] == [(ROOT, False), (DATA, True)]
    assert (mark.phase, mark.boot_id) == (RestorePhase.WRITING, builders.BOOT)
