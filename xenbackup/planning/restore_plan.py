"""Restores decided: (manifest, options, what the host shows) → a plan, or every objection. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xenbackup.errors import RestoreRefused, UsageError
from xenbackup.model.domain import Domain
from xenbackup.model.names import check_domain_name
from xenbackup.model.point import Manifest
from xenbackup.model.recorded_guest import RecordedGuest
from xenbackup.model.restore import (
    MarkedTarget,
    RestoreMark,
    RestoreOptions,
    RestorePhase,
    RestorePlan,
    RestoreTarget,
    TargetAct,
)
from xenbackup.model.restore_sight import RestoreSight
from xenbackup.planning.machine import compare_machines
from xenbackup.planning.restore_configuration import change_configuration, separate_guest
from xenbackup.planning.restore_targets import choose_targets


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """What is decided from, beside the host: `restore` and `fresh_uuid` are drawn, not chosen.

    `configuration_json` is the guest's recorded configuration, or else `configuration_file` the
    text of its own file ("" when the point has none); `guest` is what either of them says.
    `direct_memory_path` is the image where it lies; `memory_is_fixed` says that its head cannot be
    rewritten, as of Xen before 4.6 and of xm. `spool_path` is the spool's folder, and
    `configuration_path` where the guest's xl.cfg would go; `fresh_macs` are network addresses to
    give out under a new name.
    """

    manifest: Manifest
    destination: str
    options: RestoreOptions
    restore: str
    fresh_uuid: str
    guest: RecordedGuest
    configuration_json: str
    direct_memory_path: str
    spool_path: str
    configuration_path: str
    configuration_file: str = ""
    memory_is_fixed: bool = False
    fresh_macs: tuple[str, ...] = ()


def check_options(manifest: Manifest, options: RestoreOptions) -> None:
    """Raises: UsageError for options that contradict each other or name what is not there."""
    if options.volume_group and options.image_folder:
        raise UsageError(
            "--volume-group and --image-dir exclude each other.",
            hint="send single disks elsewhere with --disk",
        )
    if options.domain:
        check_domain_name(options.domain)
    known = [disk.vdev for disk in manifest.disks]
    asked = [placement.vdev for placement in options.disks]
    for vdev in asked:
        if vdev not in known:
            raise UsageError(
                f"Point {manifest.point} has no disk {vdev!r}.",
                hint=f"it has {', '.join(known) or 'none'}",
            )
        if asked.count(vdev) > 1:
            raise UsageError(f"--disk names {vdev} twice.")
    for path in (options.image_folder, *(placement.path for placement in options.disks)):
        if path and not path.startswith("/"):
            raise UsageError(f"{path!r} is not an absolute path.")


def find_completed_mark(
    manifest: Manifest,
    domain: str,
    paths: frozenset[str],
    marks: tuple[RestoreMark, ...],
) -> RestoreMark | None:
    """The interrupted restore of the same point, name and targets, which this one completes."""
    for mark in marks:
        same = (mark.point, mark.domain) == (manifest.point, domain)
        if same and frozenset(target.path for target in mark.targets) == paths:
            return mark
    return None


def is_half_built(mark: RestoreMark, living: Domain | None, boot_id: str) -> bool:
    """The domain is what `xl restore -p` of that restore left: paused, and never let run."""
    return (
        living is not None
        and living.uuid == mark.uuid
        and living.state.paused
        and mark.phase is RestorePhase.REBUILDING
        and mark.boot_id == boot_id
    )


def decide_restore(request: RestoreRequest, sight: RestoreSight) -> RestorePlan:
    """The plan. Raises: RestoreRefused with every problem; UsageError from `check_options`."""
    manifest, options = request.manifest, request.options
    check_options(manifest, options)
    choice = choose_targets(manifest, options, sight)
    guest = _GuestChecks(request, sight, tuple(choice.targets))
    problems = [*choice.problems, *guest.find_problems()]
    if problems:
        raise RestoreRefused(_tell_problems(manifest, problems))
    recorded, configuration = request.guest, request.configuration_json
    notes: tuple[str, ...] = ()
    if guest.new_name and not options.memory:
        recorded, notes = separate_guest(
            request.guest,
            original=manifest.domain,
            domain=guest.domain,
            stored_vdevs=[disk.vdev for disk in manifest.disks],
            fresh_addresses=request.fresh_macs,
        )
        configuration = change_configuration(configuration, recorded)
    return RestorePlan(
        restore=guest.restore,
        destination=request.destination,
        manifest=manifest,
        domain=guest.domain,
        uuid=guest.uuid,
        targets=tuple(choice.targets),
        memory=options.memory,
        start=options.start,
        whole=options.whole,
        rewrites_memory=options.memory and guest.moved,
        memory_path=guest.memory_path,
        guest=recorded,
        configuration_json=configuration,
        configuration_file=request.configuration_file,
        configuration_path=request.configuration_path if guest.has_configuration else "",
        half_built_domid=guest.half_built_domid,
        completes=guest.mark is not None,
        warnings=(*choice.warnings, *guest.find_warnings(), *notes),
    )


def _tell_problems(manifest: Manifest, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"Nothing was restored. {problems[0]}"
    listed = "\n".join(f"  {problem}" for problem in problems)
    return f"Nothing was restored from {manifest.point}; {len(problems)} reasons:\n{listed}"


class _GuestChecks:
    """Whether the guest may exist again, with or without its memory."""

    def __init__(
        self, request: RestoreRequest, sight: RestoreSight, targets: tuple[RestoreTarget, ...]
    ) -> None:
        self.request = request
        self.manifest = request.manifest
        self.options = request.options
        self.sight = sight
        self.targets = targets
        self.guest = request.guest
        self.has_configuration = bool(request.configuration_json or request.configuration_file)
        self.domain = request.options.domain or request.manifest.domain
        self.new_name = self.domain != request.manifest.domain
        self.moved = self.new_name or any(map(self._is_moved, targets))
        self.mark = find_completed_mark(
            request.manifest,
            self.domain,
            frozenset(target.path for target in targets),
            sight.marks,
        )
        self.memory_path = ""
        if request.options.memory:
            spooled = f"{request.spool_path}/{self.restore}.save"
            self.memory_path = spooled if self.moved else request.direct_memory_path
        marked = self.mark.uuid if self.mark is not None else ""
        kept = "" if self.new_name else request.manifest.uuid
        # A guest that was off when it was backed up may have no uuid of its own.
        self.uuid = marked or kept or request.fresh_uuid
        half_built = sight.half_built
        self.half_built_domid = half_built.domid if half_built is not None else None

    def _is_moved(self, target: RestoreTarget) -> bool:
        """The disk lies elsewhere than where the guest has it."""
        path = self.guest.find_path(target.disk.vdev)
        if self.request.memory_is_fixed:
            # Not every such image can be looked into: it has the disks that the run copied.
            path = target.disk.source or path
        return path not in ("", target.path)

    @property
    def restore(self) -> str:
        """The restore's id: that of the interrupted one, so that its files and marks are found."""
        return self.mark.restore if self.mark is not None else self.request.restore

    def find_problems(self) -> Iterator[str]:
        for process in self.sight.survivors:
            yield (
                f"A command of the interrupted restore still works (process {process.pid}, "
                f"{' '.join(process.argv[:2])}): wait until it is done."
            )
        if not (self.options.memory or self.options.start):
            return
        yield from self._check_nobody_lives()
        yield from self._check_excluded_disks()
        if self.options.memory:
            yield from self._check_memory()
        else:
            yield from self._check_boot()

    def find_warnings(self) -> Iterator[str]:
        manifest = self.manifest
        if self.half_built_domid is not None:
            yield (
                f"domain {self.half_built_domid}, which the interrupted restore left half-built, "
                "is destroyed first"
            )
        if self.options.memory and not self.options.start:
            yield f"{self.domain} is left paused: `xl unpause` lets it go on"
        if self.options.start and not self.options.memory and manifest.memory is not None:
            yield (
                f"{self.domain} boots afresh, as after a power cut; --memory would resume it "
                "where it was"
            )

    # Who must not live

    def _check_nobody_lives(self) -> Iterator[str]:
        """The guest itself, a twin of its memory, or another of the name that it will have."""
        names = {self.domain}
        uuids = {self.uuid}
        if self.options.memory:
            names.add(self.manifest.domain)
            uuids.add(self.manifest.uuid)
        found = {}
        for domain in (*self.sight.inventory.domains, self.sight.living):
            if domain is not None and domain.exists and domain.domid != self.half_built_domid:
                found[domain.domid] = domain
        for domain in found.values():
            if domain.name not in names and domain.uuid not in uuids:
                continue
            label = domain.name or "a domain that is being built or torn down"
            if domain.name == self.domain or domain.uuid == self.uuid:
                yield f"{label} exists (domain {domain.domid}): shut it down first."
            else:
                yield (
                    f"{label} lives (domain {domain.domid}): two guests of one memory would share "
                    "addresses and connections; shut it down, or restore without --memory."
                )

    def _check_excluded_disks(self) -> Iterator[str]:
        """Disks of the guest that are not in the point: they must be there, and be safe."""
        stored = {disk.vdev for disk in self.manifest.disks}
        for disk in self.guest.disks:
            if disk.vdev in stored or not disk.path:
                continue
            if disk.writable and self.options.memory:
                yield (
                    f"{disk.vdev} is writable and not in the point: the memory image would meet a "
                    "disk of another time; restore without --memory."
                )
            if disk.writable and self.new_name:
                continue
            if disk.path.startswith("/") and disk.path in self.sight.missing_files:
                yield (
                    f"{disk.vdev} ({disk.path}) is not in the point, and this host does not have "
                    "it."
                )

    # With memory

    def _check_memory(self) -> Iterator[str]:
        manifest = self.manifest
        if manifest.memory is None:
            yield (
                f"The point holds no memory image (its consistency is {manifest.consistency}): "
                "restore without --memory; --start boots the guest."
            )
            return
        yield from compare_machines(manifest.host, self.sight.inventory.facts, self.sight.cpu_model)
        yield from self._check_passthrough()
        yield from self._check_free_memory()
        if self.moved and self.request.memory_is_fixed:
            yield (
                "The memory image was written by xm, or by xl before Xen 4.6: its guest's name and "
                "disks cannot be changed. Restore it under its own name and onto its own disks, "
                "or restore without --memory."
            )
        if self.moved and self.sight.spool_free_bytes < manifest.memory.size_bytes:
            yield (
                f"The spool has {self.sight.spool_free_bytes >> 20} MiB free, the memory image "
                f"needs {-(-manifest.memory.size_bytes >> 20)} MiB."
            )

    def _check_passthrough(self) -> Iterator[str]:
        devices = self.guest.pci_devices
        if devices:
            yield (
                f"{self.manifest.domain} has PCI devices passed through ({', '.join(devices)}): "
                "its memory cannot be restored; restore without --memory."
            )

    def _check_free_memory(self) -> Iterator[str]:
        """Plain Xen reserves nothing; only with dom0_mem= is what is free all that there is."""
        facts = self.sight.inventory.facts
        needed_mib = self.manifest.memory_mib
        if "dom0_mem=" in facts.xen_command_line and facts.free_memory_mib < needed_mib:
            yield (
                f"{facts.free_memory_mib} MiB of memory are free, {self.domain} needs "
                f"{needed_mib} MiB: shut down or shrink another guest."
            )

    # Without memory

    def _check_boot(self) -> Iterator[str]:
        if not self.has_configuration:
            yield (
                f"The point holds no configuration of {self.manifest.domain} (it was shut off, or "
                "ran under xm, and no file below /etc/xen was its own): restore without --start, "
                "and start it from your own file."
            )
            return
        for key, path in (("kernel", self.guest.kernel), ("ramdisk", self.guest.ramdisk)):
            if path in self.sight.missing_files:
                yield f"The {key} {path} of {self.manifest.domain} is not on this host."
        yield from self._check_free_memory()
        taken = {
            device: domain.name
            for domain in self.sight.inventory.domains
            if domain.exists
            for device in domain.pci_devices
        }
        for device in self.guest.pci_devices:
            slots = self.sight.pci_slots
            if slots is not None and not _is_present(device, slots):
                yield f"This host has no PCI device {device}, which {self.domain} needs."
            elif device in taken:
                yield f"PCI device {device} belongs to {taken[device]}, which runs."


