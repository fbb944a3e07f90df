"""Where disks may go, and every target that is refused, on made-up hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.unit.restore_world import (
    DATA,
    DATA_UUID,
    DATA_VOLUME,
    FACTS,
    FRESH_UUID,
    MIB,
    ROOT,
    ROOT_UUID,
    ROOT_VOLUME,
    WEB_UUID,
    World,
    acts_of,
    decide,
    make_disk,
    make_domain,
    make_point,
    make_request,
    make_volume,
    refuse,
    see_file,
    see_nothing,
)
from xenbackup.errors import UsageError
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore import (
    DiskPlacement,
    TargetAct,
)
from xenbackup.model.restore_sight import PathSight
from xenbackup.planning.restore_candidates import read_candidate


@pytest.fixture
def world() -> World:
    return World()


# Where disks go


def test_without_options_every_disk_goes_to_where_it_came_from(world: World) -> None:
    plan = decide(world)

    assert acts_of(plan) == [(ROOT, "OVERWRITE"), (DATA, "OVERWRITE")]
    assert (plan.domain, plan.uuid, plan.in_place) == ("web", WEB_UUID, True)
    assert [target.lv_uuid for target in plan.targets] == [ROOT_UUID, DATA_UUID]


def test_a_missing_volume_is_created_in_its_group_in_whole_extents(world: World) -> None:
    world.volumes = [ROOT_VOLUME]
    manifest = make_point(
        disks=(
            make_disk("xvda", ROOT),
            make_disk("xvdb", "/dev/mapper/xenvols-web--data", 66 * MIB),
        )
    )

    plan = decide(world, manifest)

    made = plan.targets[1]
    assert (made.act, made.group, made.lv_name, made.capacity_bytes) == (
        TargetAct.CREATE_VOLUME,
        "xenvols",
        "web-data",
        68 * MIB,
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dev/xenvols/a", ("xenvols", "a")),
        ("/dev/mapper/xenvols-a", ("xenvols", "a")),
        ("/dev/mapper/fast--disks-web--data", ("fast-disks", "web-data")),
        ("/dev/mapper/fast--disks-a-b", ("", "")),
        ("/dev/mapper/fast-disks-a", ("", "")),
        ("/dev/sdb1", ("", "")),
        ("/dev/other/a", ("", "")),
        ("/dev/xenvols/a b", ("", "")),
        ("/srv/xenvols/a", ("", "")),
    ],
)
def test_paths_of_volumes_are_recognised_before_the_volume_exists(
    world: World, path: str, expected: tuple[str, str]
) -> None:
    inventory = world.look(make_request()).inventory

    candidate = read_candidate(path, inventory)

    assert expected == (candidate.group, candidate.lv_name)


def test_in_another_group_volumes_keep_their_names(world: World) -> None:
    plan = decide(world, volume_group="fast-disks")

    assert acts_of(plan) == [
        ("/dev/fast-disks/web_root", "CREATE_VOLUME"),
        ("/dev/fast-disks/web-data", "CREATE_VOLUME"),
    ]


def test_a_name_that_is_taken_in_the_group_gives_way_to_the_domains(world: World) -> None:
    world.volumes.append(make_volume("web_root", "other1", group="fast-disks"))

    plan = decide(world, volume_group="fast-disks", domain="new web")

    assert acts_of(plan) == [
        ("/dev/fast-disks/new_web-xvda", "CREATE_VOLUME"),
        ("/dev/fast-disks/web-data", "CREATE_VOLUME"),
    ]


def test_a_folder_gets_image_files_named_after_domain_and_disk(world: World) -> None:
    plan = decide(world, image_folder="/srv/xen", domain="new/web")

    assert acts_of(plan) == [
        ("/srv/xen/new%2Fweb-xvda.img", "CREATE_FILE"),
        ("/srv/xen/new%2Fweb-xvdb.img", "CREATE_FILE"),
    ]


def test_single_disks_go_where_they_are_sent(world: World) -> None:
    plan = decide(world, disks=(DiskPlacement(vdev="xvdb", path="/dev/fast-disks/new"),))

    assert acts_of(plan) == [(ROOT, "OVERWRITE"), ("/dev/fast-disks/new", "CREATE_VOLUME")]


def test_a_larger_target_is_taken_and_the_rest_of_it_mentioned(world: World) -> None:
    world.volumes[0] = replace(ROOT_VOLUME, size_bytes=68 * MIB)

    plan = decide(world)

    assert any(f"{4 * MIB} bytes larger" in warning for warning in plan.warnings)


def test_a_snapshot_of_somebody_elses_on_the_target_is_warned_of(world: World) -> None:
    world.volumes.append(
        make_volume("mine", "snap01", attributes="swi-a-s---", origin_uuid=ROOT_UUID)
    )

    assert any("xenvols/mine is a snapshot" in text for text in decide(world).warnings)


# Targets that are refused


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size_bytes": 60 * MIB}, "has 62914560 bytes, the disk needs 67108864"),
        ({"attributes": "swi-a-s---", "origin": "x"}, "is itself a snapshot of x"),
        (
            {"attributes": "Vwi-a-tz--", "origin": "x", "tags": {"xenbackup"}},
            "is itself a snapshot",
        ),
        ({"attributes": "twi-aotz--"}, "is no volume for data"),
        ({"attributes": "-wi-s-----"}, "is suspended"),
        ({"attributes": "-wi-------"}, "is not active"),
        ({"attributes": "-ri-a-----"}, "is read-only"),
        ({"attributes": "Owi-a-s---"}, "being merged"),
        ({"tags": {"xb.destination"}}, "is a backup destination"),
        ({"open": True}, "is in use: open in dom0"),
    ],
)
def test_a_volume_that_cannot_be_a_target_is_refused(
    world: World, change: dict[str, Any], expected: str
) -> None:
    fields: dict[str, Any] = {
        key: frozenset(v) if isinstance(v, set) else v for key, v in change.items()
    }
    world.volumes[0] = replace(ROOT_VOLUME, **fields)

    assert expected in refuse(world)


@pytest.mark.parametrize(
    ("attributes", "origin", "pool"),
    [("vwi-a-v---", "", "vpool0"), ("Cwi-a-C---", "web_root_corig", "fast_cvol")],
)
def test_volumes_on_vdo_and_cached_ones_are_ordinary_disks(
    world: World, attributes: str, origin: str, pool: str
) -> None:
    world.volumes[0] = replace(ROOT_VOLUME, attributes=attributes, origin=origin, pool=pool)

    assert acts_of(decide(world))[0] == (ROOT, "OVERWRITE")


def test_a_thin_clone_of_a_template_is_an_ordinary_disk(world: World) -> None:
    world.volumes[0] = replace(ROOT_VOLUME, attributes="Vwi-a-tz--", origin="template", pool="pool")

    assert acts_of(decide(world))[0] == (ROOT, "OVERWRITE")


def test_a_volume_that_is_being_backed_up_is_refused(world: World) -> None:
    world.volumes.append(
        make_volume("web_root.xb", "snap01", origin_uuid=ROOT_UUID, tags=frozenset(("xenbackup",)))
    )

    assert "is being backed up" in refuse(world)


def test_a_running_guest_keeps_its_disks_under_whatever_name(world: World) -> None:
    world.domains = [make_domain("shop", "/dev/mapper/xenvols-web_root")]

    message = refuse(world, overwrite=True)

    assert f"{ROOT} is in use: it is xvda of shop, which runs (domain 4)" in message


def test_a_running_guest_keeps_a_disk_that_the_target_is_part_of(world: World) -> None:
    disk, part = frozenset(("block:8:16",)), frozenset(("block:8:17",))
    device: dict[str, Any] = {"exists": True, "kind": VolumeKind.BLOCK_DEVICE}
    world.sights["/dev/sdb1"] = PathSight(
        path="/dev/sdb1", tokens=part, relatives=disk, size_bytes=64 * MIB, **device
    )
    world.sights["/dev/sdb"] = PathSight(
        path="/dev/sdb", tokens=disk, relatives=part, size_bytes=64 * MIB, **device
    )
    world.domains = [make_domain("shop", "/dev/sdb")]

    placed = (DiskPlacement(vdev="xvda", path="/dev/sdb1"),)
    message = refuse(world, disks=placed, overwrite=True)

    assert "/dev/sdb1 is in use: it is xvda of shop" in message


def test_a_file_behind_a_loop_device_is_in_use(world: World) -> None:
    world.sights["/srv/a.img"] = see_file("/srv/a.img", held="behind /dev/loop0")

    placed = (DiskPlacement(vdev="xvda", path="/srv/a.img"),)

    assert "is in use: behind /dev/loop0" in refuse(world, disks=placed, overwrite=True)


def test_a_foreign_target_needs_to_be_named_for_overwriting(world: World) -> None:
    world.volumes.append(make_volume("precious", "prec01"))
    placed = (DiskPlacement(vdev="xvda", path="/dev/xenvols/precious"),)

    message = refuse(world, disks=placed)
    plan = decide(world, disks=placed, overwrite=True)

    assert "exists already and does not belong to this point" in message
    assert acts_of(plan)[0] == ("/dev/xenvols/precious", "OVERWRITE")
    assert "/dev/xenvols/precious is overwritten, whatever it held" in plan.warnings


def test_the_source_is_foreign_once_it_is_another_guests_disk(world: World) -> None:
    world.domains = [make_domain("shop", ROOT, domid=-1)]

    assert f"{ROOT} is disk xvda of shop" in refuse(world)


def test_a_namesake_with_another_configured_uuid_is_another_guest(world: World) -> None:
    world.domains = [make_domain("web", ROOT, domid=-1, configured_uuid=builders.OTHER_UUID)]

    assert f"{ROOT} is disk xvda of web" in refuse(world)


def test_a_namesake_of_the_source_on_another_host_is_foreign(world: World) -> None:
    world.facts = replace(FACTS, hostname="new-host")

    message = refuse(world)
    world.domains = [make_domain("web", ROOT, DATA, domid=-1, configured_uuid=WEB_UUID)]
    plan = decide(world)

    assert f"{ROOT} bears the name of the disk's source, but that was on dom0" in message
    assert acts_of(plan) == [(ROOT, "OVERWRITE"), (DATA, "OVERWRITE")]


@pytest.mark.parametrize(("identity", "uuid"), [("web", ""), ("web", WEB_UUID), (WEB_UUID, "")])
def test_a_guest_of_another_host_known_by_name_alone_is_a_namesake(
    world: World, identity: str, uuid: str
) -> None:
    world.facts = replace(FACTS, hostname="xen2")
    world.domains = [make_domain("web", ROOT, DATA, domid=-1, configured_uuid=uuid)]
    manifest = make_point(identity=identity, host=replace(make_point().host, hostname="xen1"))

    message = refuse(world, manifest)
    plan = decide(world, manifest, overwrite=True)

    assert f"{ROOT} is disk xvda of web of this host (xen2)" in message
    assert "the point is of web of host xen1" in message
    assert acts_of(plan) == [(ROOT, "OVERWRITE"), (DATA, "OVERWRITE")]
    assert f"{ROOT} is overwritten, whatever it held" in plan.warnings


@pytest.mark.parametrize("there", ["dom0", ""])
def test_a_guest_of_this_host_is_known_by_its_name(world: World, there: str) -> None:
    world.domains = [make_domain("web", ROOT, DATA, domid=-1)]
    manifest = make_point(identity="web", host=replace(make_point().host, hostname=there))

    assert acts_of(decide(world, manifest)) == [(ROOT, "OVERWRITE"), (DATA, "OVERWRITE")]


def test_the_guest_itself_shut_off_does_not_make_its_disks_foreign(world: World) -> None:
    world.domains = [make_domain("web", ROOT, DATA, domid=-1, configured_uuid=WEB_UUID)]

    assert acts_of(decide(world)) == [(ROOT, "OVERWRITE"), (DATA, "OVERWRITE")]


def test_a_new_name_needs_places_of_its_own(world: World) -> None:
    message = refuse(world, domain="web2")

    assert f"{ROOT} is the disk of web itself: web2 needs places of its own" in message


def test_a_new_name_takes_over_missing_volumes(world: World) -> None:
    world.volumes = []

    plan = decide(world, domain="web2")

    assert [act for _, act in acts_of(plan)] == ["CREATE_VOLUME", "CREATE_VOLUME"]
    assert plan.uuid == FRESH_UUID


def test_one_place_for_two_disks_is_refused_in_two_spellings(world: World) -> None:
    placed = (
        DiskPlacement(vdev="xvda", path="/dev/xenvols/new"),
        DiskPlacement(vdev="xvdb", path="/dev/mapper/xenvols-new"),
    )

    assert "are the same place" in refuse(world, disks=placed)


def test_the_same_existing_volume_for_two_disks_is_refused(world: World) -> None:
    placed = (DiskPlacement(vdev="xvdb", path="/dev/mapper/xenvols-web_root"),)

    assert "are the same place" in refuse(world, disks=placed, overwrite=True)


@pytest.mark.parametrize("path", ["/srv/backup/new.img", "/srv/backup/web/old.img"])
def test_nothing_is_restored_into_a_destination(world: World, path: str) -> None:
    inside = "destination local"
    world.sights["/srv/backup/new.img"] = see_nothing("/srv/backup/new.img", inside=inside)
    world.sights["/srv/backup/web/old.img"] = see_file("/srv/backup/web/old.img", inside=inside)

    message = refuse(world, disks=(DiskPlacement(vdev="xvda", path=path),), overwrite=True)

    assert "lies in destination local" in message


def test_a_missing_folder_is_not_made(world: World) -> None:
    path = "/srv/xne/a.img"
    world.sights[path] = see_nothing(path, folder_exists=False)

    assert "does not exist; make it" in refuse(
        world, disks=(DiskPlacement(vdev="xvda", path=path),)
    )


def test_a_device_that_is_no_volume_is_not_made(world: World) -> None:
    message = refuse(world, make_point(disks=(make_disk("xvda", "/dev/sdb1"),)))

    assert "/dev/sdb1 does not exist, and is no volume of a group of this host" in message


def test_an_unknown_group_is_refused_with_those_there_are(world: World) -> None:
    assert "there is no volume group fats (there are: xenvols, fast-disks)" in refuse(
        world, volume_group="fats"
    )


def test_a_group_without_room_for_all_new_volumes_is_refused(world: World) -> None:
    world.groups[1] = replace(world.groups[1], free_bytes=100 * MIB)

    message = refuse(world, volume_group="fast-disks")

    assert "fast-disks has 100 MiB free, the new volumes need 128 MiB" in message


def test_a_folder_without_room_is_only_warned_of_since_images_are_sparse(world: World) -> None:
    for vdev in ("xvda", "xvdb"):
        path = f"/srv/web-{vdev}.img"
        world.sights[path] = see_nothing(path, folder_free_bytes=100 * MIB)

    plan = decide(world, image_folder="/srv")

    assert any("/srv has 100 MiB free" in warning for warning in plan.warnings)


def test_all_problems_are_named_at_once(world: World) -> None:
    world.volumes = [
        replace(ROOT_VOLUME, size_bytes=MIB, attributes="-ri-a-----"),
        replace(DATA_VOLUME, open=True),
    ]
    world.domains = [make_domain("web", domid=3, uuid=WEB_UUID)]

    message = refuse(world, make_point(memory=False), memory=True)

    assert "5 reasons" in message
    for part in (
        "has 1048576 bytes",
        "read-only",
        "open in dom0",
        "exists (domain 3)",
        "no memory",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"volume_group": "a", "image_folder": "/b"}, "exclude each other"),
        ({"disks": (DiskPlacement(vdev="xvdz", path="/dev/a/b"),)}, "no disk 'xvdz'"),
        ({"disks": (DiskPlacement(vdev="xvda", path="/a"),) * 2}, "names xvda twice"),
        ({"disks": (DiskPlacement(vdev="xvda", path="a"),)}, "not an absolute path"),
        ({"image_folder": "srv"}, "not an absolute path"),
        ({"domain": "a\nb"}, "control character"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    world: World, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        decide(world, **options)


def test_a_path_with_a_control_character_is_refused(world: World) -> None:
    placed = (DiskPlacement(vdev="xvda", path="/srv/a\nb.img"),)

    assert "holds a control character" in refuse(world, disks=placed)
