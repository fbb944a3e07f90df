"""Pruning: what goes is gone from disk and catalog; what must stay does, and is told why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.pruned_house import OFFSITE, Attic, make_job
from tests.unit.test_volume_destination import Scene
from xenbackup.errors import JournalDamaged
from xenbackup.model.job import (
    BrokenFile,
    Configuration,
    Consistency,
    JobSet,
    Retention,
)
from xenbackup.model.plan import VolumeKind
from xenbackup.model.restore import MarkedTarget, RestoreMark, RestorePhase
from xenbackup.operations.pinning import pin_point, unpin_point
from xenbackup.operations.points import list_points
from xenbackup.operations.prune import Fate, PruneReport, prune_points
from xenbackup.operations.restore_sight import open_marks
from xenbackup.planning.retention import keeps_everything


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    return Attic(tmp_path / "host")


def fates(report: PruneReport) -> dict[str, Fate]:
    return {found.point.point: found.fate for found in report.points}


def reason_of(report: PruneReport, point: str) -> str:
    return next(found.reason for found in report.points if found.point.point == point)


def test_points_that_need_not_be_kept_are_gone_from_disk_and_catalog(attic: Attic) -> None:
    first, second, third, fourth = attic.store_nights(4)
    list_points(attic.house)
    report = prune_points(attic.house)
    assert {
        first: Fate.REMOVED,
        second: Fate.REMOVED,
        third: Fate.KEPT,
        fourth: Fate.KEPT,
    } == fates(report)
    assert [third, fourth] == attic.list_ids()
    assert [third, fourth] == [found.point for found in attic.house.catalog.list_points()]
    assert {third, fourth, ".owner.json"} == {
        path.name for path in (attic.folder / "web").iterdir()
    }
    assert (0, True) == (report.exit_code, report.freed_bytes > 0)
    again = prune_points(attic.house)
    assert ({Fate.KEPT}, 0, 0) == (set(fates(again).values()), again.freed_bytes, again.exit_code)


def test_dry_run_says_the_same_and_changes_nothing(attic: Attic) -> None:
    points = attic.store_nights(4)
    (attic.folder / "web" / f".deleting-{points[0][:-1]}x").mkdir()
    list_points(attic.house)
    before = sorted(attic.folder.rglob("*"))
    dry = prune_points(attic.house, dry_run=True)
    assert before == sorted(attic.folder.rglob("*"))
    assert 4 == len(attic.house.catalog.list_points())
    done = prune_points(attic.house)
    assert [found.reason for found in dry.points] == [found.reason for found in done.points]
    assert dry.freed_bytes == done.freed_bytes
    assert [Fate.GOES, Fate.GOES, Fate.KEPT, Fate.KEPT] == list(fates(dry).values())


def test_pinned_point_stays_until_it_is_unpinned(attic: Attic) -> None:
    first, *_ = attic.store_nights(4)
    assert pin_point(attic.house, first).changed
    report = prune_points(attic.house)
    assert (Fate.KEPT, "it is pinned") == (fates(report)[first], reason_of(report, first))
    assert first in attic.list_ids()
    unpin_point(attic.house, first)
    assert Fate.REMOVED is fates(prune_points(attic.house))[first]


def test_points_of_one_job_are_pruned_alone_and_in_its_destination(tmp_path: Path) -> None:
    other = make_job("hourly", retention=Retention(last=1))
    attic = Attic(tmp_path / "host", make_job(), other)
    nightly = attic.store_nights(3)
    hourly = attic.store_nights(3, job="hourly", domain="db")
    offsite = attic.store_nights(3, destination="offsite")
    attic.host.place(OFFSITE).rename(attic.host.place("/srv/away"))
    report = prune_points(attic.house, job=other)
    assert set(hourly) == set(fates(report))
    assert [*nightly, hourly[2]] == sorted(attic.list_ids(), key=lambda p: (p not in nightly, p))
    assert (0, "hourly", ()) == (report.exit_code, report.job, report.absent)
    attic.host.place("/srv/away").rename(attic.host.place(OFFSITE))
    assert offsite == attic.list_ids("offsite")


def test_points_without_a_job_stay_and_say_so(attic: Attic) -> None:
    gone = attic.store_nights(4, job="gone")
    report = prune_points(attic.house)
    assert gone == attic.list_ids()
    assert "its job gone is not there any more" in reason_of(report, gone[0])
    broken = BrokenFile(path=Path("/x/gone.toml"), name="gone", problems=("bad",))
    attic.house = replace(attic.house, jobs=JobSet(broken=(broken,)))
    told = reason_of(prune_points(attic.house), gone[0])
    assert "the file of its job gone is broken, or the folder of jobs cannot be read" == told
    assert gone == attic.list_ids()


def test_job_without_retention_keeps_everything(tmp_path: Path) -> None:
    job = make_job(retention=Retention())
    attic = Attic(tmp_path / "host", job)
    points = attic.store_nights(30)
    assert keeps_everything(job.retention)
    assert {Fate.KEPT} == set(fates(prune_points(attic.house)).values())
    assert points == attic.list_ids()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "manifest.json").write_bytes(b"{}"),
        lambda folder: (folder / "xvda.img").unlink(),
        lambda folder: (folder / "xvda.img").write_bytes(b"short"),
        lambda folder: (folder / "domain.json").unlink(),
    ],
    ids=["manifest", "missing", "short", "domain"],
)
def test_damaged_newest_point_never_lets_the_last_good_one_go(
    tmp_path: Path, spoil: object
) -> None:
    attic = Attic(tmp_path / "host", make_job(retention=Retention(last=1)))
    good, damaged = attic.store_nights(2)
    spoil(attic.place(damaged))  # type: ignore[operator]
    report = prune_points(attic.house)
    assert Fate.KEPT is fates(report)[good]
    assert attic.place(good).is_dir()
    assert attic.place(damaged).is_dir()
    named = {found.point for found in report.damaged}
    assert damaged in named or "damaged, stands for no other" in reason_of(report, damaged)
    assert 0 == report.exit_code


def test_newest_point_with_memory_stays_for_a_job_that_requires_it(tmp_path: Path) -> None:
    job = make_job(retention=Retention(last=1), require=Consistency.MEMORY)
    attic = Attic(tmp_path / "host", job)
    old = attic.store(3, consistency=Consistency.MEMORY)
    memory = attic.store(2, consistency=Consistency.MEMORY)
    attic.store(1)
    newest = attic.store(0)
    prune_points(attic.house)
    assert [memory, newest] == attic.list_ids()
    assert not attic.place(old).exists()


def test_unmounted_destination_is_told_and_harms_no_other(attic: Attic) -> None:
    attic.store_nights(3)
    offsite = attic.store_nights(3, destination="offsite")
    attic.folder.rename(attic.folder.with_name("away"))
    attic.folder.mkdir()
    report = prune_points(attic.house)
    assert ["local"] == [place.name for place in report.absent]
    assert 3 == report.exit_code
    assert offsite[1:] == attic.list_ids("offsite")
    assert 3 == len(list((attic.folder.with_name("away") / "web").glob("2*")))
    assert ["there is no marker" in text for text in report.warnings] == [True]
    alone = prune_points(attic.house, job=make_job())
    assert (10, ()) == (alone.exit_code, alone.points)


def test_unmarked_destination_is_never_pruned(attic: Attic) -> None:
    points = attic.store_nights(3)
    (attic.folder / ".xenbackup-destination").unlink()
    assert 10 == prune_points(attic.house, job=make_job()).exit_code
    assert all(attic.place(point).is_dir() for point in points)


def test_destination_that_goes_away_meanwhile_loses_nothing_more(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = attic.store_nights(5)
    away = attic.folder.with_name("away")

    def unmount(destination: str, point: str) -> None:
        if attic.folder.exists():
            attic.folder.rename(away)
            attic.folder.mkdir()

    monkeypatch.setattr(attic.house.catalog, "remove_point", unmount)
    report = prune_points(attic.house, job=make_job())
    assert (3, ["local"]) == (report.exit_code, [place.name for place in report.absent])
    assert {points[0]: Fate.REMOVED} == fates(report)
    assert points[1:] == sorted(path.name for path in (away / "web").glob("2*"))


def test_foreign_things_in_a_point_keep_all_of_it(attic: Attic, tmp_path: Path) -> None:
    first, second, *_ = attic.store_nights(4)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (attic.place(first) / "notes.txt").write_bytes(b"mine")
    (attic.place(second) / "link").symlink_to(outside)
    report = prune_points(attic.house)
    assert [Fate.FAILED, Fate.FAILED] == [fates(report)[point] for point in (first, second)]
    assert 3 == report.exit_code
    troubles = " ".join(report.warnings)
    assert "notes.txt (file)" in troubles
    assert "link (symbolic link)" in troubles
    for point in (first, second):
        assert (attic.place(point) / "xvda.img").is_file()
    assert b"secret" == (outside / "secret").read_bytes()


def test_links_in_the_place_of_points_and_guests_are_not_followed(
    attic: Attic, tmp_path: Path
) -> None:
    first, *_ = attic.store_nights(4)
    moved = tmp_path / "moved"
    attic.place(first).rename(moved)
    attic.place(first).symlink_to(moved)
    (attic.folder / "db").symlink_to(attic.folder / "web")
    (attic.folder / "web" / f".deleting-{first}").symlink_to(moved)
    report = prune_points(attic.house)
    assert (moved / "manifest.json").is_file()
    assert [first] == [found.point for found in report.damaged]
    assert 3 == report.exit_code
    assert f"local: web: .deleting-{first} is a symbolic link" in report.troubles


def test_point_that_lies_there_twice_is_left_alone(attic: Attic) -> None:
    first, *_ = attic.store_nights(4)
    copy = attic.folder / "web-copy" / first
    copy.mkdir(parents=True)
    for path in attic.place(first).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    report = prune_points(attic.house)
    assert "it lies here 2 times: somebody copied it" == reason_of(report, first)
    assert copy.is_dir()
    assert attic.place(first).is_dir()


def test_point_that_an_interrupted_restore_needs_stays(attic: Attic) -> None:
    first, second, *_ = attic.store_nights(4)
    mark = RestoreMark(
        restore="20261122T023000Z-k3f9qa",
        point=first,
        destination="local",
        source_domain="web",
        domain="web",
        uuid="",
        boot_id="b",
        phase=RestorePhase.WRITING,
        targets=(
            MarkedTarget(
                vdev="xvda",
                path="/dev/vg/x",
                kind=VolumeKind.LOGICAL_VOLUME,
                created=False,
            ),
        ),
    )
    marks = open_marks(attic.house)
    marks.write(mark)
    report = prune_points(attic.house)
    assert "the restore 20261122T023000Z-k3f9qa from it did not end" == reason_of(report, first)
    assert {first: Fate.KEPT, second: Fate.REMOVED}.items() <= fates(report).items()
    (attic.house.state_folder / "restores" / f"{mark.restore}.json").write_bytes(b"{")
    with pytest.raises(JournalDamaged):
        prune_points(attic.house)
    marks_file = attic.house.state_folder / "restores" / f"{mark.restore}.json"
    marks_file.unlink()
    assert Fate.REMOVED is fates(prune_points(attic.house))[first]


def test_point_of_a_run_that_did_not_end_stays(attic: Attic) -> None:
    first, *_ = attic.store_nights(4)
    attic.house.journals_folder.mkdir(parents=True)
    (attic.house.journals_folder / f"{first}.jsonl").write_bytes(b"not a journal\n")
    report = prune_points(attic.house)
    assert (Fate.KEPT, "its run has not ended") == (fates(report)[first], reason_of(report, first))


def test_interrupted_removal_is_finished_and_unfinished_points_are_not_touched(
    attic: Attic,
) -> None:
    first, second, *_ = attic.store_nights(4)
    home = attic.folder / "web"
    attic.place(first).rename(home / f".deleting-{first}")
    attic.place(second).rename(home / f".partial-{second}")
    report = prune_points(attic.house)
    assert ((first,), 0) == (report.finished, report.exit_code)
    assert not (home / f".deleting-{first}").exists()
    assert (home / f".partial-{second}" / "xvda.img").is_file()


def test_foreign_file_in_a_half_removed_point_stays_and_is_told(attic: Attic) -> None:
    first, *_ = attic.store_nights(4)
    rest = attic.folder / "web" / f".deleting-{first}"
    attic.place(first).rename(rest)
    (rest / "notes.txt").write_bytes(b"mine")
    for _ in range(2):
        report = prune_points(attic.house)
        assert 3 == report.exit_code
        assert "notes.txt" in report.troubles[0]
        assert ["notes.txt"] == [path.name for path in rest.iterdir()]


def test_volumes_are_written_over_and_never_pruned(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene")
    content = bytes(4096)
    scene.store({"xvda": content}, point="20251122T023000Z-k3f9qa")
    scene.store({"xvdb": content}, point="20251123T023000Z-abcdef")
    attic = Attic(tmp_path / "host", make_job(destination="spare", retention=Retention(last=1)))
    attic.house = replace(
        attic.house,
        configuration=Configuration(destinations=(scene.spec,)),
        open_destination=lambda name: scene.destination,
    )
    report = prune_points(attic.house)
    assert [Fate.KEPT, Fate.KEPT] == list(fates(report).values())
    assert "the next run writes over it" in report.points[0].reason
    assert 2 == len(scene.destination.list_points())


def test_pin_is_idempotent_durable_in_the_catalog_and_told(attic: Attic) -> None:
    (point,) = attic.store_nights(1)
    list_points(attic.house)
    assert [True, False] == [pin_point(attic.house, "web@latest").changed for _ in range(2)]
    assert attic.house.catalog.list_points()[0].pinned
    assert list_points(attic.house).points[0].pinned
    assert [True, False] == [unpin_point(attic.house, point[:-2]).changed for _ in range(2)]
    assert not attic.house.catalog.list_points()[0].pinned
