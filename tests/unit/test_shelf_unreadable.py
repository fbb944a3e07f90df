"""A folder that cannot be opened hides what is in it, and nothing behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import house as houses
from tests.unit.points import OTHER_POINT, POINT
from tests.unit.pruned_house import Attic
from tests.unit.restore_house import Site
from tests.unit.stored_points import list_ids, store_point
from xenbackup.errors import DestinationFailed, ExitCode
from xenbackup.operations.points import find_point, list_points
from xenbackup.operations.prune import Fate, prune_points
from xenbackup.operations.removals import FinishedRemovals, finish_removals
from xenbackup.operations.verify import SilentVerifyWatcher, Verdict, exit_code_of, verify_points
from xenbackup.storage.images import ImagesDestination
from xenbackup.system.folder import Entry, Folder

WINDOWS = "System Volume Information"
BEFORE, BEHIND = "aaa", "zzz"
DENIED = "Cannot open the folder: Permission denied."


def shut(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Folders of these names cannot be opened: root squash, a bad block."""
    open_folder = Folder.open_folder

    def refuse(self: Folder, name: str) -> Folder:
        if name in names:
            raise DestinationFailed(DENIED)
        return open_folder(self, name)

    monkeypatch.setattr(Folder, "open_folder", refuse)


def blind(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nothing can be said even of what kind an entry is: its inode lies on a bad block."""
    find = Folder.find

    def fail(self: Folder, asked: str) -> Entry | None:
        if asked == name:
            raise DestinationFailed(f"Cannot look at {name}: Input/output error.")
        return find(self, asked)

    monkeypatch.setattr(Folder, "find", fail)


@pytest.fixture
def destination(tmp_path: Path) -> ImagesDestination:
    made = ImagesDestination(tmp_path / "backup", "usb")
    made.initialise()
    made.open()
    for name in (BEFORE, BEHIND, "lost+found", WINDOWS):
        (made.folder / name).mkdir()
    return made


# What can be looked into is found


@pytest.mark.parametrize("shut_one", [BEFORE, BEHIND, "lost+found", WINDOWS])
def test_a_point_beside_an_unreadable_folder_is_read_and_removed(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch, shut_one: str
) -> None:
    store_point(destination)
    shut(monkeypatch, shut_one)
    assert destination.has_point(POINT)
    assert destination.has_trace(POINT)
    assert destination.read_manifest(POINT).point == POINT
    assert destination.verify_point(POINT).good
    assert destination.pin(POINT)
    assert destination.unpin(POINT)
    assert destination.delete_point(POINT)
    assert [] == list_ids(destination)


def test_a_folder_of_which_nothing_can_be_said_hides_nothing_either(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_point(destination)
    blind(monkeypatch, BEFORE)
    assert [POINT] == list_ids(destination)
    assert (f"{BEFORE}: Cannot look at {BEFORE}: Input/output error.",) == (
        destination.scan().unreadable
    )
    assert destination.delete_point(POINT)


def test_a_point_of_which_nothing_can_be_said_leaves_its_guests_others_in_sight(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_point(destination)
    store_point(destination, point=OTHER_POINT)
    shut(monkeypatch, POINT)
    listing = destination.scan()
    assert [OTHER_POINT] == [found.point for found in listing.points]
    assert [(POINT, DENIED)] == [(found.point, found.reason) for found in listing.damaged]


# What cannot be known is not said


@pytest.mark.parametrize("shut_one", [BEFORE, BEHIND, WINDOWS])
def test_nobody_says_that_a_point_is_not_there_when_nobody_can_know(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch, shut_one: str
) -> None:
    store_point(destination)
    shut(monkeypatch, shut_one)
    for ask in (
        destination.has_trace,
        destination.read_manifest,
        destination.verify_point,
        destination.delete_point,
        destination.pin,
    ):
        with pytest.raises(DestinationFailed) as caught:
            ask(OTHER_POINT)
        assert DENIED == caught.value.message


def test_what_a_file_system_brings_along_is_no_place_for_points(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut(monkeypatch, "lost+found")
    assert not destination.has_trace(POINT)
    assert not destination.has_point(POINT)
    assert not destination.delete_point(POINT)
    assert () == destination.scan().unreadable


def test_a_folder_that_no_run_makes_is_told_and_holds_no_run_up(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut(monkeypatch, WINDOWS)
    assert not destination.has_point(POINT)
    assert not destination.discard_partial(POINT)
    assert ((), ()) == destination.finish_removals()
    assert (f"{WINDOWS}: {DENIED}",) == destination.scan().unreadable


# What a run left


@pytest.mark.parametrize("prefix", [".partial-", ".deleting-"])
def test_what_a_run_left_beside_an_unreadable_folder_is_removed(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    home = store_point(destination, point=OTHER_POINT).parent
    (home / f"{prefix}{POINT}").mkdir()
    shut(monkeypatch, BEFORE, BEHIND)
    assert destination.has_trace(POINT)
    assert destination.discard_partial(POINT)
    assert not (home / f"{prefix}{POINT}").exists()


def test_a_run_whose_beginning_is_there_has_published_nothing(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = destination.stage_point("web", "web", POINT)
    staged.close()
    shut(monkeypatch, BEFORE, BEHIND)
    assert not destination.has_point(POINT)


def test_a_run_of_which_nothing_was_found_may_have_left_something_where_nobody_can_look(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut(monkeypatch, BEFORE)
    with pytest.raises(DestinationFailed, match="Permission denied"):
        destination.has_point(POINT)
    with pytest.raises(DestinationFailed, match="Permission denied"):
        destination.discard_partial(POINT)


def test_removals_end_beside_an_unreadable_folder_which_is_told(
    destination: ImagesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = store_point(destination)
    place.rename(place.with_name(f".deleting-{POINT}"))
    shut(monkeypatch, BEFORE)
    assert ((POINT,), (f"{BEFORE}: {DENIED}",)) == destination.finish_removals()


# The verbs


@pytest.fixture
def attic(tmp_path: Path) -> Attic:
    return Attic(tmp_path / "host")


def test_prune_works_beside_an_unreadable_folder(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = attic.store_nights(4)
    (attic.folder / BEFORE).mkdir()
    shut(monkeypatch, BEFORE)
    told = f"local: {BEFORE}: {DENIED}"
    assert (told,) == list_points(attic.house).unreadable
    assert points[-1] == find_point(attic.house, "web@latest").point
    report = prune_points(attic.house)
    assert [Fate.REMOVED, Fate.REMOVED, Fate.KEPT, Fate.KEPT] == [
        found.fate for found in report.points
    ]
    assert ((), (told,)) == (report.absent, report.troubles)
    assert points[2:] == attic.list_ids()


def test_verify_reads_what_it_can_and_tells_of_folders_that_may_hold_points(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = attic.store_nights(2)
    for name in (BEFORE, WINDOWS, "lost+found"):
        (attic.folder / name).mkdir()
    shut(monkeypatch, BEFORE, WINDOWS, "lost+found")
    results = verify_points(attic.house, None, SilentVerifyWatcher())
    assert [
        (points[0], Verdict.GOOD, ""),
        (points[1], Verdict.GOOD, ""),
        ("", Verdict.UNREAD, f"{BEFORE}: {DENIED}"),
    ] == [(result.point, result.verdict, result.reason) for result in results]
    assert ("local", ExitCode.FAILED) == (results[2].destination, exit_code_of(results))


def test_recovery_finishes_removals_beside_an_unreadable_folder(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = attic.place(attic.store(2))
    place.rename(place.with_name(f".deleting-{place.name}"))
    (attic.folder / BEFORE).mkdir()
    shut(monkeypatch, BEFORE)
    assert FinishedRemovals(
        points=(place.name,), troubles=(f"local: {BEFORE}: {DENIED}",)
    ) == finish_removals(attic.house)


def test_a_cancelled_run_leaves_nothing_beside_an_unreadable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "host")
    folder = site.host.place(houses.DESTINATION)
    for name in (BEFORE, WINDOWS, "lost+found"):
        (folder / name).mkdir()
    shut(monkeypatch, BEFORE, WINDOWS, "lost+found")
    begun: list[Path] = []

    def cancel() -> str:
        begun.extend(folder.rglob(".partial-*"))
        return "it is enough" if begun else ""

    (run,) = houses.back_up(site.house, "crash", cancelled=cancel).runs
    assert begun
    assert [] == list(folder.rglob(".partial-*"))
    assert "it is enough" in run.error
    assert [] == list(houses.recover(site.house))
    assert [] == houses.find_wrongs(site.house)
