"""Snapshots that fill while they are read: extended, given up early, tried again with more room.

The guest writes 640 KiB/s, its disk of 64 MiB is read at 4 MiB/s: 16 s, in which a snapshot of 10%
(8 MiB) is full after 12 s, unless somebody looks after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import pytest

from tests.house import (
    DESTINATION,
    Watcher,
    build_house,
    copy_host,
    find_wrongs,
    make_job,
    recover,
)
from tests.pipeline.test_kills_on_simulation import Executioner, Killed
from xenbackup.dom0.simulated import Fault, FaultKind, SimulatedHost, create_host
from xenbackup.dom0.simulated.building import DiskSpec, GroupSpec, GuestSpec, ThinPoolSpec
from xenbackup.dom0.simulated.state import KIB, MIB
from xenbackup.model import entries as e
from xenbackup.model.job import StepName
from xenbackup.model.plan import DomainPlan
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.runs import find_unfinished
from xenbackup.records.journal import list_journals, read_journal, read_record
from xenbackup.storage.images import ImagesDestination

EXTENT = MIB
CALM, BURST = 64 * KIB, 4 * MIB
REMOVAL_LISTINGS = 2
PLENTY_MIB, TIGHT_MIB = 192, 78


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How much room the group has, and how much the guest writes ten times a second."""

    group_mib: int = PLENTY_MIB
    scratch_bytes: int = CALM
    region_mib: int = 48
    pool_mib: int = 0
    disks_mib: tuple[int, ...] = (64,)


def build(folder: Path, scene: Scene) -> SimulatedHost:
    pools = (ThinPoolSpec(name="pool", size_bytes=scene.pool_mib * MIB),) if scene.pool_mib else ()
    group = GroupSpec(
        name="xenvols", size_bytes=scene.group_mib * MIB, extent_bytes=EXTENT, pools=pools
    )
    disks = tuple(
        DiskSpec(volume=f"busy_{at}", size_bytes=mib * MIB, pool="pool" if pools else "")
        for at, mib in enumerate(scene.disks_mib)
    )
    guest = GuestSpec(
        name="busy",
        disks=disks,
        scratch_bytes=scene.scratch_bytes,
        scratch_region_bytes=scene.region_mib * MIB,
    )
    create_host(folder, groups=(group,), guests=(guest,))
    host = SimulatedHost(folder)
    with host.machine() as machine:
        machine.state.read_bytes_per_second = 4 * MIB
        machine.commit()
    host.place("/srv").mkdir(parents=True, exist_ok=True)
    destination = ImagesDestination(host.place(DESTINATION), "local")
    destination.initialise()
    destination.close()
    return host


def run_busy(house: House, watcher: Watcher | None = None) -> RoundResult:
    job = make_job("crash", "busy")
    return run_round(house, job, plan_job(house, job), watcher or Watcher(), lambda: "")


def list_events(house: House, kind: type[e.Entry], at: int = 0) -> list[e.Entry]:
    """Entries of one kind in the journal number `at`."""
    lines = read_journal(list_journals(house.journals_folder)[at])
    return [line.entry for line in lines if isinstance(line.entry, kind)]


def the_only(result: RoundResult) -> RunResult:
    (run,) = result.runs
    return run


def test_snapshot_is_extended_while_it_is_read(tmp_path: Path) -> None:
    house = build_house(build(tmp_path / "host", Scene()))
    run = the_only(run_busy(house))
    assert (Outcome.OK, "", ()) == (run.outcome, run.error, run.warnings)
    assert 1 == len(list_journals(house.journals_folder))
    grown = list_events(house, e.SnapshotExtended)
    intents = list_events(house, e.ExtendingSnapshot)
    assert grown
    assert len(intents) == len(grown)
    record = read_record(list_journals(house.journals_folder)[0])
    assert record.snapshots[0].size_bytes > 8 * MIB
    assert [] == find_wrongs(house, "busy")


