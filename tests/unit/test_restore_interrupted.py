"""Restores cut off anywhere: killed, stopped, out of luck. The same one again completes them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import find_wrongs
from tests.unit.restore_house import RestoreWatcher, Site
from xenbackup.errors import Interrupted, RestoreRefused
from xenbackup.model.restore import GuestOutcome, RestorePhase, TargetAct
from xenbackup.operations.points import find_point
from xenbackup.operations.restore import (
    list_incomplete_restores,
    restore_point,
    settle_restores,
)
from xenbackup.records.restore_marks import RestoreMarks
from xenbackup.system import durable

ROOT = "/dev/xenvols/web_root"
DATA = "/dev/xenvols/web_data"
KILLED = 9


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def stop_after(blocks: int) -> Callable[[], str]:
    """Ctrl-C, once so many blocks were asked about."""
    asked = iter(range(blocks))

    def cancelled() -> str:
        return "" if next(asked, None) is not None else "interrupted"

    return cancelled


def test_a_stopped_restore_is_marked_and_the_same_one_completes_it(site: Site) -> None:
    point = site.back_up()
    site.lose("web_data")
    plan = site.plan(point, memory=True, start=True)

    with pytest.raises(Interrupted, match="was stopped: interrupted") as caught:
        # The proof of xvda asks twice (two blocks), that of the memory image once.
        restore_point(site.house, plan, RestoreWatcher(), stop_after(5))

    assert "the same restore again completes them" in caught.value.hint
    (mark,) = list_incomplete_restores(site.house)
    assert (mark.phase, mark.domain) == (RestorePhase.WRITING, "web")
    again = site.plan(point, memory=True, start=True)
    assert (again.completes, again.restore) == (True, mark.restore)
    assert again.targets[1].act is TargetAct.CONTINUE
    restore_point(site.house, again, RestoreWatcher(), lambda: "")
    assert find_wrongs(site.house) == []
    assert list_incomplete_restores(site.house) == ()


def test_a_restore_stopped_while_it_proves_the_images_touches_nothing(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    before = site.read(ROOT)
    plan = site.plan(point)

    with pytest.raises(Interrupted):
        restore_point(site.house, plan, RestoreWatcher(), stop_after(0))

    assert site.read(ROOT) == before
    assert list_incomplete_restores(site.house) == ()


def test_another_point_takes_over_what_a_cut_off_restore_left(site: Site) -> None:
    first = site.back_up("crash")
    second = site.back_up("crash")
    plan = site.plan(first, domain="web2", volume_group="other")
    with pytest.raises(Interrupted):
        restore_point(site.house, plan, RestoreWatcher(), stop_after(1))

    site.restore(second, domain="web2", volume_group="other")

    assert list_incomplete_restores(site.house) == ()
    assert site.read("/dev/other/web_data") == site.stored(second, "xvdb.img").read_bytes()


def test_a_volume_in_the_place_of_the_one_that_a_cut_off_restore_made_is_foreign(
    site: Site,
) -> None:
    """It has the name and the size of the marked one: only its UUID tells that it is not ours."""
    point = site.back_up("crash")
    options = {"domain": "web2", "volume_group": "other"}
    plan = site.plan(point, **options)
    with pytest.raises(Interrupted):
        restore_point(site.house, plan, RestoreWatcher(), stop_after(1))
    size_bytes = plan.targets[0].capacity_bytes
    site.act("lvremove", "-y", "other/web_root")
    site.act("lvcreate", "-y", "-L", f"{size_bytes}b", "-n", "web_root", "other")

    again = site.plan(point, **options)

    assert [("web2-xvda", TargetAct.CREATE_VOLUME), ("web_data", TargetAct.CONTINUE)] == [
        (target.lv_name, target.act) for target in again.targets
    ]


def test_a_cut_off_restore_is_forgotten_once_its_targets_are_gone(site: Site) -> None:
    point = site.back_up("crash")
    plan = site.plan(point, domain="web2", volume_group="other")
    with pytest.raises(Interrupted):
        restore_point(site.house, plan, RestoreWatcher(), stop_after(1))
    assert settle_restores(site.house) == ()

    site.act("lvremove", "-y", "other/web_root")
    assert settle_restores(site.house) == ()
    site.act("lvremove", "-y", "other/web_data")

    assert [mark.domain for mark in settle_restores(site.house)] == ["web2"]
    assert list_incomplete_restores(site.house) == ()


def test_a_guest_that_runs_after_all_settles_its_restore(site: Site) -> None:
    point = site.back_up()
    site.lose()
    marks = RestoreMarks(site.house.state_folder / "restores")
    kept = []
    original = RestoreMarks.remove
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RestoreMarks, "remove", lambda self, mark: kept.append(mark))
        site.restore(point, memory=True, start=True)

    assert len(kept) == 1
    assert original is RestoreMarks.remove
    assert [mark.phase for mark in marks.list_marks()] == [RestorePhase.RESUMING]
    assert len(settle_restores(site.house)) == 1
    assert marks.list_marks() == ()


def test_a_half_built_domain_is_destroyed_and_built_again(site: Site) -> None:
    point = site.back_up()
    site.lose()
    cut = _cut_at(site, "xl-restore:built")
    with pytest.raises(_Cut):
        site.restore(point, memory=True, start=True)
    cut.clear()
    assert "p" in site.state_of("web")

    plan = site.plan(point, memory=True, start=True)
    assert plan.half_built_domid is not None
    restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert find_wrongs(site.house) == []


def test_a_domain_that_ran_since_is_not_taken_for_half_built(site: Site) -> None:
    point = site.back_up()
    site.lose()
    cut = _cut_at(site, "xl-unpause:unpaused")
    with pytest.raises(_Cut):
        site.restore(point, memory=True, start=True)
    cut.clear()

    with pytest.raises(RestoreRefused, match="web exists"):
        site.plan(point, memory=True, start=True)

    assert find_wrongs(site.house) == []


class _Cut(BaseException):
    """Not an Exception: nothing handles it, as nothing handles a kill."""


def _cut_at(site: Site, boundary: str) -> list[str]:
    """Raise at that boundary while the returned list is not empty."""
    armed = [boundary]

    def check(name: str) -> None:
        if name in armed:
            raise _Cut(name)

    site.host.on_boundary = check
    return armed


# Killed for good, in a process of its own


class Deadly:
    """Counts what happens, and ends this process at the chosen event, with nothing cleaned up."""

    def __init__(self, fatal: str) -> None:
        self.fatal = fatal
        self.seen: dict[str, int] = {}

    def meet(self, name: str) -> None:
        number = self.seen[name] = self.seen.get(name, 0) + 1
        if f"{name}#{number}" == self.fatal:
            os._exit(KILLED)


def restore_in_child(directory: Path, fatal: str) -> int:
    """Restore web from its newest point in a child that dies at the event; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        deadly = Deadly(fatal)
        site = Site.reopen(directory)
        site.host.on_boundary = deadly.meet
        _watch_calls(deadly)
        site.restore(find_point(site.house, "web@latest"), memory=True, start=True)
    except BaseException:  # noqa: BLE001 - a child of a test reports by its exit code alone
        os._exit(1)
    os._exit(0)


