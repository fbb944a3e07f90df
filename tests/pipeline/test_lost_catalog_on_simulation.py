"""What the catalog knew of past runs, told again by their journals."""

from __future__ import annotations

from dataclasses import replace

from tests.house import back_up, recover
from tests.pipeline.strikes import set_fault
from xenbackup.dom0.simulated import FaultKind
from xenbackup.model.run import RunResult
from xenbackup.operations.house import House
from xenbackup.operations.runs import complete_catalog


def list_results(house: House) -> tuple[RunResult, ...]:
    """Durations left out: the journal's begins and ends a little inside the run's own."""
    entries = house.catalog.list_runs()
    return tuple(replace(entry.result, duration_seconds=0.0) for entry in entries)


def lose_catalog(house: House) -> None:
    for path in house.catalog.path.parent.glob("catalog.sqlite*"):
        path.unlink()


def test_row_45_runs_of_a_lost_catalog_are_told_by_their_journals(house: House) -> None:
    back_up(house, "checkpoint")
    set_fault(house, FaultKind.FAIL, "xl", "save", stderr="no room\n")
    back_up(house, "checkpoint")
    known = list_results(house)
    ended = [entry.ended_at for entry in house.catalog.list_runs()]
    lose_catalog(house)
    recover(house)
    assert 2 == len(known)
    assert known == list_results(house)
    for before, after in zip(ended, house.catalog.list_runs(), strict=True):
        assert abs((before - after.ended_at).total_seconds()) < 5


def test_row_45_what_the_catalog_knows_is_not_told_again(house: House) -> None:
    back_up(house, "checkpoint")
    before = house.catalog.list_runs()
    assert 0 == complete_catalog(house)
    assert before == house.catalog.list_runs()


def test_row_45_a_damaged_journal_hides_no_other(house: House) -> None:
    back_up(house, "checkpoint")
    back_up(house, "checkpoint")
    first, second = sorted(house.journals_folder.iterdir())
    first.write_bytes(b"not a journal\n" + first.read_bytes())
    lose_catalog(house)
    assert 1 == complete_catalog(house)
    assert [second.stem] == [entry.result.run for entry in house.catalog.list_runs()]
