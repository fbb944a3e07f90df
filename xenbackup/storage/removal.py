"""Removal of points: out of sight in one durable step, then from the disk, never more than is ours.

A point's folder is renamed first, and the rename synced: from then on the point does not exist, and
whoever finds the renamed folder may finish it. Nobody removes a point that another process reads,
and the other way round: readers share a lock on the folder itself, the remover holds it alone. The
system drops it with its holder, and it follows the folder through the rename. (The kernel keeps
locks on folders to itself: they hold within one host, on network file systems too.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xenbackup.errors import DestinationFailed, Locked, NotOurs, PointNotFound
from xenbackup.model.names import is_run_id
from xenbackup.storage.manifest import MANIFEST_FILE
from xenbackup.storage.parts import PINNED_FILE, is_part
from xenbackup.system.folder import EntryKind, Folder

DELETING_PREFIX = ".deleting-"


@contextmanager
def hold_folder(home: Folder, point: str) -> Iterator[None]:
    """Keep the point in `home` from being removed. Raises: PointNotFound when it just is."""
    with home.open_folder(point) as opened:
        if not opened.lock(shared=True) or not home.holds(point, opened):
            raise PointNotFound(
                f"Recovery point {point} is being removed just now.",
                hint="`xenbackup points` lists those that stay",
            )
        yield


def remove_point(home: Folder, name: str, point: str) -> bool:
    """Remove the folder `name`, which holds `point`; False when another process was faster.

    Raises: Locked when somebody reads it; NotOurs when there is anything in it that is no part of
    a point; DestinationFailed, also when it is pinned. The point is then still there.
    """
    with home.open_folder(name) as opened:
        _lock_alone(opened, point)
        if not home.holds(name, opened):
            return False
        _refuse_to_remove(opened, point)
        if home.find(DELETING_PREFIX + point) is not None:
            finish_removal(home, point)
        home.rename(name, DELETING_PREFIX + point)
        home.sync()
        _empty(opened)
        home.remove_empty(DELETING_PREFIX + point)
        home.sync()
    return True


def finish_removal(home: Folder, point: str) -> str:
    """Remove what an interrupted removal of the point left; why something stays, "" if nothing.

    Raises: Locked when the removal goes on in another process; DestinationFailed.
    """
    name = DELETING_PREFIX + point
    entry = home.find(name)
    if entry is None:
        return ""
    if entry.kind is not EntryKind.FOLDER:
        return f"{name} is a {entry.kind}"
    with home.open_folder(name) as opened:
        _lock_alone(opened, point)
        if not home.holds(name, opened):
            return ""
        _empty(opened)
        left = ", ".join(found.name for found in opened.list_entries())
        home.remove_empty(name)
        home.sync()
    return f"{left} in {name} is no part of a point" if left else ""


def finish_all_removals(home: Folder) -> tuple[list[str], list[str]]:
    """Every interrupted removal in a domain's folder: points that are gone, and what stays and why.

    Those that go on in another process are left to it. Raises: DestinationFailed.
    """
    finished: list[str] = []
    left: list[str] = []
    for entry in home.list_entries():
        point = entry.name.removeprefix(DELETING_PREFIX)
        if point == entry.name or not is_run_id(point):
            continue
        try:
            why = finish_removal(home, point)
        except Locked:
            continue
        except DestinationFailed as error:
            why = error.message
        if why:
            left.append(why)
        else:
            finished.append(point)
    return finished, left


def _lock_alone(opened: Folder, point: str) -> None:
    if not opened.lock(shared=False):
        raise Locked(
            f"Point {point} is in use just now: another process reads or removes it.",
            hint="wait until that restore or verification has ended",
        )


def _refuse_to_remove(opened: Folder, point: str) -> None:
    if opened.find(PINNED_FILE) is not None:
        raise DestinationFailed(
            f"Point {point} is pinned: it is not removed.", hint=f"`xenbackup unpin {point}`"
        )
    foreign = [
        f"{entry.name} ({entry.kind})" for entry in opened.list_entries() if not is_part(entry)
    ]
    if foreign:
        raise NotOurs(
            f"{opened.path} holds what is no part of a point: {', '.join(foreign)}.",
            hint="nothing of it was removed; move those away",
        )


def _empty(opened: Folder) -> None:
    """Remove the parts; the manifest first, so that nobody takes the rest for a whole point."""
    parts = [entry.name for entry in opened.list_entries() if is_part(entry)]
    for name in sorted(parts, key=lambda name: name != MANIFEST_FILE):
        opened.remove_file(name)
