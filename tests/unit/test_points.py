"""Points over all destinations: listed, found by name, and the catalog kept in step with them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.house import DESTINATION, Watcher, back_up
from tests.unit.restore_house import Site
from xenbackup.errors import DestinationMissing, PointDamaged, PointNotFound, StateFailed
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec
from xenbackup.model.point import PointSummary
from xenbackup.model.run import Outcome
from xenbackup.operations.house import House
from xenbackup.operations.points import find_point, list_points
from xenbackup.records.catalog import Catalog
from xenbackup.storage.images import ImagesDestination

SECOND = "/srv/second"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def add_destination(site: Site, *, ready: bool = True) -> House:
    """The house with a second destination, `second`, configured behind `local`."""
    folders = {"local": DESTINATION, "second": SECOND}
    specs = tuple(
        DestinationSpec(name=name, kind=DestinationKind.IMAGES, path=path)
        for name, path in folders.items()
    )
    if ready:
        ImagesDestination(site.host.place(SECOND), "second").initialise()
    return replace(
        site.house,
        configuration=Configuration(destinations=specs),
        open_destination=lambda name: ImagesDestination(site.host.place(folders[name]), name),
    )


def test_points_are_listed_oldest_first_and_by_domain(site: Site) -> None:
    first = site.back_up("crash")
    other = site.back_up("crash", domain="thinny")
    second = site.back_up("crash")

    everything = [summary.point for summary in list_points(site.house).points]
    of_web = [summary.point for summary in list_points(site.house, "web").points]

    assert everything == [first.point, other.point, second.point]
    assert of_web == [first.point, second.point]


def test_without_points_the_listing_is_empty(site: Site) -> None:
    assert list_points(site.house).points == ()


def test_a_point_is_found_by_id_prefix_and_as_the_latest(site: Site) -> None:
    first = site.back_up("crash")
    second = site.back_up("crash")

    assert find_point(site.house, first.point).manifest == first.manifest
    assert find_point(site.house, second.point[:-1]).point == second.point
    assert find_point(site.house, "web@latest").point == second.point


def test_what_cannot_be_found_lists_what_there_is(site: Site) -> None:
    point = site.back_up("crash")

    with pytest.raises(PointNotFound, match=point.point):
        find_point(site.house, "2020")


def test_a_missing_destination_is_told_and_hides_no_other(site: Site) -> None:
    point = site.back_up("crash")
    house = add_destination(site, ready=False)

    listing = list_points(house)

    assert [summary.point for summary in listing.points] == [point.point]
    assert [absent.name for absent in listing.absent] == ["second"]
    assert "destination init second" in listing.absent[0].hint


def test_points_of_a_missing_destination_are_remembered(site: Site) -> None:
    point = site.back_up("crash")
    house = add_destination(site)
    list_points(house)
    site.host.place(DESTINATION).rename(site.host.place("/srv/away"))

    listing = list_points(house)

    assert listing.points == ()
    assert [summary.point for summary in listing.absent[0].remembered] == [point.point]
    with pytest.raises(DestinationMissing, match=f"{point.point} of .* in destination local"):
        find_point(house, "web@latest")
    with pytest.raises(DestinationMissing, match="not every destination could be looked into"):
        find_point(house, point.point)


def test_the_same_point_in_two_destinations_is_found_in_the_first(site: Site) -> None:
    point = site.back_up("crash")
    house = add_destination(site)
    shutil.copytree(site.host.place(DESTINATION) / "web", site.host.place(SECOND) / "web")

    found = find_point(house, point.point)

    assert (found.destination, len(list_points(house).points)) == ("local", 2)


def test_a_damaged_manifest_is_named_when_its_point_is_asked_for(site: Site) -> None:
    point = site.back_up("crash")
    site.stored(point, "manifest.json").write_text("{}")

    assert [found.point for found in list_points(site.house).damaged] == [point.point]
    with pytest.raises(PointDamaged, match=point.point):
        find_point(site.house, point.point)


def test_the_catalog_follows_what_the_destinations_hold(site: Site) -> None:
    first = site.back_up("crash")
    second = site.back_up("crash")
    list_points(site.house)
    shutil.rmtree(site.stored(first, "manifest.json").parent)

    list_points(site.house)

    known = [summary.point for summary in site.house.catalog.list_points()]
    assert known == [second.point]


def test_a_lost_catalog_is_filled_again(site: Site) -> None:
    point = site.back_up("crash")
    for path in site.house.catalog.path.parent.glob("catalog.sqlite*"):
        path.unlink()

    list_points(site.house)

    assert [summary.point for summary in site.house.catalog.list_points()] == [point.point]
    assert not site.house.catalog.needs_rebuild()


def test_a_catalog_that_cannot_be_used_fails_no_listing(site: Site) -> None:
    point = site.back_up("crash")
    for path in site.house.catalog.path.parent.glob("catalog.sqlite*"):
        path.unlink()
    site.house.catalog.path.mkdir()

    assert [summary.point for summary in list_points(site.house).points] == [point.point]


def test_the_catalog_knows_a_point_as_soon_as_its_run_has_ended(site: Site) -> None:
    result = back_up(site.house, "crash").runs[0]

    (known,) = site.house.catalog.list_points()

    assert known.point == result.point
    assert (known,) == list_points(site.house).points


def test_a_catalog_that_fails_is_a_warning_and_no_failed_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(catalog: Catalog, summary: PointSummary) -> None:
        raise StateFailed("The catalog is full.")

    monkeypatch.setattr(Catalog, "record_point", fail)
    watcher = Watcher()

    result = back_up(site.house, "crash", watcher=watcher).runs[0]

    assert result.outcome is Outcome.OK
    told = f"Point {result.point} is whole, but not in the catalog yet: The catalog is full."
    assert told in result.warnings
    assert told in watcher.warnings
    assert [result.point] == [summary.point for summary in list_points(site.house).points]


def test_a_listing_names_every_domain_that_has_points(site: Site) -> None:
    site.back_up("crash")
    site.back_up("crash", domain="thinny")

    assert list_points(site.house, "nobody").domains == ("thinny", "web")
