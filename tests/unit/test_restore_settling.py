"""What an interrupted restore left of its guest: let run, built again, or left to its owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import back_up, find_wrongs
from tests.unit.restore_house import RestoreWatcher, Site
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.errors import Interrupted, Locked, RestoreFailed, RestoreRefused
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.restore import RestoreMark, RestorePhase
from xenbackup.model.run import Outcome
from xenbackup.operations.points import FoundPoint, find_point
from xenbackup.operations.restore import (
    list_incomplete_restores,
    restore_point,
    settle_restores,
)
from xenbackup.records.restore_marks import RestoreMarks


class Cut(BaseException):
    """Not an Exception: nothing handles it, as nothing handles a kill."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


@contextmanager
def cut_at(site: Site, boundary: str) -> Iterator[None]:
    """The process dies at the first boundary of that name."""

    def check(name: str) -> None:
        if name == boundary:
            raise Cut(name)

    site.host.on_boundary = check
    with pytest.raises(Cut, match=boundary):
        yield
    site.host.on_boundary = None


def cut_restore(site: Site, boundary: str, *, memory: bool = True) -> FoundPoint:
    """A restore of the lost guest that is cut off there; its point."""
    point = site.back_up("checkpoint" if memory else "crash")
    site.lose()
    with cut_at(site, boundary):
        site.restore(point, memory=memory, start=True)
    return point


def change_mark(site: Site, **changes: object) -> RestoreMark:
    (mark,) = list_incomplete_restores(site.house)
    changed = replace(mark, **changes)  # type: ignore[arg-type]
    RestoreMarks(site.house.state_folder / "restores").write(changed)
    return changed


@pytest.mark.parametrize("memory", [True, False])
def test_a_guest_that_only_waits_to_be_let_run_is_let_run(site: Site, memory: bool) -> None:
    cut_restore(site, "xl-unpause:begin", memory=memory)
    assert "p" in site.state_of("web")
    (mark,) = list_incomplete_restores(site.house)
    assert RestorePhase.RESUMING is mark.phase

    assert (mark,) == settle_restores(site.house)

    assert [] == find_wrongs(site.house)
    assert () == list_incomplete_restores(site.house)


@pytest.mark.parametrize(
    "changes",
    [{"domid": 4711}, {"boot_id": "another boot"}, {"phase": RestorePhase.REBUILDING}],
    ids=["another domain", "another boot", "half-built"],
)
def test_a_paused_guest_that_is_not_the_restores_own_stays_paused(
    site: Site, changes: dict[str, object]
) -> None:
    cut_restore(site, "xl-unpause:begin")
    change_mark(site, **changes)

    settle_restores(site.house)

    assert "p" in site.state_of("web")


def test_a_restore_that_is_at_work_lets_its_guest_run_itself(site: Site) -> None:
    cut_restore(site, "xl-unpause:begin")

    with site.house.lock_domain("web", "restore web"):
        assert () == settle_restores(site.house)

    assert "p" in site.state_of("web")
    assert 1 == len(list_incomplete_restores(site.house))


@pytest.mark.parametrize("boundary", ["xl-create:built", "xl-sched-credit2:begin"])
def test_a_boot_that_was_cut_off_never_ran_and_is_made_again(site: Site, boundary: str) -> None:
    """It is built paused: until its mark says that it may run, it can be destroyed."""
    point = cut_restore(site, boundary, memory=False)
    assert "p" in site.state_of("web")
    (mark,) = list_incomplete_restores(site.house)
    assert RestorePhase.REBUILDING is mark.phase

    site.restore(point, start=True)

    assert [] == find_wrongs(site.house)
    assert () == list_incomplete_restores(site.house)


def test_a_guest_that_was_let_run_and_paused_by_somebody_is_not_destroyed(site: Site) -> None:
    point = cut_restore(site, "xl-unpause:unpaused")
    site.act("xl", "pause", "web")

    with pytest.raises(RestoreRefused, match="web exists"):
        site.plan(point, memory=True, start=True)

    assert "p" in site.state_of("web")