def test_snapshots_that_do_not_fill_are_left_as_they_are(tmp_path: Path) -> None:
    """Few looks, too: what costs the dom0 its time is bounded."""
    commands: list[str] = []
    host = build(tmp_path / "host", Scene(scratch_bytes=4 * KIB, region_mib=1))
    host.on_boundary = commands.append
    house = build_house(host)
    watcher = Watcher(on_step=lambda step: commands.clear() if step is StepName.COPY else None)
    assert Outcome.OK is run_busy(house, watcher).outcome
    assert [] == list_events(house, e.ExtendingSnapshot)
    assert 0 == commands.count("vgs:begin")
    # Of the 16 s: three of the copy itself, and a look every five seconds, the first after one.
    # The rate of the copy is not known before its first blocks are through: some looks are early.
    assert 3 + 6 + REMOVAL_LISTINGS >= commands.count("lvs:begin")


def test_copy_is_given_up_as_soon_as_it_is_hopeless(tmp_path: Path) -> None:
    """The group has no room: the reason names fill, rate and time, and the night goes on."""
    host = build(tmp_path / "host", Scene(group_mib=TIGHT_MIB))
    house = build_house(host)
    began = host.monotonic_seconds()
    result = run_busy(house)
    run = the_only(result)
    assert Outcome.FAILED is run.outcome
    assert "will not last: it is" in run.error
    assert "% full, fills at 0." in run.error
    assert "would be full in " in run.error
    assert "the copy needs " in run.error
    assert "group xenvols has no room for more but its reserve" in run.error
    assert host.monotonic_seconds() - began < 14, "not read to its bitter end"
    assert [] == find_wrongs(house, "busy")
    assert ("It was not tried again with larger snapshots: there is no room for them.",) == (
        run.warnings[-1:]
    )
    assert 1 == len(list_journals(house.journals_folder))


def test_reserve_of_the_group_is_not_touched(tmp_path: Path) -> None:
    """Four extents of 1 MiB: with 6 MiB free beside the snapshot it may grow by 2."""
    host = build(tmp_path / "host", Scene(group_mib=TIGHT_MIB))
    house = build_house(host)
    free: list[int] = []

    class Looker(Watcher):
        def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
            free.extend(group.free_bytes for group in house.lvm.list_groups())

    run_busy(house, Looker())
    assert list_events(house, e.SnapshotExtended), "there was a little room"
    assert min(free) == 4 * MIB


def test_run_is_tried_again_once_with_twice_the_room(tmp_path: Path) -> None:
    """A burst fills 8 MiB between two looks; the guest's 12 MiB fit into twice that."""
    house = build_house(build(tmp_path / "host", Scene(scratch_bytes=BURST, region_mib=12)))
    watcher = Watcher()
    result = run_busy(house, watcher)
    run = the_only(result)
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert (Outcome.OK, 0) == (result.outcome, result.exit_code)
    first, second = [path.stem for path in list_journals(house.journals_folder)]
    assert second == run.run
    assert [f"busy: run {first} failed, its snapshots were too small; tried again with 26%."] == [
        text for text in run.warnings if "tried again" in text
    ]
    assert run.warnings[0] in watcher.warnings
    told = {entry.result.run: entry.result for entry in house.catalog.list_runs(9)}
    assert (Outcome.FAILED, Outcome.OK) == (told[first].outcome, told[second].outcome)
    assert "filled up" in told[first].error
    record = read_record(list_journals(house.journals_folder)[0])
    assert (("xvda",), Outcome.FAILED) == (record.too_small, record.ended)
    assert [] == find_wrongs(house, "busy")


def test_second_run_that_fails_too_is_the_last(tmp_path: Path) -> None:
    house = build_house(build(tmp_path / "host", Scene(scratch_bytes=BURST)))
    result = run_busy(house)
    run = the_only(result)
    assert (Outcome.FAILED, 1) == (run.outcome, result.exit_code)
    assert 2 == len(list_journals(house.journals_folder))
    assert "filled up" in run.error
    assert any("tried again with" in text for text in run.warnings)
    assert [] == find_wrongs(house, "busy")
    assert () == find_unfinished(house)


