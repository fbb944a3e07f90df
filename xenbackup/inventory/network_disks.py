"""Disks that come over the network: iSCSI, DRBD and NBD, as dom0's kernel and files show them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from xenbackup.dom0.drbd_configuration import DrbdVolume, parse_drbd_volumes
from xenbackup.inventory.host_storage import HostStorage, NodeKind, name_number
from xenbackup.inventory.host_texts import list_host_folder
from xenbackup.model.backing import BackingKind
from xenbackup.model.domain import Disk
from xenbackup.model.volume import LogicalVolume

ON_NETWORK_NOTE = (
    "on the network: no snapshot of it can be taken here and it does not move with this host; copy "
    "it with `cold`, or take the snapshot on the storage that serves it"
)
_BY_PATH = "/dev/disk/by-path"
_SESSIONS = "/sys/class/iscsi_session"
_DRBD_FILES = ("/etc/drbd.conf",)
_DRBD_FOLDER = "/etc/drbd.d"
_SCRIPTS = {
    "iscsi": BackingKind.ISCSI,
    "drbd": BackingKind.DRBD,
    "nbd": BackingKind.NBD,
    "enbd": BackingKind.NBD,
}
_ISCSI_NAME = re.compile(r"(?:^|[,\s=])((?:iqn|eui|naa)\.[^,\s]+)")
_BY_PATH_NAME = re.compile(r"-iscsi-(?P<name>.+)-lun-(?P<lun>[^-]+)(?P<part>-part[0-9]+)?$")
_SESSION_PART = re.compile(r"session[0-9]+")


@dataclass(frozen=True, kw_only=True)
class NetworkTarget:
    """What a target that only a script understands stands for.

    `path` is the device that dom0 sees of it now ("" for none, with the `problem`).
    """

    kind: BackingKind
    path: str = ""
    token: str = ""
    problem: str = ""


class NetworkDisks:
    """Finds the devices behind network targets, and what they stand on."""

    def __init__(self, storage: HostStorage) -> None:
        self._storage = storage

    def find_target(self, disk: Disk) -> NetworkTarget | None:
        """What a script of iSCSI, DRBD or NBD makes of a disk's target; None for other disks."""
        scheme = _name_scheme(disk)
        if scheme not in _SCRIPTS:
            return None
        # xm keeps the scheme in front of the name, xl gives it to the script alone.
        name = disk.target.removeprefix(f"{scheme}:").strip()
        match _SCRIPTS[scheme]:
            case BackingKind.ISCSI:
                return self._find_iscsi_target(name)
            case BackingKind.DRBD:
                return self._find_drbd_target(name)
        return NetworkTarget(
            kind=BackingKind.NBD,
            token=f"nbd:{name}",
            problem="its script chooses a /dev/nbd device when the guest starts; none is known now",
        )

    def find_session(self, number: int) -> str:
        """The target that an iSCSI device was logged in to (or its session's name); "" for others.

        The kernel puts what comes through a session below it: `…/host3/session1/target3:0:0/…`.
        """
        parts = self._storage.find_folder(number).parts
        session = next((part for part in parts if _SESSION_PART.fullmatch(part)), "")
        return (self._sessions.get(session) or session) if session else ""

    def describe_initiator(self, name: str) -> str:
        """Whether dom0's own iSCSI initiator serves a target, as a note."""
        if name in self._sessions or name in self._sessions.values():
            return f"iSCSI: dom0's own initiator is logged in to {name}"
        runs = "runs, but" if self._daemon_runs else "does not run, and"
        return f"iSCSI: dom0's initiator (iscsid) {runs} has no session to {name}"

    def find_lower_volume(self, number: int, path: str) -> LogicalVolume | None:
        """The logical volume that a DRBD device stands on: from sysfs, else from its files.

        Of two in sysfs one holds DRBD's own notes (`meta-disk`), and only the files say which.
        """
        volumes = {
            volume.uuid: volume
            for below in self._storage.list_below(number)
            if (volume := self._storage.find_volume_by_number(below)) is not None
        }
        if len(volumes) != 1:
            named = self._find_configured_volumes(number, path)
            volumes = {uuid: named[uuid] for uuid in named if not volumes or uuid in volumes}
        return next(iter(volumes.values())) if len(volumes) == 1 else None

    def _find_configured_volumes(self, number: int, path: str) -> dict[str, LogicalVolume]:
        same = name_number(number)
        return {
            volume.uuid: volume
            for listed in self._drbd_volumes
            if listed.device == path or same in self._storage.look(listed.device).tokens
            if (volume := self._storage.find_volume(listed.disk)) is not None
        }

    def _find_iscsi_target(self, text: str) -> NetworkTarget:
        match = _ISCSI_NAME.search(text)
        name = match[1] if match is not None else text
        token = f"iscsi:{name}"
        found: dict[frozenset[str], str] = {}
        for path in list_host_folder(self._storage.host, _BY_PATH, ""):
            link = _BY_PATH_NAME.search(path)
            node = self._storage.look(path) if link and link["name"] == name else None
            if link and not link["part"] and node is not None and node.kind is NodeKind.BLOCK:
                found.setdefault(node.tokens, path)
        paths = sorted(found.values())
        if len(paths) == 1:
            return NetworkTarget(kind=BackingKind.ISCSI, path=paths[0], token=token)
        problem = (
            f"it has {len(paths)} units (LUNs) here, and which one is meant is not said"
            if paths
            else f"no device of it is in {_BY_PATH}: nobody is logged in to it here"
        )
        return NetworkTarget(kind=BackingKind.ISCSI, token=token, problem=problem)

    def _find_drbd_target(self, name: str) -> NetworkTarget:
        token = f"drbd:{name}"
        candidates = [
            *(volume.device for volume in self._drbd_volumes if volume.resource == name),
            f"/dev/drbd/by-res/{name}",
            f"/dev/drbd/by-res/{name}/0",
        ]
        # `drbd:/dev/drbd1` names the device itself.
        if name.startswith("/"):
            candidates.insert(0, name)
        for path in candidates:
            if self._storage.look(path).kind is NodeKind.BLOCK:
                return NetworkTarget(kind=BackingKind.DRBD, path=path, token=token)
        return NetworkTarget(
            kind=BackingKind.DRBD,
            token=token,
            problem=f"no device of the DRBD resource {name} was found; is it up?",
        )

    @cached_property
    def _sessions(self) -> dict[str, str]:
        """Names of iSCSI sessions, with the target of each."""
        folders = list_host_folder(self._storage.host, _SESSIONS, "")
        return {
            PurePosixPath(folder).name: self._storage.read_text(f"{folder}/targetname").strip()
            for folder in folders
        }

    @cached_property
    def _daemon_runs(self) -> bool:
        found = self._storage.host.place("/proc").glob("[0-9]*/comm")
        return any(self._storage.read_real(path) == "iscsid" for path in found)

    @cached_property
    def _drbd_volumes(self) -> tuple[DrbdVolume, ...]:
        hostname = self._storage.read_text("/proc/sys/kernel/hostname").strip()
        files = (*_DRBD_FILES, *list_host_folder(self._storage.host, _DRBD_FOLDER, ".res"))
        return tuple(
            volume
            for path in files
            for volume in parse_drbd_volumes(self._storage.read_text(path), hostname)
        )


def name_iscsi_target(path: str) -> str:
    """The target's name in a link of udev's (`…-iscsi-NAME-lun-0`); "" for any other path."""
    match = _BY_PATH_NAME.search(path) if path.startswith(f"{_BY_PATH}/") else None
    return match["name"] if match is not None else ""


def _name_scheme(disk: Disk) -> str:
    """`iscsi` for the script `block-iscsi`, wherever it lies; "" without such a script."""
    script = PurePosixPath(disk.script).name
    for scheme in _SCRIPTS:
        if script == f"block-{scheme}" or script.startswith(f"block-{scheme}-"):
            return scheme
    return ""
