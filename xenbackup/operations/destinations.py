"""Destinations: made ready for recovery points, once, by a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xenbackup.errors import DestinationFailed, UsageError
from xenbackup.model.job import DestinationKind
from xenbackup.model.volume import TAG_DESTINATION
from xenbackup.operations.house import House
from xenbackup.storage.images import MARKER_FILE, ImagesDestination
from xenbackup.storage.owners import HARMLESS_ENTRIES
from xenbackup.storage.volume import VolumeDestination


@dataclass(frozen=True, kw_only=True)
class InitialisedDestination:
    """A destination that is ready; `fresh` is False when it was so before.

    `path` is where it lies, `id` its marker's. `volumes` are the marked volumes of kind `volume`;
    `remark` says what is still to be done by hand.
    """

    name: str
    kind: DestinationKind
    path: str
    id: str
    fresh: bool
    volumes: tuple[str, ...] = ()
    remark: str = ""


def initialise_destination(house: House, name: str) -> InitialisedDestination:
    """Mark a configured destination as ours; one that is marked already stays as it is.

    Of kind `volume` the volumes themselves are marked by an administrator, one by one: which of
    them may be written over is nothing to guess.

    Raises: UsageError when no destination has the name, DestinationFailed when the place cannot
    serve: its parent folder missing, or the folder holding what is not ours; DestinationMissing for
    a group that does not exist.
    """
    destination = house.open_destination(name)
    if isinstance(destination, VolumeDestination):
        return _initialise_volumes(destination)
    if isinstance(destination, ImagesDestination):
        return _initialise_images(destination)
    raise UsageError(f"Destination {name} is of a kind that needs no preparation.")


def _initialise_images(destination: ImagesDestination) -> InitialisedDestination:
    fresh = _check_folder(destination.name, destination.folder)
    marker = destination.initialise()
    return InitialisedDestination(
        name=destination.name,
        kind=destination.kind,
        path=str(destination.folder),
        id=marker,
        fresh=fresh,
    )


def _initialise_volumes(destination: VolumeDestination) -> InitialisedDestination:
    fresh = not destination.is_ready()
    marker = destination.initialise()
    volumes = tuple(f"{volume.group}/{volume.name}" for volume in destination.list_slots())
    remark = ""
    if not volumes:
        remark = (
            "no volume is prepared yet: make one for each disk, as large as the disk, and mark it: "
            f"`lvcreate --name DOMAIN--VDEV --size SIZE --addtag {TAG_DESTINATION} "
            f"{destination.group}`"
        )
    return InitialisedDestination(
        name=destination.name,
        kind=destination.kind,
        path=destination.group,
        id=marker,
        fresh=fresh,
        volumes=volumes,
        remark=remark,
    )


def _check_folder(name: str, folder: Path) -> bool:
    """Whether the folder is still to be marked. The folder itself is made, its parent is not: a
    wrong path, or a disk that is not mounted, must not end as a new tree on the root disk.

    Raises: DestinationFailed.
    """
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        if not folder.parent.is_dir():
            raise DestinationFailed(
                f"Destination {name}: {folder.parent}, where {folder.name} would be made, does "
                "not exist.",
                hint="mount its disk, or make that folder; is `path` in config.toml right?",
            ) from None
        return True
    except OSError as error:
        raise DestinationFailed(
            f"Destination {name}: cannot look into {folder}: {error.strerror}."
        ) from error
    if MARKER_FILE in entries:
        return False
    foreign = [entry for entry in entries if entry not in HARMLESS_ENTRIES]
    if foreign:
        raise DestinationFailed(
            f"Destination {name}: {folder} is not empty ({', '.join(foreign[:3])}"
            f"{', …' if len(foreign) > 3 else ''}) and has no marker of ours.",
            hint="set `path` to a folder of its own, inside it for instance",
        )
    return True
