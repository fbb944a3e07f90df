"""What `inventory --json` prints: keys that scripts may rely on, sizes in bytes."""

from __future__ import annotations

from xenbackup.cli.output import SCHEMA
from xenbackup.cli.shapes import Shape
from xenbackup.model.backing import DiskBacking
from xenbackup.model.devices import GuestDrivers, KernelModule, PciDevice
from xenbackup.model.inventory import Inventory
from xenbackup.model.resources import DomainResources, Resources
from xenbackup.planning.inventory_view import (
    GroupRoom,
    find_guests_needing,
    find_snapshot,
    judge_disk,
    reckon_group_rooms,
)
from xenbackup.planning.memory import find_dom0_memory_faults, predict_restore_memory
from xenbackup.planning.pci_conflicts import find_pci_conflicts
from xenbackup.planning.sharing import find_shared

_MIB = 1 << 20


def shape_inventory(inventory: Inventory, toolstack: str, part: str = "") -> Shape:
    """The whole host, or one part of it: `disks` (with the volume groups), `pci`, …"""
    match part:
        case "disks":
            return {"schema": SCHEMA, **_shape_storage(inventory)}
        case "pci":
            return {"schema": SCHEMA, "pci": _shape_pci(inventory)}
        case "resources":
            return {"schema": SCHEMA, "resources": _shape_resources(inventory.resources)}
        case "drivers":
            return {"schema": SCHEMA, "drivers": _shape_drivers(inventory)}
    facts = inventory.facts
    return {
        "schema": SCHEMA,
        "host": {
            "hostname": facts.hostname,
            "xen_version": facts.xen_version,
            "toolstack": toolstack,
            "can_save_paused": inventory.can_save_paused,
            "domains": [
                {
                    "domain": domain.name,
                    "domid": domain.domid if domain.exists else None,
                    "uuid": domain.uuid,
                    "kind": domain.kind.value,
                    "state": domain.state.letters,
                }
                for domain in inventory.domains
            ],
        },
        **_shape_storage(inventory),
        "pci": _shape_pci(inventory),
        "resources": _shape_resources(inventory.resources),
        "drivers": _shape_drivers(inventory),
        "broken_configurations": [
            {"path": file.path, "problem": file.problem} for file in inventory.broken_configurations
        ],
    }


# Disks


def _shape_storage(inventory: Inventory) -> Shape:
    shared = find_shared(inventory.backings)
    return {
        "disks": [
            _shape_disk(
                backing,
                inventory,
                next((group for group in shared if backing in group), ()),
            )
            for backing in inventory.backings
        ],
        "groups": [_shape_group(room) for room in reckon_group_rooms(inventory)],
    }


def _shape_disk(
    backing: DiskBacking, inventory: Inventory, shared: tuple[DiskBacking, ...]
) -> Shape:
    volume = inventory.find_volume_by_uuid(backing.lv_uuid)
    verdict = judge_disk(backing, inventory)
    return {
        "domain": backing.domain,
        "vdev": backing.vdev,
        "kind": backing.kind.value,
        "target": backing.target,
        "path": backing.path,
        "format": backing.format,
        "writable": backing.writable,
        "portable": backing.portable,
        "group": backing.group,
        "volume": volume.name if volume is not None else "",
        "filesystem": backing.filesystem,
        "mount_point": backing.mount_point,
        "size_bytes": backing.size_bytes,
        "allocated_bytes": backing.allocated_bytes,
        "snapshot": find_snapshot(backing).value,
        "presets": list(verdict.presets),
        "presets_reason": verdict.reason,
        "left_out": verdict.left_out,
        "held": backing.held,
        "shared_with": [
            {"domain": other.domain, "vdev": other.vdev} for other in shared if other is not backing
        ],
        "notes": list(backing.notes),
        "problem": backing.problem,
    }


def _shape_group(room: GroupRoom) -> Shape:
    return {
        "group": room.group.name,
        "size_bytes": room.group.size_bytes,
        "free_bytes": room.group.free_bytes,
        "extent_size_bytes": room.group.extent_size_bytes,
        "snapshot_volumes": room.volumes,
        "snapshot_bytes": room.snapshot_bytes,
        "snapshots_fit": room.fits,
        "pools": [
            {
                "pool": pool.name,
                "size_bytes": pool.size_bytes,
                "data_percent": pool.data_percent,
                "metadata_percent": pool.metadata_percent,
            }
            for pool in room.pools
        ],
    }


