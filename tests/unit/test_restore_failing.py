"""Restores that fail on their way: what is whole stays whole, the rest is marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import find_wrongs
from tests.unit.restore_house import RestoreWatcher, Site, damage
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.dom0.simulated.holders import hold_toolstack_lock, release_toolstack_lock
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import (
    CopyFailed,
    PointDamaged,
    RestoreFailed,
)
from xenbackup.operations.restore import list_incomplete_restores, restore_point
from xenbackup.system.block_device import BlockDevice

ROOT = "/dev/xenvols/web_root"
DATA = "/dev/xenvols/web_data"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


@pytest.mark.parametrize("kind", [FaultKind.FAIL, FaultKind.LIE_OK, FaultKind.KILL_MIDDLE])
def test_a_rebuild_that_fails_once_is_tried_again(site: Site, kind: FaultKind) -> None:
    point = site.back_up()
    site.lose()
    site.host.set_fault(Fault(tool="xl", verb="restore", kind=kind, times=1, stderr="no luck\n"))

    site.restore(point, memory=True, start=True)

    assert find_wrongs(site.house) == []


def test_a_rebuild_that_always_fails_keeps_whole_disks_and_the_mark(site: Site) -> None:
    point = site.back_up()
    site.lose("web_root")
    site.host.set_fault(Fault(tool="xl", verb="restore", kind=FaultKind.FAIL, stderr="no luck\n"))

    with pytest.raises(RestoreFailed, match=r"could not be rebuilt.*no luck") as caught:
        site.restore(point, memory=True, start=True)

    assert "the same restore again completes them" in caught.value.hint
    assert site.read(ROOT) == site.stored(point, "xvda.img").read_bytes()
    assert len(list_incomplete_restores(site.house)) == 1
    site.host.clear_faults()
    site.restore(point, memory=True, start=True)
    assert find_wrongs(site.house) == []
    assert list_incomplete_restores(site.house) == ()


def test_a_guest_that_does_not_boot_is_told_with_its_file(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    plan = site.plan(point, start=True)
    fault = Fault(tool="xl", verb="create", kind=FaultKind.FAIL, nth=2, stderr="no luck\n")
    site.host.set_fault(fault)

    with pytest.raises(RestoreFailed, match=r"did not start.*no luck") as caught:
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert plan.configuration_path in caught.value.hint


HOLDER = "xl's lock /var/lock/xl is held by process 4242 (xl create /etc/xen/other.cfg)"


def hold_lock(site: Site) -> None:
    hold_toolstack_lock(site.host.directory, pid=4242, command="xl create /etc/xen/other.cfg")


@pytest.mark.parametrize("memory", [True, False])
def test_whoever_holds_the_toolstacks_lock_is_named_and_its_end_lets_the_restore_go_on(
    site: Site, memory: bool
) -> None:
    point = site.back_up()
    site.lose()
    watcher = RestoreWatcher()
    hold_lock(site)

    with pytest.raises(RestoreFailed) as caught:
        site.restore(point, watcher, memory=memory, start=True)

    assert f"s; {HOLDER}." in caught.value.message
    assert "passed its deadline" in caught.value.message
    assert "see what that process waits for" in caught.value.hint
    assert "the same restore again completes them" in caught.value.hint
    told = [warning for warning in watcher.warnings if "lock" in warning]
    expected = [f"The rebuild of web passed its deadline: {HOLDER}."] if memory else []
    assert expected == told, "it is told once, however often the rebuild is tried"
    release_toolstack_lock(site.host.directory, pid=4242)
    site.restore(point, memory=memory, start=True)
    assert find_wrongs(site.house) == []


@pytest.mark.parametrize(("memory", "verb"), [(True, "restore"), (False, "create")])
def test_a_deadline_that_nobody_is_to_blame_for_names_nobody(
    site: Site, memory: bool, verb: str
) -> None:
    point = site.back_up()
    site.lose()
    plan = site.plan(point, memory=memory, start=True)
    nth = 0 if memory else 2
    fault = Fault(tool="xl", verb=verb, kind=FaultKind.HANG, nth=nth, boundary="begin")
    site.host.set_fault(fault)

    with pytest.raises(RestoreFailed, match="passed its deadline") as caught:
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert "lock" not in f"{caught.value.message} {caught.value.hint}"


def test_a_write_error_leaves_the_mark_and_names_the_device(site: Site) -> None:
    point = site.back_up("crash")
    site.lose()
    site.host.set_fault(Fault(tool="write", verb="web_data", kind=FaultKind.EIO, offset=65536))

    with pytest.raises(CopyFailed, match=DATA):
        site.restore(point)

    assert len(list_incomplete_restores(site.house)) == 1


def test_damage_met_while_writing_a_new_volume_leaves_it_marked(site: Site) -> None:
    point = site.back_up("crash")
    damage(site.stored(point, "xvdb.img"), MIB)

    with pytest.raises(PointDamaged, match="xvdb") as caught:
        site.restore(point, domain="web2", volume_group="other")

    assert "marked incomplete: restore another point" in caught.value.hint
    (mark,) = list_incomplete_restores(site.house)
    assert [target.path for target in mark.targets] == [
        "/dev/other/web_root",
        "/dev/other/web_data",
    ]


@pytest.mark.parametrize("looks", [3, 1000])
def test_a_new_volume_whose_node_is_late_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """Bounded: a node that never comes ends the restore, marked, with the device named."""
    point = site.back_up("crash")
    site.lose("web_data")
    open_volume, tried = site.host.open_volume, []

    def be_late(path: str, *, writable: bool = False) -> BlockDevice:
        if path == DATA:
            tried.append(path)
            if len(tried) < looks:
                raise CopyFailed(f"Cannot open {path}: No such file or directory.")
        return open_volume(path, writable=writable)

    monkeypatch.setattr(site.host, "open_volume", be_late)
    if looks == 3:
        site.restore(point, start=True)
        assert find_wrongs(site.house) == []
        return
    with pytest.raises(CopyFailed, match=DATA):
        site.restore(point, start=True)
    assert len(tried) < 50
    assert len(list_incomplete_restores(site.house)) == 1


@pytest.mark.parametrize("lost", [(), ("web_root",)])
def test_a_restore_that_is_kept_off_before_its_first_write_marks_no_disk_of_the_guest(
    site: Site, monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...]
) -> None:
    """The kernel's refusal says nothing of a disk but that it is as it was: backups go on."""
    point = site.back_up("crash")
    site.lose(*lost)
    before = site.read(DATA)
    plan = site.plan(point)
    open_volume = site.host.open_volume

    def refuse(path: str, *, writable: bool = False) -> BlockDevice:
        if writable and path == DATA:
            raise CopyFailed(f"Cannot open {path}: Device or resource busy.")
        return open_volume(path, writable=writable)

    monkeypatch.setattr(site.host, "open_volume", refuse)
    with pytest.raises(CopyFailed, match="busy") as caught:
        restore_point(site.house, plan, RestoreWatcher(), lambda: "")

    assert before == site.read(DATA)
    marked = [[t.vdev for t in m.targets] for m in list_incomplete_restores(site.house)]
    assert ([["xvda"]] if lost else []) == marked, "what was made is half made"
    assert ("nothing was written" in caught.value.hint) is not bool(lost)
