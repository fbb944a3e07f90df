"""Devices of a run: suspended ones under its disks, and nodes of snapshots that are late.

A command of LVM that dies inside its suspended window leaves the guest's disk frozen: that is seen
to before anything else is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from xenbackup.dom0 import device_mapper
from xenbackup.errors import CommandFailed, CopyCancelled, CopyFailed
from xenbackup.pipeline.context import RunContext
from xenbackup.system.block_device import BlockDevice

NODE_DEADLINE_SECONDS = 30.0
NODE_POLL_SECONDS = 0.5
SETTLE_SECONDS = 10


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


def open_snapshot(context: RunContext, path: str, explain_stop: Callable[[], str]) -> BlockDevice:
    """Open a snapshot, whose node udev may be late with; `explain_stop` ends the wait for it.

    LVM waits for udev before it returns, but not where `udev_sync` is off, nor in a container, nor
    when somebody completed its cookie for it.

    Raises: CopyFailed, at once for any reason but a node that is not there, else after
    NODE_DEADLINE_SECONDS; CopyCancelled when the copy must stop meanwhile.
    """
    began = context.host.monotonic_seconds()
    settled = False
    while True:
        try:
            return context.host.open_volume(path)
        except CopyFailed as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            missing = error
        if reason := explain_stop():
            raise CopyCancelled(f"{path} was not waited for any longer: {reason}.") from missing
        waited = context.host.monotonic_seconds() - began
        if waited > NODE_DEADLINE_SECONDS:
            raise CopyFailed(
                f"{missing.message.removesuffix('.')}: the snapshot's node did not appear within "
                f"{waited:.0f}s.",
                hint="is udev at work? `vgmknodes` makes nodes without it",
            ) from missing
        if not settled:
            settled = True
            with suppress(CommandFailed):
                device_mapper.settle_devices(context.host, SETTLE_SECONDS)
        context.host.sleep(NODE_POLL_SECONDS)
