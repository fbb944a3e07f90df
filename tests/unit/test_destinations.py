"""Destinations made ready: an empty place of its own, and never what belongs to others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.restore_house import Site
from xenbackup.errors import DestinationFailed, DestinationMissing
from xenbackup.model.job import DestinationKind, DestinationSpec
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.operations.destinations import initialise_destination
from xenbackup.operations.house import House
from xenbackup.storage.images import ImagesDestination
from xenbackup.storage.volume import VolumeDestination


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "host")


def with_images(site: Site, path: str) -> House:
    folder = site.host.place(path)
    return replace(site.house, open_destination=lambda name: ImagesDestination(folder, name))


def with_volumes(site: Site, group: str) -> House:
    spec = DestinationSpec(name="spare", kind=DestinationKind.VOLUME, path=group)
    folder = site.host.place("/var/lib/xenbackup/volumes/spare")
    return replace(
        site.house,
        open_destination=lambda name: VolumeDestination(site.host, site.house.lvm, spec, folder),
    )


@pytest.mark.parametrize("entries", [None, [], ["lost+found"]])
def test_an_empty_folder_is_marked_or_made(site: Site, entries: list[str] | None) -> None:
    folder = site.host.place("/srv/new")
    for entry in entries if entries is not None else []:
        (folder / entry).mkdir(parents=True)
    if entries == []:
        folder.mkdir()

    made = initialise_destination(with_images(site, "/srv/new"), "new")

    assert made.fresh
    ImagesDestination(folder, "new").open()


def test_a_marked_folder_stays_as_it_is(site: Site) -> None:
    first = initialise_destination(with_images(site, "/srv/new"), "new")
    (site.host.place("/srv/new") / "web").mkdir()

    second = initialise_destination(with_images(site, "/srv/new"), "new")

    assert (second.fresh, second.id) == (False, first.id)


def test_a_folder_with_foreign_content_is_refused_and_untouched(site: Site) -> None:
    folder = site.host.place("/srv/photos")
    folder.mkdir()
    (folder / "cat.jpg").touch()

    with pytest.raises(DestinationFailed, match=r"not empty \(cat\.jpg\)"):
        initialise_destination(with_images(site, "/srv/photos"), "new")

    assert [path.name for path in folder.iterdir()] == ["cat.jpg"]


def test_a_missing_parent_is_not_made(site: Site) -> None:
    with pytest.raises(DestinationFailed, match="does not exist"):
        initialise_destination(with_images(site, "/mnt/usb/backup"), "new")

    assert not site.host.place("/mnt").exists()


def test_a_file_in_its_place_is_refused(site: Site) -> None:
    site.host.place("/srv/new").touch()

    with pytest.raises(DestinationFailed, match="Not a directory"):
        initialise_destination(with_images(site, "/srv/new"), "new")


def test_volumes_are_marked_by_hand_and_listed(site: Site) -> None:
    house = with_volumes(site, "other")

    empty = initialise_destination(house, "spare")
    site.house.lvm.create_volume("other", "web--xvda", 8 << 20, tags=(TAG_DESTINATION,))
    ready = initialise_destination(house, "spare")

    assert (empty.fresh, empty.volumes, ready.fresh) == (True, (), False)
    assert f"--addtag {TAG_DESTINATION} other" in empty.remark
    assert (ready.volumes, ready.remark) == (("other/web--xvda",), "")


def test_a_missing_group_is_a_missing_destination(site: Site) -> None:
    with pytest.raises(DestinationMissing, match="no volume group 'otter'"):
        initialise_destination(with_volumes(site, "otter"), "spare")
