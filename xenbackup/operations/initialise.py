"""Initialise: the first configuration and the first job of a host, from what is found on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from xenbackup.config import jobs_folder
from xenbackup.config.values import Unfit, read_path
from xenbackup.dom0.host import Host
from xenbackup.dom0.mount_table import Mount, parse_mounts
from xenbackup.errors import StateFailed, UsageError
from xenbackup.inventory.host_texts import read_host_text
from xenbackup.inventory.places import read_places
from xenbackup.model.inventory import Inventory, PlaceSight
from xenbackup.model.job import Configuration, DestinationKind, DestinationSpec
from xenbackup.model.printable import show_text
from xenbackup.operations.probing import PLACES_PROBE
from xenbackup.operations.tools import Tools
from xenbackup.planning.initial_configuration import (
    FOLDERS_FOR_BACKUPS,
    JOB_NAME,
    SuggestedDestination,
    compose_configuration,
    compose_nightly,
    suggest_destination,
)
from xenbackup.system import durable

_MOUNTS_FILE = "/proc/self/mountinfo"
_FILE_MODE = 0o644
_FOLDER_MODE = 0o755
# What holds files of any size with their owners; tmpfs and the like forget, vfat ends at 4 GiB.
_FILESYSTEMS = frozenset(
    (
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "jfs", "reiserfs", "f2fs", "bcachefs"),
        *("nfs", "nfs4", "cifs", "smb3", "ceph", "ocfs2", "gfs2", "fuse.glusterfs"),
    )
)


@dataclass(frozen=True, kw_only=True)
class InitialFiles:
    """What was written, and the destination that it names."""

    configuration_path: Path
    job_path: Path
    destination: SuggestedDestination

    @property
    def written(self) -> tuple[Path, Path]:
        return (self.configuration_path, self.job_path)


def find_existing(configuration_path: Path) -> tuple[Path, ...]:
    """Those of the files to be written that are there already, links that lead nowhere too."""
    files = (configuration_path, _locate_job(configuration_path))
    return tuple(path for path in files if os.path.lexists(path))


def initialise_configuration(
    tools: Tools, configuration_path: Path, destination_path: str = ""
) -> InitialFiles:
    """Write `config.toml` and, beside it, `jobs/nightly.toml`; both or neither.

    `destination_path` is a folder of the host; "" looks for one.

    Raises: UsageError when one of the files is there, or the path cannot be a destination's;
    CommandFailed, UnexpectedOutput from the tools; StateFailed when a file cannot be written.
    """
    existing = find_existing(configuration_path)
    if existing:
        names = " and ".join(str(path) for path in existing)
        verb, object_ = ("is", "it") if len(existing) == 1 else ("are", "them")
        raise UsageError(
            f"{names} {verb} there already; nothing was written.",
            hint=f"init never overwrites: move {object_} away, or name another folder with "
            "--directory",
        )
    asked = _read_destination(destination_path) if destination_path else None
    inventory = tools.read_inventory()
    places = _look_at_mounts(tools.host, inventory)
    destination = asked or suggest_destination(places[:-1], inventory)
    job_path = _locate_job(configuration_path)
    text = compose_configuration(inventory, tools.toolstack.name, destination, places[-1])
    _write_both(
        (configuration_path, text.encode()), (job_path, compose_nightly(inventory).encode())
    )
    return InitialFiles(
        configuration_path=configuration_path, job_path=job_path, destination=destination
    )


def _locate_job(configuration_path: Path) -> Path:
    return jobs_folder(configuration_path) / f"{JOB_NAME}.toml"


def _read_destination(path: str) -> SuggestedDestination:
    found = read_path(path)
    if isinstance(found, Unfit):
        raise UsageError(
            f'The destination is "{show_text(path, limit=80)}", expected {found.expected}.',
            hint=found.hint,
        )
    if found == Configuration().spool_path:
        raise UsageError(
            f"{found} is the folder of the spool.", hint="give the destination its own"
        )
    return SuggestedDestination(path=found, reason="It was named when this file was made.")


# Where there is room


def _look_at_mounts(host: Host, inventory: Inventory) -> tuple[PlaceSight, ...]:
    """Mount points where backups may go, as places; the usual spool is the last."""
    mounts = parse_mounts(read_host_text(host, _MOUNTS_FILE) or "")
    points = _list_mount_points(host, mounts, _list_used_disks(mounts, inventory))
    specs = tuple(
        DestinationSpec(name=f"mount-{number}", kind=DestinationKind.IMAGES, path=point)
        for number, point in enumerate(points)
    )
    configuration = Configuration(destinations=specs)
    return read_places(host, inventory.volumes, inventory.groups, configuration, PLACES_PROBE.ask)


def _list_used_disks(mounts: Sequence[Mount], inventory: Inventory) -> frozenset[str]:
    """Devices of the system and of guests' images, which may be mounted in several places.

    On SUSE `/srv` is a subvolume of the Btrfs that the system and the images of guests lie on.
    """
    used = {"/", *(backing.mount_point for backing in inventory.backings)}
    sources = (mount.source for mount in mounts if mount.point in used)
    return frozenset(source for source in sources if source.startswith("/dev/"))


def _list_mount_points(host: Host, mounts: Sequence[Mount], used: frozenset[str]) -> list[str]:
    points: list[str] = []
    for mount in mounts:
        fits = mount.filesystem in _FILESYSTEMS and read_path(mount.point) == mount.point
        fits = fits and mount.source not in used
        below = any(
            PurePosixPath(mount.point).is_relative_to(folder) for folder in FOLDERS_FOR_BACKUPS
        )
        if fits and below and mount.point not in points:
            points.append(mount.point)
    keys = {point: f"writable {host.place(point)}" for point in points}
    writable = PLACES_PROBE.ask(
        {key: partial(_is_writable, host, point) for point, key in keys.items()}
    )
    return [point for point, key in keys.items() if writable.get(key)]


def _is_writable(host: Host, path: str) -> bool:
    with suppress(OSError):
        return not os.statvfs(host.place(path)).f_flag & os.ST_RDONLY
    return False


# Writing


def _write_both(*files: tuple[Path, bytes]) -> None:
    """Write the files one after the other; when one fails, those before it are taken back."""
    written: list[Path] = []
    try:
        for path, content in files:
            _make_folder(path.parent)
            durable.replace_file(path, content, _FILE_MODE)
            written.append(path)
    except BaseException:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise


def _make_folder(path: Path) -> None:
    """Make a folder with the parents it lacks, for everybody to read."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    for folder in reversed(missing):
        with durable.translate_errors(StateFailed, f"make the folder {folder}"):
            folder.mkdir(mode=_FOLDER_MODE)
            # Whatever the umask says: who may read a file's folder may read the file.
            folder.chmod(_FOLDER_MODE)
        durable.sync_folder(folder.parent)
