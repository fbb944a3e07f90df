"""A guest that its administrator migrates away in the middle of a run is let run nowhere here.

Row 18 of docs/reliability.md. Either the migration is over before anything looks again, or the
guest stands here still, renamed and suspended, while it begins to run on the other host.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import WEB_UUID, back_up, find_wrongs, recover
from tests.pipeline.acts import open_context
from tests.pipeline.strikes import At, at_moment, run_killed_at, set_fault
from tests.simulation.migrating import AWAY_SUFFIX, begin_migration, end_migration
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.faults import FaultKind
from xenbackup.errors import RestoreFailed
from xenbackup.model.job import StepName
from xenbackup.model.rescue import Decision, RescueAction
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import guest, undo
from xenbackup.pipeline.context import RunContext
from xenbackup.records.journal import list_journals, read_record

BOTH_ENDS = pytest.mark.parametrize("ends", [True, False], ids=["gone", "still-here"])


def migrate(host: SimulatedHost, *, ends: bool) -> None:
    with host.machine() as machine:
        (domid,) = [d.domid for d in machine.state.domains if d.uuid == WEB_UUID]
    assert begin_migration(host, domid)
    if ends:
        assert end_migration(host)


def migrates(host: SimulatedHost, *, ends: bool) -> Callable[[str], None]:
    return lambda run_id: migrate(host, ends=ends)


def assert_left_alone(host: SimulatedHost, house: House, *, ends: bool) -> None:
    """Nothing of it runs here, and nothing of ours is left."""
    found = [(d.name, d.state.alive) for d in house.toolstack.list_domains() if d.uuid == WEB_UUID]
    assert ([] if ends else [(f"web{AWAY_SUFFIX}", False)]) == found
    assert [] == find_wrongs(house, runs=False)
    assert () == find_unfinished(house)


@BOTH_ENDS
@pytest.mark.parametrize(
    ("preset", "step"),
    [("crash", "pause"), ("checkpoint", "save-paused"), ("snapshot", "save"), ("cold", "save")],
)
def test_row_18_guest_that_was_migrated_before_it_stood_still_gives_no_point(
    host: SimulatedHost, house: House, preset: str, step: str, ends: bool
) -> None:
    watcher = At(step=StepName(step), act=migrates(host, ends=ends))
    (run,) = back_up(house, preset, watcher=watcher).runs
    assert watcher.done
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert_left_alone(host, house, ends=ends)


@BOTH_ENDS
@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "cold"])
def test_row_18_guest_that_was_migrated_just_before_its_save_is_not_saved(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch, preset: str, ends: bool
) -> None:
    """A save that fails lets the guest go on: also what the migration has left behind."""
    set_fault(house, FaultKind.ENOSPC, "xl", "save")
    hold = guest.hold_monitors

    def hold_and_migrate(context: RunContext) -> None:
        hold(context)
        migrate(host, ends=ends)

    monkeypatch.setattr(guest, "hold_monitors", hold_and_migrate)
    (run,) = back_up(house, preset).runs
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    (journal,) = list_journals(house.journals_folder)
    assert not read_record(journal).save_begun
    assert_left_alone(host, house, ends=ends)


@BOTH_ENDS
@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "cold"])
@pytest.mark.parametrize("moment", ["xl-save:requested", "xl-save:suspended", "xl-save:written"])
def test_row_18_guest_that_was_migrated_while_it_was_saved_is_not_let_run_here(
    host: SimulatedHost, house: House, preset: str, moment: str, ends: bool
) -> None:
    at_moment(host, moment, lambda: migrate(host, ends=ends))
    (run,) = back_up(house, preset).runs
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert_left_alone(host, house, ends=ends)


@BOTH_ENDS
@pytest.mark.parametrize("preset", ["checkpoint", "snapshot", "cold"])
@pytest.mark.parametrize("moment", ["xl-save:begin", "xl-save:written"])
def test_row_18_guest_that_was_migrated_after_a_kill_is_not_rescued(
    host: SimulatedHost, house: House, preset: str, moment: str, ends: bool
) -> None:
    house = run_killed_at(house, preset, moment)
    migrate(host, ends=ends)
    (run,) = recover(house)
    assert run.healed, run.messages
    assert_left_alone(host, house, ends=ends)


@BOTH_ENDS
@pytest.mark.parametrize("preset", ["crash", "checkpoint", "snapshot"])
def test_row_18_guest_that_is_migrated_while_its_snapshots_are_copied_gives_a_good_point(
    host: SimulatedHost, house: House, preset: str, ends: bool
) -> None:
    """It had returned: the point is of the instant before, and the guest its owner's."""
    watcher = At(step=StepName.COPY, act=migrates(host, ends=ends))
    (run,) = back_up(house, preset, watcher=watcher).runs
    assert watcher.done
    assert Outcome.OK is run.outcome, run.error
    assert run.point
    assert_left_alone(host, house, ends=ends)


def test_row_18_guest_that_does_not_suspend_for_its_migration_is_backed_up_as_ever(
    host: SimulatedHost, house: House
) -> None:
    """It is paused: the request of the migration is not answered, and withdrawn."""
    refused: list[bool] = []

    def try_to_migrate(run_id: str) -> None:
        with host.machine() as machine:
            (domid,) = [d.domid for d in machine.state.domains if d.uuid == WEB_UUID]
        refused.append(not begin_migration(host, domid))

    watcher = At(step=StepName.SNAPSHOT, act=try_to_migrate)
    (run,) = back_up(house, "crash", watcher=watcher).runs
    assert [True] == refused
    assert Outcome.OK is run.outcome, run.error
    assert [] == find_wrongs(house)


@pytest.mark.parametrize("action", [RescueAction.UNPAUSE, RescueAction.CANCEL_SUSPEND])
def test_row_18_guest_that_is_migrated_between_look_and_act_is_not_let_run_here(
    host: SimulatedHost, house: House, action: RescueAction
) -> None:
    context = open_context(house)
    migrate(host, ends=False)
    with pytest.raises(RestoreFailed, match="migrated away"):
        undo.perform(context, Decision(action=action, reason="as it was seen before"))
    found = next(d for d in house.toolstack.list_domains() if d.uuid == WEB_UUID)
    assert found.state.suspended
