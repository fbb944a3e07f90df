"""Plans: (job, inventory, configuration) → what each run will do, or why it will not. Pure."""

from __future__ import annotations

from xenbackup.errors import XenbackupError
from xenbackup.model.domain import Disk, Domain, GuestKind
from xenbackup.model.inventory import Inventory
from xenbackup.model.job import (
    DEFAULT_SNAPSHOT_SIZE,
    Configuration,
    Consistency,
    DestinationSpec,
    Job,
    SnapshotSize,
    StepName,
    StepSpec,
)
from xenbackup.model.names import check_domain_name
from xenbackup.model.plan import (
    DomainPlan,
    ExcludedDisk,
    Plan,
    PlannedDisk,
    PlannedStep,
    RefusedDomain,
    SnapshotKind,
    VolumeKind,
)
from xenbackup.model.volume import LogicalVolume
from xenbackup.planning.presets import (
    consistency_of,
    excludes_disk,
    expand_pipeline,
    find_idle_patterns,
    satisfies_requirement,
    select_domains,
    select_pipeline,
)

# A saved image is the guest's pages, the page frame table (8 bytes a page), vCPU and device
# records and the configuration: a hundredth and 2 MiB cover what the lab showed.
IMAGE_OVERHEAD_SHARE = 100
IMAGE_OVERHEAD_BYTES = 2 * 1024 * 1024
MIB = 1024 * 1024
MEMORY_STEPS = (StepName.SAVE, StepName.SAVE_PAUSED)


