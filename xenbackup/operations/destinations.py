"""Destinations: made ready for recovery points, once, by a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xenbackup.errors import DestinationFailed, UsageError
from xenbackup.model.job import DestinationKind, DestinationSpec
from xenbackup.operations.house import House
from xenbackup.storage.images import MARKER_FILE, ImagesDestination

HARMLESS_ENTRIES = frozenset(("lost+found",))
"""What a fresh file system brings along."""


@dataclass(frozen=True, kw_only=True)
class InitialisedDestination:
    """A destination that is ready; `fresh` is False when it was so before.

    `path` is where it lies, `id` its marker's. `volumes` are the marked volumes of kind `volume`.
    """

    name: str
    kind: DestinationKind
    path: str
    id: str
    fresh: bool
    volumes: tuple[str, ...] = ()


def initialise_destination(house: House, name: str) -> InitialisedDestination:
    """Mark a configured destination as ours; one that is marked already stays as it is.

    Raises: UsageError when no destination has the name, DestinationFailed when the place cannot
    serve: its parent folder missing, or the folder holding what is not ours.
    """
    spec = house.configuration.find_destination(name)
    if spec is None:
        known = ", ".join(found.name for found in house.configuration.destinations) or "none"
        raise UsageError(f"There is no destination {name!r}.", hint=f"configured: {known}")
    return _initialise_images(house, spec)


def _initialise_images(house: House, spec: DestinationSpec) -> InitialisedDestination:
    folder = house.host.place(spec.path)
    destination = ImagesDestination(folder, spec.name)
    fresh = _check_folder(spec.name, folder)
    marker = destination.initialise()
    return InitialisedDestination(
        name=spec.name, kind=spec.kind, path=spec.path, id=marker, fresh=fresh
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
