"""The administration manual's chapter on snapshots, row by row, on a simulated dom0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import Watcher, back_up, find_wrongs, make_job
from tests.unit.restore_house import Site
from xenbackup.cli.page import Page
from xenbackup.cli.reports import report_plan
from xenbackup.dom0.simulated import Fault, FaultKind
from xenbackup.dom0.simulated.state import MIB
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec, StepName
from xenbackup.model.run import Outcome
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.operations.plan import plan_job
from xenbackup.storage.volume import VolumeDestination

ROOT, DATA = "/dev/xenvols/web_root", "/dev/xenvols/web_data"
ACTS = ("save", "destroy", "restore", "lvcreate", "lvremove")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def list_acts(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The acts of the manual's recipes among the host's commands, as they come."""
    acts: list[str] = []
    run = type(site.host).run

    def note(self: object, command: Command) -> CommandResult:
        acts.extend(word for word in command.argv[:2] if word in ACTS)
        return run(self, command)  # type: ignore[arg-type]

    monkeypatch.setattr(type(site.host), "run", note)
    return acts


def test_byte_by_byte_the_guest_stops_for_the_whole_copy_and_the_plan_says_how_long(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_job(site.house, make_job("cold"))
    (planned,) = plan.domains
    assert planned.estimate is not None
    assert planned.estimate.away_seconds == planned.estimate.total_seconds
    assert "away for the whole copy, about" in report_plan(plan, Page(width=200))

    acts = list_acts(site, monkeypatch)
    watcher = Watcher()
    (run,) = back_up(site.house, "cold", watcher=watcher).runs

    assert Outcome.OK is run.outcome
    assert [StepName.SAVE, StepName.COPY, StepName.RESTORE] == watcher.steps
    assert ["save", "destroy", "restore"] == acts
    assert [] == find_wrongs(site.house)


def test_lvm_method_snapshots_at_ten_percent_and_copies_while_the_guest_works(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (planned,) = plan_job(site.house, make_job("snapshot")).domains
    # 8 MiB and 4 MiB at 10%, with extents of 1 MiB, and one extent more for the tables.
    assert [2 * MIB, 2 * MIB] == [disk.snapshot_size_bytes for disk in planned.disks]

    acts = list_acts(site, monkeypatch)
    (run,) = back_up(site.house, "snapshot").runs

    assert Outcome.OK is run.outcome
    assert [
        "save", "destroy", "lvcreate", "lvcreate", "restore", "lvremove", "lvremove",
    ] == acts  # fmt: skip
    assert [] == find_wrongs(site.house)


@pytest.mark.parametrize("preset", ["snapshot", "checkpoint", "crash"])
@pytest.mark.parametrize("failing", [("lvcreate", ""), ("lvremove", ""), ("xl", "unpause")])
def test_the_snapshot_is_never_forgotten_whatever_fails(
    site: Site, preset: str, failing: tuple[str, str]
) -> None:
    tool, verb = failing
    site.host.set_fault(Fault(tool=tool, verb=verb, kind=FaultKind.FAIL, times=1))
    back_up(site.house, preset)
    assert [] == find_wrongs(site.house)


def test_a_whole_volume_is_copied_into_a_prepared_one(site: Site) -> None:
    spec = DestinationSpec(name="local", kind=DestinationKind.VOLUME, path="other")
    for vdev, size_bytes in (("xvda", 8 * MIB), ("xvdb", 4 * MIB)):
        site.house.lvm.create_volume("other", f"web--{vdev}", size_bytes, tags=(TAG_DESTINATION,))
    folder = site.host.place("/var/lib/xenbackup/volumes/local")
    site.house = replace(
        site.house,
        configuration=Configuration(destinations=(spec,)),
        open_destination=lambda name: VolumeDestination(site.host, site.house.lvm, spec, folder),
    )
    site.act("xl", "shutdown", "-w", "web")
    (run,) = back_up(site.house, "offline").runs

    assert Outcome.OK is run.outcome
    for vdev, path in (("xvda", ROOT), ("xvdb", DATA)):
        assert site.read(path) == site.read(f"/dev/other/web--{vdev}")


@pytest.mark.parametrize(
    ("size_bytes", "tags", "expected"),
    [
        (4 * MIB, (TAG_DESTINATION,), "has 4 MiB"),
        (8 * MIB, (), "not"),
    ],
    ids=["smaller", "not-marked"],
)
def test_a_volume_that_is_not_fit_for_it_is_refused(
    site: Site, size_bytes: int, tags: tuple[str, ...], expected: str
) -> None:
    spec = DestinationSpec(name="local", kind=DestinationKind.VOLUME, path="other")
    site.house.lvm.create_volume("other", "web--xvda", size_bytes, tags=tags)
    site.house.lvm.create_volume("other", "web--xvdb", 4 * MIB, tags=(TAG_DESTINATION,))
    before = site.read("/dev/other/web--xvda")
    folder = site.host.place("/var/lib/xenbackup/volumes/local")
    site.house = replace(
        site.house,
        configuration=Configuration(destinations=(spec,)),
        open_destination=lambda name: VolumeDestination(site.host, site.house.lvm, spec, folder),
    )
    (run,) = back_up(site.house, "crash").runs

    assert Outcome.FAILED is run.outcome
    assert expected in run.error
    assert before == site.read("/dev/other/web--xvda")
    assert [] == find_wrongs_but_points(site)


def find_wrongs_but_points(site: Site) -> list[str]:
    """The destination of images is not the one in use here; all else of the promise holds."""
    return [wrong for wrong in find_wrongs(site.house) if not wrong.startswith("point ")]


def test_a_backup_is_a_plain_image_that_needs_nothing_of_ours_to_be_restored(site: Site) -> None:
    point = site.back_up("checkpoint")
    site.lose()
    site.write(ROOT, 0, b"lost" * 1024)
    for vdev, path in (("xvda", ROOT), ("xvdb", DATA)):
        # What `dd if=xvda.img of=/dev/xenvols/web_root` does.
        site.write(path, 0, site.stored(point, f"{vdev}.img").read_bytes())
    site.act("xl", "create", "/etc/xen/web.cfg")
    site.host.sleep(3.0)
    assert {} == site.corruptions()
