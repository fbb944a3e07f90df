"""Disks that were written while the guest should stand still or be away: nothing shows any more
who did it, but the memory image does not fit them, and they are of no one moment.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import Watcher, back_up, build_house, find_wrongs, recover
from tests.pipeline.meddling import LOG, look_corrupted, run_for_a_while
from tests.pipeline.strikes import call, noting_syncs, read_records, run_killed_at
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.write_mark import UNFINISHED
from xenbackup.model.run import Outcome, RunResult
from xenbackup.operations.house import House
from xenbackup.pipeline import stillness
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps import snapshot as step

ROOT = "/dev/xenvols/web_root"


def write_in_dom0(host: SimulatedHost) -> None:
    device = host.open_volume(ROOT, writable=True)
    device.write_at(2 << 20, memoryview(b"\xa5" * 4096))
    device.close()


class Meddler(Watcher):
    """Does something once while the first disk is copied."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act: Callable[[], None] | None = act

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        if what == "xvda" and self._act is not None:
            act, self._act = self._act, None
            act()


def back_up_and_meddle(house: House, preset: str, act: Callable[[], None]) -> RunResult:
    (run,) = back_up(house, preset, watcher=Meddler(act)).runs
    return run


@pytest.mark.parametrize("preset", ["cold", "snapshot"])
def test_image_is_not_restored_over_disks_of_a_guest_that_ran_meanwhile(
    host: SimulatedHost, house: House, preset: str
) -> None:
    house = run_killed_at(house, preset, "xl-destroy:end")
    run_for_a_while(host)
    (found,) = recover(house)
    assert any("wrote to xvda, xvdb of web since" in line for line in found.messages)
    assert {} == look_corrupted(host)
    assert [] == [domain for domain in house.toolstack.list_domains() if domain.name == "web"], (
        "its owner ended it"
    )
    (record,) = read_records(house)
    assert record.resuming, "the image is never restored, by nobody"


def test_image_is_not_restored_over_a_disk_that_was_written_in_dom0(
    host: SimulatedHost, house: House
) -> None:
    house = run_killed_at(house, "cold", "xl-destroy:end")
    write_in_dom0(host)
    (found,) = recover(house)
    assert any("wrote to xvda of web since" in line for line in found.messages)
    assert {} == look_corrupted(host)


def test_disks_that_were_written_in_the_copy_give_no_point(
    host: SimulatedHost, house: House
) -> None:
    run = back_up_and_meddle(house, "cold", lambda: run_for_a_while(host))
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert "wrote to xvda, xvdb of web before its disks were read" in run.error
    assert {} == look_corrupted(host)


def test_guest_whose_disk_was_written_in_the_copy_is_said_to_be_shut_off(
    host: SimulatedHost, house: House
) -> None:
    """Nobody let it run, and nobody but its owner will start it: that must be plain."""
    run = back_up_and_meddle(house, "cold", lambda: write_in_dom0(host))
    assert "wrote to xvda of web" in run.error
    assert any("It stays shut off until its owner starts it" in line for line in run.warnings)


