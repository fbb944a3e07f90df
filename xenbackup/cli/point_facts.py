"""What `show` tells of a recovery point: its facts, and how to restore it, with dd alone too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from xenbackup.cli.page import Page
from xenbackup.cli.point_verbs import shape_summary
from xenbackup.cli.shapes import shape_time
from xenbackup.cli.text import Cell, Colour, Styled, format_duration, format_size, format_time
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.model.point import Manifest
    from xenbackup.operations.house import House
    from xenbackup.operations.points import FoundPoint

_DIGEST_LETTERS = 16


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a point lies: in words, each disk by its vdev; image and file may be "".

    `in_volumes`: the disks are logical volumes, which may be larger than the disks in them.
    """

    text: str
    disks: dict[str, str]
    memory: str
    configuration: str
    in_volumes: bool


def report_point(house: House, found: FoundPoint, page: Page, now: datetime) -> str:
    """Fields, disks, and the commands that restore it."""
    manifest, place = found.manifest, _find_place(house, found)
    host = manifest.host
    fields: list[tuple[str, Cell]] = [
        ("recovery point", manifest.point),
        ("guest", f"{manifest.domain} ({manifest.kind.value}, {_describe_size(manifest)})"),
        ("uuid", manifest.uuid),
        ("taken", format_time(manifest.created_at, now=now)),
        ("job", f"{manifest.job}, pipeline {manifest.preset}"),
        ("consistency", f"{manifest.consistency.value}{_explain(manifest)}"),
        ("away", format_duration(manifest.away_seconds)),
        ("host", f"{host.hostname}, Xen {host.xen_version}, {host.cpu_model}"),
        ("destination", f"{found.destination}: {place.text}"),
    ]
    if place.configuration:
        fields.append(("its own file", place.configuration))
    if manifest.excluded_disks:
        fields.append(("left out", ", ".join(manifest.excluded_disks)))
    if (damage := found.summary.damage) is not None:
        when = f"found on {format_time(damage.found_at, now=now)}: " if damage.found_at else ""
        fields.append(("damaged", Styled(f"{when}{show_text(damage.reason)}", Colour.RED)))
    if found.summary.pinned:
        fields.append(("pinned", "yes: it is never pruned"))
    rows = [
        (
            disk.vdev,
            disk.file,
            format_size(disk.size_bytes),
            disk.digest[:_DIGEST_LETTERS],
            disk.source,
        )
        for disk in manifest.disks
    ]
    if manifest.memory is not None:
        memory = manifest.memory
        shown = memory.digest[:_DIGEST_LETTERS]
        rows.append(("-", memory.file, format_size(memory.size_bytes), shown, "memory"))
    doubts = [
        page.note(show_text(message), mark="Warning:", colour=Colour.YELLOW)
        for message in found.warnings
    ]
    parts = [
        page.fields(fields),
        *doubts,
        "",
        page.table(("DISK", "FILE", "SIZE", "BLAKE3", "CAME FROM"), rows, "llr"),
        "",
        *_tell_restore(manifest, place, page),
    ]
    return "\n".join(parts)


def shape_point(house: House, found: FoundPoint) -> dict[str, object]:
    """For `show --json`: the manifest's facts, digests whole."""
    manifest, place = found.manifest, _find_place(house, found)
    memory = manifest.memory
    return {
        **shape_summary(found.summary),
        "round": manifest.round,
        "uuid": manifest.uuid,
        "kind": manifest.kind.value,
        "preset": manifest.preset,
        "memory_mib": manifest.memory_mib,
        "vcpus": manifest.vcpus,
        "away_seconds": manifest.away_seconds,
        "place": place.text,
        "disks": [
            {
                "vdev": disk.vdev,
                "path": place.disks[disk.vdev],
                "size_bytes": disk.size_bytes,
                "digest": disk.digest,
                "source": disk.source,
                "writable": disk.writable,
            }
            for disk in manifest.disks
        ],
        "excluded_disks": list(manifest.excluded_disks),
        "memory": None
        if memory is None
        else {"path": place.memory, "size_bytes": memory.size_bytes, "digest": memory.digest},
        "configuration_path": place.configuration,
        "host": {
            "hostname": manifest.host.hostname,
            "xen_version": manifest.host.xen_version,
            "cpu_model": manifest.host.cpu_model,
            "product_version": manifest.host.product_version,
        },
        "created_at": shape_time(manifest.created_at),
        "warnings": list(found.warnings),
    }


def _describe_size(manifest: Manifest) -> str:
    plural = "" if manifest.vcpus == 1 else "s"
    return f"{manifest.memory_mib} MiB, {manifest.vcpus} vCPU{plural}"


def _explain(manifest: Manifest) -> str:
    return {
        "memory": ": memory and disks of one instant",
        "crash": ": disks of one instant, as after a power cut",
        "offline": ": disks of a guest that was off",
    }[manifest.consistency.value]


def _tell_restore(manifest: Manifest, place: _Place, page: Page) -> list[str]:
    """Commands to copy, one a line and never wrapped: a wrapped one could not be copied."""
    lines = [page.heading("To restore"), f"  xenbackup restore {manifest.point} --dry-run"]
    if manifest.memory is not None:
        lines.append(f"  xenbackup restore {manifest.point} --memory --start")
    lines.append(f"  xenbackup restore {manifest.point} --start")
    lines += ["", page.heading("With dd alone, while the guest is off")]
    for disk in manifest.disks:
        target = show_text(disk.source) or f"/dev/VOLUME-OF-{disk.vdev}"
        amount = f" count={disk.size_bytes} iflag=count_bytes" if place.in_volumes else ""
        lines += [
            f"  dd if={show_text(place.disks[disk.vdev])} \\",
            f"     of={target} bs=4M conv=fsync{amount}",
        ]
    if manifest.memory is not None:
        lines.append(f"  xl restore {show_text(place.memory)}")
        lines.append(
            page.note(
                "The memory fits only disks that were just written and not used since. Without it "
                "the guest boots from its disks."
            )
        )
    return lines


def _find_place(house: House, found: FoundPoint) -> _Place:
    """Raises: DestinationMissing, PointDamaged when a part of the point is not there."""
    from xenbackup.storage.images import ImagesDestination
    from xenbackup.storage.manifest import CONFIGURATION_FILE

    manifest = found.manifest
    destination = house.open_destination(found.destination)
    memory = str(destination.memory_path(found.point)) if manifest.memory else ""
    folder = destination.point_folder(found.point)
    own_file = str(folder / CONFIGURATION_FILE) if manifest.configuration_digest else ""
    in_volumes = not isinstance(destination, ImagesDestination)
    if in_volumes:
        spec = house.configuration.find_destination(found.destination)
        group = spec.path if spec is not None else ""
        text, disk_folder = f"volume group {group}", f"/dev/{group}"
    else:
        text = disk_folder = str(folder)
    return _Place(
        text=text,
        disks={disk.vdev: f"{disk_folder}/{disk.file}" for disk in manifest.disks},
        memory=memory,
        configuration=own_file,
        in_volumes=in_volumes,
    )
