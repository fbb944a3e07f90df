"""The catalog says what lies in the destinations: after looks, runs and rounds, whatever else
tells it of points meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import house as houses
from tests.unit.pruned_house import OFFSITE, Attic, make_job
from xenbackup.dom0.simulated import GroupSpec, SimulatedHost, create_host
from xenbackup.dom0.simulated.state import MIB
from xenbackup.errors import JournalDamaged, StateFailed
from xenbackup.model.job import (
    DESTINATION_MARKER_FILE,
    Configuration,
    DestinationKind,
    DestinationSpec,
    Retention,
)
from xenbackup.model.point import Damage
from xenbackup.model.run import Outcome, RoundResult, RunResult
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.operations import prune
from xenbackup.operations.house import House
from xenbackup.operations.pinning import pin_point
from xenbackup.operations.points import find_point, list_points
from xenbackup.operations.prune import Fate, prune_points
from xenbackup.operations.reconciling import LOOKS_LIMIT, refresh_catalog, scan_store
from xenbackup.operations.round import finish_round
from xenbackup.operations.status import gather_status
from xenbackup.operations.verify import SilentVerifyWatcher, Verdict, verify_points
from xenbackup.records.catalog import Catalog
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.parts import DAMAGED_FILE
from xenbackup.storage.points import PointListing
from xenbackup.storage.shelf import Shelf
from xenbackup.storage.volume import VolumeDestination


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    return Attic(tmp_path / "host", make_job(schedule="30 2 * * *"))


def list_known(house: House) -> list[str]:
    return [found.point for found in house.catalog.list_points() if found.damage is None]


def rot(attic: Attic, point: str) -> None:
    """One bit of its disk is another."""
    path = attic.place(point) / "xvda.img"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(bytes(content))


# Points that lack a file


def lose_image(place: Path) -> None:
    (place / "xvda.img").unlink()


def cut_image(place: Path) -> None:
    (place / "xvda.img").write_bytes(b"short")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lose_image, "xvda.img is missing"),
        (cut_image, "xvda.img has 5 bytes, its manifest says 2048"),
    ],
)
def test_point_that_lacks_a_file_is_damaged_for_everybody_and_marked_by_nobody(
    attic: Attic, harm: Callable[[Path], None], reason: str
) -> None:
    older, newer = attic.store(1), attic.store(0)
    harm(attic.place(newer))
    listed = {found.point: found.damage for found in list_points(attic.house).points}
    assert {older: None, newer: Damage(found_at=None, reason=reason)} == listed
    assert older == find_point(attic.house, "web@latest").point
    (web,) = gather_status(attic.house).domains
    assert (older, 1, 1) == (web.point, web.points, web.damaged)
    assert not (attic.place(newer) / DAMAGED_FILE).exists()
    # Retention does not let it stand for another, and `verify` says the same.
    assert {Fate.KEPT} == {found.fate for found in prune_points(attic.house).points}
    results = verify_points(attic.house, newer, SilentVerifyWatcher())
    assert [Verdict.DAMAGED] == [result.verdict for result in results]


def test_point_whose_file_is_back_is_good_again(attic: Attic) -> None:
    point = attic.store(0)
    image = attic.place(point) / "xvda.img"
    content = image.read_bytes()
    image.unlink()
    list_points(attic.house)
    assert [] == list_known(attic.house)
    image.write_bytes(content)
    list_points(attic.house)
    assert [point] == list_known(attic.house)
    assert () == attic.house.catalog.list_damaged()


def test_pin_does_not_make_a_point_good_that_lacks_a_file(attic: Attic) -> None:
    point = attic.store(0)
    lose_image(attic.place(point))
    assert pin_point(attic.house, point).point.damage is not None
    assert [] == list_known(attic.house)


# Looks that are overtaken


def overtake(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], *, times: int = 1
) -> list[int]:
    """Whoever looks into `local` has looked, and before it tells the catalog, this is done."""
    real = Shelf.scan
    done: list[int] = []

    def scan(shelf: Shelf) -> PointListing:
        found = real(shelf)
        if shelf.name == "local" and len(done) < times:
            done.append(len(done))
            act()
        return found

    monkeypatch.setattr(Shelf, "scan", scan)
    return done


def test_listing_takes_no_damage_back_that_was_found_meanwhile(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = attic.store(1), attic.store(0)
    list_points(attic.house)
    rot(attic, newer)
    (attic.place(attic.store(3)) / DAMAGED_FILE).write_bytes(b"")  # there is something to tell
    overtake(monkeypatch, lambda: verify_points(attic.house, newer, SilentVerifyWatcher()))
    listing = list_points(attic.house)
    assert newer in [found.point for found in attic.house.catalog.list_damaged()]
    assert [older] == list_known(attic.house)
    assert [older] == [found.point for found in listing.points if found.damage is None]


def test_damage_is_told_to_a_catalog_that_a_listing_has_filled_before_it_was_marked(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = attic.store(0)
    list_points(attic.house)
    rot(attic, point)
    real = ImagesDestination.mark_damaged

    def mark(store: ImagesDestination, *words: object) -> None:
        list_points(attic.house)
        assert [point] == list_known(attic.house)
        real(store, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(ImagesDestination, "mark_damaged", mark)
    verify_points(attic.house, point, SilentVerifyWatcher())
    assert [point] == [found.point for found in attic.house.catalog.list_damaged()]
    assert [] == list_known(attic.house)


def test_listing_forgets_no_point_that_was_made_meanwhile(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = attic.store(1)
    made: list[str] = []

    def make() -> None:
        made.append(attic.store(0))
        with ImagesDestination(attic.folder, "local") as store:
            attic.house.catalog.record_point(store.summarise_point(made[0]))

    overtake(monkeypatch, make)
    listing = list_points(attic.house)
    assert [older, *made] == list_known(attic.house)
    assert [older, *made] == [found.point for found in listing.points]


def test_listing_that_is_overtaken_again_and_again_leaves_the_catalog_to_the_others(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = attic.store(0)
    told = replace(
        next(iter(list_points(attic.house).points)), point="20261101T000000Z-aaaaaa", stored_bytes=7
    )
    done = overtake(monkeypatch, lambda: attic.house.catalog.record_point(told), times=100)
    assert [point] == [found.point for found in list_points(attic.house).points]
    assert LOOKS_LIMIT == len(done)
    assert [told.point, point] == list_known(attic.house)


def test_new_catalog_stays_to_be_filled_where_a_listing_was_overtaken_to_the_end(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    attic.store(0)
    overtake(monkeypatch, lambda: attic.house.catalog.forget_damage("local", "x"), times=100)
    list_points(attic.house)
    assert attic.house.catalog.needs_rebuild()
    monkeypatch.undo()
    list_points(attic.house)
    assert not attic.house.catalog.needs_rebuild()


def test_catalog_that_says_the_same_already_is_not_written(attic: Attic) -> None:
    attic.store(0)
    list_points(attic.house)
    generation = attic.house.catalog.read_generation()
    list_points(attic.house)
    assert generation == attic.house.catalog.read_generation()


def test_everything_that_is_said_of_a_point_raises_the_generation(attic: Attic) -> None:
    catalog, point = attic.house.catalog, attic.store(0)
    summary = list_points(attic.house).points[0]
    acts: tuple[Callable[[], object], ...] = (
        lambda: catalog.record_point(summary),
        lambda: catalog.forget_damage("local", point),
        lambda: catalog.remove_point("local", point),
        lambda: catalog.rebuild((summary,), destinations=("local",)),
    )
    seen = [catalog.read_generation()]
    for act in acts:
        act()
        seen.append(catalog.read_generation())
    assert sorted(set(seen)) == seen
    assert not catalog.rebuild((), destinations=("local",), generation=seen[0])
    assert (summary,) == catalog.list_points()
    assert catalog.rebuild((), destinations=("local",), generation=seen[-1])
    assert () == catalog.list_points()


# After a look, a run, a round


def test_whoever_looks_into_an_emptied_destination_tells_the_catalog(attic: Attic) -> None:
    attic.store_nights(2)
    kept = attic.store(0, destination="offsite")
    list_points(attic.house)
    shutil.rmtree(attic.folder / "web")
    with ImagesDestination(attic.folder, "local") as store:
        assert PointListing() == scan_store(attic.house, store)
    assert [kept] == list_known(attic.house)


def test_destination_that_is_away_keeps_what_the_catalog_knows_of_it(attic: Attic) -> None:
    point = attic.store(0, destination="offsite")
    list_points(attic.house)
    (attic.host.place(OFFSITE) / DESTINATION_MARKER_FILE).unlink()
    refresh_catalog(attic.house, "offsite")
    refresh_catalog(attic.house, "local")
    assert [point] == list_known(attic.house)


def end_round(job: str, outcome: Outcome) -> RoundResult:
    run = RunResult(run="20261123T000000Z-aaaaaa", domain="web", uuid="", outcome=outcome)
    return RoundResult(
        round="20261123T000000Z-bbbbbb", job=job, outcome=outcome, exit_code=0, runs=(run,)
    )


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.FAILED, Outcome.CANCELLED])
def test_round_without_retention_leaves_a_catalog_that_says_what_there_is(
    attic: Attic, outcome: Outcome
) -> None:
    attic.store_nights(2)
    list_points(attic.house)
    shutil.rmtree(attic.folder / "web")
    job = make_job(retention=Retention())
    assert () == finish_round(attic.house, job, end_round(job.name, outcome))
    assert [] == list_known(attic.house)


def test_round_whose_good_runs_are_none_leaves_a_catalog_in_step_too(attic: Attic) -> None:
    attic.store_nights(2)
    list_points(attic.house)
    shutil.rmtree(attic.folder / "web")
    assert () == finish_round(attic.house, make_job(), end_round("nightly", Outcome.FAILED))
    assert [] == list_known(attic.house)


def test_round_whose_retention_could_not_be_applied_leaves_a_catalog_in_step(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise JournalDamaged("A mark cannot be read.")

    monkeypatch.setattr(prune, "prune_points", refuse)
    attic.store_nights(2)
    list_points(attic.house)
    shutil.rmtree(attic.folder / "web")
    (told,) = finish_round(attic.house, make_job(), end_round("nightly", Outcome.OK))
    assert "was not applied: A mark cannot be read." in told
    assert [] == list_known(attic.house)


def test_catalog_or_destination_that_fails_changes_nothing_of_a_round(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StateFailed("The catalog is full.")

    attic.store(0)
    job = make_job(retention=Retention())
    monkeypatch.setattr(Catalog, "rebuild", fail)
    assert () == finish_round(attic.house, job, end_round(job.name, Outcome.OK))
    monkeypatch.setattr(Catalog, "read_generation", fail)
    assert () == finish_round(attic.house, job, end_round(job.name, Outcome.OK))
    attic.folder.rename(attic.folder.with_name("away"))
    assert () == finish_round(attic.house, job, end_round(job.name, Outcome.OK))


def test_defect_of_the_look_at_a_rounds_end_is_told_in_words(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("xenbackup.operations.round.refresh_catalog", stumble)
    job = make_job(retention=Retention())
    (told,) = finish_round(attic.house, job, end_round(job.name, Outcome.OK))
    assert "The catalog was not told of local: ValueError: no such thing" == told


# Prepared volumes


@pytest.fixture
def volumes(tmp_path: Path) -> House:
    """A house whose destination `local` are prepared volumes for both disks of its guest."""
    group = GroupSpec(name="backup", size_bytes=64 * MIB, extent_bytes=MIB)
    create_host(tmp_path / "host", groups=(*houses.GROUPS, group), guests=houses.GUESTS)
    host = SimulatedHost(tmp_path / "host")
    house = houses.build_house(host)
    spec = DestinationSpec(name="local", kind=DestinationKind.VOLUME, path="backup")
    for vdev, size_bytes in (("xvda", 8 * MIB), ("xvdb", 4 * MIB)):
        name = f"web--{vdev}"
        house.lvm.create_volume("backup", name, size_bytes, tags=(TAG_DESTINATION,))
    folder = host.place(house.configuration.state_path) / "volumes" / "local"
    return replace(
        house,
        configuration=Configuration(destinations=(spec,)),
        open_destination=lambda name: VolumeDestination(host, house.lvm, spec, folder),
    )


def list_overwritten(house: House) -> list[Path]:
    state = house.host.place(house.configuration.state_path)
    return list((state / "volumes").rglob(".overwritten-*"))


def test_point_that_a_cancelled_run_has_begun_to_write_over_is_not_told_as_good(
    volumes: House,
) -> None:
    first = houses.back_up(volumes, "crash").runs[0]
    assert [first.point] == list_known(volumes)
    volumes.host.sleep(3600)
    second = houses.back_up(
        volumes, "crash", cancelled=lambda: "stop" if list_overwritten(volumes) else ""
    )
    assert Outcome.CANCELLED is second.outcome
    assert list_overwritten(volumes)
    assert [] == list_known(volumes)


def test_point_that_a_good_run_has_written_over_is_not_known_any_more(volumes: House) -> None:
    houses.back_up(volumes, "crash")
    volumes.host.sleep(3600)
    second = houses.back_up(volumes, "crash").runs[0]
    assert [second.point] == list_known(volumes)


class Killed(BaseException):
    """The process is no more."""


def test_recovery_tells_that_a_killed_run_has_begun_to_write_over_a_point(volumes: House) -> None:
    houses.back_up(volumes, "crash")
    volumes.host.sleep(3600)

    def cancelled() -> str:
        if list_overwritten(volumes):
            raise Killed
        return ""

    with pytest.raises(Killed):
        houses.back_up(volumes, "crash", cancelled=cancelled)
    assert 1 == len(list_known(volumes))
    houses.recover(volumes)
    assert [] == list_known(volumes)


def test_catalog_that_fails_fails_no_run_into_volumes(
    volumes: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StateFailed("The catalog is full.")

    monkeypatch.setattr(Catalog, "rebuild", fail)
    monkeypatch.setattr(Catalog, "record_point", fail)
    assert Outcome.OK is houses.back_up(volumes, "crash").outcome


def test_prune_of_an_emptied_destination_tells_the_catalog(attic: Attic) -> None:
    attic.store_nights(2)
    list_points(attic.house)
    shutil.rmtree(attic.folder / "web")
    prune_points(attic.house, dry_run=True)
    assert 2 == len(list_known(attic.house)), "a look alone changes nothing"
    prune_points(attic.house)
    assert [] == list_known(attic.house)
