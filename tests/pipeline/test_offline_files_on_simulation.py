"""A shut off guest on plain image files: read as they lie, and only where they lay still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.house import GROUPS, back_up, build_house, find_wrongs, make_job
from tests.pipeline.strikes import call
from tests.pipeline.test_other_volumes_on_simulation import IMAGES
from tests.pipeline.test_written_disks_on_simulation import Meddler
from xenbackup.dom0.simulated import SimulatedHost, create_host
from xenbackup.dom0.simulated.building import DiskSpec, GuestSpec
from xenbackup.dom0.simulated.state import KIB, MIB
from xenbackup.model.job import PipelineSpec, StepName, StepSpec
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.restore import RestoreOptions, SilentRestoreWatcher
from xenbackup.model.run import Outcome, RunResult
from xenbackup.operations.backup import run_round
from xenbackup.operations.house import House
from xenbackup.operations.plan import plan_job
from xenbackup.operations.points import find_point
from xenbackup.operations.restore import plan_restore, restore_point
from xenbackup.storage.images import ImagesDestination

IMAGE = f"{IMAGES}/web.img"
GUEST = GuestSpec(
    name="web",
    disks=(
        DiskSpec(volume=IMAGE, size_bytes=4 * MIB, filled_bytes=MIB),
        DiskSpec(volume="web_data", size_bytes=4 * MIB, filled_bytes=MIB),
    ),
    running=False,
    scratch_region_bytes=256 * KIB,
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A host whose one guest is shut off."""

    host: SimulatedHost
    house: House


def build_site(folder: Path, filesystem: str, guest: GuestSpec = GUEST) -> Site:
    create_host(folder, groups=GROUPS, guests=(guest,))
    host = SimulatedHost(folder)
    house = build_house(host)
    destination = ImagesDestination(host.place("/srv/backup"), "local")
    destination.initialise()
    destination.close()
    mounts = host.place("/proc/self/mountinfo")
    mounts.parent.mkdir(parents=True, exist_ok=True)
    mounts.write_text(f"36 25 0:40 / {IMAGES} rw,relatime - {filesystem} /dev/sdb1 rw\n")
    return Site(host=host, house=house)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return build_site(tmp_path / "host", "ext4")


def back_up_and(site: Site, act: Callable[[], None]) -> RunResult:
    """A backup in whose first copy somebody does something."""
    (run,) = back_up(site.house, "offline", watcher=Meddler(act)).runs
    return run


def read_image(site: Site) -> bytes:
    return site.host.place(IMAGE).read_bytes()


def test_its_files_are_read_as_they_lie_and_its_volumes_from_snapshots(site: Site) -> None:
    (planned,) = plan_job(site.house, make_job("offline", "web")).domains
    kinds = [disk.snapshot for disk in planned.disks]
    assert [SnapshotKind.NONE, SnapshotKind.THICK] == kinds
    (run,) = back_up(site.house, "offline").runs
    assert (Outcome.OK, "offline") == (run.outcome, run.consistency)
    assert [] == find_wrongs(site.house, runs=False)


@pytest.mark.parametrize("meddled", [False, True])
def test_guest_that_has_nothing_but_files_is_looked_at_before_its_copy(
    tmp_path: Path, meddled: bool
) -> None:
    """No volume of it is there to tell that it was written: its file has to."""
    site = build_site(tmp_path / "host", "ext4", replace(GUEST, disks=GUEST.disks[:1]))
    run = back_up_and(site, lambda: write_file(site) if meddled else None)
    assert (Outcome.FAILED if meddled else Outcome.OK) is run.outcome, run
    assert meddled == (not run.point)


@pytest.mark.parametrize("meddled", [False, True])
def test_copy_alone_of_a_shut_off_guest_gives_no_point_of_disks_that_moved(
    site: Site, meddled: bool
) -> None:
    """No snapshot step before it has noted how the disks lay."""
    spelled = PipelineSpec(steps=(StepSpec(step=StepName.COPY),))
    job = replace(make_job("offline"), pipeline=spelled)
    watcher = Meddler(lambda: write_file(site) if meddled else None)
    (run,) = run_round(site.house, job, plan_job(site.house, job), watcher, lambda: "").runs
    assert (Outcome.FAILED if meddled else Outcome.OK) is run.outcome, run
    assert meddled == (not run.point)


@pytest.mark.parametrize("preset", ["auto", "offline"])
def test_a_job_for_all_guests_takes_it_too(site: Site, preset: str) -> None:
    plan = plan_job(site.house, make_job(preset, "*"))
    assert (["web"], ()) == ([planned.domain.name for planned in plan.domains], plan.refused)


def test_point_holds_the_file_byte_by_byte(site: Site) -> None:
    kept = read_image(site)
    back_up(site.house, "offline")
    site.host.place(IMAGE).write_bytes(bytes(len(kept)))
    plan = plan_restore(site.house, find_point(site.house, "web@latest"), RestoreOptions())
    restore_point(site.house, plan, SilentRestoreWatcher(), lambda: "")
    assert kept == read_image(site)


def start(site: Site) -> None:
    call(site.host, "xl", "create", "/etc/xen/web.cfg")


def start_and_end(site: Site) -> None:
    start(site)
    site.host.sleep(30.0)
    call(site.host, "xl", "destroy", "web")


def write_file(site: Site) -> None:
    device = site.host.open_volume(IMAGE, writable=True)
    device.write_at(2 << 20, memoryview(b"\xa5" * 4096))
    device.close()


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (start, "somebody started it, and its disks move"),
        (start_and_end, "Somebody wrote to xvda"),
        (write_file, "Somebody wrote to xvda"),
    ],
)
def test_file_that_did_not_lie_still_gives_no_point(
    site: Site, act: Callable[[Site], None], told: str
) -> None:
    run = back_up_and(site, lambda: act(site))
    assert (Outcome.FAILED, "") == (run.outcome, run.point)
    assert told in run.error
    assert [] == find_wrongs(site.house, runs=act is start)


@pytest.mark.parametrize("filesystem", ["nfs4", "ocfs2", "fuse.glusterfs"])
def test_file_that_another_host_may_write_is_refused(tmp_path: Path, filesystem: str) -> None:
    """Its guest may run there: nothing here would tell."""
    site = build_site(tmp_path / "host", filesystem)
    plan = plan_job(site.house, make_job("offline", "web"))
    (refused,) = plan.refused
    assert "has no snapshot" in refused.reason