def test_a_half_built_domain_that_runs_by_now_is_not_destroyed(site: Site) -> None:
    point = cut_restore(site, "xl-restore:built")
    plan = site.plan(point, memory=True, start=True)
    site.act("xl", "unpause", "web")

    with pytest.raises(RestoreRefused, match="and is not any more"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert "p" not in site.state_of("web")
    assert site.state_of("web")


@pytest.mark.parametrize("memory", [True, False])
def test_a_restored_guest_lives_in_a_unit_of_its_own(
    site: Site, monkeypatch: pytest.MonkeyPatch, memory: bool
) -> None:
    """Whatever ends the process of the restore, its service included, must not end the guest."""
    point = site.back_up("checkpoint" if memory else "crash")
    site.lose()
    units: list[str] = []
    run = site.host.run

    def watch(command: Command) -> CommandResult:
        if command.argv[1] in ("restore", "create") and "-n" not in command.argv:
            units.append(command.own_unit)
        return run(command)

    monkeypatch.setattr(site.host, "run", watch)

    result = site.restore(point, memory=memory, start=True)

    assert [f"xenbackup-restore-{result.restore}"] == units


def test_a_restore_is_refused_while_a_run_of_its_guest_is_unfinished(site: Site) -> None:
    site.back_up("crash")
    with cut_at(site, "lvcreate:end"):
        site.back_up("crash")

    with pytest.raises(Exception, match="was left unfinished"):
        site.plan(find_point(site.house, "web@latest"))


def test_a_restore_is_refused_while_a_run_of_its_guest_is_unfinished_that_was_renamed(
    site: Site,
) -> None:
    """Recovery would put the memory that it saved onto these disks."""
    point = site.back_up("crash")
    site.act("xl", "rename", "web", "front")
    with cut_at(site, "xl-destroy:end"):
        site.back_up("cold", domain="front")

    with pytest.raises(Locked, match="of front was left unfinished"):
        site.plan(point)


def test_a_restore_is_refused_while_a_run_of_its_guest_owes_a_snapshot(site: Site) -> None:
    """Another backup goes on beside it; but these are the disks that the restore writes over."""
    site.host.set_fault(Fault(tool="lvremove", kind=FaultKind.FAIL, exit_code=5, stderr="In use."))
    back_up(site.house, "crash")

    with pytest.raises(Locked, match=r"owes a removal: .*In use") as refused:
        site.plan(find_point(site.house, "web@latest"))

    assert "end what holds it open, then `xenbackup recover`" == refused.value.hint


# Restores after restores


def fail_to_boot(site: Site, point: FoundPoint, **options: object) -> str:
    """A restore whose disks are whole and whose guest xl does not build; the file it wrote."""
    plan = site.plan(point, start=True, **options)
    fault = Fault(tool="xl", verb="create", kind=FaultKind.FAIL, nth=2, stderr="no luck\n")
    site.host.set_fault(fault)
    with pytest.raises(RestoreFailed, match="no luck"):
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")
    site.host.clear_faults()
    return plan.configuration_path


def cut_writing(site: Site, point: FoundPoint) -> None:
    watcher = RestoreWatcher()
    with pytest.raises(Interrupted):
        restore_point(
            site.house,
            site.plan(point),
            watcher,
            lambda: "a kill" if "restore xvdb" in watcher.acts else "",
        )


@pytest.mark.parametrize("ended", ["cut off as it was let run", "not built, started by hand"])
def test_a_later_restore_that_made_the_disks_whole_ends_the_mark_of_an_earlier_one(
    site: Site, ended: str
) -> None:
    first, second = site.back_up("crash"), site.back_up("crash")
    site.lose()
    cut_writing(site, first)
    if ended.startswith("cut"):
        with cut_at(site, "xl-unpause:unpaused"):
            site.restore(second, start=True)
    else:
        site.act("xl", "create", fail_to_boot(site, second))

    settle_restores(site.house)

    assert () == list_incomplete_restores(site.house)
    result = back_up(site.house, "crash")
    assert (Outcome.OK, "") == (result.outcome, result.error)


def test_a_guest_that_was_started_by_hand_under_another_uuid_settles_its_restore(
    site: Site,
) -> None:
    point = site.back_up("crash")
    site.lose()
    path = site.host.place(fail_to_boot(site, point))
    path.write_text(path.read_text().replace("uuid =", "# uuid ="))
    assert () == settle_restores(site.house), "nobody runs on its disks yet"
    site.act("xl", "create", "/" + str(path.relative_to(site.host.place("/"))))

    assert 1 == len(settle_restores(site.house))


def test_a_copy_that_ran_since_its_restore_is_not_written_over_for_another_point(
    site: Site,
) -> None:
    """Its mark was never settled: nobody recovered while it ran."""
    first, second = site.back_up("crash"), site.back_up("crash")
    options = {"domain": "web2", "volume_group": "other"}
    site.act("xl", "create", fail_to_boot(site, first, **options))
    site.act("xl", "destroy", "web2")

    plan = site.plan(second, **options)

    assert ["create volume"] * 2 == [target.act.value for target in plan.targets]


@pytest.mark.parametrize("memory", [True, False])
def test_a_guest_that_xl_did_not_let_run_at_once_is_let_run_in_the_end(
    site: Site, memory: bool
) -> None:
    point = site.back_up("checkpoint" if memory else "crash")
    site.lose()
    fault = Fault(tool="xl", verb="unpause", kind=FaultKind.FAIL, times=2, stderr="no luck\n")
    site.host.set_fault(fault)

    site.restore(point, memory=memory, start=True)

    assert [] == find_wrongs(site.house)
    assert () == list_incomplete_restores(site.house)


@pytest.mark.parametrize("memory", [True, False])
def test_a_guest_that_xl_did_not_let_run_is_let_run_by_recovery(site: Site, memory: bool) -> None:
    point = site.back_up("checkpoint" if memory else "crash")
    site.lose()
    site.host.set_fault(Fault(tool="xl", verb="unpause", kind=FaultKind.FAIL, stderr="no luck\n"))

    with pytest.raises(RestoreFailed, match=r"could not be let run.*no luck") as caught:
        site.restore(point, memory=memory, start=True)

    assert "`xenbackup recover` tries again" in caught.value.hint
    assert "incomplete" not in caught.value.hint, "the same restore again would be refused"
    site.host.clear_faults()
    assert 1 == len(settle_restores(site.house))
    assert [] == find_wrongs(site.house)
