"""Journals of long ago go; whatever may still be needed stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import builders as b
from tests.house import make_job
from tests.unit.pruned_house import OFFSITE, Attic
from xenbackup.errors import PlanRefused, StateFailed
from xenbackup.model import entries as e
from xenbackup.model.job import Retention
from xenbackup.model.run import Outcome
from xenbackup.operations import trimming
from xenbackup.operations.house import House
from xenbackup.operations.journals import trim_journals
from xenbackup.operations.prune import prune_points
from xenbackup.operations.round import describe_failure, finish_round
from xenbackup.operations.runs import find_unfinished
from xenbackup.records.journal import Journal, list_journals

DAY_SECONDS = 86400.0


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    attic = Attic(tmp_path / "host")
    attic.configure(keep_journals_seconds=30 * DAY_SECONDS)
    attic.house.journals_folder.mkdir(parents=True)
    return attic


def write_journal(attic: Attic, run: str, *more: e.AnyEntry, ended_days_ago: float = 31) -> None:
    start = replace(b.make_record("crash").start, run=run)
    at = attic.host.now() - timedelta(days=ended_days_ago)
    journal = Journal(attic.house.journals_folder / f"{run}.jsonl", lambda: at)
    journal.create(e.RunStarted(start=start))
    for entry in more:
        journal.write(entry)
    journal.close()


def name_run(number: int) -> str:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return f"{at:%Y%m%dT%H%M%S}Z-aaaaaa"


def list_left(attic: Attic) -> list[str]:
    return [path.stem for path in list_journals(attic.house.journals_folder)]


FAILED = e.RunEnded(outcome=Outcome.FAILED)


def test_old_journal_of_a_failed_run_goes_and_a_younger_one_stays(attic: Attic) -> None:
    write_journal(attic, name_run(1), FAILED)
    write_journal(attic, name_run(2), FAILED, ended_days_ago=29)
    write_journal(attic, name_run(3), FAILED, ended_days_ago=-400)
    assert (name_run(1),) == trim_journals(attic.house, dry_run=True)
    assert 3 == len(list_left(attic))
    assert (name_run(1),) == trim_journals(attic.house)
    assert [name_run(2), name_run(3)] == list_left(attic)
    assert () == trim_journals(attic.house)


@pytest.mark.parametrize("retention", [Retention(), Retention(last=1)])
def test_old_journals_go_at_the_end_of_a_round_with_retention_and_without(
    attic: Attic, retention: Retention
) -> None:
    write_journal(attic, name_run(1), FAILED)
    write_journal(attic, name_run(2), FAILED, ended_days_ago=29)
    job = replace(make_job("crash"), retention=retention)
    ended = describe_failure(job, name_run(60), PlanRefused("No."))
    assert () == finish_round(attic.house, job, ended)
    assert [name_run(2)] == list_left(attic)


def test_round_says_that_old_journals_could_not_go(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(house: House) -> None:
        raise StateFailed("Read-only.")

    monkeypatch.setattr(trimming, "trim_records", refuse)
    ended = describe_failure(make_job("crash"), name_run(60), PlanRefused("No."))
    told = finish_round(attic.house, make_job("crash"), ended)
    assert ("Records of long ago were not removed: Read-only.",) == told


def test_journal_that_is_unfinished_or_owes_or_cannot_be_read_stays(attic: Attic) -> None:
    write_journal(attic, name_run(1))
    write_journal(attic, name_run(2), e.DebtIncurred(message="a snapshot is in use"))
    (attic.house.journals_folder / f"{name_run(3)}.jsonl").write_bytes(b"rot\n")
    (attic.house.journals_folder / f"{name_run(4)}.jsonl").write_bytes(b"")
    (attic.house.journals_folder / "notes.txt").write_bytes(b"mine")
    before = sorted(attic.house.journals_folder.iterdir())
    assert () == trim_journals(attic.house)
    assert before == sorted(attic.house.journals_folder.iterdir())
    assert 3 == len(find_unfinished(attic.house))


@pytest.mark.parametrize("destination", ["local", "offsite"])
def test_journal_of_a_point_that_is_there_stays_until_it_is_gone(
    attic: Attic, destination: str
) -> None:
    point = attic.store(50, destination=destination)
    write_journal(attic, point, e.Published(point=point), e.RunEnded(outcome=Outcome.OK))
    assert () == trim_journals(attic.house)
    assert attic.house.open_destination(destination).delete_point(point)
    assert (point,) == trim_journals(attic.house)


def test_journal_of_a_point_half_removed_or_damaged_stays(attic: Attic) -> None:
    removed, damaged = attic.store(51), attic.store(50)
    for point in (removed, damaged):
        write_journal(attic, point, e.Published(point=point), e.RunEnded(outcome=Outcome.OK))
    attic.place(removed).rename(attic.folder / "web" / f".deleting-{removed}")
    (attic.place(damaged) / "manifest.json").write_bytes(b"{")
    assert () == trim_journals(attic.house)


def test_while_a_destination_is_away_no_journal_of_a_point_goes(attic: Attic) -> None:
    write_journal(attic, name_run(1), e.Published(point=name_run(1)), FAILED)
    write_journal(attic, name_run(2), FAILED)
    attic.host.place(OFFSITE).rename(attic.host.place("/srv/away"))
    assert (name_run(2),) == trim_journals(attic.house)
    attic.host.place("/srv/away").rename(attic.host.place(OFFSITE))
    assert (name_run(1),) == trim_journals(attic.house)


def test_nothing_is_trimmed_where_all_are_kept(attic: Attic) -> None:
    attic.configure(keep_journals_seconds=0.0)
    write_journal(attic, name_run(1), FAILED)
    assert () == trim_journals(attic.house)


def test_prune_trims_journals_and_those_of_points_that_it_removed(attic: Attic) -> None:
    points = [attic.store(ago) for ago in (43, 42, 41, 40)]
    for point in points:
        ended = e.RunEnded(outcome=Outcome.OK)
        write_journal(attic, point, e.Published(point=point), ended, ended_days_ago=40)
    write_journal(attic, name_run(1), FAILED)
    report = prune_points(attic.house)
    assert {name_run(1), *points[:2]} == set(report.journals)
    assert points[2:] == list_left(attic)
