"""A guest as `xl list -l` recorded it (its `config` object): read, and changed. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from xenbackup.errors import PointDamaged
from xenbackup.model.recorded_guest import RecordedDisk, RecordedGuest
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


def read_recorded_guest(configuration_json: str) -> RecordedGuest:
    """What a restore decides from; a guest without anything when there is no configuration.

    Raises: PointDamaged.
    """
    configuration = read_configuration(configuration_json)
    building = configuration.get("b_info")
    building = building if isinstance(building, dict) else {}
    # Older libxl keeps them within the part of paravirtual guests, as null or text.
    older = building.get("type.pv")
    older = older if isinstance(older, dict) else {}
    kernel, ramdisk = (building.get(key) or older.get(key) for key in ("kernel", "ramdisk"))
    return RecordedGuest(
        disks=tuple(
            RecordedDisk(
                vdev=str(disk.get("vdev", "")),
                path=str(disk.get("pdev_path") or ""),
                writable=_is_writable(disk),
            )
            for disk in _list_objects(configuration, "disks")
        ),
        kernel=kernel if isinstance(kernel, str) else "",
        ramdisk=ramdisk if isinstance(ramdisk, str) else "",
        pci_devices=_list_pci_devices(configuration),
        addresses=tuple(
            str(card.get("mac") or "") for card in _list_objects(configuration, "nics")
        ),
        interface_names=tuple(
            str(card.get("ifname") or "") for card in _list_objects(configuration, "nics")
        ),
    )


def _list_objects(configuration: Mapping[str, object], key: str) -> list[dict[str, object]]:
    listed = configuration.get(key)
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _is_writable(disk: Mapping[str, object]) -> bool:
    """libxl writes switches as True, "True" or 1, and leaves out what is the default."""
    off = (None, 0, False, "False")
    return disk.get("readwrite") not in off and disk.get("is_cdrom") in off


def _list_pci_devices(configuration: Mapping[str, object]) -> tuple[str, ...]:
    """Devices passed through, spelled `0000:03:01.0`."""
    found = []
    for device in _list_objects(configuration, "pcidevs"):
        domain, bus, slot, function = (
            value if isinstance(value := device.get(key), int) else 0
            for key in ("domain", "bus", "dev", "func")
        )
        found.append(f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}")
    return tuple(found)


def separate_guest(
    guest: RecordedGuest,
    *,
    original: str,
    domain: str,
    stored_vdevs: Collection[str],
    fresh_addresses: Sequence[str],
) -> tuple[RecordedGuest, tuple[str, ...]]:
    """The guest under a new name beside its original; what changed, in words.

    It gets network addresses of its own, and no writable disk that is not in the point: that one
    is still the original's. So is a name of an interface in dom0: where the copy cannot have it,
    Xen's vif script takes the interface of that name, the original's, off its bridge.
    """
    notes = []
    kept = []
    for disk in guest.disks:
        if disk.vdev not in stored_vdevs and disk.writable:
            notes.append(
                f"{domain} has no {disk.vdev}: that disk is not in the point, and still "
                f"{original}'s"
            )
        else:
            kept.append(disk)
    addresses = list(guest.addresses)
    for number, fresh in enumerate(fresh_addresses[: len(addresses)]):
        if addresses[number]:
            notes.append(f"{domain} has the network address {fresh}, not {addresses[number]}")
            addresses[number] = fresh
    notes += [
        f"{domain} has no interface {name} in dom0: that one is {original}'s; Xen names its own"
        for name in guest.interface_names
        if name
    ]
    separated = replace(
        guest,
        disks=tuple(kept),
        addresses=tuple(addresses),
        interface_names=("",) * len(guest.interface_names),
    )
    return separated, tuple(notes)


def change_configuration(configuration_json: str, guest: RecordedGuest) -> str:
    """The configuration with the disks, network addresses and interfaces that it has now."""
    configuration = read_configuration(configuration_json)
    if not configuration:
        return ""
    vdevs = {disk.vdev for disk in guest.disks}
    if "disks" in configuration:
        configuration["disks"] = [
            disk
            for disk in _list_objects(configuration, "disks")
            if str(disk.get("vdev", "")) in vdevs
        ]
    cards = _list_objects(configuration, "nics")
    for card, address in zip(cards, guest.addresses, strict=False):
        if address:
            card["mac"] = address
    for card, name in zip(cards, guest.interface_names, strict=False):
        if not name:
            card.pop("ifname", None)
    return json.dumps(configuration)


def changed_targets(plan: RestorePlan) -> dict[str, str]:
    """Disks whose path is not what the configuration says, by vdev: what must be rewritten."""
    return {
        target.disk.vdev: target.path
        for target in plan.targets
        if plan.guest.find_path(target.disk.vdev) not in ("", target.path)
    }
