"""The first `config.toml` and `jobs/nightly.toml` of a host, composed from its inventory. Pure.

Text alone: who reads it should learn from the comments why each line stands there. Lines that may
be brought to life have their `#` right before the key, prose has a blank after it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xenbackup.model.backing import DiskBacking
from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory, PlaceSight
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.printable import show_text
from xenbackup.planning.choice import OFFLINE
from xenbackup.planning.inventory_view import find_snapshot, judge_disk, predict_snapshots
from xenbackup.planning.plan import estimate_image_bytes
from xenbackup.planning.validation.places import find_server

DESTINATION_NAME = "local"
JOB_NAME = "nightly"
FALLBACK_PATH = "/srv/backup"
FOLDERS_FOR_BACKUPS = ("/srv", "/data", "/mnt", "/media", "/backup", "/backups")
"""Where a file system may be mounted that is meant to be filled."""

_LINE_LETTERS = 78
_NAME_LETTERS = 256
_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SuggestedDestination:
    """A folder for recovery points, and the sentence that says why this one.

    `free_bytes` is None where nobody looked, or there is no such folder yet.
    """

    path: str
    reason: str
    free_bytes: int | None = None


# The destination


def suggest_destination(places: Sequence[PlaceSight], inventory: Inventory) -> SuggestedDestination:
    """The mounted file system with the most room that no guest uses, else the usual folder.

    `places` are mount points that can be written, looked at as if they were destinations.
    """
    free = [
        place
        for place in places
        if place.present and not place.problem and not _is_used(place, inventory)
    ]
    if not free:
        return SuggestedDestination(
            path=FALLBACK_PATH,
            reason=(
                "No file system that guests do not use is mounted below "
                f"{', '.join(FOLDERS_FOR_BACKUPS)}. So mount one here first: recovery points "
                "belong on another disk than the guests."
            ),
        )
    best = max(free, key=lambda place: place.free_bytes)
    return SuggestedDestination(
        path=_name_folder(best),
        reason=(
            f"Of the file systems that are mounted and that no guest uses, {best.path} has the "
            f"most room: {show_size(best.free_bytes)} free."
        ),
        free_bytes=best.free_bytes,
    )


def _is_used(place: PlaceSight, inventory: Inventory) -> bool:
    """A guest's disk lies on it, or it lies on a guest's disk, or comes from a guest."""
    server = find_server(place.mount_source).lower()
    names = {domain.name.lower() for domain in inventory.domains}
    if server and names & {server, server.split(".")[0]}:
        return True
    return any(
        backing.tokens & place.tokens or backing.mount_point == place.path
        for backing in inventory.backings
    )


def _name_folder(place: PlaceSight) -> str:
    """The mount point itself where it is ours already or named for backups, else a folder in it."""
    if place.marked or "backup" in place.path.rpartition("/")[2].lower():
        return place.path
    return f"{place.path}/backup"


# config.toml


def compose_configuration(
    inventory: Inventory, toolstack: str, destination: SuggestedDestination, spool: PlaceSight
) -> str:
    """The text of `config.toml`."""
    lines = [
        *_comment(
            "xenbackup: where things are. What is backed up, when and how is said in the job "
            "files, in the folder `jobs` beside this file. docs/jobs.md explains every key."
        ),
        *_comment("After a change: `xenbackup config validate`."),
        "",
        *_comment(
            f"The tool that commands the guests: {toolstack} answered on "
            f"{inventory.facts.hostname}, with Xen {inventory.facts.xen_version}. "
            '"auto" takes whichever of xl and xm does.'
        ),
        f"toolstack = {_quote(toolstack)}",
        "",
        *_comment(
            "How fast disks are read for a backup at most. Without it a backup takes what the "
            "disks give, and guests that share them wait longer for theirs."
        ),
        '#bandwidth_limit = "100MiB/s"',
        "",
        *_comment(_describe_spool(inventory, spool)),
        "[spool]",
        f"path = {_quote(spool.path)}",
        "",
        *_comment(
            f"Where recovery points go; jobs call it `{DESTINATION_NAME}`. {destination.reason}"
        ),
        *_comment(
            f"Before its first use: `xenbackup destination init {DESTINATION_NAME}` puts a marker "
            "into it. Without the marker nothing is written, so a disk that was not mounted does "
            "not get the backups meant for it poured into the empty folder underneath."
        ),
        f"[destination.{DESTINATION_NAME}]",
        'kind = "images"',
        f"path = {_quote(destination.path)}",
    ]
    return _join(lines)


def _describe_spool(inventory: Inventory, spool: PlaceSight) -> str:
    text = (
        "A guest's memory is written here before its copy, and the guest stands still meanwhile: "
        "a disk as fast as can be, with room for the largest guest."
    )
    largest = max(inventory.domains, key=lambda domain: domain.memory_mib, default=None)
    if largest is None:
        return text
    image_bytes = estimate_image_bytes(largest)
    text += (
        f" That is {largest.name} now, with {show_size(largest.memory_mib * _MIB)}: its image "
        f"takes up to {show_size(image_bytes)}."
    )
    if spool.problem or not spool.total_bytes:
        return text
    text += f" The disk of this folder has {show_size(spool.free_bytes)} free."
    if spool.free_bytes < image_bytes:
        text += " That is too little: name a folder on a larger disk."
    return text


# jobs/nightly.toml


def compose_nightly(inventory: Inventory) -> str:
    """The text of `jobs/nightly.toml`: every guest, with the exceptions that this host needs."""
    guests = sorted(inventory.domains, key=lambda domain: domain.name)
    remarks = [
        *_tell_unknown(inventory),
        *_tell_disks(guests, inventory),
        *_tell_groups(guests, inventory),
    ]
    lines = [
        *_comment("Every guest, every night, with its memory where that can be."),
        "#",
        *_comment(f"Look first:  xenbackup plan {JOB_NAME}"),
        *_comment(f"Try it now:  xenbackup run {JOB_NAME}"),
        *_comment("Every key is explained in docs/jobs.md."),
        "",
        'description = "Every guest, every night"',
        "",
        *_comment("Minute, hour, day of month, month, day of week: at half past two."),
        'schedule = "30 2 * * *"',
        "",
        'domains = ["*"]',
        "",
        *_suggest_exclusion(guests),
        "",
        *_comment(
            '"auto" takes for each guest what keeps it away for the least time and still gives '
            f"what `require` asks for. `xenbackup plan {JOB_NAME}` says what it took, and why."
        ),
        'preset = "auto"',
        "",
        *_comment("Memory and disks of one instant."),
        'require = "memory"',
        "",
        f"destination = {_quote(DESTINATION_NAME)}",
        "",
        *_comment("A guest that has not come back by then is brought back, and its run fails."),
        'max_away = "10m"',
        "",
        *_comment("The host was off at half past two? Then run when it is back, until noon."),
        'catch_up = "10h"',
        *(["", *remarks] if remarks else []),
        "",
        "[retention]",
        "# The newest three whatever their day: a run on demand spares the night's.",
        "last = 3",
        "daily = 7",
        "weekly = 4",
        "monthly = 6",
    ]
    for domain in guests:
        lines += _compose_override(domain, inventory)
    return _join(lines)


def _suggest_exclusion(guests: Sequence[Domain]) -> Iterator[str]:
    """A line to bring to life, with the guests that are shut off where there are some."""
    patterns = [
        pattern
        for domain in guests
        if not domain.exists and (pattern := compose_pattern(domain.name))
    ]
    if not patterns:
        yield from _comment("Guests that need no backup:")
        yield '#exclude = ["test-*"]'
        return
    yield from _comment(
        "Guests that are shut off are backed up too, which takes their disks alone. These are off "
        "now; to leave them out:"
    )
    line = f"#exclude = [{', '.join(_quote(pattern) for pattern in patterns)}]"
    if len(line) <= _LINE_LETTERS:
        yield line
        return
    yield "#exclude = ["
    yield from (f"#{_quote(pattern)}," for pattern in patterns)
    yield "#]"


def _tell_unknown(inventory: Inventory) -> Iterator[str]:
    for file in inventory.broken_configurations:
        yield from _comment(
            f"{file.path} could not be read: while its guest is shut off, this job does not know "
            "of it."
        )


def _tell_disks(guests: Sequence[Domain], inventory: Inventory) -> Iterator[str]:
    """What a person should know of disks that leave `auto` little choice, or none."""
    for domain in guests:
        if domain.pci_devices:
            # Told beside its override.
            continue
        for backing in _list_disks(domain, inventory):
            verdict = judge_disk(backing, inventory)
            label = f"{domain.name}: disk {backing.vdev} ({backing.target})"
            if not verdict.presets:
                yield from _comment(f"{label}: {verdict.reason}.")
            elif _lacks_snapshot(backing) and (domain.exists or OFFLINE not in verdict.presets):
                away = (
                    "`auto` takes `cold` for this guest, which is away for the whole copy: mind "
                    "`max_away`."
                    if domain.exists
                    else "only `cold` could take it, which needs it to run: leave this guest out "
                    "with `exclude` while it is off, or it is refused every night."
                )
                yield from _comment(f"{label} takes no snapshot. So {away}")


def _tell_groups(guests: Sequence[Domain], inventory: Inventory) -> Iterator[str]:
    """Groups without room for the snapshots of a guest: many hosts give their guests all of it."""
    for group in inventory.groups:
        short = [
            domain.name
            for domain in guests
            if predict_snapshots(domain, group, inventory) > group.free_bytes
        ]
        if short:
            more = f" and {len(short) - 3} more" if len(short) > 3 else ""
            yield from _comment(
                f"Volume group {group.name} has {show_size(group.free_bytes)} free, too little for "
                f"the snapshots of {', '.join(short[:3])}{more}: a tenth of each disk. Until there "
                f"is room (`vgextend {group.name}`), such a guest is refused."
            )


def _compose_override(domain: Domain, inventory: Inventory) -> Iterator[str]:
    """An override for a guest with a device of its own; one to bring to life for other reasons."""
    drivers = inventory.drivers.find(domain.name)
    if domain.pci_devices:
        devices = ", ".join(domain.pci_devices)
        reason = (
            f"{domain.name} has the PCI device {devices} passed through to it: its memory cannot "
            "be saved. So its disks alone are taken, as a power cut would leave them."
        )
        if not domain.exists:
            reason += " It is shut off now: `crash` passes it over until it runs."
    elif drivers is not None and not drivers.can_save:
        reasons = "; ".join(text.rstrip(".") for text in drivers.reasons)
        reason = (
            f"{domain.name} cannot be saved ({reasons}). To take its disks alone, as a power cut "
            "would leave them:"
        )
    else:
        return
    lacking = [found for found in _list_disks(domain, inventory) if _lacks_snapshot(found)]
    yield ""
    if lacking:
        disks = ", ".join(f"{found.vdev} ({found.target})" for found in lacking)
        yield from _comment(
            f"{domain.name} can be backed up by no preset as it is: `crash` needs a snapshot of "
            f"each disk, and {disks} takes none."
        )
    yield from _comment(reason)
    pattern = compose_pattern(domain.name)
    if pattern is None:
        yield from _comment("Its name cannot be written here: rename it first.")
        return
    mark = "" if domain.pci_devices else "#"
    yield f"{mark}[[override]]"
    yield f"{mark}domains = [{_quote(pattern)}]"
    yield f'{mark}preset = "crash"'
    yield f'{mark}require = "crash"'


def _list_disks(domain: Domain, inventory: Inventory) -> list[DiskBacking]:
    """The disks of a guest that a backup takes."""
    return [
        backing
        for backing in inventory.backings
        if backing.domain == domain.name and not judge_disk(backing, inventory).left_out
    ]


def _lacks_snapshot(backing: DiskBacking) -> bool:
    return find_snapshot(backing) is SnapshotKind.NONE


# Spelling


def compose_pattern(name: str) -> str | None:
    """A pattern that means this guest and, where the name can be printed, no other; None where
    there is none: `*`, `?` and `[` are put in brackets, `?` stands for what cannot be printed.
    """
    letters = []
    for letter in name:
        if not letter.isprintable():
            letters.append("?")
        else:
            letters.append(f"[{letter}]" if letter in "*?[" else letter)
    pattern = "".join(letters)
    return pattern if 0 < len(pattern) <= _NAME_LETTERS else None


def show_size(size_bytes: int) -> str:
    """Whole MiB, or GiB from ten of them on; rounded down."""
    if size_bytes >= 10 * _GIB:
        return f"{size_bytes // _GIB} GiB"
    return f"{size_bytes // _MIB} MiB"


def _quote(text: str) -> str:
    """A basic string of TOML, https://toml.io/en/v1.0.0#string; the text is printable."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _comment(text: str) -> list[str]:
    """Prose for a person, in lines; what cannot be printed is escaped, so that no line ends it."""
    return textwrap.wrap(
        show_text(text),
        _LINE_LETTERS,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )


def _join(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
