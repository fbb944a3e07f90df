"""Nobody's trouble keeps another guest down for hours: each wait of a rescue has an end."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.house import Watcher, find_wrongs, recover
from tests.pipeline.acts import open_context
from tests.pipeline.strikes import call, run_killed_at
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.state import SimulatedProcess
from xenbackup.errors import XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.command import Process
from xenbackup.model.rescue import RescueAction
from xenbackup.operations import recover as recovery
from xenbackup.operations.house import House
from xenbackup.operations.recover import recover_runs
from xenbackup.operations.runs import find_unfinished
from xenbackup.pipeline import guest, undo
from xenbackup.pipeline.observing import find_survivors
from xenbackup.records.journal import list_journals, read_journal

SURVIVOR_PID = 77777


def acts_of(house: House, run_id: str) -> list[str]:
    """The rescue's acts, in their order."""
    (path,) = [path for path in list_journals(house.journals_folder) if path.stem == run_id]
    return [x.entry.action for x in read_journal(path) if isinstance(x.entry, e.RescueBegan)]


def leave_survivor(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch, *, heeds: int
) -> list[int]:
    """A command of the unfinished run lives on; returns the signals that it is sent."""
    ((run_id, _),) = find_unfinished(house)
    lives = SimulatedProcess(
        pid=SURVIVOR_PID, start_ticks=7, argv=["lvcreate", "-s"], run_mark=run_id
    )
    with host.machine() as machine:
        machine.state.processes.append(lives)
        machine.commit()
    send, sent = host.signal_process, []

    def signal_process(process: Process, number: int) -> bool:
        if process.pid != SURVIVOR_PID:
            return send(process, number)
        sent.append(number)
        return send(process, number) if number == heeds else True

    monkeypatch.setattr(host, "signal_process", signal_process)
    monkeypatch.setattr(guest, "POLL_SECONDS", 20.0)
    return sent


@pytest.mark.parametrize(
    ("heeds", "sent"),
    [
        (signal.SIGTERM, [signal.SIGTERM]),
        (signal.SIGKILL, [signal.SIGTERM, signal.SIGKILL]),
        (0, [signal.SIGTERM, signal.SIGKILL]),
    ],
)
def test_row_63_command_that_heeds_no_sigterm_is_killed_and_waited_for_no_more(
    host: SimulatedHost,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    heeds: int,
    sent: list[int],
) -> None:
    house = run_killed_at(house, "crash", "lvcreate:end")
    signals = leave_survivor(host, house, monkeypatch, heeds=heeds)
    began = host.monotonic_seconds()
    (run,) = recover(house)
    assert sent == signals
    assert host.monotonic_seconds() - began < 1200.0
    if heeds:
        assert run.healed, run.messages
        assert [] == find_wrongs(house)
        return
    assert not run.healed
    assert "lives on, though it was killed" in " ".join(run.messages)
    ((run_id, _),) = find_unfinished(house)
    waits = [RescueAction.END_SURVIVORS, RescueAction.KILL_SURVIVORS]
    assert waits == acts_of(house, run_id)


def test_command_that_ends_as_it_is_about_to_be_killed_gets_no_signal(house: House) -> None:
    context = open_context(house)
    undo._kill_survivors(context)
    undo._end_survivors(context)
    assert () == find_survivors(context)


@pytest.mark.parametrize("ending", ["crash", "poweroff"])
def test_guest_that_ended_by_itself_after_its_return_keeps_nobody_waiting(
    host: SimulatedHost, house: House, ending: str
) -> None:
    """`on_crash = "preserve"`: it stays as it is, for whoever looks at it."""
    house = run_killed_at(house, "snapshot", "xl-unpause:end")
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        web.shutdown = ending
        machine.commit()
    began = host.monotonic_seconds()
    (run,) = recover(house)
    assert run.healed, run.messages
    assert f"shut down by itself ({ending})" in " ".join(run.messages)
    assert host.monotonic_seconds() - began < guest.HEALTH_DEADLINE_SECONDS
    assert () == find_unfinished(house)


def take_disk_away(host: SimulatedHost) -> None:
    """An administrator lets web run and takes its second disk away (`xl block-detach`)."""
    call(host, "xl", "unpause", "web")
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        web.vbds = web.vbds[:1]
        machine.commit()


def give_disk_back(host: SimulatedHost, kept: list[object]) -> None:
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        web.vbds = [*web.vbds, *kept]  # type: ignore[list-item]
        machine.commit()


def test_guest_that_runs_without_a_disk_is_told_and_owed(host: SimulatedHost, house: House) -> None:
    house = run_killed_at(house, "crash", "lvcreate:end")
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        kept: list[object] = list(web.vbds[1:])
    take_disk_away(host)
    began = host.monotonic_seconds()
    (run,) = recover(house)
    assert not run.healed
    assert "it goes on, but disk 51728 is not connected as it was" in " ".join(run.messages)
    assert host.monotonic_seconds() - began < 3 * guest.HEALTH_DEADLINE_SECONDS
    ((run_id, _),) = find_unfinished(house)
    assert [RescueAction.CONFIRM_RETURN] * 2 == acts_of(house, run_id)
    assert [] == [v.name for v in house.lvm.list_volumes() if "xenbackup" in v.tags]

    give_disk_back(host, kept)
    (run,) = recover(house)
    assert run.healed, run.messages
    assert () == find_unfinished(house)


def make_dying(host: SimulatedHost) -> None:
    with host.machine() as machine:
        (web,) = [d for d in machine.state.domains if d.name == "web"]
        web.dying = True
        machine.commit()


@pytest.mark.parametrize("trouble", [make_dying, take_disk_away])
def test_guest_that_can_be_brought_back_at_once_does_not_wait_for_another(
    host: SimulatedHost, house: House, trouble: Callable[[SimulatedHost], None]
) -> None:
    house = run_killed_at(house, "crash", "lvcreate:end")
    trouble(host)
    house = run_killed_at(house, "crash", "lvcreate:end", domain="thinny")
    began = host.monotonic_seconds()
    away: list[float] = []

    class Clock(Watcher):
        def rescue_began(self, run_id: str, reason: str) -> None:
            if reason.startswith("unpause"):
                away.append(host.monotonic_seconds() - began)

    recovered = recover_runs(house, Clock())
    assert ["thinny", "web"] == [run.domain for run in recovered]
    assert away[0] < 10.0
    assert [] == [wrong for wrong in find_wrongs(house, "thinny") if "thinny" in wrong]


def test_guest_whose_state_cannot_be_seen_is_recovered_in_its_turn(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = run_killed_at(house, "crash", "lvcreate:end")
    house = run_killed_at(house, "crash", "lvcreate:end", domain="thinny")

    def fail(context: object, attempts: tuple[object, ...]) -> None:
        raise XenbackupError("xl list failed.")

    monkeypatch.setattr(recovery, "observe_world", fail)
    assert [("web", True), ("thinny", True)] == [(r.domain, r.healed) for r in recover(house)]
    assert [] == [*find_wrongs(house), *find_wrongs(house, "thinny")]


def test_look_at_a_run_changes_nothing_of_it(house: House) -> None:
    """Its own process may be at work on it."""
    house = run_killed_at(house, "crash", "lvcreate:end")
    ((run_id, _),) = find_unfinished(house)
    (path,) = list_journals(house.journals_folder)
    torn = path.read_bytes() + b'{"v":1,"n":'
    path.write_bytes(torn)
    assert not recovery._must_wait(house, run_id)
    assert torn == path.read_bytes()
    assert [True] == [run.healed for run in recover(house)]