# PCI


def _shape_pci(inventory: Inventory) -> Shape:
    pci = inventory.pci
    running = {domain.name for domain in inventory.domains if domain.exists}
    return {
        "devices": [_shape_device(device) for device in pci.devices],
        "asked_for": [{"slot": slot, "domains": list(guests)} for slot, guests in pci.asked_for],
        "conflicts": [
            {
                "slot": conflict.slot,
                "kind": conflict.kind.value,
                "domains": list(conflict.guests),
                "running": list(conflict.running),
            }
            for conflict in find_pci_conflicts(pci, running)
        ],
        "pciback_early": pci.early,
        "unregistered": list(pci.unregistered),
        "problem": pci.problem,
    }


def _shape_device(device: PciDevice) -> Shape:
    return {
        "slot": device.slot,
        "class": device.class_name,
        "vendor": device.vendor,
        "device": device.device,
        "driver": device.driver,
        "hidden": device.hidden,
        "hidden_by": list(device.hidden_by),
        "assignable": device.assignable,
        "seizable": device.seizable,
        "owners": list(device.owners),
        "configured_for": list(device.configured_for),
    }


# Resources


def _shape_resources(resources: Resources) -> Shape:
    dom0 = resources.dom0
    limit_mib = dom0.limit_mib
    return {
        "memory_bytes": resources.total_mib * _MIB,
        "free_memory_bytes": resources.free_mib * _MIB,
        "cpus": resources.cpus,
        "scheduler": resources.scheduler,
        "numa_nodes": resources.numa_nodes or None,
        "pools": list(resources.pools),
        "dom0": {
            "memory_bytes": dom0.current_mib * _MIB,
            "on_xen_line": dom0.on_xen_line,
            "on_linux_line": dom0.on_linux_line,
            "promised_bytes": None if limit_mib is None else limit_mib * _MIB,
            "faults": [
                {"code": fault.code, "message": fault.message}
                for fault in find_dom0_memory_faults(dom0)
            ],
        },
        "domains": [_shape_share(guest, resources) for guest in resources.domains],
        "problems": list(resources.problems),
    }


def _shape_share(guest: DomainResources, resources: Resources) -> Shape:
    found = predict_restore_memory(guest, resources)
    return {
        "domain": guest.domain,
        "domid": guest.domid if guest.domid >= 0 else None,
        "memory_bytes": guest.memory_mib * _MIB,
        "maximum_memory_bytes": guest.maximum_mib * _MIB,
        "target_memory_bytes": None if guest.target_mib is None else guest.target_mib * _MIB,
        "vcpus": guest.vcpus,
        "affinity": [
            {"vcpu": entry.vcpu, "hard": entry.hard, "soft": entry.soft}
            for entry in guest.tuning.pinning
        ],
        "weight": guest.tuning.weight,
        "cap": guest.tuning.cap,
        "pool": guest.pool,
        "numa_nodes": guest.numa_nodes,
        "restore": {
            "fits": found.fits,
            "fits_whatever_starts": found.fits_whatever_starts,
            "needed_bytes": found.needed_mib * _MIB,
            "free_after_save_bytes": found.free_after_save_mib * _MIB,
            "could_be_taken_bytes": found.could_be_taken_mib * _MIB,
        },
    }


# Drivers


def _shape_drivers(inventory: Inventory) -> Shape:
    return {
        "domains": [_shape_guest(guest) for guest in inventory.drivers.guests],
        "modules": [_shape_module(module, inventory) for module in inventory.drivers.modules],
    }


def _shape_guest(guest: GuestDrivers) -> Shape:
    return {
        "domain": guest.domain,
        "kind": guest.kind,
        "disk_style": guest.disk_style,
        "boards": [
            {
                "mac": board.mac,
                "bridge": board.bridge,
                "model": board.model,
                "kind": board.kind,
                "backend": board.backend,
            }
            for board in guest.boards
        ],
        "video": guest.video,
        "can_save": guest.can_save,
        "can_stream": guest.can_stream,
        "can_balloon": guest.can_balloon,
        "reasons": list(guest.reasons),
        "findings": list(guest.findings),
        "notes": list(guest.notes),
    }


def _shape_module(module: KernelModule, inventory: Inventory) -> Shape:
    return {
        "module": module.name,
        "purpose": module.purpose,
        "state": module.state,
        "needed_by": list(find_guests_needing(module, inventory)),
    }
