"""Validation: guests of a job, their state, memory, names and monitors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import DYING, PAUSED, REBOOTING
from tests.unit.worlds import GOOD, OFF, Case, World, make_guest, make_volume
from xenbackup.errors import ExitCode
from xenbackup.model.backing import BackingKind
from xenbackup.model.devices import GuestDrivers
from xenbackup.model.domain import Disk, GuestKind
from xenbackup.model.inventory import NameClash
from xenbackup.model.job import Consistency, Override, PipelineSpec
from xenbackup.model.plan import Plan, RefusedDomain
from xenbackup.model.problem import Severity
from xenbackup.model.resources import DomainResources
from xenbackup.planning.obstacles import list_obstacles
from xenbackup.planning.plan import plan_backup
from xenbackup.planning.validation import validate
from xenbackup.planning.validation.guests import find_asked_steps

PCI = GOOD.with_guest(pci_devices=("0000:03:01.0",))
OLD_XEN = GOOD.with_host(can_save_paused=False)


def with_numa(nodes: int) -> World:
    (web,) = GOOD.inventory.resources.domains
    return GOOD.with_resources(domains=(replace(web, numa_nodes=nodes),))


def with_drivers(**fields: object) -> World:
    drivers = replace(
        GOOD.inventory.drivers,
        guests=(replace(GuestDrivers(domain="web", kind="pv"), **fields),),  # type: ignore[arg-type]
    )
    return GOOD.with_host(drivers=drivers)


def with_other(maximum_mib: int, domid: int = 7, free_mib: int = 100) -> World:
    """Another guest with 512 MiB, which may grow."""
    other = DomainResources(
        domain="db", domid=domid, memory_mib=512, maximum_mib=maximum_mib, vcpus=1
    )
    domains = (*GOOD.inventory.resources.domains, other)
    return GOOD.with_resources(domains=domains, free_mib=free_mib).with_preset("snapshot")


def with_target(target_mib: int) -> World:
    """The guest was asked to grow to this, and has 1024 MiB yet; none are free."""
    (web,) = GOOD.inventory.resources.domains
    world = GOOD.with_resources(domains=(replace(web, target_mib=target_mib),), free_mib=0)
    return world.with_preset("snapshot")


def with_refusal(exit_code: int) -> World:
    """A plan that another hand has made, with a reason that no rule knows."""
    refused = RefusedDomain(
        name="web", uuid="", reason="it is Friday", hint="wait", exit_code=exit_code
    )
    return GOOD.with_setting(plan=Plan(job="nightly", domains=(), refused=(refused,)))


CASES = (
    Case(
        code="name-unfit",
        bad=GOOD.with_guest(name="web\nxl: ok"),
        good=GOOD.with_guest(name="web server"),
        domain="web\nxl: ok",
    ),
    Case(code="guest-unknown", bad=GOOD.with_guest(kind=GuestKind.UNKNOWN), domain="web"),
    Case(
        code="guest-runs",
        bad=GOOD.with_preset("offline"),
        good=GOOD.with_preset("offline").with_guest(domid=-1, state=OFF),
        domain="web",
    ),
    Case(
        code="guest-migrating",
        bad=GOOD.with_guest(name="web--incoming", state=PAUSED).with_preset("crash"),
        good=GOOD.with_guest(name="web-incoming", state=PAUSED).with_preset("crash"),
        domain="web--incoming",
    ),
    Case(
        code="guest-migrating",
        bad=GOOD.with_guest(name="web--migratedaway"),
        good=GOOD.with_guest(name="migratedaway"),
        domain="web--migratedaway",
    ),
    Case(
        code="guest-ending",
        bad=GOOD.with_guest(state=REBOOTING),
        good=GOOD.with_guest(state=PAUSED),
        domain="web",
    ),
    Case(
        code="memory-of-paused-guest",
        bad=GOOD.with_guest(state=PAUSED),
        good=GOOD.with_guest(state=PAUSED).with_preset("crash"),
        domain="web",
    ),
    Case(
        code="guest-paused",
        bad=GOOD.with_guest(state=PAUSED).with_preset("crash"),
        good=GOOD.with_preset("crash"),
        domain="web",
    ),
    Case(
        code="consistency-too-low",
        bad=GOOD.with_preset("crash").with_job(require=Consistency.MEMORY),
        good=GOOD.with_preset("checkpoint").with_job(require=Consistency.MEMORY),
        domain="web",
    ),
    Case(code="no-save-paused", bad=OLD_XEN, good=OLD_XEN.with_preset("snapshot"), domain="web"),
    Case(
        code="image-unchecked",
        bad=OLD_XEN.with_preset("snapshot"),
        good=GOOD.with_preset("snapshot"),
        domain="web",
    ),
    Case(
        code="suspend-not-offered",
        bad=GOOD.with_host(no_suspend=frozenset(("web",))),
        good=GOOD.with_host(no_suspend=frozenset(("web",))).with_preset("crash"),
        domain="web",
    ),
    Case(code="memory-with-passthrough", bad=PCI, good=PCI.with_preset("crash"), domain="web"),
    Case(
        code="memory-with-vnuma",
        bad=with_numa(2),
        good=with_numa(2).with_preset("crash"),
        domain="web",
    ),
    Case(
        code="memory-not-savable",
        bad=with_drivers(can_save=False, reasons=("it has no PV drivers",)),
        good=with_drivers(can_save=False).with_preset("crash"),
        domain="web",
    ),
    Case(
        code="guest-without-disks",
        bad=GOOD.with_guest(disks=()),
        domain="web",
    ),
    Case(
        code="disk-left-out-of-memory",
        bad=GOOD.with_job(exclude_disks=("xvda",)),
        good=GOOD.with_guest(
            disks=(
                Disk(vdev="xvda", target="/dev/xenvols/web_root"),
                Disk(vdev="xvdb", target="/iso", writable=False),
            )
        ).with_job(exclude_disks=("xvdb",)),
        domain="web",
    ),
    Case(
        code="memory-may-be-taken",
        bad=with_other(maximum_mib=1024),
        good=with_other(maximum_mib=1024).with_preset("checkpoint"),
        domain="web",
    ),
    Case(
        code="memory-not-free",
        bad=with_target(2048),
        good=with_target(1024),
        domain="web",
    ),
    Case(
        code="no-preset-fits",
        bad=OLD_XEN.with_preset("auto").with_guest(disks=()),
        good=GOOD.with_preset("auto"),
        domain="web",
    ),
    Case(
        code="guest-refused",
        bad=with_refusal(ExitCode.FAILED),
        good=with_refusal(ExitCode.LOCKED),
        domain="web",
    ),
    Case(
        code="run-unfinished",
        bad=with_refusal(ExitCode.LOCKED),
        good=with_refusal(ExitCode.FAILED),
        domain="web",
    ),
    Case(
        code="guest-without-monitor",
        bad=GOOD.with_host(monitored=frozenset(("db",))),
        good=GOOD.with_host(monitored=frozenset()).with_guest(domid=-1, state=OFF),
        domain="web",
    ),
    Case(
        code="uuid-differs",
        bad=GOOD.with_guest(configured_uuid="uuid-of-db"),
        good=GOOD.with_guest(configured_uuid=""),
        domain="web",
    ),
    Case(
        code="name-clash",
        bad=GOOD.with_host(
            domains=(make_guest(), make_guest(domid=-1, uuid="uuid-of-old-web", state=OFF))
        ),
        good=GOOD.with_host(domains=(make_guest(), make_guest("Web", domid=-1, state=OFF))),
        domain="web",
    ),
    Case(
        code="driver-finding",
        bad=with_drivers(findings=("it mixes xvd and hd disks.",)),
        good=with_drivers(),
        domain="web",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_problem_of_a_guest_is_found_and_only_there(case: Case) -> None:
    assert case.code in case.bad.codes()
    assert case.code not in case.good.codes()
    assert case.domain == case.bad.find(case.code).domain


@pytest.mark.parametrize("maximum_mib", [612, 613])
def test_memory_is_safe_as_long_as_growth_fits_into_what_is_free(maximum_mib: int) -> None:
    assert (maximum_mib > 612) == ("memory-may-be-taken" in with_other(maximum_mib).codes())


def test_guests_that_are_shut_off_take_no_memory() -> None:
    assert "memory-may-be-taken" not in with_other(maximum_mib=9000, domid=-1).codes()


def test_own_growth_of_a_saved_guest_takes_nothing_from_it() -> None:
    (web,) = GOOD.inventory.resources.domains
    world = GOOD.with_resources(domains=(replace(web, maximum_mib=9000),), free_mib=0)
    assert "memory-may-be-taken" not in world.with_preset("snapshot").codes()


def test_two_files_for_one_name_are_told_by_their_paths() -> None:
    clash = NameClash(guest="web", paths=("/etc/xen/web.cfg", "/etc/xen/web-old.cfg"))
    world = GOOD.with_host(clashes=(clash,))
    assert "(/etc/xen/web.cfg, /etc/xen/web-old.cfg)" in world.find("name-clash").message
    assert "name-clash" not in {
        problem.code
        for problem in validate(world.with_job(domains=("db",)).job, world.inventory, world.setting)
    }


def test_dying_guest_is_told_in_the_words_of_the_plan() -> None:
    world = GOOD.with_guest(state=DYING)
    problem = world.find("guest-ending")
    assert Severity.ERROR is problem.severity
    assert problem.message == (
        "web: its state is -----d: it is shutting down, suspended or crashed."
    )


def test_all_obstacles_of_a_guest_are_told_and_not_the_first_alone() -> None:
    world = PCI.with_host(can_save_paused=False).with_job(exclude_disks=("xvda",))
    assert {
        "no-save-paused",
        "memory-with-passthrough",
        "disk-left-out-of-memory",
        "guest-without-disks",
    } <= world.codes()


def test_passthrough_and_vnuma_are_not_told_again_as_a_verdict_of_the_drivers() -> None:
    world = with_drivers(can_save=False, reasons=("PCI device",)).with_guest(
        pci_devices=("0000:03:01.0",)
    )
    assert "memory-with-passthrough" in world.codes()
    assert "memory-not-savable" not in world.codes()


def test_override_is_what_counts_for_its_guest() -> None:
    crash = Override(domains=("web",), pipeline=PipelineSpec(preset="crash"))
    assert "memory-with-passthrough" not in PCI.with_job(overrides=(crash,)).codes()


def test_plan_that_is_given_is_the_one_that_is_judged() -> None:
    plan = plan_backup(
        GOOD.with_preset("snapshot").job, OLD_XEN.inventory, GOOD.setting.configuration
    )
    assert "image-unchecked" in OLD_XEN.with_setting(plan=plan).codes()


REFUSED = (
    *(
        case.bad
        for case in CASES
        if case.code not in ("no-preset-fits", "guest-refused", "run-unfinished")
    ),
    GOOD.with_preset("auto"),
    GOOD.with_guest(disks=(Disk(vdev="xvda", target="/dev/xenvols/web_root", backend="storage"),)),
    GOOD.with_host(volumes=(), backings=()),
    GOOD.with_host(volumes=()).with_backing(kind=BackingKind.ABSENT, problem="it does not exist"),
    GOOD.with_host(volumes=()).with_backing(kind=BackingKind.IMAGE_FILE, lv_uuid=""),
    GOOD.with_volumes(make_volume(attributes="Owi-aos---")),
    GOOD.with_volumes(make_volume(attributes="swi-aos---")),
)


@pytest.mark.parametrize("world", REFUSED)
def test_reasons_of_the_plan_and_of_validation_are_the_same_words(world: World) -> None:
    plan = plan_backup(world.job, world.inventory, world.setting.configuration)
    for refused in plan.refused:
        domain = world.inventory.find_domain(refused.name)
        assert domain is not None
        steps = find_asked_steps(world.job, domain)
        obstacles = list_obstacles(world.job, domain, world.inventory, steps)
        assert refused.reason in [obstacle.reason for obstacle in obstacles]
    refusals = {problem.domain for problem in validate(world.job, world.inventory, world.setting)}
    assert {refused.name for refused in plan.refused} <= refusals
