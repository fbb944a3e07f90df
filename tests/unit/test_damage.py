"""A point that verification found damaged: marked before it is told, and good for nothing since."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.pruned_house import CONTENT, Attic, make_job
from tests.unit.restore_house import Site, damage
from tests.unit.test_volume_destination import Scene
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import DestinationFailed, PointDamaged, PointNotFound
from xenbackup.model.job import Retention
from xenbackup.model.status import DomainVerdict, Level, StatusReport
from xenbackup.operations.check import check_house
from xenbackup.operations.points import find_point, list_points
from xenbackup.operations.prune import prune_points
from xenbackup.operations.status import gather_status
from xenbackup.operations.verify import (
    SilentVerifyWatcher,
    Verdict,
    VerifyResult,
    exit_code_of,
    verify_points,
)
from xenbackup.service.metrics import list_samples
from xenbackup.storage.images import ImagesDestination

MARK = ".damaged"


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    return Attic(tmp_path / "host", make_job(retention=Retention(last=1)))


def rot(attic: Attic, point: str) -> None:
    damage(attic.place(point) / "xvda.img", 5)


def verify(attic: Attic, text: str | None = None) -> dict[str, Verdict]:
    found = verify_points(attic.house, text, SilentVerifyWatcher())
    return {result.point: result.verdict for result in found}


def list_damaged(attic: Attic) -> list[str]:
    """Points that the catalog calls damaged: what `status` and the metrics tell."""
    return [marked.point for marked in attic.house.catalog.list_damaged()]


def list_findings(report: StatusReport) -> list[tuple[Level, str, str]]:
    return [
        (finding.level, finding.subject, finding.message)
        for finding in report.findings
        if finding.code == "point-damaged"
    ]


class Fail:
    """Every read of an image fails with this error of the system."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._preadv = os.preadv

    def __call__(self, descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".img":
            raise OSError(self._number, os.strerror(self._number))
        return self._preadv(descriptor, buffers, offset)


# The mark


def test_damage_is_marked_and_a_good_verdict_takes_the_mark_off(attic: Attic) -> None:
    older, newer = attic.store_nights(2)
    rot(attic, newer)
    assert {older: Verdict.GOOD, newer: Verdict.DAMAGED} == verify(attic)
    assert (attic.place(newer) / MARK).is_file()
    assert [newer] == list_damaged(attic)
    listed = {summary.point: summary.damage for summary in list_points(attic.house).points}
    assert None is listed[older]
    found = listed[newer]
    assert found is not None
    assert found.found_at is not None
    assert attic.host.now() - found.found_at < timedelta(minutes=1)
    assert "xvda.img: differs from its digests" in found.reason

    rot(attic, newer)
    assert {newer: Verdict.GOOD} == verify(attic, newer)
    assert not (attic.place(newer) / MARK).exists()
    assert [] == list_damaged(attic)
    assert [None, None] == [summary.damage for summary in list_points(attic.house).points]


def test_verdict_is_kept_before_it_is_told(attic: Attic) -> None:
    """So that a kill at the moment of the telling leaves what was told true."""
    (point,) = attic.store_nights(1)
    rot(attic, point)
    seen: list[tuple[Verdict, bool, list[str]]] = []

    class Watcher(SilentVerifyWatcher):
        def point_ended(self, result: VerifyResult) -> None:
            marked = (attic.place(point) / MARK).exists()
            seen.append((result.verdict, marked, list_damaged(attic)))

    verify_points(attic.house, None, Watcher())
    rot(attic, point)
    verify_points(attic.house, None, Watcher())
    assert [(Verdict.DAMAGED, True, [point]), (Verdict.GOOD, False, [])] == seen


def test_catalog_is_told_of_damage_first_and_last_of_its_end(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two leaves the alarm on; the next listing believes the mark."""
    (point,) = attic.store_nights(1)
    list_points(attic.house)
    known: list[list[str]] = []

    def look(name: str) -> None:
        act = getattr(ImagesDestination, name)

        def first_look(*given: object) -> object:
            known.append(list_damaged(attic))
            return act(*given)

        monkeypatch.setattr(ImagesDestination, name, first_look)

    look("mark_damaged")
    look("clear_damage")
    rot(attic, point)
    verify(attic)
    rot(attic, point)
    verify(attic)
    assert [[point], [point]] == known


def test_second_verdict_of_damage_keeps_the_time_of_the_first(attic: Attic) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)
    verify(attic)
    (before,) = attic.house.catalog.list_damaged()
    attic.host.sleep(3600.0)
    (attic.place(point) / "domain.json").unlink()
    verify(attic)
    (after,) = attic.house.catalog.list_damaged()
    assert before.damage.found_at == after.damage.found_at
    assert "and 1 more finding" in after.damage.reason


@pytest.mark.parametrize("spoil", ["missing", "short", "no-manifest-of-ours", "extra"])
def test_missing_and_wrong_parts_are_damage(attic: Attic, spoil: str) -> None:
    (point,) = attic.store_nights(1)
    image = attic.place(point) / "xvda.img"
    if spoil == "missing":
        image.unlink()
    elif spoil == "short":
        os.truncate(image, len(CONTENT) - 1)
    elif spoil == "extra":
        (attic.place(point) / "xvdb.img").write_bytes(b"")
    else:
        (attic.place(point) / "manifest.json").write_text("{}")
    assert {point: Verdict.DAMAGED} == verify(attic)
    assert (attic.place(point) / MARK).is_file()
    assert [point] == list_damaged(attic)


def test_point_with_a_broken_manifest_is_told_until_it_is_mended_and_verified(
    attic: Attic,
) -> None:
    (point,) = attic.store_nights(1)
    manifest = attic.place(point) / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_text("{}")
    verify(attic)
    list_points(attic.house)
    assert [point] == list_damaged(attic)
    manifest.write_bytes(content)
    list_points(attic.house)
    assert [point] == list_damaged(attic)
    assert {point: Verdict.GOOD} == verify(attic)
    assert [] == list_damaged(attic)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_read_that_fails_is_no_verdict_and_leaves_marks_as_they_are(
    attic: Attic, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sound, marked = attic.store_nights(2)
    rot(attic, marked)
    verify(attic)
    monkeypatch.setattr(os, "preadv", Fail(number))
    results = verify_points(attic.house, None, SilentVerifyWatcher())
    assert [Verdict.UNREAD, Verdict.UNREAD] == [result.verdict for result in results]
    assert 1 == exit_code_of(results)
    assert os.strerror(number) in results[0].findings[0].message
    assert not (attic.place(sound) / MARK).exists()
    assert (attic.place(marked) / MARK).exists()
    assert [marked] == list_damaged(attic)


def test_destination_that_is_away_marks_and_clears_nothing(attic: Attic) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)
    verify(attic)
    attic.folder.rename(attic.folder.with_name("away"))
    verify_points(attic.house, None, SilentVerifyWatcher())
    assert [point] == list_damaged(attic)


def test_mark_that_cannot_be_written_is_told_and_changes_no_verdict(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)

    def refuse(*_: object) -> None:
        raise DestinationFailed("It is mounted read-only.")

    monkeypatch.setattr(ImagesDestination, "mark_damaged", refuse)
    (result,) = verify_points(attic.house, None, SilentVerifyWatcher())
    assert (Verdict.DAMAGED, 1) == (result.verdict, result.exit_code)
    assert "It is mounted read-only." == result.mark_problem
    assert [point] == list_damaged(attic)


def test_mark_that_cannot_be_taken_off_is_told_and_stays_told(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)
    verify(attic)
    rot(attic, point)

    def refuse(*_: object) -> None:
        raise DestinationFailed("It is mounted read-only.")

    monkeypatch.setattr(ImagesDestination, "clear_damage", refuse)
    (result,) = verify_points(attic.house, None, SilentVerifyWatcher())
    assert (Verdict.GOOD, 0) == (result.verdict, result.exit_code)
    assert "It is mounted read-only." == result.mark_problem
    assert [point] == list_damaged(attic)


def test_point_that_is_removed_before_its_mark_is_gone_and_not_damaged(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a run writes over the volumes that are being read."""
    (point,) = attic.store_nights(1)
    rot(attic, point)

    def gone(*_: object) -> None:
        raise PointNotFound("It is not there any more.")

    monkeypatch.setattr(ImagesDestination, "mark_damaged", gone)
    assert {point: Verdict.GONE} == verify(attic, point)
    assert [] == list_damaged(attic)


def test_copy_of_a_point_elsewhere_is_judged_by_itself(attic: Attic) -> None:
    point = attic.store(0)
    assert point == attic.store(0, destination="offsite")
    rot(attic, point)
    results = verify_points(attic.house, point, SilentVerifyWatcher())
    assert {("local", Verdict.DAMAGED), ("offsite", Verdict.GOOD)} == {
        (result.destination, result.verdict) for result in results
    }
    assert "offsite" == find_point(attic.house, point).destination


def test_mark_is_left_in_the_records_of_prepared_volumes_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.store({"xvda": bytes(4 * MIB)})
    (listed,) = scene.destination.list_points()
    (volume,) = (v for v in scene.lvm.list_volumes("backup") if v.name == "web--xvda")
    device = scene.host.open_volume(volume.path, writable=True)
    device.write_at(0, memoryview(b"rot"))
    device.close()
    report = scene.destination.verify_point(listed.point)
    assert report.damaged
    scene.destination.mark_damaged(listed.point, listed.created_at, report.findings)
    (marked,) = scene.destination.list_points()
    assert marked.damage is not None
    scene.store({"xvda": bytes(4 * MIB)}, point="20270101T000000Z-aaaaaa")
    assert [None] == [summary.damage for summary in scene.destination.list_points()]


# What it counts for


def test_latest_point_is_the_newest_that_is_not_damaged(attic: Attic) -> None:
    older, newer = attic.store_nights(2)
    rot(attic, newer)
    verify(attic)
    assert older == find_point(attic.house, "web@latest").point
    assert newer == find_point(attic.house, newer).point
    rot(attic, older)
    verify(attic)
    with pytest.raises(PointNotFound, match="Every recovery point of 'web' is damaged"):
        find_point(attic.house, "web@latest")


def test_status_is_critical_and_counts_the_older_point(attic: Attic) -> None:
    older, newer = attic.store_nights(2)
    rot(attic, newer)
    verify(attic)
    report = gather_status(attic.house)
    assert Level.CRITICAL is report.level
    ((level, subject, message),) = list_findings(report)
    assert (Level.CRITICAL, "web") == (level, subject)
    assert f"Point {newer} in local was found damaged" in message
    assert "xvda.img: differs" in message
    (web,) = (row for row in report.domains if row.domain == "web")
    assert (older, 1, 1) == (web.point, web.points, web.damaged)
    local = report.destinations[0]
    assert (1, 1) == (local.points, local.damaged)

    rot(attic, newer)
    verify(attic)
    assert [] == list_findings(gather_status(attic.house))


def test_status_tells_of_a_damaged_point_until_it_is_removed(attic: Attic) -> None:
    (point,) = attic.store_nights(1)
    (attic.place(point) / "manifest.json").write_text("{}")
    verify(attic)
    assert 1 == len(list_findings(gather_status(attic.house)))
    with attic.house.open_destination("local") as store:  # type: ignore[attr-defined]
        store.delete_point(point)
    list_points(attic.house)
    assert [] == list_findings(gather_status(attic.house))


def test_very_many_damaged_points_are_summed_up(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xenbackup.operations import status

    monkeypatch.setattr(status, "DAMAGED_TOLD", 1)
    nights = attic.store_nights(3)
    for point in nights:
        rot(attic, point)
    verify(attic)
    report = gather_status(attic.house)
    named, rest = list_findings(report)
    assert nights[-1] in named[2]
    assert "2 older points were found damaged too." == rest[2]
    assert (1, 2) == (len(report.damaged), report.damaged_left_out)


def test_metrics_count_it_as_damaged_and_not_as_a_point(attic: Attic) -> None:
    _, newer = attic.store_nights(2)
    rot(attic, newer)

    def read() -> tuple[float, float]:
        catalog = attic.house.catalog
        report = gather_status(attic.house)
        samples = list_samples(report, catalog.list_points(), catalog.list_damaged())
        counts = {"xenbackup_points": 0.0, "xenbackup_damaged_points": 0.0}
        for sample in samples:
            if sample.name in counts and ("domain", "web") in sample.labels:
                counts[sample.name] += sample.value
        return counts["xenbackup_points"], counts["xenbackup_damaged_points"]

    list_points(attic.house)
    assert (2.0, 0.0) == read()
    verify(attic)
    assert (1.0, 1.0) == read()


def test_check_names_it_at_its_destination(attic: Attic) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)
    verify(attic)
    found = [
        (result.subject, problem.message)
        for result in check_house(attic.house).checks
        for problem in result.problems
        if problem.code == "point-damaged"
    ]
    ((subject, message),) = found
    assert "local" == subject
    assert f"Point {point} of web was found damaged" in message


def test_damaged_point_lets_no_good_one_be_pruned_and_goes_when_its_time_comes(
    attic: Attic,
) -> None:
    oldest, older, newer = attic.store_nights(3)
    rot(attic, newer)
    verify(attic)
    report = prune_points(attic.house)
    fates = {judged.point.point: str(judged.fate) for judged in report.points}
    assert {oldest: "removed", older: "kept", newer: "kept"} == fates
    (reason,) = (judged.reason for judged in report.points if judged.point.point == newer)
    assert "damaged, stands for no other" in reason

    newest = attic.store(-1)
    attic.host.sleep(2 * 86400.0)
    prune_points(attic.house)
    assert [newest] == attic.list_ids()
    assert [] == list_damaged(attic)


def test_point_whose_mark_cannot_be_read_lets_no_good_one_be_pruned(attic: Attic) -> None:
    older, newer = attic.store_nights(2)
    (attic.place(newer) / MARK).write_bytes(b"")
    prune_points(attic.house)
    assert [older, newer] == attic.list_ids()


def test_mark_of_a_house_that_lost_its_catalog_is_found_again(attic: Attic) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)
    verify(attic)
    for path in attic.house.catalog.path.parent.glob("catalog.sqlite*"):
        path.unlink()
    assert [] == list_damaged(attic)
    list_points(attic.house)
    assert [point] == list_damaged(attic)


def test_a_guest_that_has_nothing_but_damaged_points_has_none_and_that_is_critical(
    attic: Attic,
) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)
    verify(attic)
    (web,) = (row for row in gather_status(attic.house).domains if row.domain == "web")
    assert (DomainVerdict.NEVER, Level.CRITICAL, "", 1) == (
        web.verdict,
        web.level,
        web.point,
        web.damaged,
    )


