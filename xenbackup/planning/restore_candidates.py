"""Paths that the disks of a point could go to: named from options alone, not looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from xenbackup.model.inventory import Inventory
from xenbackup.model.names import encode_folder_name
from xenbackup.model.point import Manifest
from xenbackup.model.restore import RestoreOptions

_VOLUME_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_.-")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A path that a disk could go to; `group` and `lv_name` are "" unless it spells a volume."""

    path: str
    group: str = ""
    lv_name: str = ""


def propose_candidates(
    manifest: Manifest, options: RestoreOptions, inventory: Inventory
) -> dict[str, tuple[Candidate, ...]]:
    """Paths for each disk (by vdev), best first; the later ones are for when the first is taken."""
    placed = {placement.vdev: placement.path for placement in options.disks}
    domain = options.domain or manifest.domain
    proposed: dict[str, tuple[Candidate, ...]] = {}
    for disk in manifest.disks:
        if disk.vdev in placed:
            proposed[disk.vdev] = (read_candidate(placed[disk.vdev], inventory),)
        elif options.volume_group:
            names = [f"{domain}-{disk.vdev}"]
            original = read_candidate(disk.source, inventory)
            if original.lv_name:
                names.insert(0, original.lv_name)
            proposed[disk.vdev] = tuple(
                Candidate(
                    path=f"/dev/{options.volume_group}/{name}",
                    group=options.volume_group,
                    lv_name=name,
                )
                for name in dict.fromkeys(_spell_volume_name(name) for name in names)
            )
        elif options.image_folder:
            name = f"{encode_folder_name(domain)}-{disk.vdev}.img"
            proposed[disk.vdev] = (Candidate(path=str(PurePosixPath(options.image_folder) / name)),)
        else:
            proposed[disk.vdev] = (read_candidate(disk.source, inventory),)
    return proposed


def read_candidate(path: str, inventory: Inventory) -> Candidate:
    """A path, with group and volume where it spells a logical volume, existing or not."""
    volume = inventory.find_volume(path)
    if volume is not None:
        return Candidate(path=path, group=volume.group, lv_name=volume.name)
    parts = path.split("/")
    if len(parts) == 4 and parts[:2] == ["", "dev"] and parts[3]:
        for group in inventory.groups:
            if parts[2] == group.name and _VOLUME_LETTERS.issuperset(parts[3]):
                return Candidate(path=path, group=group.name, lv_name=parts[3])
            # /dev/mapper doubles the dashes within a name and joins the two names with one.
            name = parts[3].removeprefix(group.name.replace("-", "--") + "-")
            single = name.replace("--", "\0")
            if parts[2] == "mapper" and name != parts[3] and "-" not in single:
                spelled = single.replace("\0", "-")
                if _VOLUME_LETTERS.issuperset(spelled):
                    return Candidate(path=path, group=group.name, lv_name=spelled)
    return Candidate(path=path)


def _spell_volume_name(name: str) -> str:
    """A name for LVM: letters that it refuses become `_`, and the first is no dash or dot."""
    spelled = "".join(letter if letter in _VOLUME_LETTERS else "_" for letter in name)
    return spelled.lstrip("-.")[:100] or "disk"
