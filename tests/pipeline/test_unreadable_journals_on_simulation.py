"""A journal that the disk does not give any more: told of, and in nobody else's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import Watcher, back_up, find_wrongs, make_job, recover
from tests.pipeline.strikes import call, run_killed_at
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import JournalDamaged, StateFailed
from xenbackup.model.plan import Plan
from xenbackup.model.run import Outcome
from xenbackup.model.status import RunState
from xenbackup.operations import recover as recovery
from xenbackup.operations.house import House
from xenbackup.operations.journals import trim_journals
from xenbackup.operations.open_runs import list_open_runs
from xenbackup.operations.plan import plan_job
from xenbackup.records.journal import list_journals, read_journal

BROKEN = "20200101T000000Z-aaaaaa"


def break_journal(house: House) -> Path:
    """No file can be read there: root, who runs the tests, is refused nothing else."""
    path = house.journals_folder / f"{BROKEN}.jsonl"
    path.mkdir(parents=True)
    return path


def test_guest_comes_back_beside_a_journal_that_cannot_be_read(house: House) -> None:
    house = run_killed_at(house, "cold", "xl-destroy:end")
    broken = break_journal(house)
    found = {run.domain: run for run in recover(house)}
    assert found["web"].healed, found
    assert not found[""].healed
    assert BROKEN == found[""].run
    broken.rmdir()
    assert [] == find_wrongs(house)


def test_journal_that_cannot_be_read_is_told_and_kept_and_refuses_no_backup(house: House) -> None:
    path = break_journal(house)
    with pytest.raises(JournalDamaged, match="cannot be read: Is a directory"):
        read_journal(path)
    (open_run,) = list_open_runs(house)
    assert (BROKEN, RunState.UNREADABLE) == (open_run.run, open_run.state)
    assert () == trim_journals(house)
    (run,) = back_up(house, "crash").runs
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert path.is_dir()


def test_guest_that_is_down_beside_a_journal_that_cannot_be_read_is_not_backed_up(
    host: SimulatedHost, house: House
) -> None:
    """It may be down because of that run, and its memory with it: its disks are no `offline`."""
    house = run_killed_at(house, "cold", "xl-destroy:end")
    (journal,) = list_journals(house.journals_folder)
    text = journal.read_bytes()
    journal.write_bytes(b"?" + text[1:])
    (run,) = back_up(house, "auto").runs
    assert ("web", Outcome.FAILED) == (run.domain, run.outcome)
    assert f"run {journal.stem}, whose journal cannot be read" in run.error
    # One that has its end owes nothing, whatever else of it is damaged.
    journal.write_bytes(text)
    recover(house)
    call(host, "xl", "shutdown", "-w", "web")
    journal.write_bytes(b"?" + journal.read_bytes()[1:])
    (run,) = back_up(house, "auto").runs
    assert (Outcome.OK, "") == (run.outcome, run.error)


def test_guest_that_a_readable_run_has_away_may_wait_for_its_turn(
    host: SimulatedHost, house: House
) -> None:
    """It is down because of that run, which brings it back: nothing to refuse for good."""
    break_journal(house)
    plans: list[Plan] = []

    class Planner(Watcher):
        def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
            if what == "xvda" and not plans:
                plans.append(plan_job(house, make_job("auto")))

    (run,) = back_up(house, "cold", watcher=Planner()).runs
    assert Outcome.OK is run.outcome, run
    (plan,) = plans
    assert ["web"] == [found.domain.name for found in plan.domains]
    assert () == plan.refused


def test_folder_of_journals_that_cannot_be_read_is_an_error_that_names_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.journals_folder.mkdir(parents=True)

    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(StateFailed, match=r"journals in .*: Input/output error"):
        list_journals(house.journals_folder)


def test_journal_that_went_while_recovery_was_at_work_keeps_no_other_guest_down(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person moves away the one that could not be read, and another one with it."""
    run_killed_at(house, "cold", "xl-destroy:end", domain="thinny")
    house = run_killed_at(house, "cold", "xl-destroy:end")
    first, _ = list_journals(house.journals_folder)
    wait = recovery._must_wait

    def move_away(house: House, run_id: str) -> bool:
        if first.exists():
            first.rename(house.journals_folder.parent / "moved")
        return wait(house, run_id)

    monkeypatch.setattr(recovery, "_must_wait", move_away)
    found = {run.domain: run for run in recover(house)}
    assert found["web"].healed, found
    assert any("is gone" in line for line in found["thinny"].messages), found
