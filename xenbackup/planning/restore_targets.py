"""Where each disk of a point may go: candidates first, then the choice and every objection. Pure.

Nothing may be overwritten by mistake: a target that exists must be the point's own source, a thing
that an interrupted restore of ours made, or be named with `--overwrite`; and whatever it is, no
running guest and nothing in dom0 may use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import Manifest, StoredDisk
from xenbackup.model.restore import (
    MarkedTarget,
    RestoreOptions,
    RestorePhase,
    RestoreTarget,
    TargetAct,
)
from xenbackup.model.restore_sight import PathSight, RestoreSight
from xenbackup.model.volume import TAG_DESTINATION, TAG_OURS, LogicalVolume
from xenbackup.planning.restore_candidates import Candidate, propose_candidates
from xenbackup.planning.restore_room import (
    find_full_folders,
    find_full_groups,
    find_full_pools,
    find_pool,
    find_tight_pools,
)

# First letters of lv_attr that are a volume of somebody's data: plain, origin, thin, mirrored,
# RAID, cached, being converted, on VDO. Pools, their parts and snapshots are not.
_DATA_VOLUMES = frozenset("-oVmMrRcCv")


@dataclass(kw_only=True)
class TargetChoice:
    """Targets chosen so far, and everything that speaks against them."""

    targets: list[RestoreTarget]
    problems: list[str]
    warnings: list[str]


def choose_targets(
    manifest: Manifest, options: RestoreOptions, sight: RestoreSight
) -> TargetChoice:
    """A target for each disk, or why there is none; all problems of all disks."""
    choice = TargetChoice(targets=[], problems=[], warnings=[])
    candidates = propose_candidates(manifest, options, sight.inventory)
    for disk in manifest.disks:
        chooser = _Chooser(manifest, options, sight, disk)
        target = chooser.choose(candidates[disk.vdev])
        choice.problems += chooser.problems
        choice.warnings += chooser.warnings
        if target is not None:
            choice.targets.append(target)
    choice.problems += _find_doubles(choice.targets, sight)
    choice.problems += find_full_groups(choice.targets, sight)
    choice.problems += find_full_pools(choice.targets, sight, whole=options.whole)
    choice.warnings += find_full_folders(choice.targets, sight)
    choice.warnings += find_tight_pools(choice.targets, sight, whole=options.whole)
    choice.warnings += _find_left_behind(choice.targets, sight, options.domain or manifest.domain)
    return choice


class _Chooser:
    """One disk's way to its target."""

    def __init__(
        self, manifest: Manifest, options: RestoreOptions, sight: RestoreSight, disk: StoredDisk
    ) -> None:
        self._manifest = manifest
        self._options = options
        self._sight = sight
        self._disk = disk
        self._domain = options.domain or manifest.domain
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def choose(self, candidates: tuple[Candidate, ...]) -> RestoreTarget | None:
        for candidate in candidates:
            last = candidate is candidates[-1]
            sight = self._sight.find_path(candidate.path)
            if not sight.exists:
                return self._create(candidate, sight)
            mark = self._find_mark(sight)
            if mark is not None:
                return self._take(candidate, sight, TargetAct.CONTINUE)
            foreign = self._explain_foreign(sight)
            if not foreign:
                return self._take(candidate, sight, TargetAct.OVERWRITE)
            if last and self._options.overwrite:
                self.warnings.append(f"{candidate.path} is overwritten, whatever it held")
                return self._take(candidate, sight, TargetAct.OVERWRITE)
            if last:
                self._object(f"{candidate.path} {foreign}")
        return None

    def _object(self, reason: str) -> None:
        self.problems.append(f"{self._disk.vdev}: {reason}.")

    # What does not exist yet

    def _create(self, candidate: Candidate, sight: PathSight) -> RestoreTarget | None:
        if candidate.group:
            return self._create_volume(candidate)
        path = candidate.path
        if any(ord(letter) < 0x20 for letter in path):
            self._object(f"the path {path!r} holds a control character")
        elif not path.startswith("/"):
            self._object(f"the point does not say where it came from ({path!r}); name a target")
        elif path.startswith("/dev/"):
            self._object(
                f"{path} does not exist, and is no volume of a group of this host; give "
                "--volume-group, --image-dir or --disk"
            )
        elif not sight.folder_exists:
            self._object(f"the folder of {path} does not exist; make it, or give another place")
        elif sight.inside:
            self._object(f"{path} lies in {sight.inside}, where nothing is restored to")
        else:
            return self._target(candidate, VolumeKind.IMAGE_FILE, TargetAct.CREATE_FILE)
        return None

    def _create_volume(self, candidate: Candidate) -> RestoreTarget | None:
        group = self._sight.inventory.find_group(candidate.group)
        if group is None:
            known = ", ".join(found.name for found in self._sight.inventory.groups) or "none"
            self._object(f"there is no volume group {candidate.group} (there are: {known})")
            return None
        extent = group.extent_size_bytes
        capacity = -(-self._disk.size_bytes // extent) * extent
        return self._target(
            candidate,
            VolumeKind.LOGICAL_VOLUME,
            TargetAct.CREATE_VOLUME,
            capacity_bytes=capacity,
            pool=self._choose_pool(candidate),
        )

    def _choose_pool(self, candidate: Candidate) -> str:
        """The thin pool that the disk was in, where the new volume can be in it too; else ""."""
        backing = self._disk.backing
        if backing is None or not backing.pool:
            return ""
        same_group = candidate.group == backing.group
        if same_group and find_pool(self._sight.inventory, backing.group, backing.pool):
            return backing.pool
        reason = "which this host does not have" if same_group else "in another group"
        self.warnings.append(
            f"{self._disk.vdev} was thin, in pool {backing.group}/{backing.pool}, {reason}: "
            f"{candidate.group}/{candidate.lv_name} will be a thick volume"
        )
        return ""

    # What exists

    def _find_mark(self, sight: PathSight) -> MarkedTarget | None:
        """The mark by which an unfinished restore of the guest made this very thing.

        Once its disks are whole the guest may have been started by hand, and have written since:
        only the same restore still goes on with them.
        """
        for mark in self._sight.marks:
            if mark.domain != self._domain or not (
                mark.phase is RestorePhase.WRITING or mark.point == self._manifest.point
            ):
                continue
            for marked in mark.targets:
                if marked.created and _is_marked(marked, sight):
                    return marked
        return None

    def _explain_foreign(self, sight: PathSight) -> str:
        """Why it needs `--overwrite`; "" when it is the point's own source, or half ours."""
        users = self._sight.find_users(sight)
        others = [use for use in users if not self._is_restored(use.domain)]
        if others:
            return (
                f"is disk {others[0].vdev} of {others[0].domain.name}: give another target, or "
                "--overwrite to destroy what it holds"
            )
        here, there = self._sight.inventory.facts.hostname, self._manifest.host.hostname
        named = [use for use in users if not self._is_known_by_uuid(use.domain)]
        if named and there not in ("", here):
            return (
                f"is disk {named[0].vdev} of {named[0].domain.name} of this host ({here}), but the "
                f"point is of {self._manifest.domain} of host {there}, and no uuid says that they "
                "are one guest: give another target, or --overwrite to destroy what it holds"
            )
        own = self._disk.source and sight.overlaps(self._sight.find_path(self._disk.source))
        if own and here != there and not users:
            return (
                f"bears the name of the disk's source, but that was on {there or 'another host'}: "
                "give another target, or --overwrite to destroy what it holds"
            )
        if own and self._domain == self._manifest.domain:
            return ""
        if own:
            return (
                f"is the disk of {self._manifest.domain} itself: {self._domain} needs places of "
                "its own (--volume-group, --image-dir, --disk), or --overwrite to take this over"
            )
        return (
            "exists already and does not belong to this point: give another target, or "
            "--overwrite to destroy what it holds"
        )

    def _is_restored(self, domain: Domain) -> bool:
        """The domain is the point's own; a mere namesake is not."""
        if self._is_known_by_uuid(domain):
            return domain.configured_uuid == self._manifest.identity
        return domain.name == self._manifest.domain

    def _is_known_by_uuid(self, domain: Domain) -> bool:
        """Both have a uuid that somebody gave them; else there are only names to go by, and a name
        is another guest on each host.
        """
        return bool(domain.configured_uuid) and self._manifest.identity != self._manifest.domain

    def _take(self, candidate: Candidate, sight: PathSight, act: TargetAct) -> RestoreTarget | None:
        found = [
            *_explain_kind(sight),
            *_explain_use(sight, self._sight),
            *_explain_volume(sight.volume, self._sight.inventory),
        ]
        if sight.inside:
            found.append(f"{sight.path} lies in {sight.inside}, where nothing is restored to")
        grows = act is TargetAct.CONTINUE and sight.kind is VolumeKind.IMAGE_FILE
        if sight.kind is not None and not grows and sight.size_bytes < self._disk.size_bytes:
            found.append(
                f"{sight.path} has {sight.size_bytes} bytes, the disk needs "
                f"{self._disk.size_bytes}: extend it, or give another target"
            )
        for reason in found:
            self._object(reason)
        if found or sight.kind is None:
            return None
        self.warnings += _warn_of_volume(sight.volume, self._sight.inventory)
        if sight.size_bytes > self._disk.size_bytes:
            more = sight.size_bytes - self._disk.size_bytes
            self.warnings.append(
                f"{sight.path} is {more} bytes larger than {self._disk.vdev}: the rest of it is "
                "left as it is"
            )
        return self._target(
            candidate,
            sight.kind,
            act,
            capacity_bytes=sight.size_bytes,
            volume=sight.volume,
            inode=sight.inode,
        )

    def _target(
        self,
        candidate: Candidate,
        kind: VolumeKind,
        act: TargetAct,
        *,
        capacity_bytes: int | None = None,
        volume: LogicalVolume | None = None,
        inode: int = 0,
        pool: str = "",
    ) -> RestoreTarget:
        size_bytes = self._disk.size_bytes
        thin = find_pool(self._sight.inventory, candidate.group, pool) if pool else volume
        return RestoreTarget(
            disk=self._disk,
            path=candidate.path,
            kind=kind,
            act=act,
            capacity_bytes=size_bytes if capacity_bytes is None else capacity_bytes,
            group=volume.group if volume is not None else candidate.group,
            lv_name=volume.name if volume is not None else candidate.lv_name,
            lv_uuid=volume.uuid if volume is not None else "",
            inode=inode,
            pool=pool,
            stale_chunks=thin is not None and thin.stale_chunks,
        )


def _is_marked(marked: MarkedTarget, sight: PathSight) -> bool:
    """The thing is the one that was marked, or was about to be made when its maker was killed."""
    if marked.kind is not sight.kind:
        return False
    if sight.volume is not None:
        if marked.lv_uuid:
            return marked.lv_uuid == sight.volume.uuid
        named = (marked.group, marked.lv_name) == (sight.volume.group, sight.volume.name)
        return named and marked.capacity_bytes == sight.size_bytes
    if marked.path != sight.path:
        return False
    # A file is made empty, and grows to its size before its inode is marked.
    return (
        marked.inode == sight.inode
        if marked.inode
        else sight.size_bytes
        in (
            0,
            marked.capacity_bytes,
        )
    )


def _explain_kind(sight: PathSight) -> Iterator[str]:
    if sight.kind is None:
        yield f"{sight.path} {sight.problem}"


def _explain_use(sight: PathSight, host: RestoreSight) -> Iterator[str]:
    running = [use for use in host.find_users(sight) if use.domain.exists]
    for use in running:
        name, domid = use.domain.name, use.domain.domid
        yield (
            f"{sight.path} is in use: it is {use.vdev} of {name}, which runs (domain {domid}); "
            f"shut {name} down first, or give another target"
        )
    if sight.held and not running and not host.is_half_built_user(sight):
        yield f"{sight.path} is in use: {sight.held}"


def _explain_volume(volume: LogicalVolume | None, inventory: Inventory) -> Iterator[str]:
    if volume is None:
        return
    label = f"{volume.group}/{volume.name}"
    if volume.attributes[0:1] in ("s", "S") or (volume.origin and TAG_OURS in volume.tags):
        yield f"{label} is itself a snapshot of {volume.origin}"
    elif volume.attributes[0:1] not in _DATA_VOLUMES or volume.hidden:
        yield f"{label} is no volume for data (attributes {volume.attributes})"
    if volume.attributes[0:1] == "O":
        yield f"{label} has a snapshot being merged into it"
    if TAG_DESTINATION in volume.tags:
        yield f"{label} is a backup destination (tag {TAG_DESTINATION})"
    if volume.attributes[1:2] in ("r", "R"):
        yield f"{label} is read-only: `lvchange --permission rw {label}`"
    if volume.suspended:
        yield f"{label} is suspended: `xenbackup recover`, else `lvchange --refresh {label}`"
    elif not volume.active:
        yield f"{label} is not active: `lvchange --activate y {label}`"
    for other in inventory.volumes:
        if other.origin_uuid == volume.uuid and TAG_OURS in other.tags:
            yield (
                f"{label} is being backed up: {other.name} is a snapshot of ours; wait, or "
                "`xenbackup recover`"
            )


def _warn_of_volume(volume: LogicalVolume | None, inventory: Inventory) -> Iterator[str]:
    if volume is None:
        return
    for other in inventory.volumes:
        if other.origin_uuid == volume.uuid and other.thick_snapshot:
            yield (
                f"{other.group}/{other.name} is a snapshot of {volume.name}: it fills up with what "
                "is overwritten, and may overflow"
            )


def _find_left_behind(
    targets: list[RestoreTarget], sight: RestoreSight, domain: str
) -> Iterator[str]:
    """Disks that the guest's own file will still name: it is what the host starts it from."""
    old = [
        f"{use.vdev} ({use.sight.path})"
        for target in targets
        for use in sight.uses
        if (use.domain.name, use.vdev) == (domain, target.disk.vdev)
        and not use.domain.exists
        and target.path != target.disk.source
        and not use.sight.overlaps(sight.find_path(target.path))
    ]
    if old:
        yield (
            f"{domain}'s own configuration file still names its old {', '.join(old)}: change it, "
            "or the next start of the guest from it, or of the host, brings back the old disks"
        )


def _find_doubles(targets: list[RestoreTarget], sight: RestoreSight) -> Iterator[str]:
    for index, target in enumerate(targets):
        for other in targets[:index]:
            same_volume = bool(target.group) and (target.group, target.lv_name) == (
                other.group,
                other.lv_name,
            )
            seen = sight.find_path(target.path).overlaps(sight.find_path(other.path))
            if same_volume or seen:
                yield (
                    f"{target.disk.vdev} and {other.disk.vdev}: {target.path} and {other.path} "
                    "are the same place."
                )
