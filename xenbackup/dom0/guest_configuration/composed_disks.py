"""The disks of a composed configuration: a guest must not start without one, or with another."""

from __future__ import annotations

import re
from collections.abc import Mapping

from xenbackup.dom0.guest_configuration.recorded import RecordedObject
from xenbackup.dom0.guest_configuration.writing import Composition, explain_unquotable
from xenbackup.errors import ConfigurationError, UnexpectedOutput

_VDEV = re.compile(r"[a-z0-9]{1,32}")
_FORMATS = ("raw", "qcow", "qcow2", "vhd", "qed", "empty")
_BACKEND_TYPES = ("phy", "tap", "qdisk", "standalone")
# What belongs to the old target alone: a script reads iSCSI names or DRBD resources, a driver
# domain does not hold our volume, and which back-end fits depends on what the target is.
_OLD_TARGET_ONLY = ("script", "backend_domname", "backend_domid", "backend")


def write_disks(
    config: RecordedObject, composition: Composition, new_targets: Mapping[str, str]
) -> None:
    """Write `disk = [ … ]`, every target last, where even commas are its own.

    `new_targets` maps vdev to the path that takes the place of the recorded one.

    Raises: ConfigurationError when a disk cannot be said, or a new target has no disk;
    UnexpectedOutput when a disk is not what libxl records.
    """
    for vdev, target in new_targets.items():
        if not target.startswith("/"):
            raise ConfigurationError((f"Disk {vdev}: its new target {target!r} is no full path.",))
    missing = dict(new_targets)
    specifications: list[str] = []
    for disk in config.take_objects("disks"):
        vdev = disk.take_text("vdev")
        if _VDEV.fullmatch(vdev) is None:
            raise UnexpectedOutput(f"{disk.name('vdev')} of the recorded guest is {vdev!r}.")
        specifications.append(_describe_disk(disk, vdev, missing.pop(vdev, "")))
        disk.report_rest()
    if missing:
        raise ConfigurationError(
            tuple(f"The recorded guest has no disk {vdev!r}." for vdev in missing)
        )
    composition.set_texts("disk", specifications, config.name("disks"))


def _describe_disk(disk: RecordedObject, vdev: str, new_target: str) -> str:
    target = disk.take_text("pdev_path")
    if new_target:
        target = new_target
        for key in _OLD_TARGET_ONLY:
            if disk.has(key):
                disk.drop(key)
                disk.report(key, "left out, because the disk has a new target")
    parts = [f"vdev={vdev}"]
    cdrom = disk.take_switch("is_cdrom") or False
    image_format = disk.take_text("format")
    if image_format and image_format not in (*_FORMATS, "unknown"):
        raise UnexpectedOutput(
            f"{disk.name('format')} of the recorded guest is {image_format!r}; expected one of "
            f"{', '.join(_FORMATS)}."
        )
    if target and image_format not in ("", "empty", "unknown"):
        parts.append(f"format={image_format}")
    removable = disk.take_switch("removable")
    writable = disk.take_switch("readwrite") or False
    if cdrom:
        parts.append("devtype=cdrom")
    else:
        parts.append("access=rw" if writable else "access=ro")
        if removable:
            disk.report("removable", "only a cdrom drive can be removable in xl.cfg")
    parts += _describe_backend(disk, vdev)
    parts += _describe_switches(disk)
    _check_target(vdev, target, cdrom)
    if target:
        # xl strips one comma from the end of target=.
        parts.append(f"target={target}," if target.endswith(",") else f"target={target}")
    return ",".join(parts)


def _describe_backend(disk: RecordedObject, vdev: str) -> list[str]:
    parts: list[str] = []
    for source, key in (("backend_domname", "backend"), ("script", "script")):
        if value := disk.take_text(source):
            if "," in value or "\n" in value or explain_unquotable(value):
                raise ConfigurationError(
                    (f"Disk {vdev}: its {key} {value!r} cannot be written in an xl.cfg.",)
                )
            parts.append(f"{key}={value}")
    if disk.take_number("backend_domid") and not parts:
        disk.report("backend_domid", "a driver domain's number does not last; its name is unknown")
    backend_type = disk.take_text("backend")
    if backend_type in _BACKEND_TYPES:
        parts.append(f"backendtype={backend_type}")
    elif backend_type not in ("", "unknown"):
        disk.report("backend", f"xl has no backendtype {backend_type!r}")
    return parts


def _describe_switches(disk: RecordedObject) -> list[str]:
    parts: list[str] = []
    if disk.take_switch("direct_io_safe"):
        parts.append("direct-io-safe")
    discard = disk.take_switch("discard_enable")
    if discard is not None:
        parts.append("discard" if discard else "no-discard")
    if disk.take_switch("trusted") is False:
        parts.append("untrusted")
    grant_usage = disk.take_switch("grant_usage")
    if grant_usage is not None:
        parts.append(f"grant_usage={int(grant_usage)}")
    if disk.take_text("specification") == "virtio":
        parts.append("specification=virtio")
    # libxl allots these to virtio disks itself.
    disk.drop("transport", "irq", "base")
    for key in ("colo_enable", "colo_restore_enable"):
        if disk.take_switch(key):
            disk.report(key, "COLO is a matter of two running hosts, not of a backup")
    return parts


def _check_target(vdev: str, target: str, cdrom: bool) -> None:
    if not target and not cdrom:
        raise ConfigurationError((f"Disk {vdev}: the recorded guest has no target for it.",))
    reason = explain_unquotable(target)
    if any(ord(letter) < 0x20 or letter == "\x7f" for letter in target):
        reason = "it holds a control character"
    if reason:
        raise ConfigurationError(
            (f"Disk {vdev}: its target {target!r} cannot be written in an xl.cfg: {reason}.",)
        )
