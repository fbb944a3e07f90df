"""Rules about the places that we write to: destinations and the spool."""

from __future__ import annotations

from collections.abc import Iterator

from xenbackup.model.inventory import Inventory, PlaceSight
from xenbackup.model.job import DestinationKind, DestinationSpec
from xenbackup.model.plan import DomainPlan
from xenbackup.model.problem import Problem
from xenbackup.model.setting import SPOOL_RESERVE_BYTES
from xenbackup.model.slot import encode_slot_tag, find_slots, is_slot
from xenbackup.planning.validation.codes import make_problem
from xenbackup.planning.validation.scene import Scene, add_largest, show_mib

SPOOL = ""
"""What the spool is called among the places of an inventory."""


def check_destination(spec: DestinationSpec, inventory: Inventory) -> Iterator[Problem]:
    """Whether a destination is there and ours; nothing is said of one that was not looked at."""
    place = inventory.find_place(spec.name)
    if place is None:
        return
    name = spec.name
    init = f"xenbackup destination init {name}"
    if place.problem:
        yield make_problem(
            "destination-unusable",
            subject=name,
            message=f"Destination {name} ({place.path}): {place.problem.rstrip('.')}.",
            hint="see that it can be listed and written",
        )
    elif not place.present:
        groups = ", ".join(sorted(group.name for group in inventory.groups)) or "none"
        volume = spec.kind is DestinationKind.VOLUME
        yield make_problem(
            "destination-missing",
            subject=name,
            message=(
                f"Destination {name}: there is no "
                f"{'volume group' if volume else 'folder'} {place.path}."
            ),
            hint=f"groups of this host: {groups}"
            if volume
            else f"mount its disk; a new destination is made by `{init}`",
        )
    elif not place.marked:
        yield _describe_unmarked(spec, place, init)


def _describe_unmarked(spec: DestinationSpec, place: PlaceSight, init: str) -> Problem:
    if spec.kind is DestinationKind.VOLUME:
        return make_problem(
            "destination-not-marked",
            subject=spec.name,
            message=f"Destination {spec.name}: no volume in group {place.path} is prepared for us.",
            hint=f"`{init}` says how to prepare them",
        )
    if place.mount_point == "/":
        return make_problem(
            "destination-not-mounted",
            subject=spec.name,
            message=(
                f"Destination {spec.name}: nothing is mounted at {place.path} (it is on the disk "
                "of /), and it bears no mark of ours."
            ),
            hint=f"mount its disk; if it shall be right there, `{init}`",
        )
    return make_problem(
        "destination-not-marked",
        subject=spec.name,
        message=f"Destination {spec.name}: {place.path} bears no mark of ours.",
        hint=f"is the right disk mounted? Then `{init}`",
    )


def check_destination_room(scene: Scene, spec: DestinationSpec) -> Iterator[Problem]:
    """Whether the next points fit. Zeros are not stored, so this can be said of no disk exactly."""
    place = scene.inventory.find_place(spec.name)
    if place is None or place.problem or not place.present or not place.marked:
        return
    if spec.kind is DestinationKind.VOLUME:
        yield from _check_slots(scene, spec)
        return
    needed_bytes = sum(estimate_point_bytes(plan, scene.inventory) for plan in scene.plan.domains)
    if needed_bytes > place.free_bytes:
        yield make_problem(
            "destination-too-small",
            subject=spec.name,
            message=(
                f"Destination {spec.name} ({place.path}) has {show_mib(place.free_bytes)} free; "
                f"the next points of job {scene.job.name} take up to {show_mib(needed_bytes)}."
            ),
            hint="free space there, or give the job another destination",
        )


def estimate_point_bytes(plan: DomainPlan, inventory: Inventory) -> int:
    """At most so much is stored of a guest: what its disks take, and its memory image."""
    total = plan.memory_image_bytes
    for disk in plan.disks:
        backing = inventory.find_backing(plan.domain.name, disk.vdev)
        allocated = backing.allocated_bytes if backing is not None else None
        total += disk.size_bytes if allocated is None else min(allocated, disk.size_bytes)
    return total


