"""Whether the guest may exist again, with or without its memory, on made-up hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.restore_world import (
    DATA,
    FACTS,
    FRESH_UUID,
    RESTORE,
    ROOT,
    WEB_UUID,
    World,
    decide,
    make_configuration,
    make_domain,
    make_point,
    make_request,
    refuse,
)
from xenbackup.errors import RestoreRefused
from xenbackup.model.point import HostFacts
from xenbackup.model.restore import RestorePlan
from xenbackup.planning.restore_configuration import (
    changed_targets,
)
from xenbackup.planning.restore_plan import decide_restore


@pytest.fixture
def world() -> World:
    return World()


# The guest


def test_disks_may_be_restored_elsewhere_while_the_guest_runs(world: World) -> None:
    world.domains = [make_domain("web", ROOT, DATA, uuid=WEB_UUID)]

    plan = decide(world, volume_group="fast-disks")

    assert len(plan.targets) == 2


@pytest.mark.parametrize("how", [{"memory": True}, {"start": True}])
def test_a_guest_that_exists_is_not_made_a_second_time(world: World, how: dict[str, Any]) -> None:
    world.domains = [make_domain("shop"), make_domain("web", domid=9)]

    assert "web exists (domain 9)" in refuse(world, volume_group="fast-disks", **how)


def test_memory_has_no_twin_under_another_name(world: World) -> None:
    world.domains = [make_domain("web", domid=9, uuid=WEB_UUID)]

    message = refuse(world, volume_group="fast-disks", domain="web2", memory=True)

    assert "web lives (domain 9): two guests of one memory" in message


def test_disks_under_another_name_may_be_started_beside_the_original(world: World) -> None:
    world.domains = [make_domain("web", ROOT, DATA, domid=9, uuid=WEB_UUID)]

    plan = decide(world, volume_group="fast-disks", domain="web2", start=True)

    assert (plan.domain, plan.uuid, plan.memory) == ("web2", FRESH_UUID, False)
    assert any("boots afresh" in warning for warning in plan.warnings)


def test_memory_in_place_is_restored_from_where_it_lies(world: World) -> None:
    plan = decide(world, memory=True, start=True)

    assert (plan.rewrites_memory, plan.memory_path) == (False, "/srv/backup/web/memory.save")


@pytest.mark.parametrize("options", [{"domain": "web2"}, {}])
def test_memory_that_moves_is_rewritten_in_the_spool(world: World, options: dict[str, Any]) -> None:
    plan = decide(world, volume_group="fast-disks", memory=True, **options)

    assert plan.rewrites_memory
    assert plan.memory_path == f"/var/lib/xenbackup/spool/{RESTORE}.save"
    assert changed_targets(plan) == {
        "xvda": "/dev/fast-disks/web_root",
        "xvdb": "/dev/fast-disks/web-data",
    }


def test_memory_without_start_stays_paused_and_says_so(world: World) -> None:
    assert any("left paused" in warning for warning in decide(world, memory=True).warnings)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"version_tuple": (4, 16, 9), "xen_version": "4.16.9"},
            "4.17.7, this host runs the older",
        ),
        ({"hardware_capabilities": "178bf3fe:76f8320b"}, "lacks features"),
        ({"hardware_capabilities": "178bf3ff"}, "lacks features"),
        ({"free_memory_mib": 90}, "90 MiB of memory are free, web needs 96 MiB"),
    ],
)
def test_memory_is_refused_on_a_lesser_machine(
    world: World, facts: dict[str, Any], expected: str
) -> None:
    world.facts = replace(FACTS, **facts)

    assert expected in refuse(world, memory=True)


def test_memory_resumes_on_a_newer_xen_and_a_richer_processor(world: World) -> None:
    world.facts = replace(
        FACTS,
        xen_version="4.19.0",
        version_tuple=(4, 19, 0),
        hardware_capabilities="ffffffff:ffffffff:00000001",
    )
    world.extra["cpu_model"] = "EPYC 2"

    assert decide(world, memory=True).memory


def test_short_memory_is_no_objection_where_dom0_can_give_way(world: World) -> None:
    world.facts = replace(FACTS, free_memory_mib=10, xen_command_line="console=com1")

    assert decide(world, memory=True).memory


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ("AMD EPYC 7302", "Intel(R) Xeon(R) E5", "cannot change the maker"),
        ("AMD EPYC 7302", "AMD EPYC 7301", ""),
    ],
)
def test_memory_is_refused_on_another_makers_processor(
    world: World, then: str, now: str, expected: str
) -> None:
    host = replace(make_point().host, cpu_model=then)
    world.extra["cpu_model"] = now

    if expected:
        message = refuse(world, make_point(host=host), memory=True)
        assert expected in message
        assert then in message
        assert now in message
    else:
        assert decide(world, make_point(host=host), memory=True).memory


@pytest.mark.parametrize(("model", "refused"), [("EPYC", False), ("Opteron", True)])
def test_unknown_features_count_as_equal_only_on_the_same_processor(
    world: World, model: str, refused: bool
) -> None:
    host = HostFacts(
        hostname="dom0",
        xen_version="4.17.7",
        cpu_model="EPYC",
        cpu_features=("",),
        product_version="0",
    )
    world.extra["cpu_model"] = model

    if refused:
        assert "cannot be compared" in refuse(world, make_point(host=host), memory=True)
    else:
        assert decide(world, make_point(host=host), memory=True).memory


def test_memory_of_a_guest_with_passthrough_is_refused(world: World) -> None:
    configuration = make_configuration(pcidevs=[{"domain": 0, "bus": 3, "dev": 1, "func": 0}])

    assert "0000:03:01.0" in refuse(world, memory=True, configuration=configuration)


def test_memory_does_not_meet_a_writable_disk_that_is_not_in_the_point(world: World) -> None:
    disks = [
        {"vdev": "xvda", "pdev_path": ROOT, "readwrite": 1},
        {"vdev": "xvdb", "pdev_path": DATA, "readwrite": 1},
        {"vdev": "xvdc", "pdev_path": "/dev/xenvols/swap", "readwrite": 1},
    ]

    message = refuse(world, memory=True, configuration=make_configuration(disks=disks))

    assert "xvdc is writable and not in the point" in message


@pytest.mark.parametrize("recorded", [None, ""])
@pytest.mark.parametrize(
    "options",
    [
        {"domain": "web2", "volume_group": "fast-disks"},
        {"volume_group": "fast-disks"},
        {"image_folder": "/srv/xen"},
    ],
)
def test_memory_whose_head_is_fixed_goes_back_to_its_own_name_and_disks_alone(
    world: World, recorded: str | None, options: dict[str, Any]
) -> None:
    """Also where the image tells nothing of its disks: they are those that the run copied."""

    def ask(**asked: Any) -> RestorePlan:
        request = make_request(None, recorded, memory=True, **asked)
        return decide_restore(replace(request, memory_is_fixed=True), world.look(request))

    assert not ask().rewrites_memory
    with pytest.raises(RestoreRefused, match=r"written by xm, or by xl before Xen 4\.6"):
        ask(**options)


def test_memory_that_must_be_rewritten_needs_room_in_the_spool(world: World) -> None:
    world.extra["spool_free_bytes"] = 1000

    assert "The spool has 0 MiB free" in refuse(world, memory=True, volume_group="fast-disks")
    assert decide(world, memory=True).memory


def test_start_needs_a_recorded_configuration(world: World) -> None:
    assert "holds no configuration of web" in refuse(world, start=True, configuration="")


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("/srv/domu/vmlinuz", "The kernel /srv/domu/vmlinuz of web is not on this host"),
        ("/isos/a.iso", "hdc (/isos/a.iso) is not in the point, and this host does not have it"),
    ],
)
def test_start_needs_the_files_that_the_configuration_names(
    world: World, missing: str, expected: str
) -> None:
    disks = [{"vdev": "hdc", "pdev_path": "/isos/a.iso", "is_cdrom": True}]
    world.extra["missing_files"] = (missing,)

    message = refuse(world, start=True, configuration=make_configuration(disks=disks))

    assert expected in message


@pytest.mark.parametrize(
    ("slots", "owner", "expected"),
    [
        (("0000:00:01.0",), "", "no PCI device 0000:03:01.0"),
        (("0000:03:01.0",), "shop", "PCI device 0000:03:01.0 belongs to shop"),
        (("0000:03:01.0",), "", ""),
        (None, "", ""),
    ],
)
def test_start_needs_the_pci_devices_of_the_guest_free(
    world: World, slots: tuple[str, ...] | None, owner: str, expected: str
) -> None:
    configuration = make_configuration(pcidevs=[{"bus": 3, "dev": 1, "func": 0}])
    world.extra["pci_slots"] = slots
    if owner:
        world.domains = [make_domain(owner, pci_devices=("0000:03:01.0",))]

    if expected:
        assert expected in refuse(world, start=True, configuration=configuration)
    else:
        assert decide(world, start=True, configuration=configuration).start


def test_device_that_the_guest_asks_for_by_a_name_is_left_to_xl(world: World) -> None:
    world.extra["pci_slots"] = ("0000:00:01.0",)
    request = make_request(None, make_configuration(), start=True)
    request = replace(request, guest=replace(request.guest, pci_devices=("name=gpu",)))
    assert decide_restore(request, world.look(request)).start
