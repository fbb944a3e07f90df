"""What a restore must see of the host before it decides: read once, changed by nobody here."""

from __future__ import annotations

import shutil
from pathlib import PurePath

from xenbackup.dom0 import monitor
from xenbackup.dom0.pci import list_pci_slots
from xenbackup.inventory.targets import TargetReader
from xenbackup.model.command import Process
from xenbackup.model.domain import Domain
from xenbackup.model.job import DestinationKind
from xenbackup.model.restore import RestoreMark
from xenbackup.model.restore_sight import PathSight, RestoreSight
from xenbackup.operations.house import House
from xenbackup.planning.restore_candidates import propose_candidates
from xenbackup.planning.restore_plan import RestoreRequest, is_half_built
from xenbackup.records.restore_marks import RestoreMarks

MARKS_FOLDER = "restores"
MARKED_TOOLS = frozenset(("xl", "xm", "libxl-save-helper", "lvcreate"))


def open_marks(house: House) -> RestoreMarks:
    """The marks of this host's unfinished restores."""
    return RestoreMarks(house.state_folder / MARKS_FOLDER)


def read_restore_sight(house: House, request: RestoreRequest) -> RestoreSight:
    """Everything that the decision needs of the host. Raises: CommandFailed, UnexpectedOutput."""
    manifest, options = request.manifest, request.options
    inventory = house.read_inventory()
    reader = TargetReader(house.host, inventory, _list_own_places(house))
    candidates = propose_candidates(manifest, options, inventory)
    paths = [candidate.path for found in candidates.values() for candidate in found]
    paths += [disk.source for disk in manifest.disks]
    marks = open_marks(house).list_marks()
    domain = options.domain or manifest.domain
    boot_id = house.host.boot_id()
    living: Domain | None = None
    half_built: Domain | None = None
    survivors: tuple[Process, ...] = ()
    if domain == manifest.domain:
        living = _find_domain(house, manifest.uuid)
    for mark in marks:
        if (mark.point, mark.domain) == (manifest.point, domain):
            found_domain = _find_domain(house, mark.uuid)
            living = found_domain or living
            # One that somebody created by hand since, and paused, is theirs.
            others = monitor.is_watched_by_others(house.host, domain, mark.restore)
            if is_half_built(mark, found_domain, boot_id) and not others:
                half_built = found_domain
            survivors += _find_survivors(house, mark)
    needed = request.guest.list_needed_files()
    return RestoreSight(
        inventory=inventory,
        paths=tuple(_look_at(reader, path) for path in dict.fromkeys(paths)),
        uses=reader.list_uses(),
        marks=marks,
        boot_id=boot_id,
        cpu_model=house.host.cpu_model(),
        spool_free_bytes=_measure_spool(house),
        living=living,
        half_built=half_built,
        survivors=survivors,
        pci_slots=list_pci_slots(house.host) if request.guest.pci_devices else None,
        missing_files=tuple(path for path in needed if not reader.look(path).exists),
    )


def _look_at(reader: TargetReader, path: str) -> PathSight:
    if not path.startswith("/"):
        return PathSight(path=path, exists=False)
    return reader.look(path)


def _find_domain(house: House, uuid: str) -> Domain | None:
    return house.toolstack.find_domain(uuid) if uuid else None


def _find_survivors(house: House, mark: RestoreMark) -> tuple[Process, ...]:
    """Commands of the restore that outlived it; the monitor of a guest that it made may live."""
    return tuple(
        process
        for process in house.host.list_processes()
        if process.run_mark == mark.restore
        and PurePath(process.argv[0] if process.argv else "").name in MARKED_TOOLS
        and not monitor.is_monitor_of(process, mark.domain)
    )


def _list_own_places(house: House) -> list[tuple[str, str]]:
    """Folders that hold what we keep: none of them is a place for a guest's disk."""
    configuration = house.configuration
    places = [
        (f"destination {spec.name}", spec.path)
        for spec in configuration.destinations
        if spec.kind is DestinationKind.IMAGES
    ]
    return [
        *places,
        ("the spool of memory images", configuration.spool_path),
        ("xenbackup's own state", configuration.state_path),
    ]


def _measure_spool(house: House) -> int:
    """Bytes free where the spool is, or will be made."""
    folder = house.host.place(house.configuration.spool_path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
