"""Restore: a recovery point back onto disks, and where asked the guest back into its memory.

Everything is decided before anything is touched. Then, in this order: the images that will replace
somebody's bytes are read and proved, a mark is written down, targets are made and opened, disks are
written and synced, the guest is rebuilt, the mark is taken off. A restore that is cut off leaves
its mark, and the same restore again completes it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from xenbackup.errors import (
    Interrupted,
    Locked,
    PointDamaged,
    RestoreRefused,
    XenbackupError,
)
from xenbackup.inventory.targets import TargetReader
from xenbackup.model.domain import Domain
from xenbackup.model.inventory import Inventory
from xenbackup.model.names import encode_folder_name, make_run_id
from xenbackup.model.plan import VolumeKind
from xenbackup.model.point import Manifest
from xenbackup.model.restore import (
    GuestOutcome,
    MarkedTarget,
    RestoredDisk,
    RestoreMark,
    RestoreOptions,
    RestorePhase,
    RestorePlan,
    RestoreResult,
    RestoreWatcher,
)
from xenbackup.operations.half_restored import is_still
from xenbackup.operations.house import House
from xenbackup.operations.points import FoundPoint
from xenbackup.operations.restore_configuration import read_point_guest, write_guest_file
from xenbackup.operations.restore_context import RestoreContext
from xenbackup.operations.restore_disks import DiskRestorer, prove_disks, spare_untouched
from xenbackup.operations.restore_guest import (
    check_guest_file,
    destroy_half_built,
    prepare_memory,
    prove_memory,
    return_guest,
)
from xenbackup.operations.restore_sight import open_marks, read_restore_sight
from xenbackup.operations.restore_watch import TargetWatch
from xenbackup.operations.runs import find_unfinished, refuse_unfinished
from xenbackup.planning.restore_plan import (
    RestoreRequest,
    check_options,
    compose_mark,
    decide_restore,
)
from xenbackup.records.restore_marks import MarkKeeper
from xenbackup.storage.spool import Spool

CONFIGURATIONS_FOLDER = "restored"
_UNTOUCHED = "nothing was written: all disks hold what they held"
XEN_ADDRESS_PREFIX = "00:16:3e"
"""The vendor part of network addresses that Xen hands out."""


def plan_restore(house: House, point: FoundPoint, options: RestoreOptions) -> RestorePlan:
    """Look at every target and decide; nothing is touched.

    Raises: RestoreRefused with all problems at once; UsageError for options that contradict each
    other; PointDamaged; Locked when an earlier run of the domain was left unfinished.
    """
    manifest = point.manifest
    check_options(manifest, options)
    for name in _list_names(house, manifest, options):
        refuse_unfinished(house, name)
    store = house.open_destination(point.destination)
    store.open()
    found = read_point_guest(store, manifest, options)
    domain = options.domain or manifest.domain
    request = RestoreRequest(
        manifest=manifest,
        destination=point.destination,
        options=options,
        restore=make_run_id(house.host.now(), house.entropy(6)),
        fresh_uuid=_make_uuid(house.entropy(16)),
        guest=found.guest,
        configuration_json=found.configuration_json,
        configuration_file=found.configuration_file,
        direct_memory_path=found.memory_path,
        memory_is_fixed=found.memory_is_fixed,
        spool_path=house.configuration.spool_path,
        configuration_path=(
            f"{house.configuration.state_path}/{CONFIGURATIONS_FOLDER}/"
            f"{encode_folder_name(domain)}-{manifest.point}.cfg"
        ),
        fresh_macs=tuple(_make_address(house.entropy(3)) for _ in found.guest.addresses),
    )
    plan = decide_restore(request, read_restore_sight(house, request))
    warnings = (*_tell_damage(point), *plan.warnings)
    return write_guest_file(replace(plan, options=options, warnings=warnings), found.remarks)


def _list_names(house: House, manifest: Manifest, options: RestoreOptions) -> list[str]:
    """What the guest is called: in the point, after the restore, and in runs since a renaming."""
    names = {manifest.domain, options.domain or manifest.domain}
    for _, record in find_unfinished(house):
        if record is not None and record.start.plan.domain.uuid == manifest.uuid != "":
            names.add(record.start.plan.domain.name)
    return sorted(names)


def _tell_damage(point: FoundPoint) -> tuple[str, ...]:
    """Of a point that verification found damaged: it may be all there is, so it is not refused."""
    damage = point.summary.damage
    if damage is None:
        return ()
    when = f" on {damage.found_at:%Y-%m-%d %H:%M} UTC" if damage.found_at is not None else ""
    return (
        f"Point {point.point} was found damaged{when}: {damage.reason}. Each disk is held to its "
        "digests as it is read, and the restore ends at the first that differs.",
    )


def restore_point(
    house: House,
    plan: RestorePlan,
    watcher: RestoreWatcher,
    cancelled: Callable[[], str],
) -> RestoreResult:
    """Do what the plan says. Nobody prunes the point meanwhile.

    Raises: RestoreRefused when the host changed since the plan, PointNotFound when the point was
    removed since, PointDamaged: all before a live target is touched; CopyFailed, RestoreFailed,
    Interrupted: the targets stay marked incomplete then, and the same restore again completes them.
    """
    began = house.host.monotonic_seconds()
    identities = {plan.manifest.identity, plan.manifest.domain, plan.domain}
    with ExitStack() as held:
        for identity in sorted(identities):
            held.enter_context(house.lock_domain(identity, f"restore {plan.domain}"))
        store = house.open_destination(plan.destination)
        store.open()
        held.enter_context(store.hold_point(plan.manifest.point))
        marks = open_marks(house)
        boot_id = house.host.boot_id()
        context = RestoreContext(
            house=house,
            store=store,
            plan=plan,
            keeper=MarkKeeper(marks, _note_folders(house, compose_mark(plan, boot_id))),
            watcher=watcher,
            cancelled=cancelled,
            limit=house.make_limit(),
        )
        destroy_half_built(context)
        watcher.restore_began(plan)
        _prove_point(context)
        _check_unchanged(house, plan)
        disks, domain = _restore(context)
        result = _compose_result(context, disks, domain)
    result = replace(result, duration_seconds=round(house.host.monotonic_seconds() - began, 3))
    watcher.restore_ended(result)
    return result


def list_incomplete_restores(house: House) -> tuple[RestoreMark, ...]:
    """Restores that have begun and not ended, oldest first. Raises: JournalDamaged, StateFailed."""
    return open_marks(house).list_marks()


def settle_restores(house: House) -> tuple[RestoreMark, ...]:
    """Take off the marks that mean nothing any more; returns those, oldest first.

    That is of disks that were whole and that a guest runs on by now, whoever started it: another
    restore would take what it wrote since. And it is targets that no longer exist, where it is sure
    that they do not: a group or a file system may just be away. A guest that was built whole and
    only waits to be let run is let run.

    Raises: JournalDamaged, StateFailed; CommandFailed, UnexpectedOutput.
    """
    marks = open_marks(house)
    found = marks.list_marks()
    if not found:
        return ()
    inventory = house.read_inventory()
    settled = []
    for mark in found:
        _let_run(house, mark)
        runs = mark.phase is not RestorePhase.WRITING and _runs_on(house, mark)
        if runs or all(_is_gone(house, inventory, target) for target in mark.targets):
            Spool(house.host.place(house.configuration.spool_path)).remove(mark.restore)
            marks.remove(mark)
            settled.append(mark)
    return tuple(settled)


def _runs_on(house: House, mark: RestoreMark) -> bool:
    """The guest of the mark runs, or another that writes its targets. One that is being built is
    paused.
    """
    inventory = house.read_inventory()
    reader = TargetReader(house.host, inventory, ())
    sights = [(target, reader.look(target.path)) for target in mark.targets]
    disks = [sight for target, sight in sights if is_still(target, sight)]
    users = [
        use.domain
        for use in reader.list_uses()
        if use.writable and any(use.sight.overlaps(sight) for sight in disks)
    ]
    users += [domain for domain in inventory.domains if domain.uuid == mark.uuid != ""]
    return any(domain.exists and domain.state.alive for domain in users)


def _is_gone(house: House, inventory: Inventory, target: MarkedTarget) -> bool:
    """What was to be written is not there, and the place where it was is."""
    if TargetReader(house.host, inventory, ()).look(target.path).exists:
        return False
    if target.kind is VolumeKind.LOGICAL_VOLUME:
        return inventory.find_group(target.group) is not None
    if target.kind is VolumeKind.IMAGE_FILE:
        return _read_folder_inode(house, target.path) == target.folder_inode != 0
    return False


def _note_folders(house: House, mark: RestoreMark) -> RestoreMark:
    """The mark with the folders in which its files are, or will be."""
    targets = tuple(
        replace(target, folder_inode=_read_folder_inode(house, target.path))
        if target.kind is VolumeKind.IMAGE_FILE
        else target
        for target in mark.targets
    )
    return replace(mark, targets=targets)


def _read_folder_inode(house: House, path: str) -> int:
    """0 when there is no such folder."""
    try:
        return house.host.place(path).parent.stat().st_ino
    except OSError:
        return 0


def _let_run(house: House, mark: RestoreMark) -> None:
    """Unpause the guest of a restore that was cut off just before it did that itself.

    Only what that restore built, in this boot: a domain of the same UUID may be another's.
    """
    if mark.phase is not RestorePhase.RESUMING or mark.boot_id != house.host.boot_id():
        return
    try:
        with house.lock_domain(mark.domain, f"recover {mark.domain}"):
            domain = house.toolstack.find_domain(mark.uuid)
            waits = domain is not None and domain.state.paused and domain.domid == mark.domid
            if domain is not None and waits and mark in list_incomplete_restores(house):
                house.toolstack.unpause(domain.domid, run_id=mark.restore)
    except Locked:
        return  # it is at work, and will do so itself


def _make_uuid(entropy: bytes) -> str:
    """A random UUID (RFC 4122, version 4) from sixteen bytes."""
    raw = bytearray(entropy)
    raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _make_address(entropy: bytes) -> str:
    return ":".join((XEN_ADDRESS_PREFIX, *(f"{byte:02x}" for byte in entropy)))


# Acting


def _check_unchanged(house: House, plan: RestorePlan) -> None:
    """With the locks held, decide once more: the answer must be the plan's.

    Raises: RestoreRefused.
    """
    request = RestoreRequest(
        manifest=plan.manifest,
        destination=plan.destination,
        options=plan.options,
        restore=plan.restore,
        fresh_uuid=plan.uuid,
        guest=plan.guest,
        configuration_json=plan.configuration_json,
        configuration_file=plan.configuration_file,
        direct_memory_path=plan.memory_path,
        spool_path=house.configuration.spool_path,
        configuration_path=plan.configuration_path,
    )
    if decide_restore(request, read_restore_sight(house, request)).targets != plan.targets:
        raise RestoreRefused(
            "The host changed since the restore was planned: its targets are not what they were.",
            hint="plan it again",
        )


def _prove_point(context: RestoreContext) -> None:
    """Read all that will be written, before anything is.

    It comes before the last look at the host because it may take hours, and only that look keeps
    a restore off the disks of a guest that was started meanwhile: a guest's back-end does not claim
    its device, so the kernel opens it for us as well (seen on Xen 4.17, Linux 6.1).

    Raises: PointDamaged, Interrupted; RestoreRefused for a guest's file that xl does not take.
    """
    prove_disks(context)
    if context.plan.memory:
        prove_memory(context)
    check_guest_file(context)


def _restore(context: RestoreContext) -> tuple[tuple[RestoredDisk, ...], Domain | None]:
    plan = context.plan
    watch = TargetWatch(context)
    context.keeper.begin()
    try:
        with DiskRestorer(context) as restorer:
            restorer.open_targets()
            if plan.memory:
                prepare_memory(context)
            disks = restorer.write_disks(watch.refuse_written)
        # Whatever becomes of the guest: no older restore is still to write these disks.
        context.keeper.supersede()
        domain = return_guest(context)
        context.end_mark()
    except XenbackupError as error:
        if not context.writes_begun:
            spare_untouched(context)
        explained = _explain_incomplete(context, error)
        if explained is error:
            raise
        raise explained from error
    finally:
        context.discard_spooled()
    return disks, domain


def _explain_incomplete(context: RestoreContext, error: XenbackupError) -> XenbackupError:
    """The error, saying what became of the targets; a person's wish to stop ends as one."""
    if context.mark_ended or context.keeper.mark.phase is RestorePhase.RESUMING:
        return error
    names = ", ".join(target.vdev for target in context.keeper.mark.targets)
    if not names:
        error.hint = f"{error.hint}; {_UNTOUCHED}" if error.hint else _UNTOUCHED
        return error
    again = f"{names} of this restore are marked incomplete: the same restore again completes them"
    if isinstance(error, PointDamaged):
        again = f"{names} of this restore are marked incomplete: restore another point onto them"
    hint = f"{error.hint}; {again}" if error.hint else again
    if reason := context.cancelled():
        return Interrupted(
            f"The restore of {context.plan.domain} was stopped: {reason}.", hint=hint
        )
    error.hint = hint
    return error


def _compose_result(
    context: RestoreContext, disks: tuple[RestoredDisk, ...], domain: Domain | None
) -> RestoreResult:
    plan = context.plan
    guest = GuestOutcome.NOT_STARTED
    if domain is not None:
        guest = GuestOutcome.RUNNING if plan.start else GuestOutcome.PAUSED
    return RestoreResult(
        restore=plan.restore,
        point=plan.manifest.point,
        destination=plan.destination,
        domain=plan.domain,
        uuid=plan.uuid,
        disks=disks,
        guest=guest,
        domid=domain.domid if domain is not None else None,
        memory=plan.memory,
        configuration_path=plan.configuration_path,
        bytes_read=context.bytes_read,
        bytes_written=context.bytes_written,
        warnings=(*plan.warnings, *context.warnings),
    )