class _Refusal(Exception):
    """Why one domain cannot be backed up by this job; never leaves this module."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def plan_backup(
    job: Job, inventory: Inventory, configuration: Configuration, only_domain: str = ""
) -> Plan:
    """What the job will do on this host. `only_domain` narrows it to one guest.

    Raises: XenbackupError (usage) when the job selects no domain at all.
    """
    destination = configuration.find_destination(job.destination)
    if destination is None:
        raise XenbackupError(
            f"Job {job.name} names destination {job.destination!r}, which is not configured.",
            hint=f"add [destination.{job.destination}] to config.toml",
        )
    names = [domain.name for domain in inventory.domains]
    selected = set(select_domains(job, names))
    if only_domain:
        selected &= {only_domain}
    plans: list[DomainPlan] = []
    refused: list[RefusedDomain] = []
    for domain in inventory.domains:
        if domain.name not in selected or _is_left_out(job, domain):
            continue
        try:
            plans.append(_plan_domain(job, domain, inventory, destination))
        except _Refusal as refusal:
            refused.append(
                RefusedDomain(
                    name=domain.name, uuid=domain.uuid, reason=refusal.reason, hint=refusal.hint
                )
            )
    return Plan(
        job=job.name,
        domains=tuple(plans),
        refused=tuple(refused),
        idle_patterns=find_idle_patterns(job, names),
    )


def _is_left_out(job: Job, domain: Domain) -> bool:
    """A shut off guest belongs to a job only when its pipeline is one for shut off guests."""
    if domain.exists:
        return False
    steps = expand_pipeline(select_pipeline(job, domain.name))
    return consistency_of(steps) is not Consistency.OFFLINE


def _plan_domain(
    job: Job, domain: Domain, inventory: Inventory, destination: DestinationSpec
) -> DomainPlan:
    _check_name(domain)
    pipeline = select_pipeline(job, domain.name)
    specs = expand_pipeline(pipeline)
    consistency = consistency_of(specs)
    _check_state(domain, consistency)
    if not satisfies_requirement(consistency, job.require):
        raise _Refusal(
            f"its pipeline gives {consistency} consistency, the job requires {job.require}",
            "choose another preset in an [[override]], or lower `require`",
        )
    takes_memory = any(spec.step in MEMORY_STEPS for spec in specs)
    disks, excluded = _plan_disks(job, domain, inventory, specs, takes_memory)
    warnings = []
    if takes_memory:
        _check_memory_can_be_saved(domain)
        if not inventory.can_save_paused:
            if any(spec.step is StepName.SAVE_PAUSED for spec in specs):
                raise _Refusal("this toolstack has no `save -p`", 'use preset = "snapshot"')
            warnings.append(
                "this toolstack destroys the guest before its image can be checked or fsynced: a "
                "power cut in that moment loses the guest's memory"
            )
    return DomainPlan(
        domain=domain,
        preset=pipeline.preset or "steps",
        steps=tuple(PlannedStep(step=spec.step, snapshot_size=spec.size) for spec in specs),
        disks=disks,
        excluded_disks=excluded,
        consistency=consistency,
        destination=destination,
        memory_image_bytes=estimate_image_bytes(domain) if takes_memory else 0,
        max_away_seconds=job.max_away_seconds,
        reason=_explain_choice(job, domain, pipeline.preset, takes_memory),
        warnings=tuple(warnings),
    )


def _explain_choice(job: Job, domain: Domain, preset: str, takes_memory: bool) -> str:
    chosen = f"preset {preset}" if preset else "the steps"
    overridden = select_pipeline(job, domain.name) is not job.pipeline
    reason = f"{chosen} of an [[override]]" if overridden else f"{chosen} of the job"
    if domain.pci_devices and not takes_memory:
        devices = ", ".join(domain.pci_devices)
        reason += f"; PCI device {devices} is passed through to it, its memory cannot be saved"
    return reason


def estimate_image_bytes(domain: Domain) -> int:
    """About how large a memory image of the domain gets, in bytes; never too small."""
    memory_bytes = domain.memory_mib * MIB
    return memory_bytes + memory_bytes // IMAGE_OVERHEAD_SHARE + IMAGE_OVERHEAD_BYTES


def _check_name(domain: Domain) -> None:
    try:
        check_domain_name(domain.name)
    except XenbackupError as error:
        raise _Refusal(error.message.rstrip("."), error.hint) from error


def _check_state(domain: Domain, consistency: Consistency) -> None:
    if domain.kind is GuestKind.UNKNOWN:
        raise _Refusal(
            "the toolstack shows no configuration for it: it is being built, or torn down",
            "look at it with `xl list -l`",
        )
    if consistency is Consistency.OFFLINE:
        if domain.exists:
            raise _Refusal("it runs, and its pipeline is for shut off guests", "use `checkpoint`")
        return
    state = domain.state
    if state.dying or state.shutdown:
        raise _Refusal(
            f"its state is {state.letters}: it is shutting down, suspended or crashed",
            "look at it with `xl list` and `xl console`",
        )
    if state.paused and consistency is Consistency.MEMORY:
        raise _Refusal(
            "it is paused, and not by us: a paused guest cannot answer a save",
            'unpause it, or use preset = "crash"',
        )


def _check_memory_can_be_saved(domain: Domain) -> None:
    if domain.pci_devices:
        devices = ", ".join(domain.pci_devices)
        raise _Refusal(
            f"PCI device {devices} is passed through to it: its memory cannot be saved",
            'give it preset = "crash" in an [[override]]',
        )


def _plan_disks(
    job: Job,
    domain: Domain,
    inventory: Inventory,
    specs: tuple[StepSpec, ...],
    takes_memory: bool,
) -> tuple[tuple[PlannedDisk, ...], tuple[ExcludedDisk, ...]]:
    size = next((spec.size for spec in specs if spec.step is StepName.SNAPSHOT and spec.size), None)
    snapshots = any(spec.step is StepName.SNAPSHOT for spec in specs)
    planned: list[PlannedDisk] = []
    excluded: list[ExcludedDisk] = []
    for disk in domain.disks:
        reason = _explain_exclusion(job, domain, disk)
        if reason:
            if takes_memory and disk.writable and not disk.cdrom:
                raise _Refusal(
                    f"disk {disk.vdev} is writable and left out: its memory image would meet a "
                    "disk of another time",
                    'take the disk in, or use preset = "crash"',
                )
            excluded.append(ExcludedDisk(vdev=disk.vdev, reason=reason))
            continue
        planned.append(_plan_disk(disk, inventory, snapshots, size))
    if not planned:
        raise _Refusal("it has no disk to back up")
    return tuple(planned), tuple(excluded)


def _explain_exclusion(job: Job, domain: Domain, disk: Disk) -> str:
    if not disk.target:
        return "the drive is empty"
    if disk.cdrom:
        return "a CD-ROM holds nothing of the guest's"
    if excludes_disk(job, domain.name, disk.vdev):
        return "excluded by the job"
    return ""


def _plan_disk(
    disk: Disk, inventory: Inventory, snapshots: bool, size: SnapshotSize | None
) -> PlannedDisk:
    if not disk.served_by_dom0:
        raise _Refusal(
            f"disk {disk.vdev} is served by domain {disk.backend}: dom0 cannot read it",
            "back it up from that domain",
        )
    volume = inventory.find_volume(disk.target)
    if volume is not None:
        return _plan_logical_volume(disk, volume, inventory, snapshots, size)
    source = inventory.find_source(disk.target)
    if source is None or source.problem:
        why = source.problem if source is not None else "it was not looked at"
        raise _Refusal(f"disk {disk.vdev} ({disk.target}) cannot be read: {why}")
    if snapshots:
        raise _Refusal(
            f"disk {disk.vdev} ({disk.target}) is no logical volume: it has no snapshot",
            'use preset = "cold" for this guest',
        )
    kind = VolumeKind.IMAGE_FILE if source.regular_file else VolumeKind.BLOCK_DEVICE
    return PlannedDisk(
        vdev=disk.vdev,
        path=disk.target,
        kind=kind,
        size_bytes=source.size_bytes,
        snapshot=SnapshotKind.NONE,
    )


def _plan_logical_volume(
    disk: Disk,
    volume: LogicalVolume,
    inventory: Inventory,
    snapshots: bool,
    size: SnapshotSize | None,
) -> PlannedDisk:
    label = f"{volume.group}/{volume.name}"
    if volume.merging:
        raise _Refusal(f"{label} ({disk.vdev}) has a snapshot being merged into it")
    if snapshots and volume.thick_snapshot:
        raise _Refusal(f"{label} ({disk.vdev}) is itself a snapshot: LVM takes none of it")
    kind = SnapshotKind.NONE
    snapshot_bytes = 0
    if snapshots:
        kind = SnapshotKind.THIN if volume.thin else SnapshotKind.THICK
        if kind is SnapshotKind.THICK:
            snapshot_bytes = predict_snapshot_bytes(
                volume.size_bytes,
                size or DEFAULT_SNAPSHOT_SIZE,
                group.extent_size_bytes if (group := inventory.find_group(volume.group)) else 1,
            )
    return PlannedDisk(
        vdev=disk.vdev,
        path=disk.target,
        kind=VolumeKind.LOGICAL_VOLUME,
        size_bytes=volume.size_bytes,
        snapshot=kind,
        group=volume.group,
        lv_name=volume.name,
        lv_uuid=volume.uuid,
        snapshot_size_bytes=snapshot_bytes,
    )


def predict_snapshot_bytes(origin_bytes: int, size: SnapshotSize, extent_bytes: int) -> int:
    """What `lvcreate -s` will take from the group, in bytes.

    The share is rounded up to whole extents, and one more extent covers the exception table, which
    LVM adds (a 64 MiB origin at 10% became 12 MiB with 4 MiB extents: recorded lvs-after-snap).
    """
    if size.percent is not None:
        wanted = origin_bytes * size.percent // 100
    else:
        wanted = size.size_bytes or 0
    extents = -(-wanted // extent_bytes) + (1 if size.percent is not None else 0)
    return extents * extent_bytes
