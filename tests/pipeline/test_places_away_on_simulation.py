"""What is not to be seen when recovery looks is not gone: a group or a file system comes late."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import Watcher, back_up, build_house, recover
from tests.pipeline.strikes import call, run_killed_at
from tests.pipeline.test_kills_on_simulation import Killed
from tests.pipeline.test_other_volumes_on_simulation import IMAGES
from tests.pipeline.test_other_volumes_on_simulation import build as build_with_files
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import StateFailed
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.storage.spool import Spool

LOOK = "cannot be seen"


class Killer(Watcher):
    """Ends the process while the first disk is copied."""

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        raise Killed(what)


def cut_off(house: House, domain: str = "web") -> None:
    with pytest.raises(Killed):
        back_up(house, "crash", watcher=Killer(), domain=domain)


def list_ours(house: House) -> list[str]:
    return [volume.name for volume in house.lvm.list_volumes() if "xenbackup" in volume.tags]


def hide_group(patch: pytest.MonkeyPatch, name: str) -> None:
    """As LVM lists it before the group's disk is there."""
    volumes, groups = Lvm.list_volumes, Lvm.list_groups
    patch.setattr(
        Lvm, "list_volumes", lambda self: tuple(v for v in volumes(self) if v.group != name)
    )
    patch.setattr(Lvm, "list_groups", lambda self: tuple(g for g in groups(self) if g.name != name))


def test_snapshots_of_a_group_that_comes_late_are_owed_and_removed_once_it_is_there(
    host: SimulatedHost, house: House
) -> None:
    cut_off(house)
    host.cut_power()
    house = build_house(host)
    with pytest.MonkeyPatch.context() as patch:
        hide_group(patch, "xenvols")
        (found,) = recover(house)
    assert not found.healed
    assert any(LOOK in message and "xenvols" in message for message in found.messages)
    assert list_ours(house)

    (found,) = recover(house)
    assert found.healed, found.messages
    assert [] == list_ours(house)
    assert () == find_unfinished(house)


def test_snapshot_is_found_by_its_uuid_under_another_name(
    host: SimulatedHost, house: House
) -> None:
    cut_off(house)
    with host.machine() as machine:
        for volume in machine.state.volumes.values():
            volume.name = volume.name.replace("xb-", "renamed-")
        machine.commit()
    recover(build_house(host))
    assert [] == list_ours(house)


def test_snapshot_that_was_cut_off_in_the_making_is_found_in_a_renamed_group(
    host: SimulatedHost, house: House
) -> None:
    """Its journal knows no UUID of it yet, and its origin is still listed."""
    house = run_killed_at(house, "crash", "lvcreate:end")
    with host.machine() as machine:
        (group,) = machine.state.groups
        group.name = "vgnew"
        for volume in machine.state.volumes.values():
            volume.group = "vgnew"
        machine.commit()
    assert list_ours(house)
    recover(house)
    assert [] == list_ours(house)


def test_snapshot_that_somebody_removed_is_gone_where_its_origin_is_there(
    host: SimulatedHost, house: House
) -> None:
    cut_off(house)
    for name in list_ours(house):
        call(host, "lvremove", "-y", f"xenvols/{name}")
    (found,) = recover(build_house(host))
    assert found.healed, found.messages
    assert () == find_unfinished(house)


def test_image_in_a_spool_that_was_away_goes_once_it_is_back(
    host: SimulatedHost, house: House
) -> None:
    """Nobody else's does: another run's, a restore's, what is called otherwise."""
    house = run_killed_at(house, "cold", "xl-destroy:end")
    host.cut_power()
    spool = host.place(house.configuration.spool_path)
    away = spool.rename(spool.with_name("away"))
    host.place("/run").mkdir(exist_ok=True)
    (found,) = recover(build_house(host))
    assert found.healed, found.messages
    assert "web" in [domain.name for domain in house.toolstack.list_domains()], "it boots afresh"
    assert [] == list(host.place("/run").glob("xenbackup-*.cfg"))
    away.rename(spool)
    others = [spool / "20261122T023000Z-k3f9qa.save", spool / "of-somebody"]
    for other in others:
        other.write_text("")
    assert () == recover(build_house(host))
    assert sorted(others) == sorted(spool.iterdir())


def test_run_whose_memory_image_cannot_be_removed_is_as_good_as_it_was(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool's disk may turn read-only meanwhile; the next recovery clears up."""

    def refuse(self: Spool, run_id: str) -> bool:
        raise StateFailed("Cannot remove it: Read-only file system.")

    with monkeypatch.context() as patched:
        patched.setattr(Spool, "remove", refuse)
        (run,) = back_up(house, "snapshot").runs
    assert (Outcome.OK, run.run) == (run.outcome, run.point)
    assert any("Read-only file system" in warning for warning in run.warnings), run.warnings
    assert () == find_unfinished(house), "the next run may begin"
    spool = Spool(house.host.place(house.configuration.spool_path))
    assert spool.list_files()
    assert () == recover(house)
    assert () == spool.list_files()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_with_files(tmp_path / "host")
    return tmp_path / "host"


def test_reflink_copy_on_a_file_system_that_is_not_mounted_is_owed(folder: Path) -> None:
    host = SimulatedHost(folder)
    house = build_house(host)
    cut_off(house, "filey")
    images = host.place(IMAGES)
    away = images.rename(images.with_name("away"))
    for stand_in in ("nothing", "/proc"):
        if stand_in != "nothing":
            images.symlink_to(stand_in)
        (found,) = recover(build_house(host))
        assert not found.healed
        assert any(LOOK in message and IMAGES in message for message in found.messages)
    images.unlink()
    away.rename(images)
    recover(build_house(host))
    assert [] == list(images.glob(".xb-*"))
    assert () == find_unfinished(house)


def test_reflink_copy_is_gone_where_its_folder_is_still_the_same(folder: Path) -> None:
    """Somebody removed the guest's image, and the copy with it."""
    host = SimulatedHost(folder)
    house = build_house(host)
    cut_off(house, "filey")
    for path in host.place(IMAGES).iterdir():
        path.unlink()
    recover(build_house(host))
    assert () == find_unfinished(house)
