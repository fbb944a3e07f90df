"""Guests on image files (reflink copies), shut off guests, and DRBD: the same promise for them.

Killed at every boundary and at every journal line, and recovered by a new house.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import (
    DESTINATION,
    GROUPS,
    Watcher,
    back_up,
    build_house,
    copy_host,
    find_wrongs,
    make_job,
    recover,
)
from tests.pipeline.test_kills_on_simulation import Executioner, Killed, run_with
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.dom0.simulated.building import DiskSpec, GuestSpec
from xenbackup.dom0.simulated.state import KIB, MIB
from xenbackup.errors import SnapshotFailed
from xenbackup.model.command import Command
from xenbackup.model.restore import RestoreOptions, SilentRestoreWatcher
from xenbackup.model.run import Outcome
from xenbackup.operations.backup import run_round
from xenbackup.operations.plan import plan_job
from xenbackup.operations.points import find_point
from xenbackup.operations.restore import plan_restore, restore_point
from xenbackup.operations.runs import find_unfinished
from xenbackup.storage.images import ImagesDestination
from xenbackup.system import durable

IMAGES = "/srv/images"
GUESTS = (
    GuestSpec(
        name="filey",
        disks=(
            DiskSpec(volume=f"{IMAGES}/filey_root.img", size_bytes=4 * MIB),
            DiskSpec(volume="filey_data", size_bytes=4 * MIB),
        ),
        scratch_region_bytes=256 * KIB,
    ),
    GuestSpec(
        name="off",
        disks=(
            DiskSpec(volume="off_root", size_bytes=4 * MIB, filled_bytes=MIB),
            DiskSpec(volume="off_data", size_bytes=4 * MIB, filled_bytes=MIB),
        ),
        running=False,
    ),
)
KINDS = [("filey", "checkpoint"), ("filey", "crash"), ("filey", "snapshot"), ("off", "offline")]


def build(folder: Path, filesystem: str = "btrfs") -> None:
    create_host(folder, groups=GROUPS, guests=GUESTS)
    host = SimulatedHost(folder)
    destination = ImagesDestination(host.place(DESTINATION), "local")
    destination.initialise()
    destination.close()
    mounts = host.place("/proc/self/mountinfo")
    mounts.parent.mkdir(parents=True, exist_ok=True)
    mounts.write_text(f"36 25 0:40 / {IMAGES} rw,relatime - {filesystem} /dev/sdb1 rw\n")
    host.close()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "host"
    build(folder)
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    copy_host(pristine, tmp_path / "host")
    return tmp_path / "host"


@pytest.mark.parametrize(("domain", "preset"), KINDS)
def test_backup_is_good_and_leaves_nothing(folder: Path, domain: str, preset: str) -> None:
    house = build_house(SimulatedHost(folder))
    (run,) = back_up(house, preset, domain=domain).runs
    assert Outcome.OK is run.outcome, run
    assert {"off": "offline", "filey": "crash" if preset == "crash" else "memory"}[domain] == (
        run.consistency
    )
    assert [] == find_wrongs(house, domain, runs=domain != "off")


def test_clone_and_snapshot_are_of_the_memorys_instant(folder: Path) -> None:
    """The guest went on after the point; put back whole, it finds memory and disks at one."""
    house = build_house(SimulatedHost(folder))
    (planned,) = plan_job(house, make_job("checkpoint", "filey")).domains
    assert ["reflink", "thick"] == [disk.snapshot.value for disk in planned.disks]
    assert Outcome.OK is back_up(house, "checkpoint", domain="filey").outcome
    house.host.sleep(5.0)
    house.host.run(Command(argv=("xl", "destroy", "filey"), timeout_seconds=60.0))

    options = RestoreOptions(memory=True, start=True)
    plan = plan_restore(house, find_point(house, "filey@latest"), options)
    restore_point(house, plan, SilentRestoreWatcher(), lambda: "")

    house.host.sleep(5.0)
    assert [] == find_wrongs(house, "filey")


def test_a_filesystem_without_reflink_refuses_before_anything_is_touched(tmp_path: Path) -> None:
    build(tmp_path / "host", filesystem="ext4")
    house = build_house(SimulatedHost(tmp_path / "host"))
    plan = plan_job(house, make_job("checkpoint", "filey"))
    assert () == plan.domains
    assert "takes no reflink copy" in plan.refused[0].reason
    assert 'use preset = "cold" for this guest' == plan.refused[0].hint


def test_a_reflink_copy_that_fails_is_undone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build_house(SimulatedHost(folder))

    def fail(self: SimulatedHost, source: str, target: str) -> None:
        raise SnapshotFailed(f"Cannot take a reflink copy of {source}: No space left on device.")

    monkeypatch.setattr(SimulatedHost, "clone_file", fail)
    (run,) = back_up(house, "checkpoint", domain="filey").runs
    assert Outcome.FAILED is run.outcome
    assert "No space left" in run.error
    assert [] == find_wrongs(house, "filey")


@pytest.mark.parametrize("preset", ["checkpoint", "cold"])
@pytest.mark.parametrize("grows", [True, False])
def test_only_an_image_of_a_growing_format_may_have_grown_since_the_plan(
    folder: Path, preset: str, grows: bool
) -> None:
    """qcow2 files grow as their guest writes; a raw one that changes its size was replaced."""
    house = build_house(SimulatedHost(folder))
    job = make_job(preset, "filey")
    plan = plan_job(house, job)
    (planned,) = plan.domains
    first = replace(planned.disks[0], grows=grows)
    plan = replace(plan, domains=(replace(planned, disks=(first, *planned.disks[1:])),))
    image = house.host.place(first.path)
    with image.open("ab") as file:
        file.write(b"grown" * 1000)
    (run,) = run_round(house, job, plan, Watcher(), lambda: "").runs

    assert (Outcome.OK if grows else Outcome.FAILED) is run.outcome, run
    assert [] == find_wrongs(house, "filey")
    if grows:
        stored = house.host.place(f"{DESTINATION}/filey/{run.point}/xvda.img")
        assert image.stat().st_size == stored.stat().st_size


def test_a_file_of_the_clones_name_that_is_not_ours_is_left_alone(folder: Path) -> None:
    """Somebody replaced it while the copy ran: it is owed, said, and not removed."""
    house = build_house(SimulatedHost(folder))
    host = house.host

    class Replacer(Watcher):
        def amount_done(self, run_id: str, what: str, done: int, total: int) -> None:
            for clone in host.place(IMAGES).glob(".xb-*"):
                content = clone.read_bytes()
                clone.rename(clone.with_name("moved"))
                clone.write_bytes(content)

    (run,) = back_up(house, "checkpoint", domain="filey", watcher=Replacer()).runs
    assert (Outcome.FAILED, "") == (run.outcome, run.point)  # what was read was not all ours
    assert [True] == [clone.exists() for clone in host.place(IMAGES).glob(".xb-*")]
    assert any("is not the reflink copy that this run made" in text for text in run.warnings)


def assert_recovers(folder: Path, domain: str, moment: str) -> None:
    house = build_house(SimulatedHost(folder))
    recovered = recover(house)
    story = [(run.healed, run.messages) for run in recovered]
    assert all(run.healed for run in recovered), (moment, story)
    assert [] == find_wrongs(house, domain, runs=domain != "off"), (moment, story)
    assert () == find_unfinished(house), moment


@pytest.mark.parametrize(("domain", "preset"), KINDS)
@pytest.mark.slow
def test_killed_at_any_boundary(pristine: Path, tmp_path: Path, domain: str, preset: str) -> None:
    counter = Executioner()
    copy_host(pristine, tmp_path / "count")
    assert not run_with(tmp_path / "count", preset, counter, domain)
    assert ("clone:done" in counter.moments) == (domain == "filey")
    for at, moment in enumerate(counter.moments):
        host = tmp_path / f"kill-{at}"
        copy_host(pristine, host)
        assert run_with(host, preset, Executioner(at), domain)
        assert_recovers(host, domain, f"{preset} {at} {moment}")


@pytest.mark.parametrize(("domain", "preset"), [KINDS[0], KINDS[3]])
@pytest.mark.slow
def test_killed_at_any_journal_line(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str, preset: str
) -> None:
    append = durable.append_durably

    def run_killed_at(folder: Path, executioner: Executioner) -> bool:
        def mortal(descriptor: int, content: bytes) -> None:
            append(descriptor, content)
            executioner(content.decode())

        monkeypatch.setattr(durable, "append_durably", mortal)
        try:
            return run_with(folder, preset, Executioner(), domain)
        except Killed:
            return True
        finally:
            monkeypatch.setattr(durable, "append_durably", append)

    counter = Executioner()
    copy_host(pristine, tmp_path / "count")
    assert not run_killed_at(tmp_path / "count", counter)
    for at, line in enumerate(counter.moments):
        host = tmp_path / f"kill-{at}"
        copy_host(pristine, host)
        assert run_killed_at(host, Executioner(at))
        assert_recovers(host, domain, f"{preset} line {at}: {line}")
