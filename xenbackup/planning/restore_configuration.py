"""A guest as `xl list -l` recorded it (its `config` object): read, and changed. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from xenbackup.errors import PointDamaged
from xenbackup.model.restore import RestorePlan


def read_configuration(text: str) -> dict[str, object]:
    """The object itself; {} when the point has none. Raises: PointDamaged."""
    if not text:
        return {}
    try:
        configuration = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PointDamaged(
            f"The guest's configuration in the point is no JSON: {error}."
        ) from error
    return configuration if isinstance(configuration, dict) else {}


def extract_configuration(domain_document: str) -> str:
    """The guest's configuration out of a point's `domain.json`; "" when it holds none.

    Raises: PointDamaged.
    """
    config = read_configuration(domain_document).get("config")
    return json.dumps(config) if isinstance(config, dict) else ""


def list_disks(configuration: Mapping[str, object]) -> list[dict[str, object]]:
    """The disks as recorded: `vdev`, `pdev_path`, `readwrite`, `is_cdrom`, …"""
    return _list_objects(configuration, "disks")


def count_interfaces(configuration_json: str) -> int:
    """How many network interfaces the guest has."""
    return len(_list_objects(read_configuration(configuration_json), "nics"))


def _list_objects(configuration: Mapping[str, object], key: str) -> list[dict[str, object]]:
    listed = configuration.get(key)
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def is_writable(disk: Mapping[str, object]) -> bool:
    """libxl writes switches as True, "True" or 1, and leaves out what is the default."""
    off = (None, 0, False, "False")
    return disk.get("readwrite") not in off and disk.get("is_cdrom") in off


def find_disk_path(configuration_json: str, vdev: str) -> str:
    """Where the guest's configuration has that disk; "" when it has none."""
    for disk in list_disks(read_configuration(configuration_json)):
        if disk.get("vdev") == vdev:
            return str(disk.get("pdev_path") or "")
    return ""


def list_needed_files(configuration_json: str) -> tuple[str, ...]:
    """Absolute paths that the guest's configuration names: kernel, ramdisk, every disk."""
    configuration = read_configuration(configuration_json)
    building = configuration.get("b_info")
    paths = [building.get(key) for key in ("kernel", "ramdisk") if isinstance(building, dict)]
    paths += [disk.get("pdev_path") for disk in list_disks(configuration)]
    return tuple(path for path in paths if isinstance(path, str) and path.startswith("/"))


def list_pci_devices(configuration: Mapping[str, object]) -> tuple[str, ...]:
    """Devices passed through, spelled `0000:03:01.0`."""
    found = []
    for device in _list_objects(configuration, "pcidevs"):
        domain, bus, slot, function = (
            value if isinstance(value := device.get(key), int) else 0
            for key in ("domain", "bus", "dev", "func")
        )
        found.append(f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}")
    return tuple(found)


def separate_configuration(
    configuration_json: str,
    *,
    original: str,
    domain: str,
    stored_vdevs: Collection[str],
    fresh_macs: Sequence[str],
) -> tuple[str, tuple[str, ...]]:
    """The configuration for a guest under a new name beside its original; what changed, in words.

    It gets network addresses of its own, and no writable disk that is not in the point: that one
    is still the original's.
    """
    configuration = read_configuration(configuration_json)
    if not configuration:
        return "", ()
    notes = []
    kept = []
    for disk in list_disks(configuration):
        if disk.get("vdev") not in stored_vdevs and is_writable(disk):
            notes.append(
                f"{domain} has no {disk.get('vdev')}: that disk is not in the point, and still "
                f"{original}'s"
            )
        else:
            kept.append(disk)
    if "disks" in configuration:
        configuration["disks"] = kept
    cards = _list_objects(configuration, "nics")
    for card, address in zip(cards, fresh_macs, strict=False):
        if card.get("mac"):
            notes.append(f"{domain} has the network address {address}, not {card['mac']}")
            card["mac"] = address
    return json.dumps(configuration), tuple(notes)


def changed_targets(plan: RestorePlan) -> dict[str, str]:
    """Disks whose path is not what the configuration says, by vdev: what must be rewritten."""
    return {
        target.disk.vdev: target.path
        for target in plan.targets
        if find_disk_path(plan.configuration_json, target.disk.vdev) not in ("", target.path)
    }