def test_run_that_was_saved_and_restored_is_tried_again_as_the_domain_it_is_now(
    tmp_path: Path,
) -> None:
    """The guest has another domid after the first run: it is planned anew."""
    host = build(tmp_path / "host", Scene(scratch_bytes=BURST, region_mib=12))
    house = build_house(host)
    job = make_job("snapshot", "busy")
    run = the_only(run_round(house, job, plan_job(house, job), Watcher(), lambda: ""))
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert 2 == len(list_journals(house.journals_folder))
    assert [] == find_wrongs(house, "busy")


def test_stopped_round_tries_nothing_again(tmp_path: Path) -> None:
    host = build(tmp_path / "host", Scene(scratch_bytes=BURST, region_mib=12))
    house = build_house(host)
    job = make_job("crash", "busy")

    class Stopper(Watcher):
        def rescue_began(self, run_id: str, reason: str) -> None:
            super().rescue_began(run_id, reason)
            stopped.append("somebody asked")

    stopped: list[str] = []
    plan = plan_job(house, job)
    run_round(house, job, plan, Stopper(), lambda: stopped[0] if stopped else "")
    assert 1 == len(list_journals(house.journals_folder))
    assert [] == find_wrongs(house, "busy")


class Spoiler(Watcher):
    """Lets the snapshot of one disk overflow as soon as another is being read."""

    def __init__(self, host: SimulatedHost, spoilt: str, while_reading: str) -> None:
        super().__init__()
        self.host, self.spoilt, self.while_reading = host, spoilt, while_reading
        self.read: list[str] = []

    def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
        self.read.append(what)
        if what != self.while_reading:
            return
        with self.host.machine() as machine:
            for volume in machine.state.volumes.values():
                if volume.kind == "snapshot" and volume.name.endswith(self.spoilt):
                    machine.volumes.exceptions_of(volume).invalidate()


def test_snapshot_of_a_disk_that_is_read_already_may_fill_up(tmp_path: Path) -> None:
    """Its last read was checked: it can be full, and is given no room that others may need."""
    host = build(tmp_path / "host", Scene(disks_mib=(8, 64)))
    house = build_house(host)
    run = the_only(run_busy(house, Spoiler(host, "xvda", "xvdb")))
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert 1 == len(list_journals(house.journals_folder))
    assert [] == find_wrongs(house, "busy")