# Restoring from it


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_restore_of_a_damaged_point_says_so_and_is_held_to_its_digests(site: Site) -> None:
    point = site.back_up("crash")
    damage(site.stored(point, "xvda.img"), 5 * MIB)
    verify_points(site.house, None, SilentVerifyWatcher())
    marked = find_point(site.house, point.point)
    plan = site.plan(marked, domain="web2", volume_group="other")
    assert f"Point {point.point} was found damaged on " in plan.warnings[0]
    assert "xvda.img: differs" in plan.warnings[0]
    with pytest.raises(PointDamaged):
        site.restore(marked, domain="web2", volume_group="other")


def test_restore_of_a_misjudged_point_goes_through_with_the_warning(site: Site) -> None:
    point = site.back_up("crash")
    damage(site.stored(point, "xvda.img"), 5 * MIB)
    verify_points(site.house, None, SilentVerifyWatcher())
    damage(site.stored(point, "xvda.img"), 5 * MIB)
    result = site.restore(find_point(site.house, point.point), domain="web2", volume_group="other")
    assert "was found damaged on " in result.warnings[0]


def test_mark_that_the_disk_does_not_take_is_told(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    (point,) = attic.store_nights(1)
    rot(attic, point)
    make_durable: Callable[..., None] = os.fsync

    def fail(descriptor: int) -> None:
        if MARK in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise OSError(errno.EIO, "Input/output error")
        make_durable(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    (result,) = verify_points(attic.house, None, SilentVerifyWatcher())
    assert "Input/output error" in result.mark_problem
    assert Verdict.DAMAGED is result.verdict