def _check_slots(scene: Scene, spec: DestinationSpec) -> Iterator[Problem]:
    """A prepared volume for each disk, in a destination of volumes."""
    volumes = [volume for volume in scene.inventory.volumes if volume.group == spec.path]
    for plan in scene.plan.domains:
        name = plan.domain.name
        for disk in plan.disks:
            found = find_slots(volumes, name, disk.vdev)
            code, message, hint = "", "", ""
            if not found:
                code = "slot-missing"
                message = f"{name}: group {spec.path} has no prepared volume for disk {disk.vdev}."
                hint = f"`xenbackup destination init {spec.name}` says how to prepare one"
            elif len(found) > 1:
                names = ", ".join(sorted(volume.name for volume in found))
                code = "slot-ambiguous"
                message = (
                    f"{name}: group {spec.path} has several volumes for disk {disk.vdev}: {names}."
                )
                hint = f"take the tag {encode_slot_tag(name, disk.vdev)} off all but one"
            elif not is_slot(found[0]):
                code = "slot-not-marked"
                message = (
                    f"{name}: {spec.path}/{found[0].name}, meant for disk {disk.vdev}, is not "
                    "marked as a destination."
                )
                hint = f"`xenbackup destination init {spec.name}` says how to mark one"
            elif found[0].size_bytes < disk.size_bytes:
                code = "slot-too-small"
                message = (
                    f"{name}: {spec.path}/{found[0].name} has {show_mib(found[0].size_bytes)}, "
                    f"disk {disk.vdev} has {show_mib(disk.size_bytes)}."
                )
                hint = f"`lvextend -L {disk.size_bytes}b {spec.path}/{found[0].name}`"
            if code:
                yield make_problem(
                    code, subject=f"{name}:{disk.vdev}", message=message, hint=hint, domain=name
                )


def check_spool(inventory: Inventory) -> Iterator[Problem]:
    """Whether the spool can be used at all."""
    place = inventory.find_place(SPOOL)
    if place is not None and (place.problem or not place.present):
        why = place.problem.rstrip(".") or "it is not there, and cannot be made"
        yield make_problem(
            "spool-unusable",
            subject=place.path,
            message=f"The spool {place.path}: {why}.",
            hint="set `[spool] path` in config.toml to a folder on a disk of this host",
        )


def check_spool_room(scene: Scene) -> Iterator[Problem]:
    """Room for each memory image alone, and for those of guests that are saved at once."""
    place = scene.inventory.find_place(SPOOL)
    if place is None or place.problem or not place.present:
        return
    room_bytes = max(place.free_bytes - SPOOL_RESERVE_BYTES, 0)
    hint = "free space there, or set `[spool] path` to a larger disk"
    fitting = []
    for plan in scene.plan.domains:
        if plan.memory_image_bytes <= room_bytes:
            fitting.append(plan.memory_image_bytes)
            continue
        yield make_problem(
            "spool-too-small",
            subject=place.path,
            message=(
                f"{plan.domain.name}: its memory image takes {show_mib(plan.memory_image_bytes)}, "
                f"the spool {place.path} has {show_mib(place.free_bytes)} free and keeps "
                f"{show_mib(SPOOL_RESERVE_BYTES)}."
            ),
            hint=hint,
            domain=plan.domain.name,
        )
    at_once_bytes = add_largest(fitting, scene.setting.parallel_runs)
    if at_once_bytes > room_bytes:
        yield make_problem(
            "spool-tight",
            subject=place.path,
            message=(
                f"The spool {place.path} has {show_mib(place.free_bytes)} free; memory images of "
                f"{scene.setting.parallel_runs} guests at once take {show_mib(at_once_bytes)}."
            ),
            hint=f"{hint}; or save fewer guests at once",
        )


def check_circles(scene: Scene, spec: DestinationSpec | None) -> Iterator[Problem]:
    """Places on the very guest that is backed up: copied, it writes to itself."""
    names = (spec.name, SPOOL) if spec is not None else (SPOOL,)
    for place in filter(None, (scene.inventory.find_place(name) for name in names)):
        label = f"destination {place.name}" if place.name else "the spool"
        for name in scene.names:
            how = _explain_circle(name, place, scene.inventory)
            if how:
                yield make_problem(
                    "place-on-guest",
                    subject=place.name or place.path,
                    message=f"{name}: {label} ({place.path}) {how}.",
                    hint="give it a place on another machine or disk, or `exclude` this guest",
                    domain=name,
                )


def _explain_circle(guest: str, place: PlaceSight, inventory: Inventory) -> str:
    server = find_server(place.mount_source).lower()
    if server and guest.lower() in (server, server.split(".")[0]):
        return f"is mounted from {place.mount_source}: from the guest itself"
    for backing in inventory.backings:
        if backing.domain == guest and backing.tokens & place.tokens:
            return f"lies on its own disk {backing.vdev} ({backing.target})"
    return ""


def find_server(mount_source: str) -> str:
    """The host in a network file system's source: `nas:/export` and `//nas/share`; else ""."""
    if mount_source.startswith("//"):
        return mount_source[2:].split("/", 1)[0]
    host, colon, path = mount_source.partition(":")
    return host if colon and path.startswith("/") and "/" not in host else ""
