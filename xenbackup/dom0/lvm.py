"""Logical volumes: listed, snapshotted, extended, refreshed, created, and removed when ours.

What a run makes carries the tags `xenbackup`, `xb.run=RUN` and `xb.origin=UUID`. Removal goes
through LVM's own selection (UUID, tags, a non-empty origin), so the identity is tested by LVM
inside the command that removes, and never by name.
"""

from __future__ import annotations

from xenbackup.dom0.holders import list_device_holders
from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm_parsers import (
    GROUP_FIELDS,
    VOLUME_FIELDS,
    is_volume_name,
    is_volume_uuid,
    parse_groups,
    parse_volumes,
)
from xenbackup.dom0.tool_output import require_success
from xenbackup.errors import NotOurs, SnapshotFailed, UsageError
from xenbackup.model.command import Command, CommandResult
from xenbackup.model.job import SnapshotSize
from xenbackup.model.names import is_run_id
from xenbackup.model.volume import (
    TAG_ORIGIN_PREFIX,
    TAG_OURS,
    TAG_RUN_PREFIX,
    LogicalVolume,
    VolumeGroup,
)

_READ_TIMEOUT_SECONDS = 60.0
_CHANGE_TIMEOUT_SECONDS = 120.0
_TAG_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-/=!:&#")
_MIB = 1 << 20
# lvm.conf may ask for other spellings; what stands on the command line goes before it. The youngest
# of these came with LVM 2.02.140, `--reportformat` with 2.02.158: whoever knows that knows them.
_REPORT_STYLE = 'report{binary_values_as_numeric=0 list_item_separator="," mark_hidden_devices=1}'


