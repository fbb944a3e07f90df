"""Suspended devices under the run's disks: found and resumed, before anything else is judged.

A command of LVM that dies inside its suspended window leaves the guest's disk frozen.
"""

from __future__ import annotations

from xenbackup.dom0 import device_mapper
from xenbackup.pipeline.context import RunContext


def find_suspended(context: RunContext) -> tuple[str, ...]:
    """Suspended device-mapper devices that the domain's disks stand on."""
    disks = context.plan.disks
    # Below a device of DRBD lies a volume that is snapshotted in its place.
    below = [f"/dev/{disk.group}/{disk.lv_name}" for disk in disks if disk.group]
    paths = [*(disk.path for disk in disks), *below]
    return device_mapper.find_suspended_under(context.host, paths)


def resume_devices(context: RunContext) -> None:
    """`lvchange --refresh` heals a device that a killed lvcreate left suspended."""
    for disk in context.plan.disks:
        if disk.lv_uuid:
            volume = context.lvm.find_by_uuid(disk.lv_uuid)
            if volume is not None:
                context.lvm.refresh_volume(volume, context.run_id)
    for name in find_suspended(context):
        device_mapper.resume_device(context.host, name, run_id=context.run_id)
