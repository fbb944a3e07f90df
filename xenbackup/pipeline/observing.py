"""What the rescue table decides from: the host as it is now, read anew before each act."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePath

from xenbackup.dom0 import monitor, xenstore
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.errors import SaveFailed
from xenbackup.model import entries as e
from xenbackup.model.command import Process
from xenbackup.model.rescue import ImageState, RescueAction, World
from xenbackup.pipeline import devices
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.others import is_intruder, is_watched_by_others
from xenbackup.pipeline.stillness import find_written_disks, is_started_since
from xenbackup.records.journal import read_journal

MARKED_TOOLS = frozenset(
    ("xl", "xm", "libxl-save-helper", "lvcreate", "lvremove", "lvextend", "lvchange")
)
XENDOMAINS_SAVE_FOLDER = "/var/lib/xen/save"
_OF_THE_GUEST = (
    e.RunStarted,
    e.Pausing,
    e.Saving,
    e.Destroyed,
    e.Resuming,
    e.ImageStale,
    e.Restored,
    e.Booting,
    e.Booted,
)
"""Entries after which the guest was as they say: what was saved of it before them is older."""


def observe_world(context: RunContext, attempts: tuple[RescueAction, ...]) -> World:
    """Read from the host all that the table decides from."""
    plan = context.plan
    # A dying domain may have lost its name already: only find_domain still shows it.
    domain = context.toolstack.find_domain(plan.domain.uuid)
    others = [d for d in context.toolstack.list_domains() if d.uuid != plan.domain.uuid]
    namesake = next((other for other in others if other.name == plan.domain.name), None)
    intruders = (other for other in others if other.exists and is_intruder(context, other))
    save_file = find_save_file(context)
    newer = save_file is not None and _is_newer_than_run(context, save_file)
    held = context.record.monitors_frozen
    living = {(process.pid, process.start_ticks) for process in context.host.list_processes()}
    return World(
        boot_id=context.host.boot_id(),
        domain=domain,
        namesake=namesake,
        connections=xenstore.read_connections(context.host, domain.domid) if domain else (),
        suspended_devices=devices.find_suspended(context),
        suspend_requested=bool(
            domain and xenstore.read_shutdown_request(context.host, domain.domid) == "suspend"
        ),
        image=_judge_image(context),
        stopped_monitors=tuple(
            process for process in held if (process.pid, process.start_ticks) in living
        ),
        survivors=find_survivors(context),
        held_by_xendomains=newer,
        older_save_file=save_file is not None and not newer,
        attempts=attempts,
        intruder=next(intruders, None) if context.record.save_begun else None,
        others_monitor=domain is not None and is_watched_by_others(context, domain.name),
        written_disks=find_written_disks(context),
        started_since=is_started_since(context),
    )


def place_save_file(context: RunContext) -> str:
    """Where xendomains keeps what it saved of the guest as the host went down."""
    return f"{XENDOMAINS_SAVE_FOLDER}/{context.plan.domain.name}"


def find_save_file(context: RunContext) -> Path | None:
    """A whole image of the guest where the service looks; a cut-off one restores nothing, nor does
    one that cannot be read, or a folder of the guest's name that somebody keeps images in.
    """
    with suppress(SaveFailed, OSError):
        return _find_whole(context.host.place(place_save_file(context)))
    return None


def _find_whole(path: Path) -> Path | None:
    if path.exists() and inspect_memory_image(path).complete:
        return path
    return None


def _is_newer_than_run(context: RunContext, path: Path) -> bool:
    """Was it written after the last that this run knows of the guest? An older one cannot be of
    the end of this host: it lies there since some other day, and its guest has run on.
    """
    lines = read_journal(context.journal.path)
    times = (line.at.timestamp() for line in lines if isinstance(line.entry, _OF_THE_GUEST))
    known = max(times, default=0.0)
    return path.stat().st_mtime > known


def find_survivors(context: RunContext) -> tuple[Process, ...]:
    """Commands of this run that still work.

    Monitors of restored guests carry the mark too, and so do their device models: both must live.
    One that watches our guest may bear another name: it keeps its log when the guest is renamed.
    """
    name = context.plan.domain.name
    found = tuple(
        process
        for process in context.host.list_processes()
        if process.run_mark == context.run_id
        and PurePath(process.argv[0] if process.argv else "").name in MARKED_TOOLS
        and not monitor.is_monitor_of(process, name)
    )
    if not any(monitor.is_any_monitor(process) for process in found):
        return found
    if context.toolstack.find_status(context.plan.domain.uuid) is None:
        return found
    return tuple(process for process in found if not monitor.is_any_monitor(process))


def _judge_image(context: RunContext) -> ImageState:
    path = context.memory_image
    if context.record.image_discarded or not path.exists():
        return ImageState.MISSING
    found = inspect_memory_image(path)
    if found.complete and found.uuid in ("", context.plan.domain.uuid):
        return ImageState.COMPLETE
    return ImageState.PARTIAL