def _is_present(device: str, slots: tuple[str, ...]) -> bool:
    """A device, or with `*` for its function any function of it, is among the host's.

    Which device a name (`name=gpu`) stands for is known to xl alone.
    """
    if device.startswith("name="):
        return True
    if device.endswith("*"):
        return any(slot.startswith(device.removesuffix("*")) for slot in slots)
    return device in slots


# The mark of a restore under way


def compose_mark(plan: RestorePlan, boot_id: str) -> RestoreMark:
    """What is written down before the first act."""
    made_by_us = (TargetAct.CREATE_VOLUME, TargetAct.CREATE_FILE, TargetAct.CONTINUE)
    return RestoreMark(
        restore=plan.restore,
        point=plan.manifest.point,
        destination=plan.destination,
        source_domain=plan.manifest.domain,
        domain=plan.domain,
        uuid=plan.uuid,
        boot_id=boot_id,
        phase=RestorePhase.WRITING,
        targets=tuple(
            MarkedTarget(
                vdev=target.disk.vdev,
                path=target.path,
                kind=target.kind,
                created=target.act in made_by_us,
                group=target.group,
                lv_name=target.lv_name,
                lv_uuid=target.lv_uuid,
                inode=target.inode,
                capacity_bytes=target.capacity_bytes,
            )
            for target in plan.targets
        ),
    )
