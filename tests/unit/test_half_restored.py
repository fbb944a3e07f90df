"""A guest whose disks a restore has half written: no backup is made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import house as houses
from tests.unit.restore_house import RestoreWatcher, Site
from xenbackup.errors import Interrupted
from xenbackup.model.progress import SilentWatcher
from xenbackup.model.restore import RestorePhase
from xenbackup.model.run import Outcome, RunResult
from xenbackup.operations.backup import run_round
from xenbackup.operations.check import check_house
from xenbackup.operations.plan import plan_job
from xenbackup.operations.points import FoundPoint, find_point
from xenbackup.operations.restore import list_incomplete_restores, restore_point, settle_restores
from xenbackup.operations.restore_sight import open_marks


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def cut_off(site: Site, point: FoundPoint, **options: object) -> str:
    """A restore that ends before its second disk; returns its id."""
    watcher = RestoreWatcher()
    with pytest.raises(Interrupted):
        restore_point(
            site.house,
            site.plan(point, **options),
            watcher,
            lambda: "" if "restore xvdb" not in watcher.acts else "a kill",
        )
    (mark,) = list_incomplete_restores(site.house)
    return mark.restore


def back_up(site: Site) -> RunResult:
    """As a night does it: the plan, then the runs that it allows."""
    job = houses.make_job("auto")
    plan = plan_job(site.house, job)
    return run_round(site.house, job, plan, SilentWatcher(), lambda: "").runs[0]


def test_half_restored_guest_is_not_backed_up_until_its_restore_is_completed(site: Site) -> None:
    good = site.back_up()
    site.lose()
    restore = cut_off(site, good)
    (refused,) = plan_job(site.house, houses.make_job("auto")).refused
    assert ("web", True) == (refused.name, refused.may_pass)
    result = back_up(site)
    assert Outcome.FAILED is result.outcome
    assert f"restore {restore} of point {good.point} is writing its xvda, xvdb" in result.error
    assert f"xenbackup restore {good.point}" in result.hint
    assert good.point == find_point(site.house, "web@latest").point

    site.restore(good)
    assert Outcome.OK is back_up(site).outcome


def test_restore_that_began_after_the_plan_keeps_the_run_from_beginning(site: Site) -> None:
    good = site.back_up()
    site.lose()
    job = houses.make_job("offline")
    plan = plan_job(site.house, job)
    cut_off(site, good)
    (result,) = run_round(site.house, job, plan, SilentWatcher(), lambda: "").runs
    assert Outcome.FAILED is result.outcome
    assert "is writing its xvda, xvdb, or was cut off in that" in result.error
    assert result.may_pass
    assert [] == list(site.house.journals_folder.glob(f"{result.run}*"))


def test_disks_that_are_whole_again_are_backed_up_though_their_guest_is_not_back(
    site: Site,
) -> None:
    good = site.back_up()
    site.lose()
    cut_off(site, good)
    (mark,) = list_incomplete_restores(site.house)
    open_marks(site.house).write(replace(mark, phase=RestorePhase.REBUILDING))
    assert Outcome.OK is back_up(site).outcome


def test_volume_that_was_made_anew_is_no_target_any_more(site: Site) -> None:
    """The mark knows its target by its UUID, or a file by its number."""
    good = site.back_up()
    site.lose()
    cut_off(site, good)
    (mark,) = list_incomplete_restores(site.house)
    others = tuple(replace(target, lv_uuid="of-another") for target in mark.targets)
    open_marks(site.house).write(replace(mark, targets=others))
    assert Outcome.OK is back_up(site).outcome


def test_check_names_a_guest_whose_restore_was_cut_off(site: Site) -> None:
    good = site.back_up()
    site.lose()
    restore = cut_off(site, good)
    found = [
        problem.message
        for result in check_house(site.house).checks
        for problem in result.problems
        if problem.code == "restore-unfinished"
    ]
    assert 1 == len(found)
    assert restore in found[0]
    with site.house.lock_domain("web", "restore web"):
        codes = {p.code for result in check_house(site.house).checks for p in result.problems}
    assert "restore-unfinished" not in codes, "somebody is at work on it"


def test_check_tells_of_a_mark_that_nobody_can_read(site: Site) -> None:
    cut_off(site, site.back_up("crash"), domain="web2", volume_group="other")
    (path,) = (site.house.state_folder / "restores").glob("*.json")
    path.write_text("{")
    found = [
        problem.message
        for result in check_house(site.house).checks
        for problem in result.problems
        if problem.code == "restore-unfinished"
    ]
    assert [True] == [str(path) in message for message in found]


# What recovery makes of such a mark


def test_restore_whose_group_is_just_away_is_not_forgotten(site: Site) -> None:
    point = site.back_up("crash")
    cut_off(site, point, domain="web2", volume_group="other")
    with site.host.machine() as machine:
        groups = machine.state.groups
        away = [group for group in groups if group.name == "other"]
        machine.state.groups = [group for group in groups if group.name != "other"]
        machine.commit()
    assert () == settle_restores(site.house)
    with site.host.machine() as machine:
        machine.state.groups += away
        machine.commit()
    assert () == settle_restores(site.house)
    assert 1 == len(list_incomplete_restores(site.house))


def test_restore_into_a_file_system_that_is_not_mounted_is_not_forgotten(site: Site) -> None:
    point = site.back_up("crash")
    folder = site.host.place("/srv/images")
    folder.mkdir(parents=True)
    cut_off(site, point, domain="web2", image_folder="/srv/images")
    away = folder.rename(folder.with_name("away"))
    assert () == settle_restores(site.house), "its folder is not there"
    folder.mkdir()
    assert () == settle_restores(site.house), "the mount point is not what was mounted there"
    folder.rmdir()
    away.rename(folder)
    for file in folder.iterdir():
        file.unlink()
    assert 1 == len(settle_restores(site.house)), "its files were removed"
