"""Every disk of every guest, resolved to what is really behind it, without a command of its own.

What the toolstack calls a disk is a path, or a name that only a script understands. What a backup
can do follows from what stands there: a logical volume, a file, a partition, the network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from xenbackup.dom0.guest_configuration import (
    ConfigurationFile,
    GuestConfiguration,
    list_prefixes,
)
from xenbackup.dom0.guest_devices import list_unames
from xenbackup.dom0.host import Host
from xenbackup.inventory.host_storage import (
    SECTOR_BYTES,
    HostStorage,
    Node,
    NodeKind,
    name_path,
    name_volume,
)
from xenbackup.inventory.image_files import ImageFiles, add_note
from xenbackup.inventory.network_disks import ON_NETWORK_NOTE, NetworkDisks, name_iscsi_target
from xenbackup.model.backing import BackingKind, DiskBacking
from xenbackup.model.domain import Disk, Domain
from xenbackup.model.plan import SnapshotKind
from xenbackup.model.volume import LogicalVolume
from xenbackup.system.reflink import read_xfs_reflink

_TAP_PREFIXES = ("tap", "tap2", "tapdisk")
_TAP_NOTE = (
    "served through tap, which the management tools of xm's time did not know: whatever they show "
    "of this disk may be wrong"
)
_EVMS_NOTE = "a volume under EVMS, which is obsolete: treated as a plain block device"
_CDROM_MAJOR = 11
_MAPPERS = {
    "mpath-": "a device-mapper multipath device",
    "CRYPT-": "an encrypted device of dom0's (dm-crypt)",
    "LVM-": "a logical volume that lvs does not list",
    "part": "a partition that kpartx mapped",
}


def read_backings(
    host: Host,
    domains: Iterable[Domain],
    volumes: Iterable[LogicalVolume],
    *,
    configurations: Iterable[ConfigurationFile] = (),
    storage: HostStorage | None = None,
    read_reflink: Callable[[Path], bool | None] = read_xfs_reflink,
) -> tuple[DiskBacking, ...]:
    """One backing for each disk, in the order of the domains; nothing is raised.

    `configurations` tell the drivers of old (`tap:`), which a running guest's own record lacks.
    `storage` shares what was read of the kernel already. No command is run and nothing is written.
    """
    reader = _DiskReader(storage or HostStorage(host, volumes), read_reflink)
    known = {
        found.configuration.name: found.configuration
        for found in configurations
        if found.configuration is not None
    }
    return tuple(
        reader.read(domain, disk, _find_prefixes(domain, disk, known.get(domain.name)))
        for domain in domains
        for disk in domain.disks
    )


def choose_snapshot(volume: LogicalVolume) -> SnapshotKind:
    """The snapshot that LVM takes of a volume.

    None of a snapshot, while one is merged, while it is moved, or of one that is not whole.
    """
    if volume.thick_snapshot or volume.merging or volume.locked or volume.partial:
        return SnapshotKind.NONE
    return SnapshotKind.THIN if volume.thin else SnapshotKind.THICK


def _find_prefixes(
    domain: Domain, disk: Disk, configuration: GuestConfiguration | None
) -> tuple[str, ...]:
    """The deprecated prefixes that a disk was described with."""
    if domain.configuration_sexp:
        return list_prefixes(list_unames(domain.configuration_sexp).get(disk.vdev, ""))
    if configuration is None:
        return ()
    described = zip(configuration.disks, configuration.disk_specifications, strict=False)
    for written, text in described:
        if (written.vdev, written.target) == (disk.vdev, disk.target):
            return list_prefixes(text)
    return ()


class _DiskReader:
    """Resolves disks of one host; what several disks need is read once."""

    def __init__(self, storage: HostStorage, read_reflink: Callable[[Path], bool | None]) -> None:
        self._storage = storage
        self._network = NetworkDisks(storage)
        self._files = ImageFiles(storage, read_reflink)

    def read(self, domain: Domain, disk: Disk, prefixes: Sequence[str]) -> DiskBacking:
        """The backing of one disk of one domain."""
        draft = DiskBacking(
            domain=domain.name,
            vdev=disk.vdev,
            target=disk.target,
            kind=BackingKind.UNKNOWN,
            format=disk.format,
            writable=disk.writable and not disk.cdrom,
            notes=(_TAP_NOTE,) if any(word in _TAP_PREFIXES for word in prefixes) else (),
        )
        if not disk.target:
            return replace(draft, kind=BackingKind.EMPTY, format="empty")
        if not disk.served_by_dom0:
            return _describe_elsewhere(draft, disk)
        network = self._network.find_target(disk)
        if network is None:
            if disk.script:
                note = f"its script {disk.script} may make another device of this target"
                draft = add_note(draft, note)
            if not disk.target.startswith("/"):
                return _describe_scripted(draft, disk)
            return self._describe_path(draft, disk, domain, disk.target)
        draft = replace(
            draft, kind=network.kind, tokens=frozenset((network.token,)), problem=network.problem
        )
        if network.kind is BackingKind.ISCSI:
            name = network.token.removeprefix("iscsi:")
            draft = add_note(draft, self._network.describe_initiator(name))
        if not network.path:
            return add_note(draft, ON_NETWORK_NOTE)
        return self._describe_path(draft, disk, domain, network.path)

    def _describe_path(
        self, draft: DiskBacking, disk: Disk, domain: Domain, path: str
    ) -> DiskBacking:
        node = self._storage.look(path)
        draft = replace(draft, path=path, tokens=draft.tokens | name_path(path) | node.tokens)
        if path.startswith("/dev/evms/"):
            draft = add_note(draft, _EVMS_NOTE)
        volume = self._storage.find_volume(path)
        if volume is not None:
            return self._describe_volume(draft, volume, node)
        match node.kind:
            case NodeKind.BLOCK:
                return self._describe_device(draft, disk, node)
            case NodeKind.FILE:
                return self._files.describe(draft, disk, domain, node)
            case NodeKind.ABSENT:
                kind = BackingKind.CDROM if disk.cdrom else BackingKind.ABSENT
                return replace(draft, kind=kind, problem=node.problem or "it is not there")
        return replace(draft, problem="it is neither a block device nor a regular file")

    # Logical volumes

    def _describe_volume(
        self, draft: DiskBacking, volume: LogicalVolume, node: Node
    ) -> DiskBacking:
        if not volume.active:
            draft = add_note(draft, "the logical volume is not active")
        if volume.merging:
            draft = add_note(draft, "a snapshot is being merged into it")
        elif volume.thick_snapshot:
            draft = add_note(draft, "it is itself a snapshot: LVM takes none of it")
        if volume.locked:
            draft = add_note(draft, "LVM is moving it: it takes no snapshot of it")
        if volume.partial:
            draft = add_note(draft, "physical volumes below it are missing")
        held = self._storage.explain_holder(node.number) if node.kind is NodeKind.BLOCK else ""
        return replace(
            draft,
            kind=BackingKind.THIN_VOLUME if volume.thin else BackingKind.LOGICAL_VOLUME,
            size_bytes=volume.size_bytes,
            allocated_bytes=_estimate_allocated(volume),
            group=volume.group,
            lv_uuid=volume.uuid,
            snapshot=choose_snapshot(volume),
            tokens=draft.tokens | name_volume(volume),
            held=held,
        )

    # Other block devices

    def _describe_device(self, draft: DiskBacking, disk: Disk, node: Node) -> DiskBacking:
        number = node.number
        if disk.cdrom or self._is_optical(number):
            return self._describe_drive(draft, disk, number)
        size_bytes, problem = self._storage.measure(draft.path)
        parent = self._storage.name_parent(number)
        draft = replace(
            draft,
            size_bytes=size_bytes,
            allocated_bytes=None if problem else size_bytes,
            tokens=draft.tokens | {f"within:{token}" for token in parent},
            held=self._storage.explain_holder(number),
            problem=problem,
        )
        name = self._storage.find_folder(number).name
        if draft.kind is BackingKind.DRBD or name.startswith("drbd"):
            return self._describe_drbd(draft, number)
        session = self._find_session(draft.path, number)
        if draft.kind is BackingKind.ISCSI or session:
            return self._describe_iscsi(draft, session)
        if name.startswith("nbd"):
            return add_note(replace(draft, kind=BackingKind.NBD), ON_NETWORK_NOTE)
        if name.startswith("loop"):
            return self._describe_loop(draft, number)
        if draft.path.startswith("/dev/evms/"):
            return replace(draft, kind=BackingKind.MAPPED_DEVICE)
        if name.startswith("dm-"):
            return self._describe_mapped(draft, number)
        if not self._storage.read_sysfs(number, "dev"):
            return add_note(draft, "the kernel's folder of this device cannot be read")
        if name.startswith("md"):
            draft = add_note(draft, "a software RAID (md)")
        return replace(draft, kind=BackingKind.PARTITION if parent else BackingKind.WHOLE_DISK)

    def _is_optical(self, number: int) -> bool:
        return os.major(number) == _CDROM_MAJOR

    def _describe_drive(self, draft: DiskBacking, disk: Disk, number: int) -> DiskBacking:
        sectors = self._storage.read_sysfs(number, "size")
        size_bytes, problem = int(sectors) * SECTOR_BYTES if sectors.isdecimal() else 0, ""
        if not disk.cdrom:
            # Somebody may want it copied: a drive without a disc cannot be.
            size_bytes, problem = self._storage.measure(draft.path)
        return replace(
            draft, kind=BackingKind.CDROM, writable=False, size_bytes=size_bytes, problem=problem
        )

    def _describe_drbd(self, draft: DiskBacking, number: int) -> DiskBacking:
        draft = replace(draft, kind=BackingKind.DRBD)
        volume = self._network.find_lower_volume(number, draft.path)
        if volume is None:
            draft = add_note(draft, "DRBD on something that is no known logical volume")
            return add_note(draft, ON_NETWORK_NOTE)
        draft = add_note(
            draft,
            f"DRBD on the logical volume {volume.group}/{volume.name}: the snapshot is taken of "
            "that one, which is larger by DRBD's own notes at its end",
        )
        return replace(
            draft,
            group=volume.group,
            lv_uuid=volume.uuid,
            snapshot=choose_snapshot(volume),
            tokens=draft.tokens | name_volume(volume),
        )

    def _find_session(self, path: str, number: int) -> str:
        """The iSCSI target that a device comes from, itself or all that a multipath is made of."""
        if name := name_iscsi_target(path):
            return name
        if session := self._network.find_session(number):
            return session
        lower = [self._network.find_session(below) for below in self._storage.list_below(number)]
        return lower[0] if lower and all(lower) else ""

    def _describe_iscsi(self, draft: DiskBacking, session: str) -> DiskBacking:
        draft = replace(draft, kind=BackingKind.ISCSI)
        if session and not any(note.startswith("iSCSI:") for note in draft.notes):
            draft = add_note(draft, self._network.describe_initiator(session))
        return add_note(draft, ON_NETWORK_NOTE)

    def _describe_loop(self, draft: DiskBacking, number: int) -> DiskBacking:
        backing = self._storage.read_sysfs(number, "loop/backing_file")
        draft = replace(draft, kind=BackingKind.LOOP)
        if not backing:
            return add_note(draft, "a loop device without a file behind it")
        node = self._storage.look(backing)
        draft = add_note(draft, f"a loop device over {backing}")
        return replace(draft, tokens=draft.tokens | node.tokens)

    def _describe_mapped(self, draft: DiskBacking, number: int) -> DiskBacking:
        uuid = self._storage.read_sysfs(number, "dm/uuid")
        note = next((text for start, text in _MAPPERS.items() if uuid.startswith(start)), "")
        draft = replace(draft, kind=BackingKind.MAPPED_DEVICE)
        return add_note(draft, note) if note else draft


def _describe_elsewhere(draft: DiskBacking, disk: Disk) -> DiskBacking:
    return add_note(
        replace(
            draft,
            kind=BackingKind.ELSEWHERE,
            tokens=frozenset((f"elsewhere:{disk.backend}:{disk.target}",)),
        ),
        f"served by domain {disk.backend}: dom0 cannot look at it, nor take a snapshot of it",
    )


def _describe_scripted(draft: DiskBacking, disk: Disk) -> DiskBacking:
    """A target that is no path: a script's, or QEMU's own (`rbd:pool/image`)."""
    scheme = disk.target.partition(":")[0]
    known = {"iscsi": BackingKind.ISCSI, "nbd": BackingKind.NBD, "drbd": BackingKind.DRBD}
    kind = known.get(scheme, BackingKind.UNKNOWN)
    draft = replace(
        draft,
        kind=kind,
        tokens=frozenset((f"target:{disk.script}:{disk.target}",)),
        problem="it is no path of dom0's: only its driver knows what it stands for",
    )
    return draft if kind is BackingKind.UNKNOWN else add_note(draft, ON_NETWORK_NOTE)


def _estimate_allocated(volume: LogicalVolume) -> int | None:
    if not volume.thin:
        return volume.size_bytes
    if volume.data_percent is None:
        return None
    return round(volume.size_bytes * volume.data_percent / 100)
