"""Validation: the host itself, its files, dom0's memory and its PCI devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.worlds import GOOD, OFF, Case, World, make_guest
from xenbackup.model.devices import PciDevice, PciInventory
from xenbackup.model.inventory import BrokenConfiguration
from xenbackup.model.job import BrokenFile, JobSet
from xenbackup.model.resources import Dom0Memory, Resources
from xenbackup.planning.memory import find_dom0_memory_faults
from xenbackup.planning.validation import CODES, validate, validate_host

SLOT = "0000:03:01.0"
BROKEN_JOB = BrokenFile(
    path=Path("/etc/xenbackup/jobs/weekly.toml"),
    name="weekly",
    problems=("weekly.toml, line 3: unknown key `schedul`. Hint: did you mean `schedule`?", "b."),
)


def with_pci(
    *guests: str, running: tuple[str, ...] = (), early: bool | None = True, **fields: object
) -> World:
    """A device that guests are configured for; those that run have it in fact."""
    device = PciDevice(
        slot=SLOT,
        class_name="Ethernet controller",
        driver=str(fields.pop("driver", "pciback")),
        owners=running,
        configured_for=guests,
        hidden_by=("/etc/modprobe.d/pciback.conf",),
    )
    devices = () if fields.pop("absent", False) else (device,)
    other = PciDevice(slot="0000:00:1f.2", class_name="SATA controller")
    return GOOD.with_host(
        pci=PciInventory(
            devices=(*devices, other), asked_for=((SLOT, guests),) if guests else (), early=early
        ),
        domains=tuple(
            make_guest(name, domid=at if name in running else -1)
            for at, name in enumerate(("web", *guests), start=6)
        ),
    )


CASES = (
    Case(
        code="job-file-broken",
        bad=GOOD.with_setting(jobs=JobSet(jobs=(GOOD.job,), broken=(BROKEN_JOB,))),
    ),
    Case(
        code="guest-file-broken",
        bad=GOOD.with_host(
            broken_configurations=(BrokenConfiguration(path="/etc/xen/a.cfg", problem="no."),)
        ),
    ),
    Case(
        code="dom0-mem-missing",
        bad=GOOD.with_dom0(on_xen_line="", limit_mib=None),
        good=GOOD.with_host(resources=Resources()),
    ),
    Case(
        code="dom0-mem-no-size",
        bad=GOOD.with_dom0(on_xen_line="plenty", limit_mib=None),
    ),
    Case(
        code="dom0-mem-small",
        bad=GOOD.with_dom0(on_xen_line="511M", limit_mib=511),
        good=GOOD.with_dom0(on_xen_line="512M", limit_mib=512),
    ),
    Case(code="dom0-mem-linux", bad=GOOD.with_dom0(on_linux_line="512M")),
    Case(
        code="dom0-memory-low",
        bad=GOOD.with_dom0(current_mib=511),
        good=GOOD.with_dom0(current_mib=512),
    ),
    Case(
        code="pci-conflict",
        bad=with_pci("router", driver="e1000"),
        good=with_pci("router"),
        domain="router",
    ),
    Case(
        code="pci-shared",
        bad=with_pci("router", "firewall"),
        good=with_pci("router", "firewall", running=("router", "firewall")),
    ),
    Case(
        code="pciback-late",
        bad=with_pci("router", early=False),
        good=with_pci(early=False),
    ),
    Case(
        code="pciback-unknown",
        bad=with_pci("router", early=None),
        good=with_pci("router", early=True),
    ),
    Case(
        code="bus-missing",
        bad=GOOD.with_host(bus_missing=True),
        good=GOOD.with_host(bus_missing=False),
    ),
    Case(
        code="inventory-incomplete",
        bad=GOOD.with_host(pci=PciInventory(problem="lspci is not installed.")),
        good=GOOD.with_host(pci=PciInventory()),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_problem_of_the_host_is_found_and_only_there(case: Case) -> None:
    assert case.code in case.bad.codes()
    assert case.code not in case.good.codes()
    assert case.domain == case.bad.find(case.code).domain


@pytest.mark.parametrize("case", CASES, ids=str)
def test_problem_of_the_host_refuses_no_job(case: Case) -> None:
    world = case.bad
    assert case.code not in {
        problem.code for problem in validate(world.job, world.inventory, world.setting)
    }


def test_each_mistake_of_a_broken_job_file_is_a_problem_with_its_hint() -> None:
    world = GOOD.with_setting(jobs=JobSet(jobs=(GOOD.job,), broken=(BROKEN_JOB,)))
    found = [problem for problem in world.problems() if problem.code == "job-file-broken"]
    assert ["did you mean `schedule`?", ""] == [problem.hint for problem in found]
    assert ["weekly", "weekly"] == [problem.subject for problem in found]


def test_folder_of_jobs_that_cannot_be_read_is_named() -> None:
    folder = BrokenFile(path=Path("/etc/xenbackup/jobs"), name="", problems=("Cannot be read.",))
    world = GOOD.with_setting(jobs=JobSet(broken=(folder,)))
    assert "/etc/xenbackup/jobs" == world.find("job-file-broken").subject


@pytest.mark.parametrize(
    "dom0",
    [
        Dom0Memory(),
        Dom0Memory(on_linux_line="512M"),
        Dom0Memory(on_xen_line="x"),
        Dom0Memory(on_xen_line="1M", limit_mib=1),
    ],
)
def test_every_fault_of_dom0s_memory_has_its_code(dom0: Dom0Memory) -> None:
    faults = {fault.code for fault in find_dom0_memory_faults(dom0)}
    assert faults
    assert faults <= CODES.keys()
    assert faults <= GOOD.with_resources(dom0=dom0).codes()


def test_what_was_not_read_of_the_resources_is_told_question_by_question() -> None:
    world = GOOD.with_resources(problems=("No cpupools.", "No vcpu-list."))
    found = [problem.message for problem in world.problems()]
    assert [
        "The host was not read whole (resources): No cpupools.",
        "The host was not read whole (resources): No vcpu-list.",
    ] == found


def test_device_that_the_host_does_not_have_is_told() -> None:
    problem = with_pci("router", absent=True).find("pci-conflict")
    assert "is not in this host" in problem.message


def test_two_running_guests_cannot_have_one_device() -> None:
    problem = with_pci("router", "firewall", running=("router", "firewall")).find("pci-conflict")
    assert "only one of them has it" in problem.message
    assert "" == problem.domain


def test_guests_of_no_job_are_looked_at_as_well() -> None:
    world = GOOD.with_host(
        domains=(make_guest(), make_guest("db", domid=7), make_guest("old", domid=-1, state=OFF))
    ).with_job(domains=("web",))
    missed = {
        problem.domain
        for problem in validate_host(world.inventory, world.setting)
        if problem.code == "guest-without-monitor"
    }
    assert {"db"} == missed
    of_job = validate(world.job, world.inventory, world.setting)
    assert "guest-without-monitor" not in {problem.code for problem in of_job}
