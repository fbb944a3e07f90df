"""The configuration of a restored guest: read from its point, written for its toolstack.

The toolstack's own record of a guest that ran is the truth. Where there is none (the guest was shut
off, or ran under xm) the guest's own configuration file takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from xenbackup.dom0 import guest_configuration
from xenbackup.dom0.memory_image import inspect_memory_image
from xenbackup.errors import (
    ConfigurationError,
    DestinationFailed,
    PointDamaged,
    RestoreRefused,
    XenbackupError,
)
from xenbackup.model.domain import GuestKind
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import Manifest
from xenbackup.model.recorded_guest import RecordedDisk, RecordedGuest
from xenbackup.model.restore import RestoreOptions, RestorePlan
from xenbackup.planning.restore_configuration import (
    changed_targets,
    extract_configuration,
    read_recorded_guest,
)
from xenbackup.storage.destination import PointStore
from xenbackup.storage.manifest import CONFIGURATION_FILE


@dataclass(frozen=True, kw_only=True)
class PointGuest:
    """What a point says of its guest; fields as in `RestoreRequest`, `remarks` for a person."""

    guest: RecordedGuest = field(default_factory=RecordedGuest)
    configuration_json: str = ""
    configuration_file: str = ""
    memory_path: str = ""
    memory_is_fixed: bool = False
    remarks: tuple[str, ...] = ()


def read_point_guest(store: PointStore, manifest: Manifest, options: RestoreOptions) -> PointGuest:
    """With memory the configuration is the one in the image's own header: the disks that it names
    are those which the guest will go on writing to.

    Raises: PointDamaged; DestinationFailed; RestoreRefused for a file that cannot be understood.
    """
    if not options.memory or manifest.memory is None:
        return _read_recorded(store, manifest, needed=options.start)
    path = store.memory_path(manifest.point)
    image = inspect_memory_image(path)
    if not image.complete:
        raise PointDamaged(
            f"The memory image of point {manifest.point} cannot be used: {image.reason}.",
            hint="restore without --memory, or from another point",
        )
    if image.uuid not in ("", manifest.uuid):
        raise PointDamaged(
            f"The memory image of point {manifest.point} is of domain {image.uuid}, its "
            f"manifest says {manifest.uuid}."
        )
    if image.configuration_json:
        found = PointGuest(
            guest=read_recorded_guest(image.configuration_json),
            configuration_json=image.configuration_json,
        )
    else:
        found = _read_recorded(store, manifest, needed=False)
    return replace(found, memory_path=str(path), memory_is_fixed=not image.xen_version)


def _read_recorded(store: PointStore, manifest: Manifest, *, needed: bool) -> PointGuest:
    """From the point's own files; where it is not `needed`, what is wrong becomes a remark."""
    try:
        configuration = extract_configuration(store.read_domain(manifest.point))
        if configuration:
            return PointGuest(
                guest=read_recorded_guest(configuration), configuration_json=configuration
            )
        text = store.read_configuration(manifest.point)
        guest = _understand_file(text, manifest) if text else RecordedGuest()
        return PointGuest(guest=guest, configuration_file=text)
    except (PointDamaged, DestinationFailed, RestoreRefused) as error:
        if needed:
            raise
        return PointGuest(remarks=(f"no xl.cfg is written: {error.message}",))


def _understand_file(text: str, manifest: Manifest) -> RecordedGuest:
    try:
        return read_own_file(text)
    except ConfigurationError as error:
        raise RestoreRefused(
            f"The configuration file in point {manifest.point} cannot be used: {error.message}",
            hint="restore without --start, and start the guest from a file of your own",
        ) from error


def read_own_file(text: str) -> RecordedGuest:
    """What a guest's own configuration file says. Raises: ConfigurationError."""
    found = guest_configuration.parse_configuration(text, CONFIGURATION_FILE)
    paths = {}
    for key in ("kernel", "ramdisk"):
        setting = found.find_setting(key)
        paths[key] = setting.text if setting is not None else ""
    if found.kind is GuestKind.HVM and paths["kernel"].endswith("hvmloader"):
        # xm wanted it named; xl ignores it, and has its own elsewhere.
        paths["kernel"] = ""
    return RecordedGuest(
        disks=tuple(
            RecordedDisk(vdev=disk.vdev, path=disk.target, writable=disk.writable)
            for disk in found.disks
        ),
        kernel=paths["kernel"],
        ramdisk=paths["ramdisk"],
        pci_devices=found.pci_devices,
        addresses=tuple(interface.mac for interface in found.network_interfaces),
        interface_names=tuple(interface.name for interface in found.network_interfaces),
    )


def write_guest_file(plan: RestorePlan, remarks: tuple[str, ...]) -> RestorePlan:
    """The plan with the text of the guest's xl.cfg.

    Raises: RestoreRefused when none can be written and the guest is to boot from it.
    """
    plan = replace(plan, warnings=(*plan.warnings, *remarks))
    if not plan.configuration_path:
        return plan
    try:
        composed = _compose(plan) if plan.configuration_json else _rewrite(plan)
    except XenbackupError as error:
        if plan.start and not plan.memory:
            raise RestoreRefused(
                f"{plan.domain} cannot be started from this point: {error.message}",
                hint="restore without --start, and start it from a file of your own",
            ) from error
        remark = f"no xl.cfg is written: {error.message}"
        return replace(plan, configuration_path="", warnings=(*plan.warnings, remark))
    unwritten = tuple(f"not in its xl.cfg: {missing}" for missing in composed.unwritten)
    return replace(plan, configuration_text=composed.text, warnings=(*plan.warnings, *unwritten))


def _compose(plan: RestorePlan) -> guest_configuration.ComposedConfiguration:
    return guest_configuration.compose_configuration(
        plan.configuration_json,
        name=plan.domain,
        uuid=plan.uuid or None,
        disks=changed_targets(plan),
    )


def _rewrite(plan: RestorePlan) -> guest_configuration.ComposedConfiguration:
    """The guest's own file with what the restore changes, and not a letter else."""
    own = guest_configuration.parse_configuration(plan.configuration_file, CONFIGURATION_FILE)
    changed = changed_targets(plan)
    kept = {disk.vdev for disk in plan.guest.disks}
    text = guest_configuration.rewrite_configuration(
        plan.configuration_file,
        source=CONFIGURATION_FILE,
        name=None if own.name == plan.domain else plan.domain,
        uuid=None if plan.uuid in ("", own.uuid) else plan.uuid,
        disks=[
            guest_configuration.NewTarget(
                vdev=target.disk.vdev,
                path=target.path,
                in_file=target.kind is VolumeKind.IMAGE_FILE,
            )
            for target in plan.targets
            if target.disk.vdev in changed
        ],
        dropped_disks=[disk.vdev for disk in own.disks if disk.vdev not in kept],
        addresses=plan.guest.addresses,
        without_interface_names=not any(plan.guest.interface_names),
    )
    return guest_configuration.ComposedConfiguration(text=text)