def _watch_calls(deadly: Deadly) -> None:
    replace_file, write_at = durable.replace_file, Site.device_class.write_at

    def replacing(path: Path, content: bytes, mode: int = 0o600) -> None:
        deadly.meet("replacing")
        replace_file(path, content, mode)
        deadly.meet("replaced")

    def writing(self: object, offset: int, content: memoryview) -> None:
        deadly.meet("writing")
        write_at(self, offset, content)  # type: ignore[arg-type]

    durable.replace_file = replacing
    Site.device_class.write_at = writing  # type: ignore[method-assign]


FATAL = (
    "replacing#1",
    "replacing#2",
    "replaced#2",
    "lvcreate:begin#1",
    "lvcreate:plain#1",
    "lvcreate:end#1",
    "replacing#3",
    "udevadm-settle:begin#1",
    "writing#1",
    "writing#2",
    "writing#3",
    "replacing#4",
    "replaced#4",
    "xl-restore:begin#1",
    "xl-restore:building#1",
    "xl-restore:built#1",
    "xl-restore:end#1",
    "xl-sched-credit2:begin#1",
    "replacing#5",
    "replaced#5",
    "xl-unpause:begin#1",
    "xl-unpause:unpaused#1",
    "xl-unpause:end#1",
    "xenstore-ls:begin#1",
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("pristine") / "host"
    site = Site(directory)
    site.back_up()
    site.lose("web_data")
    site.host.close()
    yield directory
    shutil.rmtree(directory)


@pytest.mark.slow
@pytest.mark.parametrize("fatal", FATAL)
def test_a_restore_killed_anywhere_is_completed_by_the_same_one(
    pristine: Path, tmp_path: Path, fatal: str
) -> None:
    directory = tmp_path / "host"
    shutil.copytree(pristine, directory, symlinks=True)

    assert restore_in_child(directory, fatal) == KILLED

    site = Site.reopen(directory)
    settle_restores(site.house)
    if not site.state_of("web") or list_incomplete_restores(site.house):
        if _waits_paused(site):
            site.act("xl", "unpause", "web")
            settle_restores(site.house)
        else:
            result = site.restore(find_point(site.house, "web@latest"), memory=True, start=True)
            assert result.guest is GuestOutcome.RUNNING
    assert find_wrongs(site.house) == []
    assert list_incomplete_restores(site.house) == ()
    assert [v.name for v in site.house.lvm.list_volumes("other")] == []


def _waits_paused(site: Site) -> bool:
    """Built whole and marked as let run: all that is missing is the unpause."""
    marks = list_incomplete_restores(site.house)
    return bool(marks) and marks[0].phase is RestorePhase.RESUMING and bool(site.state_of("web"))


def test_marks_outlive_a_reboot_and_name_the_boot(site: Site) -> None:
    point = site.back_up("crash")
    plan = site.plan(point, domain="web2", volume_group="other")
    with pytest.raises(Interrupted):
        restore_point(site.house, plan, RestoreWatcher(), stop_after(1))

    (mark,) = RestoreMarks(site.house.state_folder / "restores").list_marks()

    assert mark.boot_id == site.host.boot_id()
    assert replace(mark, targets=()).targets == ()
