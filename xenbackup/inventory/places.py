"""The places that we write to, as they are now: destinations and the spool; and what guests are.

Looking changes nothing and raises nothing: what cannot be looked at has its reason in `problem`.
A folder whose server is gone does not answer at all; who asks may say how long that is waited for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

from xenbackup.dom0.host import Host
from xenbackup.dom0.monitor import is_monitor_of
from xenbackup.dom0.mount_table import Mount, find_mount, parse_mounts
from xenbackup.dom0.xenstore import offers_no_suspend
from xenbackup.errors import CommandFailed, UnexpectedOutput
from xenbackup.model.domain import Domain
from xenbackup.model.inventory import PlaceSight
from xenbackup.model.job import (
    DESTINATION_MARKER_FILE,
    Configuration,
    DestinationKind,
    DestinationSpec,
)
from xenbackup.model.slot import is_slot
from xenbackup.model.volume import LogicalVolume, VolumeGroup

SPOOL_KIND = "spool"
_READ_ONLY = "is mounted read-only: `dmesg` may tell why"
# A device below a device below a device: RAID, LUKS, LVM, multipath. A circle must end, too.
_DEPTH_LIMIT = 16

Questions: TypeAlias = Mapping[str, Callable[[], PlaceSight]]
Asker: TypeAlias = Callable[[Questions], Mapping[str, PlaceSight]]


def _ask_in_turn(questions: Questions) -> Mapping[str, PlaceSight]:
    return {key: question() for key, question in questions.items()}


def read_places(
    host: Host,
    volumes: Sequence[LogicalVolume],
    groups: Sequence[VolumeGroup],
    configuration: Configuration,
    ask: Asker = _ask_in_turn,
) -> tuple[PlaceSight, ...]:
    """Every configured destination, and the spool last.

    `ask` is given a question for each folder and returns the answers that it got; a folder without
    one has that for its problem.
    """
    reader = _PlaceReader(host, volumes)
    spool = DestinationSpec(name="", kind=DestinationKind.IMAGES, path=configuration.spool_path)
    folders = [spec for spec in configuration.destinations if spec.kind is DestinationKind.IMAGES]
    questions: dict[str, Callable[[], PlaceSight]] = {
        _name_question(host, spec): partial(reader.look_at_folder, spec) for spec in folders
    }
    questions[_name_question(host, spool)] = partial(reader.look_at_spool, spool.path)
    answers = ask(questions)
    return tuple(
        _look_at_group(spec, volumes, groups)
        if spec.kind is DestinationKind.VOLUME
        else answers.get(_name_question(host, spec)) or _describe_silence(spec)
        for spec in (*configuration.destinations, spool)
    )


def _name_question(host: Host, spec: DestinationSpec) -> str:
    return f"place {spec.name} {host.place(spec.path)}"


def _describe_silence(spec: DestinationSpec) -> PlaceSight:
    return PlaceSight(
        name=spec.name,
        kind=spec.kind.value if spec.name else SPOOL_KIND,
        path=spec.path,
        problem="does not answer: is its server gone, or its disk broken?",
    )


def find_monitored(host: Host, domains: Iterable[Domain]) -> frozenset[str]:
    """Names of the running guests that an xl process watches; one listing for all of them."""
    processes = host.list_processes()
    return frozenset(
        domain.name
        for domain in domains
        if domain.exists and any(is_monitor_of(process, domain.name) for process in processes)
    )


def find_no_suspend(host: Host, domains: Iterable[Domain]) -> frozenset[str]:
    """Names of the running guests that do not offer to be suspended; one command each.

    A guest of which that cannot be read is left out: it is a warning's reason, and no more.
    """
    names = set()
    for domain in domains:
        if not domain.exists:
            continue
        with suppress(CommandFailed, UnexpectedOutput):
            if offers_no_suspend(host, domain.domid):
                names.add(domain.name)
    return frozenset(names)


def _look_at_group(
    spec: DestinationSpec, volumes: Sequence[LogicalVolume], groups: Sequence[VolumeGroup]
) -> PlaceSight:
    """A destination of prepared volumes: all of their room is ours to write over."""
    slots = [volume for volume in volumes if volume.group == spec.path and is_slot(volume)]
    size_bytes = sum(volume.size_bytes for volume in slots)
    return PlaceSight(
        name=spec.name,
        kind=spec.kind.value,
        path=spec.path,
        present=any(group.name == spec.path for group in groups),
        marked=bool(slots),
        free_bytes=size_bytes,
        total_bytes=size_bytes,
        tokens=frozenset(f"lv:{volume.uuid}" for volume in slots),
    )


class _PlaceReader:
    """Looks at folders of one host."""

    def __init__(self, host: Host, volumes: Sequence[LogicalVolume]) -> None:
        self._host = host
        self._volumes = volumes

    def look_at_folder(self, spec: DestinationSpec) -> PlaceSight:
        folder = self._host.place(spec.path)
        free_bytes = total_bytes = 0
        present = marked = False
        problem = ""
        try:
            present = stat.S_ISDIR(folder.stat().st_mode)
            problem = "" if present else "is no folder"
            if present:
                marked = _is_marked(folder)
                free_bytes, total_bytes = _measure_room(folder)
                problem = _READ_ONLY if _is_read_only(folder) else ""
        except FileNotFoundError:
            present = False
        except OSError as error:
            problem = f"cannot be looked at: {error.strerror or error}"
        mount = self._find_mount(spec.path)
        return PlaceSight(
            name=spec.name,
            kind=spec.kind.value,
            path=spec.path,
            present=present,
            marked=marked,
            free_bytes=free_bytes,
            total_bytes=total_bytes,
            mount_point=mount.point if mount is not None else "",
            mount_source=mount.source if mount is not None else "",
            tokens=self._identify(folder, mount),
            problem=problem,
        )

    def look_at_spool(self, path: str) -> PlaceSight:
        """We make the folder ourselves: until then its disk is that of the nearest one above."""
        folder = self._host.place(path)
        free_bytes = total_bytes = 0
        problem = ""
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        try:
            if stat.S_ISDIR(folder.stat().st_mode):
                free_bytes, total_bytes = _measure_room(folder)
                problem = _READ_ONLY if _is_read_only(folder) else ""
            else:
                problem = "is no folder"
        except OSError as error:
            problem = f"cannot be looked at: {error.strerror or error}"
        mount = self._find_mount(path)
        return PlaceSight(
            name="",
            kind=SPOOL_KIND,
            path=path,
            free_bytes=free_bytes,
            total_bytes=total_bytes,
            mount_point=mount.point if mount is not None else "",
            mount_source=mount.source if mount is not None else "",
            tokens=self._identify(folder, mount),
            problem=problem,
        )

    def _find_mount(self, path: str) -> Mount | None:
        """Asked once the folder was looked at: an automount has it mounted only then."""
        mounts = parse_mounts(self._read_text("/proc/self/mountinfo"))
        real = self._host.place(path)
        # On a simulated host the mounts are its own, and its root is no place of theirs.
        return find_mount(mounts, str(real.resolve()) if str(real) == path else path)

    # What lies below

    def _identify(self, folder: Path, mount: Mount | None) -> frozenset[str]:
        """All identities of the storage below a folder, down to the disks."""
        numbers = set()
        names = set()
        with suppress(OSError):
            number = folder.stat().st_dev
            numbers.add(f"{os.major(number)}:{os.minor(number)}")
        if mount is not None:
            numbers.add(mount.number)
            names.add(mount.source)
            numbers.update(self._find_number(mount.source))
        tokens = set()
        for number_below in self._list_below(numbers):
            tokens.add(f"block:{number_below}")
            tokens.update(self._name_loop(number_below))
        for volume in self._volumes:
            paths = {volume.path, volume.dm_path} - {""}
            if paths & names or any(
                f"block:{number}" in tokens for path in paths for number in self._find_number(path)
            ):
                tokens.add(f"lv:{volume.uuid}")
        return frozenset(tokens)

    def _find_number(self, path: str) -> Iterator[str]:
        """`MAJ:MIN` of a block device's path."""
        if path.startswith("/dev/"):
            with suppress(OSError):
                found = self._host.place(path).stat()
                if stat.S_ISBLK(found.st_mode):
                    yield f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"

    def _list_below(self, numbers: set[str]) -> set[str]:
        """These devices, those they are made of (`slaves` in sysfs), and whole disks of parts."""
        found = set(numbers)
        level = set(numbers)
        for _ in range(_DEPTH_LIMIT):
            level = {below for number in level for below in self._list_parts(number)} - found
            if not level:
                break
            found |= level
        return found

    def _list_parts(self, number: str) -> Iterator[str]:
        folder = self._host.place(f"/sys/dev/block/{number}").resolve()
        sources = list(folder.glob("slaves/*/dev"))
        if (folder / "partition").exists():
            sources.append(folder.parent / "dev")
        for source in sources:
            with suppress(OSError):
                yield source.read_text().strip()

    def _name_loop(self, number: str) -> Iterator[str]:
        """The file behind a loop device."""
        backing = self._host.place(f"/sys/dev/block/{number}/loop/backing_file")
        with suppress(OSError):
            found = self._host.place(backing.read_text().strip()).stat()
            yield f"file:{found.st_dev}:{found.st_ino}"

    def _read_text(self, path: str) -> str:
        try:
            return self._host.place(path).read_text("utf-8", "surrogateescape")
        except OSError:
            return ""


def _is_marked(folder: Path) -> bool:
    try:
        return stat.S_ISREG((folder / DESTINATION_MARKER_FILE).lstat().st_mode)
    except FileNotFoundError:
        return False


def _measure_room(folder: Path) -> tuple[int, int]:
    """Bytes that we may still write, and bytes in all."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _is_read_only(folder: Path) -> bool:
    """So somebody mounted it, or the kernel made it after an error of the disk."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