def test_guest_that_was_let_run_between_save_and_snapshot_gives_no_point(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = step.check_guest_stands_still

    def check(context: RunContext, *, when: str) -> None:
        if when == "before its snapshots":
            call(host, "xl", "unpause", "web")
            host.sleep(20.0)
            call(host, "xl", "pause", "web")
        looked(context, when=when)

    monkeypatch.setattr(step, "check_guest_stands_still", check)
    (run,) = back_up(house, "checkpoint").runs
    assert Outcome.FAILED is run.outcome
    assert "wrote to xvda, xvdb of web before its snapshots were done" in run.error
    assert [] == find_wrongs(house)


def test_guest_that_ran_since_its_snapshots_is_not_restored_by_the_run(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "check_disks_at_rest", lambda context, when: run_for_a_while(host))
    (run,) = back_up(house, "snapshot").runs
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert (
        "must not be restored: somebody wrote to xvda, xvdb since the guest was saved" in run.error
    )
    assert {} == look_corrupted(host)


def test_guest_that_was_let_run_and_paused_as_it_was_to_be_destroyed_goes_on(
    host: SimulatedHost, house: House
) -> None:
    house = run_killed_at(house, "cold", "xl-destroy:begin")
    call(host, "xl", "unpause", "web")
    host.sleep(20.0)
    call(host, "xl", "pause", "web")
    (found,) = recover(house)
    assert found.healed, found.messages
    assert [] == find_wrongs(house)


def test_shut_off_guest_whose_disk_is_written_between_its_snapshots_gives_no_point(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(host, "xl", "destroy", "web")
    looked = step.check_guest_stands_still

    def check(context: RunContext, *, when: str) -> None:
        if when == "after its snapshots":
            write_in_dom0(host)
        looked(context, when=when)

    monkeypatch.setattr(step, "check_guest_stands_still", check)
    (run,) = back_up(house, "offline").runs
    assert Outcome.FAILED is run.outcome
    assert "wrote to xvda of web" in run.error


def test_log_tells_of_a_guest_whose_disks_a_program_serves(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stillness, "SERVED_BY_KERNEL", "/local/domain/0/backend/vkbd/")
    run = back_up_and_meddle(house, "cold", lambda: run_for_a_while(host))
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert "Somebody started web before its disks were read" in run.error
    assert {} == look_corrupted(host)


def test_guest_that_was_started_since_its_snapshots_is_not_restored_by_the_run(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stillness, "SERVED_BY_KERNEL", "/local/domain/0/backend/vkbd/")
    monkeypatch.setattr(step, "check_disks_at_rest", lambda context, when: run_for_a_while(host))
    (run,) = back_up(house, "snapshot").runs
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert "must not be restored: somebody started the guest since it was saved" in run.error
    assert {} == look_corrupted(host)


# Where the marks say nothing


@pytest.mark.parametrize("preset", ["cold", "snapshot", "checkpoint", "crash"])
def test_undisturbed_backup_notes_its_disks_and_finds_them_as_they_were(
    house: House, preset: str
) -> None:
    (run,) = back_up(house, preset).runs
    assert Outcome.OK is run.outcome, run
    (record,) = read_records(house)
    assert (() if preset == "crash" else ("xvda", "xvdb")) == tuple(
        noted.vdev for noted in record.at_rest
    )
    assert [] == find_wrongs(house)


def test_counts_of_another_boot_say_nothing(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They begin anew: a guest that nobody touched comes back with its memory."""
    with noting_syncs(host, monkeypatch):
        house = run_killed_at(house, "cold", "xl-destroy:end")
    counted = host.read_write_mark(ROOT)
    host.cut_power()
    assert counted != host.read_write_mark(ROOT)
    (found,) = recover(build_house(host))
    assert (True, ()) == (found.healed, found.messages)
    assert not read_records(house)[0].boot_begun, "its memory came back"
    assert [] == find_wrongs(house)


def test_disks_that_another_guest_writes_too_are_not_noted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xenbackup.pipeline.guest.list_sharers", lambda context: ("of-another",))
    (run,) = back_up(house, "snapshot").runs
    assert Outcome.OK is run.outcome, run
    assert () == read_records(house)[-1].at_rest


def test_disk_that_a_program_serves_is_not_noted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU writes what its guest has written before whenever it likes."""
    monkeypatch.setattr(stillness, "SERVED_BY_KERNEL", "/local/domain/0/backend/vkbd/")
    (run,) = back_up(house, "cold").runs
    assert Outcome.OK is run.outcome, run
    assert () == read_records(house)[-1].at_rest


def rotate_log(host: SimulatedHost) -> None:
    """As logrotate does by night: an empty file in the place of the one that it renamed."""
    log = host.place(LOG)
    log.rename(log.with_name(f"{log.name}-20261124"))
    log.touch()


def test_log_that_was_rotated_while_the_guest_was_away_says_nothing(
    host: SimulatedHost, house: House
) -> None:
    host.place(LOG).write_text("Waiting for domain web (domid 3) to die [pid 77]\n")
    run = back_up_and_meddle(house, "cold", lambda: rotate_log(host))
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert [] == find_wrongs(house)


def test_log_that_was_emptied_before_and_that_its_monitor_goes_on_with_says_nothing(
    host: SimulatedHost, house: House
) -> None:
    """The monitor that is woken once its guest is gone writes that, and ends."""
    log = host.place(LOG)
    log.write_text("")

    def go_on() -> None:
        log.write_text("Domain 2 has been destroyed.\n")

    run = back_up_and_meddle(house, "cold", go_on)
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert [] == find_wrongs(house)


def test_log_that_was_rotated_before_still_tells_of_a_start(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.place(LOG).touch()
    monkeypatch.setattr(stillness, "SERVED_BY_KERNEL", "/local/domain/0/backend/vkbd/")
    run = back_up_and_meddle(house, "cold", lambda: run_for_a_while(host))
    assert "Somebody started web before its disks were read" in run.error


@pytest.mark.parametrize("number", [7, 9])
def test_disk_that_was_activated_anew_and_not_written_since_says_nothing(
    host: SimulatedHost, house: House, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An agent of a cluster deactivates the volumes of a guest that is away, and activates them."""
    counted = SimulatedHost.read_write_mark
    activated: list[str] = []

    def read(self: SimulatedHost, path: str) -> str:
        count = counted(self, path).split()[-1]
        return f"sectors 253:{number} 0" if activated else f"sectors 253:7 {count}"

    monkeypatch.setattr(SimulatedHost, "read_write_mark", read)
    run = back_up_and_meddle(house, "cold", lambda: activated.append("anew"))
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert [] == find_wrongs(house)


@pytest.mark.parametrize(("reads", "noted"), [(6, ("xvda", "xvdb")), (10**6, ())])
def test_writes_on_their_way_as_the_guest_was_suspended_are_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch, reads: int, noted: tuple[str, ...]
) -> None:
    """They end soon after; a disk to which they never end is none that could tell."""
    counted = SimulatedHost.read_write_mark
    left = [reads]

    def read(self: SimulatedHost, path: str) -> str:
        left[0] -= 1
        return counted(self, path) if left[0] < 0 else f"sectors 253:7 12{UNFINISHED}"

    monkeypatch.setattr(SimulatedHost, "read_write_mark", read)
    (run,) = back_up(house, "checkpoint").runs
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert noted == tuple(found.vdev for found in read_records(house)[-1].at_rest)
