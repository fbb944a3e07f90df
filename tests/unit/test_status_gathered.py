"""What `status` gathers beside points and runs: promises of before, round files, volume groups."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from tests.house import back_up, build_host, build_house, make_job
from xenbackup.errors import StateFailed
from xenbackup.model.job import DestinationKind, DestinationSpec, JobSet
from xenbackup.model.point import Damage, MarkedPoint
from xenbackup.model.run import Outcome, RunResult
from xenbackup.model.status import DomainVerdict, Finding, GuestList, KnownGuest, Level, PlaceState
from xenbackup.operations.house import House
from xenbackup.operations.points import list_points
from xenbackup.operations.probing import Probe
from xenbackup.operations.status import gather_status
from xenbackup.planning.findings import POINT_DAMAGED
from xenbackup.records import catalog_rows as rows
from xenbackup.records.accepted_rounds import RoundFolder
from xenbackup.records.catalog_file import SCHEMA_VERSION
from xenbackup.records.catalog_rows import RunEntry
from xenbackup.storage.images import ImagesDestination

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


# Destinations that come, go, and are given other names


def with_destination(house: House, name: str) -> House:
    """As if `name` were all that is configured, and at the place of what was."""
    (was,) = house.configuration.destinations
    configured = replace(house.configuration, destinations=(replace(was, name=name),))

    def open_destination(wanted: str) -> ImagesDestination:
        assert name == wanted
        return ImagesDestination(house.host.place(was.path), name)

    return replace(house, configuration=configured, open_destination=open_destination)


def count_points(house: House) -> list[tuple[str, int, int]]:
    rows = gather_status(house, guests=GUESTS).domains
    return [(row.destination, row.points, row.damaged) for row in rows]


def test_point_counts_once_though_its_destination_was_given_another_name(house: House) -> None:
    mine = with_job(house, written=house.host.now())
    assert [("local", 1, 0)] == count_points(mine)
    assert [("other", 1, 0)] == count_points(with_destination(mine, "other"))


def test_no_guest_is_good_by_a_point_in_a_destination_that_is_not_configured(
    house: House,
) -> None:
    """It was removed since, for all that anybody knows."""
    mine = with_job(house, written=house.host.now())
    assert DomainVerdict.GOOD is judge(mine)[0]
    renamed = with_destination(mine, "other")
    (point,) = list_points(renamed).points
    with closing(renamed.open_destination("other")) as store:
        store.open()
        store.delete_point(point.point)
    list_points(renamed)
    assert DomainVerdict.GOOD is not judge(renamed)[0]


def test_damage_in_a_destination_that_is_not_configured_is_told_no_more(house: House) -> None:
    (point,) = house.catalog.list_points()
    house.catalog.record_damaged(
        MarkedPoint(
            point=point.point,
            destination="retired",
            domain="web",
            damage=Damage(found_at=house.host.now(), reason="a digest differs"),
        )
    )
    assert [] == find(house, POINT_DAMAGED)


def test_destination_that_does_not_answer_and_was_never_listed_leaves_it_open(
    house: House,
) -> None:
    mine = with_job(house, written=house.host.now())
    assert DomainVerdict.GOOD is judge(mine)[0]
    answers = Event()

    def open_destination(name: str) -> ImagesDestination:
        answers.wait()
        return ImagesDestination(house.host.place("/srv/backup"), name)

    mine = replace(with_destination(mine, "silent"), open_destination=open_destination)
    told = gather_status(mine, guests=GUESTS, probe=Probe(deadline_seconds=0.01))
    answers.set()
    assert [DomainVerdict.UNKNOWN] == [row.verdict for row in told.domains]
    assert "Destination silent was never listed: points may be missing." == told.catalog_problem


# Hosts of many guests and jobs


def record_runs(house: House, job: str, at: datetime, outcome: Outcome, number: int) -> None:
    """In one go: thousands of transactions would take their time."""
    entries = []
    for guest in range(number):
        name = "web" if not guest else f"guest-{guest}"
        run = f"{at:%Y%m%dT%H%M%SZ}-a{guest:05}"
        why = "" if outcome is Outcome.OK else "There is no room."
        result = RunResult(run=run, domain=name, uuid="", outcome=outcome, error=why)
        entries.append(RunEntry(job=job, round=f"{run[:-6]}aaaaaa", ended_at=at, result=result))
    house.catalog.open()
    with closing(sqlite3.connect(house.catalog.path)) as connection, connection:
        values = [rows.bind(rows.flatten_run(entry)) for entry in entries]
        connection.executemany(rows.INSERT_RUN, values)


def test_a_failed_run_is_told_however_many_of_other_jobs_came_after_it(house: House) -> None:
    now = house.host.now()
    mine = with_job(house, written=now - timedelta(days=30))
    record_runs(house, "nightly", now - timedelta(hours=30), Outcome.FAILED, 1)
    record_runs(house, "hourly", now - timedelta(hours=29), Outcome.OK, 2100)
    (row,) = gather_status(mine, guests=GUESTS).domains
    assert row.last_run is not None
    assert "There is no room." == row.last_run.error


def test_no_run_of_the_last_day_is_left_out_unsaid(house: House) -> None:
    now = house.host.now()
    record_runs(house, "nightly", now - timedelta(hours=23), Outcome.FAILED, 3)
    record_runs(house, "hourly", now - timedelta(hours=1), Outcome.OK, 2100)
    report = gather_status(house)
    listed = [run for told in report.rounds for run in told.runs]
    assert 2103 == len(listed) + report.runs_left_out
    assert 3 == sum(run.outcome is Outcome.FAILED for run in listed)


def test_catalog_of_a_newer_version_is_told_with_what_would_help(house: House) -> None:
    """After a downgrade: no listing of the destinations makes it readable."""
    with closing(sqlite3.connect(house.catalog.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    (found,) = find(house, "catalog-incomplete")
    assert found.message.endswith(f"has schema 99; this version knows {SCHEMA_VERSION}.")
    assert "use the newer xenbackup" in found.hint
