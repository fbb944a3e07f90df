"""The judge notices: a host that is spoilt behind the product's back is never called good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import find_wrong_points
from tests.simulation.acts import Doings
from tests.simulation.director import Ledger
from tests.simulation.judging import judge_end, judge_start
from tests.simulation.quickening import quickened
from tests.simulation.schedule import Schedule
from tests.simulation.slots import KEEPSAKE, RECORDS, list_group
from tests.simulation.worlds import DISK_BYTES, Shelf, World, build_house
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.model import entries as e
from xenbackup.model.job import DestinationKind
from xenbackup.operations.house import House
from xenbackup.records.journal import Journal, list_journals

WORLD = World(stack="xl-4.17", guest="web", kind=DestinationKind.VOLUME)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("pristine"))


def open_house(shelf: Shelf, folder: Path) -> House:
    shelf.copy_to(WORLD, folder)
    return build_house(SimulatedHost(folder), WORLD, bytes)


def write(name: str, offset: int) -> Callable[[House], None]:
    def spoil(house: House) -> None:
        host = house.host
        assert isinstance(host, SimulatedHost)
        with host.machine() as machine:
            (volume,) = [v for v in list_group(machine) if v.name == name]
            machine.volumes.write(volume, offset, b"\xff" * 512)

    return spoil


def remove_slot(house: House) -> None:
    host = house.host
    assert isinstance(host, SimulatedHost)
    with host.machine() as machine:
        (volume,) = [v for v in list_group(machine) if v.name == "web--xvdb"]
        del machine.state.volumes[volume.uuid]
        machine.commit()


def hide_point(house: House) -> None:
    for path in house.host.place(RECORDS).glob("*/web/[0-9]*"):
        path.rename(path.with_name(f".gone-{path.name}"))


def leave_half_a_point(house: House) -> None:
    (home,) = house.host.place(RECORDS).glob("*/web")
    (home / ".partial-20261123T000000Z-aaaaaa").mkdir()


def judge(house: House, spoil: Callable[[House], None]) -> list[str]:
    host = house.host
    assert isinstance(host, SimulatedHost)
    start = judge_start(host, WORLD)
    spoil(house)
    schedule = Schedule(seed=0, world=WORLD, preset="crash")
    with quickened():
        return judge_end(host, house, schedule, start, Doings(), Ledger()).wrongs


def test_host_with_last_nights_point_in_its_volumes_is_good(shelf: Shelf, tmp_path: Path) -> None:
    assert [] == judge(open_house(shelf, tmp_path / "host"), lambda house: None)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (write("web--xvda", 0), "xvda"),
        (write("web--xvda", DISK_BYTES), f"web--xvda was written over from {DISK_BYTES} on"),
        (write(KEEPSAKE, 0), "keepsake was written over from 0 on"),
        (remove_slot, "volumes of guests are gone or changed"),
        (hide_point, "the earlier point is gone, and nothing was to be written over it"),
        (leave_half_a_point, "partial point"),
    ],
    ids=["disk", "behind the disk", "unmarked volume", "volume gone", "point gone", "half a point"],
)
def test_spoilt_volumes_are_told(
    shelf: Shelf, tmp_path: Path, spoil: Callable[[House], None], expected: str
) -> None:
    told = judge(open_house(shelf, tmp_path / "host"), spoil)
    assert any(expected in text for text in told), told


def test_point_of_a_run_whose_snapshot_filled_up_is_told(shelf: Shelf, tmp_path: Path) -> None:
    house = open_house(shelf, tmp_path / "host")
    assert [] == find_wrong_points(house)
    (path,) = list_journals(house.journals_folder)
    journal = Journal(path, house.host.now)
    journal.reopen()
    journal.write(e.SnapshotTooSmall(group="xenvols", name="s", vdev="xvda", size_bytes=1 << 17))
    journal.close()
    (told,) = find_wrong_points(house)
    assert f"point {path.stem} was read from a snapshot that filled up" == told