def test_copy_stops_when_the_snapshot_of_a_disk_to_come_is_full(tmp_path: Path) -> None:
    """Nothing is read any more that has to be thrown away."""
    # Slow enough that no snapshot is foretold to fill up before it is spoilt.
    scene = Scene(group_mib=TIGHT_MIB + 12, disks_mib=(64, 8), scratch_bytes=CALM // 8)
    host = build(tmp_path / "host", scene)
    house = build_house(host)
    watcher = Spoiler(host, "xvdb", "xvda")
    run = the_only(run_busy(house, watcher))
    assert Outcome.FAILED is run.outcome
    assert "of xvdb filled up (" in run.error
    assert "xvdb" not in watcher.read
    assert [] == find_wrongs(house, "busy")


def test_thin_pool_that_fills_up_while_our_snapshot_lives_ends_the_backup(tmp_path: Path) -> None:
    """Every guest of a full pool stops: ours is given up at 90%, and its snapshot removed."""
    scene = Scene(group_mib=128, pool_mib=8)
    house = build_house(build(tmp_path / "host", scene))
    run = the_only(run_busy(house))
    assert Outcome.FAILED is run.outcome
    assert "Thin pool xenvols/pool has used 9" in run.error
    assert "% of its data while a snapshot of ours lives in it" in run.error
    assert "lvextend -L +SIZE xenvols/pool" in run.hint
    assert 1 == len(list_journals(house.journals_folder)), "more room for a snapshot is no cure"
    names = [volume.name for volume in house.lvm.list_volumes() if "xenbackup" in volume.tags]
    assert [] == names


def test_lvextend_that_is_refused_is_no_reason_to_stop(tmp_path: Path) -> None:
    host = build(tmp_path / "host", Scene())
    house = build_house(host)
    host.set_fault(
        Fault(tool="lvextend", kind=FaultKind.FAIL, exit_code=5, stderr="  No.\n", times=1)
    )
    run = the_only(run_busy(house))
    assert (Outcome.OK, "") == (run.outcome, run.error)
    assert list_events(house, e.SnapshotExtended), "it is tried again at the next look"


def test_lvextend_that_hangs_ends_the_run_and_devices_are_looked_after(tmp_path: Path) -> None:
    host = build(tmp_path / "host", Scene())
    house = build_house(host)
    host.set_fault(Fault(tool="lvextend", kind=FaultKind.HANG, boundary="growing", times=1))
    run = the_only(run_busy(house))
    assert Outcome.FAILED is run.outcome
    assert "lvextend" in run.error
    assert [] == find_wrongs(house, "busy")


def test_look_that_fails_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xenbackup.errors import CommandFailed
    from xenbackup.pipeline.steps import watching

    house = build_house(build(tmp_path / "host", Scene(scratch_bytes=4 * KIB, region_mib=1)))
    true_look = watching.SnapshotWatch._look

    def look_blindly(self: watching.SnapshotWatch) -> None:
        with monkeypatch.context() as blind:
            blind.setattr(house.lvm, "list_volumes", fail)
            true_look(self)

    def fail(group: str = "") -> None:
        raise CommandFailed("`lvs` failed: exit 5.")

    monkeypatch.setattr(watching.SnapshotWatch, "_look", look_blindly)
    run = the_only(run_busy(house))
    assert Outcome.OK is run.outcome
    assert ["The snapshots are not watched while they are read: `lvs` failed: exit 5."] == list(
        run.warnings
    )


@pytest.mark.parametrize("moment", ["lvextend:begin", "lvextend:growing", "lvextend:end"])
def test_killed_while_a_snapshot_is_extended(tmp_path: Path, moment: str) -> None:
    def kill(boundary: str) -> None:
        if boundary == moment:
            raise Killed(moment)

    host = build(tmp_path / "host", Scene())
    host.on_boundary = kill
    with pytest.raises(Killed):
        run_busy(build_house(host))
    host.close()
    house = build_house(SimulatedHost(tmp_path / "host"))
    assert [True] == [run.healed for run in recover(house)]
    assert [] == find_wrongs(house, "busy")


@pytest.mark.parametrize(
    ("scene", "runs"),
    [
        (Scene(region_mib=12), 1),
        (Scene(scratch_bytes=512 * KIB, region_mib=5, disks_mib=(16,)), 2),
    ],
)
@pytest.mark.slow
def test_killed_at_any_boundary_of_a_run_that_is_extended_or_tried_again(
    tmp_path: Path, scene: Scene, runs: int
) -> None:
    build(tmp_path / "pristine", scene).close()

    def run_killed(folder: Path, executioner: Executioner) -> bool:
        copy_host(tmp_path / "pristine", folder)
        host = SimulatedHost(folder, on_boundary=executioner)
        try:
            run_busy(build_house(host))
        except Killed:
            return True
        finally:
            host.close()
        return False

    counter = Executioner()
    assert not run_killed(tmp_path / "count", counter)
    house = build_house(SimulatedHost(tmp_path / "count"))
    assert runs == len(list_journals(house.journals_folder))
    assert "lvextend:growing" in counter.moments
    for at, moment in enumerate(counter.moments):
        folder = tmp_path / "killed"
        assert run_killed(folder, Executioner(at))
        house = build_house(SimulatedHost(folder))
        recovered = recover(house)
        assert all(run.healed for run in recovered), (at, moment, recovered)
        assert [] == find_wrongs(house, "busy"), (at, moment)
        assert () == find_unfinished(house)
        rmtree(folder)


def test_plan_is_what_the_tests_say_of_it(tmp_path: Path) -> None:
    """8 MiB for a disk of 64: without this the other tests would prove nothing."""
    house = build_house(build(tmp_path / "host", Scene()))
    (plan,) = plan_job(house, make_job("crash", "busy")).domains
    assert isinstance(plan, DomainPlan)
    assert 8 * MIB == plan.snapshot_bytes
