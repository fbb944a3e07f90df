"""What `status` gathers beside points and runs: promises of before, round files, volume groups."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.house import back_up, build_host, build_house, make_job
from xenbackup.errors import StateFailed
from xenbackup.model.job import DestinationKind, DestinationSpec, JobSet
from xenbackup.model.status import DomainVerdict, Finding, GuestList, KnownGuest, Level, PlaceState
from xenbackup.operations.house import House
from xenbackup.operations.status import gather_status
from xenbackup.records.accepted_rounds import RoundFolder

ROUND = "20261123T023000Z-abcdef"
GUESTS = GuestList(guests=(KnownGuest(name="web", running=True),))
NIGHTLY = replace(make_job("checkpoint"), name="nightly", schedule="30 2 * * *", timezone="UTC")


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A guest with one point by job `test`, and the last two nights without one."""
    made = build_house(build_host(tmp_path / "host"))
    back_up(made, "checkpoint")
    made.host.sleep(timedelta(days=2).total_seconds())
    return made


def with_job(house: House, *, written: datetime, name: str = "nightly") -> House:
    jobs = JobSet(jobs=(replace(NIGHTLY, name=name),), written=((name, written),))
    return replace(house, jobs=jobs)


def judge(house: House) -> tuple[DomainVerdict, Level]:
    (row,) = gather_status(house, guests=GUESTS).domains
    return row.verdict, row.level


def find(house: House, code: str) -> list[Finding]:
    return [found for found in gather_status(house).findings if found.code == code]


LATE = (DomainVerdict.LATE, Level.CRITICAL)


@pytest.mark.parametrize("name", ["test", "renamed"])
def test_promise_stands_though_the_catalog_has_just_heard_of_the_job(
    house: House, name: str
) -> None:
    """The catalog was lost, or the job got another name: its file is what it was."""
    now = house.host.now()
    mine = with_job(house, written=now - timedelta(days=30), name=name)
    mine.catalog.note_schedule(name, "30 2 * * * UTC", now)
    assert LATE == judge(mine)


def test_job_that_is_new_promises_nothing_of_the_nights_before(house: House) -> None:
    now = house.host.now()
    mine = with_job(house, written=now - timedelta(minutes=5))
    mine.catalog.note_schedule("nightly", "30 2 * * * UTC", now)
    assert (DomainVerdict.GOOD, Level.OK) == judge(mine)


def test_guest_without_any_point_is_awaited_though_its_job_s_file_is_old(tmp_path: Path) -> None:
    """A file that somebody copied to a new host with its time."""
    house = build_house(build_host(tmp_path / "host"))
    now = house.host.now()
    mine = with_job(house, written=now - timedelta(days=300))
    mine.catalog.note_schedule("nightly", "30 2 * * * UTC", now)
    assert (DomainVerdict.AWAITED, Level.OK) == judge(mine)


def test_file_of_a_round_that_cannot_be_read_is_a_warning(house: House) -> None:
    assert [] == find(house, "round-unreadable")
    house.rounds_folder.mkdir()
    (house.rounds_folder / f"{ROUND}.json").write_text("")
    (found,) = find(house, "round-unreadable")
    assert Level.WARNING is found.level
    assert f"{ROUND}.json is no record of a round" in found.message
    (house.rounds_folder / f"{ROUND}.json").unlink()
    assert [] == find(house, "round-unreadable")


def test_folder_of_rounds_that_cannot_be_read_is_a_warning(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: RoundFolder) -> None:
        raise StateFailed("Cannot read the folder: Permission denied.")

    monkeypatch.setattr(RoundFolder, "list_rounds", fail)
    (found,) = find(house, "round-unreadable")
    assert "Permission denied" in found.message


@pytest.mark.parametrize(
    ("group", "state"), [("xenvols", PlaceState.PRESENT), ("gone", PlaceState.MISSING)]
)
def test_destination_in_volumes_is_there_when_its_group_is(
    house: House, group: str, state: PlaceState
) -> None:
    spec = DestinationSpec(name="standby", kind=DestinationKind.VOLUME, path=group)
    configured = replace(house.configuration, destinations=(spec,))
    mine = replace(house, configuration=configured)
    (place,) = gather_status(mine).destinations
    assert (state, None) == (place.state, place.free_bytes)
    missing = find(mine, "destination-missing")
    assert (state is PlaceState.MISSING) == bool(missing)
    if missing:
        assert (Level.CRITICAL, "There is no volume group 'gone'.") == (
            missing[0].level,
            missing[0].message,
        )
        assert "vgs" in missing[0].hint