class Lvm:
    """LVM of one host; every act reads its outcome back from `lvs`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def list_volumes(self, group: str = "") -> tuple[LogicalVolume, ...]:
        """All volumes, hidden ones too; of one group when named.

        Raises: CommandFailed when lvs fails (an unknown group), UnexpectedOutput.
        """
        argv = _report("lvs", VOLUME_FIELDS, "--all")
        if group:
            argv += ("--", _check_name(group))
        return parse_volumes("lvs", self._read(argv))

    def list_groups(self) -> tuple[VolumeGroup, ...]:
        """All volume groups. Raises: CommandFailed, UnexpectedOutput."""
        return parse_groups("vgs", self._read(_report("vgs", GROUP_FIELDS)))

    def find_volume(self, path: str) -> LogicalVolume | None:
        """The volume behind `/dev/GROUP/NAME` or `/dev/mapper/GROUP-NAME`; None if there is none.

        Raises: CommandFailed, UnexpectedOutput.
        """
        return next(
            (lv for lv in self.list_volumes() if path and path in (lv.path, lv.dm_path)), None
        )

    def find_by_uuid(self, uuid: str) -> LogicalVolume | None:
        """The volume with this LV UUID, under whatever name. Raises: as list_volumes."""
        return next((lv for lv in self.list_volumes() if lv.uuid == uuid), None)

    def create_thick_snapshot(
        self,
        origin: LogicalVolume,
        *,
        name: str,
        size: SnapshotSize,
        run_id: str,
        origin_uuid: str = "",
    ) -> LogicalVolume:
        """Copy-on-write snapshot of `origin`, looked at after its creation.

        `origin_uuid` is what the journal holds; it must still be the origin's. LVM rounds the size
        up to extents and reduces it to what the origin can use.

        Raises: SnapshotFailed, CommandTimedOut (then look for suspended devices first).
        """
        extent = (
            ("--extents", f"{size.percent}%ORIGIN")
            if size.percent is not None
            else ("--size", f"{size.size_bytes}b")
        )
        self._create_snapshot(origin, name, run_id, origin_uuid, extent)
        made = self._find_made(origin, name, run_id)
        if not made.thick_snapshot:
            raise SnapshotFailed(
                f"{made.group}/{made.name} exists but is no snapshot (attributes "
                f"{made.attributes}): lvcreate did not finish.",
                hint="it is removed and the snapshot taken again",
            )
        return made

    def create_thin_snapshot(
        self, origin: LogicalVolume, *, name: str, run_id: str, origin_uuid: str = ""
    ) -> LogicalVolume:
        """Snapshot inside the origin's thin pool, activated (LVM creates it inactive).

        Raises: SnapshotFailed, CommandTimedOut.
        """
        if not origin.thin:
            raise SnapshotFailed(f"{origin.group}/{origin.name} is not a thin volume.")
        self._create_snapshot(origin, name, run_id, origin_uuid, ())
        volume = f"{origin.group}/{name}"
        # A new thin snapshot carries the activation-skip flag (lv_attr ends in k).
        self._change(("lvchange", "--activate", "y", "--ignoreactivationskip", volume), run_id)
        made = self._find_made(origin, name, run_id)
        if not made.thin or made.pool != origin.pool:
            raise SnapshotFailed(
                f"{volume} is not a thin snapshot in pool {origin.pool} "
                f"(attributes {made.attributes})."
            )
        return made

    def remove_snapshot(self, lv: LogicalVolume, run_id: str) -> None:
        """Remove a snapshot of this run; nothing happens when it is gone already.

        Raises: NotOurs before anything runs when the marks are missing; SnapshotFailed when it is
        still there afterwards; CommandTimedOut.
        """
        _check_ours(lv, run_id)
        self._remove_selected(lv, run_id, 'origin!=""')

    def remove_half_made_snapshot(
        self, lv: LogicalVolume, run_id: str, *, origin_uuid: str
    ) -> None:
        """Remove the plain volume that a killed `lvcreate -s` of this run left behind.

        It has the run's marks and the origin's, but no origin. Nothing happens when it is gone.

        Raises: NotOurs before anything runs when a mark is missing, it has an origin or is open;
        SnapshotFailed when it is still there afterwards; CommandTimedOut.
        """
        _check_run(run_id)
        marks = {TAG_OURS, TAG_RUN_PREFIX + run_id, TAG_ORIGIN_PREFIX + origin_uuid}
        if not marks <= lv.tags or lv.origin or lv.open or not is_volume_uuid(lv.uuid):
            raise _refuse(lv, run_id)
        origin_tag = f'lv_tags={{"{_check_tag(TAG_ORIGIN_PREFIX + origin_uuid)}"}}'
        self._remove_selected(lv, run_id, origin_tag, 'origin=""')

    def _remove_selected(self, lv: LogicalVolume, run_id: str, *conditions: str) -> None:
        selection = " && ".join(
            (
                f'lv_uuid="{lv.uuid}"',
                f'lv_tags={{"{TAG_OURS}"}}',
                f'lv_tags={{"{TAG_RUN_PREFIX}{run_id}"}}',
                *conditions,
            )
        )
        argv = ("lvremove", "--yes", "--select", selection, _check_name(lv.group))
        result = self._run_change(argv, run_id)
        if self.find_by_uuid(lv.uuid) is None:
            return
        if not result.succeeded:
            self._explain_removal(result, lv)
        raise SnapshotFailed(
            f"{lv.group}/{lv.name} is still there although lvremove said success: its tags, "
            "UUID or origin are not what they were.",
            hint=f"look at it with `lvs -o +tags,origin {lv.group}/{lv.name}`",
        )

    def _explain_removal(self, result: CommandResult, lv: LogicalVolume) -> None:
        """Raises: SnapshotFailed, CommandTimedOut, with whatever is found to hold it open."""
        holders = list_device_holders(self._host, f"/dev/{lv.group}/{lv.name}")
        if holders:
            note = f"it is held open by {' and '.join(holders)}"
            hint = "it is tried again: end what holds it, if that should not"
        else:
            note = ""
            hint = "what holds it open was not found: see `lsof` and `dmsetup info`; tried again"
        require_success(result, failure=SnapshotFailed, note=note, hint=hint)

    def extend_snapshot(self, lv: LogicalVolume, add_bytes: int, run_id: str) -> LogicalVolume:
        """Grow a thick snapshot of this run by at least `add_bytes`; returns it as it is then.

        Raises: NotOurs, SnapshotFailed (no room in the group, or it is gone), CommandTimedOut.
        """
        _check_ours(lv, run_id)
        present = self.find_by_uuid(lv.uuid)
        if present is None or not present.thick_snapshot or (present.name != lv.name):
            raise SnapshotFailed(f"{lv.group}/{lv.name} is no longer the snapshot that it was.")
        self._change(
            ("lvextend", "--size", f"+{add_bytes}b", f"{present.group}/{present.name}"), run_id
        )
        grown = self.find_by_uuid(lv.uuid)
        if grown is None or grown.size_bytes < present.size_bytes + add_bytes:
            raise SnapshotFailed(f"{lv.group}/{lv.name} did not grow by {add_bytes} bytes.")
        return grown

    def refresh_volume(self, lv: LogicalVolume, run_id: str = "") -> None:
        """Reload the volume's tables: the cure for an origin that a killed lvcreate left suspended.

        Raises: SnapshotFailed, CommandTimedOut.
        """
        self._change(("lvchange", "--refresh", f"{lv.group}/{lv.name}"), run_id)

    def create_volume(
        self, group: str, name: str, size_bytes: int, tags: tuple[str, ...] = ()
    ) -> LogicalVolume:
        """A plain volume of at least `size_bytes` (LVM rounds up to extents).

        Raises: SnapshotFailed, CommandTimedOut, UsageError for impossible names and tags.
        """
        argv: tuple[str, ...] = (
            "lvcreate",
            "--yes",
            "--size",
            f"{size_bytes}b",
            "--name",
            _check_name(name),
        )
        for tag in tags:
            argv += ("--addtag", _check_tag(tag))
        self._change((*argv, _check_name(group)), "")
        return self._require_volume(group, name)

    def create_thin_volume(
        self, group: str, pool: str, name: str, size_bytes: int, tags: tuple[str, ...] = ()
    ) -> LogicalVolume:
        """A thin volume of at least `size_bytes` (LVM rounds up to extents) in an existing pool.

        Raises: SnapshotFailed, CommandTimedOut, UsageError for impossible names and tags.
        """
        argv: tuple[str, ...] = ("lvcreate", "--yes", "--virtualsize", f"{size_bytes}b")
        argv += ("--thinpool", _check_name(pool), "--name", _check_name(name))
        for tag in tags:
            argv += ("--addtag", _check_tag(tag))
        self._change((*argv, _check_name(group)), "")
        made = self._require_volume(group, name)
        if not made.thin or made.pool != pool:
            raise SnapshotFailed(
                f"{group}/{name} is not a thin volume in pool {pool} (attributes "
                f"{made.attributes})."
            )
        return made

    def add_tag(self, lv: LogicalVolume, tag: str) -> LogicalVolume:
        """Mark a volume. Raises: SnapshotFailed, CommandTimedOut, UsageError."""
        self._change(("lvchange", "--addtag", _check_tag(tag), f"{lv.group}/{lv.name}"), "")
        return self._require_volume(lv.group, lv.name)

    def delete_tag(self, lv: LogicalVolume, tag: str) -> LogicalVolume:
        """Take a mark off. Raises: SnapshotFailed, CommandTimedOut, UsageError."""
        self._change(("lvchange", "--deltag", _check_tag(tag), f"{lv.group}/{lv.name}"), "")
        return self._require_volume(lv.group, lv.name)

    def _create_snapshot(
        self,
        origin: LogicalVolume,
        name: str,
        run_id: str,
        origin_uuid: str,
        extent: tuple[str, ...],
    ) -> None:
        _check_run(run_id)
        if not is_volume_uuid(origin.uuid) or origin_uuid not in ("", origin.uuid):
            raise SnapshotFailed(
                f"{origin.group}/{origin.name} is not the volume of the plan "
                f"(LV UUID {origin.uuid} instead of {origin_uuid}).",
                hint="it was replaced since; plan again",
            )
        argv = ("lvcreate", "--snapshot", "--yes", *extent, "--name", _check_name(name))
        for tag in (TAG_OURS, TAG_RUN_PREFIX + run_id, TAG_ORIGIN_PREFIX + origin.uuid):
            argv += ("--addtag", tag)
        source = f"{_check_name(origin.group)}/{_check_name(origin.name)}"
        result = self._run_change((*argv, source), run_id)
        if not result.succeeded:
            self._explain_failure(result, origin)

    def _explain_failure(self, result: CommandResult, origin: LogicalVolume) -> None:
        said = result.stderr
        hint = ""
        if "insufficient free space" in said:
            free = sum(g.free_bytes for g in self.list_groups() if g.name == origin.group)
            hint = (
                f"{origin.group} has {free / _MIB:.0f} MiB free: lower the snapshot's size or "
                f"extend {origin.group}"
            )
        elif "reached threshold" in said:
            hint = (
                f"`lvextend` the pool {origin.pool}, or raise `thin_pool_autoextend_threshold` in "
                "lvm.conf"
            )
        elif "already exists" in said:
            hint = "a volume of that name is left from elsewhere; remove or rename it by hand"
        require_success(result, failure=SnapshotFailed, hint=hint)

    def _find_made(self, origin: LogicalVolume, name: str, run_id: str) -> LogicalVolume:
        made = self._require_volume(origin.group, name)
        same_origin = made.origin == origin.name and made.origin_uuid in ("", origin.uuid)
        if not made.is_snapshot_of_run(run_id) or not same_origin:
            raise SnapshotFailed(
                f"{made.group}/{made.name} is not a snapshot of {origin.name} by run {run_id} "
                f"(origin {made.origin or 'none'}, attributes {made.attributes})."
            )
        if not made.active or made.suspended or made.invalid:
            raise SnapshotFailed(
                f"{made.group}/{made.name} is not usable (attributes {made.attributes})."
            )
        return made

    def _require_volume(self, group: str, name: str) -> LogicalVolume:
        for lv in self.list_volumes(group):
            if lv.name == name and not lv.hidden:
                return lv
        raise SnapshotFailed(f"{group}/{name} does not exist although LVM said success.")

    def _read(self, argv: tuple[str, ...]) -> str:
        command = Command(argv=argv, timeout_seconds=_READ_TIMEOUT_SECONDS)
        return require_success(self._host.run(command)).stdout

    def _change(self, argv: tuple[str, ...], run_id: str) -> CommandResult:
        return require_success(self._run_change(argv, run_id), failure=SnapshotFailed)

    def _run_change(self, argv: tuple[str, ...], run_id: str) -> CommandResult:
        # Killed inside its suspended window, LVM leaves the guest's disk frozen: hence kill_late.
        return self._host.run(
            Command(
                argv=argv,
                timeout_seconds=_CHANGE_TIMEOUT_SECONDS,
                run_id=run_id,
                kill_late=True,
            )
        )


def _report(tool: str, fields: str, *options: str) -> tuple[str, ...]:
    form = ("--reportformat", "json", "--units", "b", "--nosuffix", "--options", fields)
    return (tool, *options, "--config", _REPORT_STYLE, *form)


def _check_ours(lv: LogicalVolume, run_id: str) -> None:
    _check_run(run_id)
    if not lv.is_snapshot_of_run(run_id) or not is_volume_uuid(lv.uuid):
        raise _refuse(lv, run_id)
    _check_name(lv.group)
    _check_name(lv.name)


def _refuse(lv: LogicalVolume, run_id: str) -> NotOurs:
    tags = ", ".join(sorted(lv.tags)) or "none"
    return NotOurs(
        f"{lv.group}/{lv.name} is not a snapshot made by run {run_id} (tags {tags}; origin "
        f"{lv.origin or 'none'}; attributes {lv.attributes}).",
        hint="it is left alone",
    )


def _check_run(run_id: str) -> None:
    if not is_run_id(run_id):
        raise UsageError(f"{run_id!r} is no run id; no volume is marked or removed with it.")


def _check_name(name: str) -> str:
    if not is_volume_name(name):
        raise UsageError(f"{name!r} is no name for a logical volume or a volume group.")
    return name


def _check_tag(tag: str) -> str:
    if not tag or tag.startswith("-") or not _TAG_LETTERS.issuperset(tag):
        raise UsageError(f"{tag!r} cannot be an LVM tag.")
    return tag
