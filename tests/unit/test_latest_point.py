"""`DOMAIN@latest` over all destinations, hosts and clocks: the newest there is, or a refusal."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.pruned_house import OFFSITE, Attic
from tests.unit.restore_house import Site
from xenbackup.errors import DestinationFailed, DestinationMissing, PointNotFound
from xenbackup.model.job import DESTINATION_MARKER_FILE
from xenbackup.operations.points import PointListing, find_point, list_points
from xenbackup.storage.points import PointListing as StoredListing
from xenbackup.storage.shelf import Shelf


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    return Attic(tmp_path / "host")


def take_away(attic: Attic) -> None:
    """The second destination is not mounted."""
    marker = attic.host.place(OFFSITE) / DESTINATION_MARKER_FILE
    marker.rename(attic.host.place(OFFSITE) / "was-the-marker")


def lose_catalog(attic: Attic) -> None:
    for path in attic.house.catalog.path.parent.glob("catalog.sqlite*"):
        path.unlink()


# A destination that is away


def test_latest_that_is_in_a_destination_that_is_away_is_refused(attic: Attic) -> None:
    older, newer = attic.store(9), attic.store(0, destination="offsite")
    list_points(attic.house)
    take_away(attic)
    with pytest.raises(DestinationMissing) as caught:
        find_point(attic.house, "web@latest")
    assert 10 == caught.value.exit_code
    assert f"{newer} of 2026-11-23" in caught.value.message
    assert "in destination offsite, which could not be looked into" in caught.value.message
    assert f"give the id of the point you want: {older} is of 2026-11-14" in caught.value.hint
    # By its id the older one is had as ever.
    assert (older, ()) == (
        find_point(attic.house, older).point,
        find_point(attic.house, older).warnings,
    )


def test_destination_that_is_away_and_holds_nothing_newer_is_in_nobodys_way(attic: Attic) -> None:
    attic.store(9, destination="offsite")
    attic.store(0, domain="mail", destination="offsite")
    newest = attic.store(1)
    list_points(attic.house)
    take_away(attic)
    found = find_point(attic.house, "web@latest")
    assert (newest, ()) == (found.point, found.warnings)


def test_newer_point_that_is_away_and_damaged_is_not_the_latest(attic: Attic) -> None:
    newest = attic.store(1)
    damaged = attic.store(0, destination="offsite")
    (attic.host.place(OFFSITE) / "web" / damaged / "xvda.img").unlink()
    list_points(attic.house)
    take_away(attic)
    assert newest == find_point(attic.house, "web@latest").point


def test_copy_of_the_latest_that_can_be_reached_serves(attic: Attic) -> None:
    point = attic.store(0)
    assert point == attic.store(0, destination="offsite")
    list_points(attic.house)
    take_away(attic)
    assert "local" == find_point(attic.house, "web@latest").destination


def test_catalog_that_never_had_the_points_of_a_destination_is_told_every_time(
    attic: Attic,
) -> None:
    older = attic.store(9)
    attic.store(0, destination="offsite")
    list_points(attic.house)
    take_away(attic)
    lose_catalog(attic)
    for _ in range(2):
        found = find_point(attic.house, "web@latest")
        (told,) = found.warnings
        assert older == found.point
        assert told.startswith("A newer point of web may be in destination offsite, of which")
        assert () == find_point(attic.house, older).warnings


def test_catalog_that_cannot_be_read_is_told_where_a_destination_is_away(attic: Attic) -> None:
    attic.store(9)
    list_points(attic.house)
    take_away(attic)
    lose_catalog(attic)
    attic.house.catalog.path.mkdir()
    (told,) = find_point(attic.house, "web@latest").warnings
    assert told.startswith("A newer point of web may be in destination offsite")


# A folder that cannot be read


def hide(monkeypatch: pytest.MonkeyPatch, *folders: str) -> None:
    real = Shelf.scan

    def scan(shelf: Shelf) -> StoredListing:
        found = real(shelf)
        if shelf.name != "offsite":
            return found
        points = tuple(point for point in found.points if point.domain not in folders)
        unreadable = tuple(f"{folder}: Input/output error: 5." for folder in folders)
        return replace(found, points=points, unreadable=unreadable)

    monkeypatch.setattr(Shelf, "scan", scan)


@pytest.mark.parametrize("folder", ["web", "web~8f21c3aa"])
def test_latest_is_refused_where_a_folder_of_the_domain_cannot_be_read(
    attic: Attic, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    older = attic.store(9)
    hide(monkeypatch, folder)
    with pytest.raises(DestinationFailed) as caught:
        find_point(attic.house, "web@latest")
    assert "destination offsite is newer" in caught.value.message
    assert "nobody knows: Input/output error: 5." in caught.value.message
    assert older in caught.value.hint
    assert older == find_point(attic.house, older).point


def test_folder_that_cannot_be_read_is_named_where_it_may_hold_the_only_point(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    attic.store(0, domain="mail")
    hide(monkeypatch, "web")
    with pytest.raises(DestinationFailed, match="destination offsite is there, nobody knows"):
        find_point(attic.house, "web@latest")


def test_folder_of_another_domain_that_cannot_be_read_is_in_nobodys_way(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = attic.store(9)
    hide(monkeypatch, "lost+found", "webmail")
    assert newest == find_point(attic.house, "web@latest").point


# Clocks


def test_points_of_the_future_are_passed_over_and_named(attic: Attic) -> None:
    ahead, newest = attic.store(-4000), attic.store(9)
    attic.store(-4000, domain="mail")
    found = find_point(attic.house, "web@latest")
    (told,) = found.warnings
    assert newest == found.point
    assert f"{ahead} (local)" in told
    assert "mail" not in told
    assert ahead == find_point(attic.house, ahead).point


def test_points_that_are_all_of_the_future_are_refused_by_their_ids(attic: Attic) -> None:
    ahead = attic.store(-4000)
    with pytest.raises(PointNotFound, match=f"yet to come.*{ahead}"):
        find_point(attic.house, "web@latest")


def test_point_of_the_future_that_is_away_is_told_and_not_waited_for(attic: Attic) -> None:
    newest, ahead = attic.store(9), attic.store(-4000, destination="offsite")
    list_points(attic.house)
    take_away(attic)
    found = find_point(attic.house, "web@latest")
    (told,) = found.warnings
    assert newest == found.point
    assert f"{ahead} (offsite)" in told


# Hosts


def share(first: Site, second: Site) -> None:
    """The second host keeps its points where the first does."""
    folder = second.host.place("/srv/backup")
    shutil.rmtree(folder)
    folder.symlink_to(first.host.place("/srv/backup"))


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Site, Site]:
    ours = Site(tmp_path / "ours", hostname="xen1")
    theirs = Site(tmp_path / "theirs", hostname="xen2")
    share(ours, theirs)
    return ours, theirs


def test_latest_of_a_mere_name_is_not_what_another_host_made(hosts: tuple[Site, Site]) -> None:
    ours, theirs = hosts
    mine = ours.back_up("crash", domain="thinny")
    theirs.host.sleep(3600)
    other = theirs.back_up("crash", domain="thinny")
    ours.host.sleep(7200)
    found = find_point(ours.house, "thinny@latest")
    assert (mine.point, ()) == (found.point, found.warnings)
    assert other.point == find_point(theirs.house, "thinny@latest").point


def test_latest_that_only_another_host_has_made_is_taken_and_told(
    hosts: tuple[Site, Site],
) -> None:
    ours, theirs = hosts
    other = theirs.back_up("crash", domain="thinny")
    ours.host.sleep(7200)
    found = find_point(ours.house, "thinny@latest")
    (told,) = found.warnings
    assert other.point == found.point
    assert f"{other.point} was made on host xen2" in told
    assert "this host, xen1, made none of thinny" in told


def test_point_of_another_host_is_not_suggested_for_one_that_is_away(attic: Attic) -> None:
    mine = attic.store(1, destination="offsite")
    list_points(attic.house)
    take_away(attic)
    attic.hostname = "xen9"
    attic.store(0)
    with pytest.raises(DestinationMissing, match=mine) as caught:
        find_point(attic.house, "web@latest")
    assert "give the id" not in caught.value.hint


def test_every_listing_tells_which_destinations_the_catalog_knows(attic: Attic) -> None:
    take_away(attic)
    assert [False] == [absent.listed for absent in list_points(attic.house).absent]
    (attic.host.place(OFFSITE) / "was-the-marker").rename(
        attic.host.place(OFFSITE) / DESTINATION_MARKER_FILE
    )
    assert PointListing() == list_points(attic.house)
    attic.host.sleep(timedelta(days=1).total_seconds())
    take_away(attic)
    assert [True] == [absent.listed for absent in list_points(attic.house).absent]
