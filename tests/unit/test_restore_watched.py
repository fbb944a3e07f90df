"""Guests that somebody starts in the middle of a restore: not called restored, nor destroyed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import house as houses
from tests.unit.restore_house import RestoreWatcher, Site
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.errors import RestoreFailed, RestoreRefused, XenbackupError
from xenbackup.model.progress import SilentWatcher
from xenbackup.model.restore import DiskPlacement, RestorePhase, RestorePlan
from xenbackup.model.run import Outcome
from xenbackup.operations import restore
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.points import find_point
from xenbackup.operations.restore import list_incomplete_restores, restore_point


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


class Intruder(RestoreWatcher):
    """Does something of its own as one act of the restore begins."""

    def __init__(self, when: str, act: Callable[[], None]) -> None:
        super().__init__()
        self.when, self.act = when, act

    def act_began(self, what: str) -> None:
        super().act_began(what)
        if what == self.when:
            self.act()


def plan_lost(site: Site, *, start: bool, memory: bool = False) -> RestorePlan:
    point = site.back_up("checkpoint" if memory else "crash")
    site.lose()
    return site.plan(point, start=start, memory=memory)


def back_up(site: Site) -> Outcome:
    job = houses.make_job("auto")
    plan = plan_job(site.house, job)
    return run_round(site.house, job, plan, SilentWatcher(), lambda: "").runs[0].outcome


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("ended", [False, True], ids=["still runs", "ended again"])
def test_guest_that_is_started_while_its_disks_are_written_is_not_called_restored(
    site: Site, start: bool, ended: bool
) -> None:
    """By a cluster that saw it down, say: the kernel lets both write."""
    plan = plan_lost(site, start=start)

    def run_guest() -> None:
        site.act("xl", "create", plan.configuration_path)
        site.host.sleep(3.0)
        if ended:
            site.act("xl", "destroy", "web")

    with pytest.raises(RestoreFailed, match="was started while its disks were written") as caught:
        restore_point(site.house, plan, Intruder("restore xvdb", run_guest), lambda: "")

    assert "the same restore again completes them" in caught.value.hint
    (mark,) = list_incomplete_restores(site.house)
    assert RestorePhase.WRITING is mark.phase
    assert Outcome.OK is not back_up(site), "it would be the newest good point"


def test_guest_that_is_started_at_the_last_moment_is_not_written_under(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_lost(site, start=False)
    look = restore._check_unchanged

    def be_late(house: House, checked: RestorePlan) -> None:
        look(house, checked)
        site.act("xl", "create", plan.configuration_path)

    monkeypatch.setattr(restore, "_check_unchanged", be_late)
    with pytest.raises(RestoreRefused, match=r"web \(domain \d+\) runs on disks that would be"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")
    assert () == list_incomplete_restores(site.house), "nothing was written"


def test_tool_that_stumbles_behind_the_last_disk_does_not_undo_hours_of_writing(
    site: Site,
) -> None:
    plan = plan_lost(site, start=True)

    def stumble() -> None:
        fault = Fault(tool="xl", verb="list", kind=FaultKind.FAIL, times=1, stderr="no luck\n")
        site.host.set_fault(fault)

    restore_point(site.house, plan, Intruder("restore xvdb", stumble), lambda: "")

    assert () == list_incomplete_restores(site.house)
    assert "r" in site.state_of("web") or "b" in site.state_of("web")


def test_restore_under_a_new_name_does_not_mind_that_its_original_is_started(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    own = site.plan(point).configuration_text
    path = "/root/web.cfg"
    site.host.place(path).parent.mkdir(exist_ok=True)
    site.host.place(path).write_text(own)
    plan = site.plan(point, domain="web2", volume_group="other")
    intruder = Intruder("restore xvdb", lambda: site.act("xl", "create", path))

    restore_point(site.house, plan, intruder, lambda: "")

    assert () == list_incomplete_restores(site.house)


@pytest.mark.parametrize("where", [{"volume_group": "other"}, {"image_folder": "/srv"}])
def test_what_somebody_else_makes_at_the_last_moment_is_not_taken_for_the_restores_own(
    site: Site, monkeypatch: pytest.MonkeyPatch, where: dict[str, object]
) -> None:
    """Another restore of the same point, say, in the same group: both looked before either made."""
    point = site.back_up("crash")
    plan = site.plan(point, domain="web2", **where)
    target = plan.targets[0]
    look = restore._check_unchanged

    def be_late(house: House, checked: RestorePlan) -> None:
        look(house, checked)
        if target.group:
            size = f"{target.capacity_bytes}b"
            site.act("lvcreate", "-y", "-L", size, "-n", target.lv_name, target.group)
        else:
            site.host.place(target.path).write_bytes(bytes(target.capacity_bytes))

    monkeypatch.setattr(restore, "_check_unchanged", be_late)
    with pytest.raises(XenbackupError, match="exists"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    placed = (DiskPlacement(vdev="xvda", path=target.path),)
    with pytest.raises(RestoreRefused, match="exists already and does not belong"):
        site.plan(point, domain="web2", disks=placed, **where)


@pytest.mark.parametrize(("memory", "when"), [(False, "build"), (True, "restore memory")])
def test_guest_that_somebody_created_first_and_paused_is_not_destroyed_as_half_built(
    site: Site, memory: bool, when: str
) -> None:
    plan = plan_lost(site, start=True, memory=memory)

    def create() -> None:
        site.act("xl", "create", plan.configuration_path)
        site.act("xl", "pause", "web")

    with pytest.raises(RestoreFailed):
        restore_point(site.house, plan, Intruder(when, create), lambda: "")

    assert "p" in site.state_of("web")


def test_guest_that_was_created_by_hand_after_a_failed_restore_and_paused_is_not_destroyed(
    site: Site,
) -> None:
    plan = plan_lost(site, start=True)
    fault = Fault(tool="xl", verb="create", kind=FaultKind.FAIL, nth=2, stderr="no luck\n")
    site.host.set_fault(fault)
    with pytest.raises(RestoreFailed, match="no luck"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")
    site.host.clear_faults()
    site.act("xl", "create", plan.configuration_path)
    site.act("xl", "pause", "web")

    with pytest.raises(RestoreRefused, match="web exists"):
        site.plan(find_point(site.house, "web@latest"), start=True)

    assert "p" in site.state_of("web")
