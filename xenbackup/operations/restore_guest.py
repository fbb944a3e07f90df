"""The guest of a restore: its memory proved and rebuilt, or booted; then seen to be healthy.

A memory image meets only disks that were restored from the same point a moment ago, by this very
call; once the guest may have run, it meets none but disks restored anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xenbackup.dom0 import health, xenstore
from xenbackup.dom0.memory_image import inspect_memory_image, rewrite_memory_image
from xenbackup.dom0.monitor import is_watched_by_others
from xenbackup.errors import (
    CopyCancelled,
    CopyFailed,
    DomainUnhealthy,
    Interrupted,
    PointDamaged,
    RestoreFailed,
    RestoreRefused,
)
from xenbackup.model.command import CommandResult
from xenbackup.model.domain import Domain, DomainIdentity, GuestKind, HealthBaseline, HealthFinding
from xenbackup.model.point import StoredMemory
from xenbackup.model.restore import RestorePhase
from xenbackup.operations.restore_context import RestoreContext
from xenbackup.pipeline.guest import FRAME_SIZE_BYTES, LOCK_HINT, explain
from xenbackup.planning.restore_configuration import changed_targets
from xenbackup.storage.copying import hash_blocks
from xenbackup.storage.spool import Spool
from xenbackup.system import durable
from xenbackup.system.block_device import open_block_device

RESTORE_ATTEMPTS = 5
UNPAUSE_ATTEMPTS = 3
HEALTH_DEADLINE_SECONDS = 180.0
DEATH_DEADLINE_SECONDS = 180.0
POLL_SECONDS = 0.5


def prove_memory(context: RestoreContext) -> None:
    """The image's bytes are those of its manifest, and its records go on to their END.

    Raises: PointDamaged; Interrupted.
    """
    manifest = context.plan.manifest
    memory = manifest.memory
    if memory is None:
        raise RestoreRefused(f"Point {manifest.point} holds no memory image.")
    what = "verify memory"
    context.watcher.act_began(what)
    path = context.store.memory_path(manifest.point)
    _hash_memory(context, path, memory, what)
    image = inspect_memory_image(path)
    if not image.complete:
        raise PointDamaged(
            f"The memory image of point {manifest.point} is not whole: {image.reason}. Nothing was "
            "overwritten.",
            hint="restore without --memory, or from another point",
        )


def _hash_memory(context: RestoreContext, path: Path, memory: StoredMemory, what: str) -> None:
    point = context.plan.manifest.point
    device = open_block_device(path)
    try:
        found = hash_blocks(
            device,
            size_bytes=memory.size_bytes,
            on_progress=context.report(what),
            cancelled=context.cancelled,
            limit=context.limit,
        )
    except CopyCancelled as error:
        context.check_cancelled()
        raise Interrupted(error.message) from error
    except CopyFailed as error:
        raise PointDamaged(
            f"The memory image of point {point} cannot be read: {error.message} Nothing was "
            "overwritten.",
            hint="restore without --memory, or from another point",
        ) from error
    finally:
        device.close()
    context.bytes_read += found.bytes_read
    if found.digest != memory.digest:
        raise PointDamaged(
            f"The memory image of point {point} differs from its digest: nothing was overwritten.",
            hint="restore without --memory, or from another point",
        )


def check_guest_file(context: RestoreContext) -> None:
    """Write the guest's xl.cfg, and let the toolstack parse it where the guest boots from it.

    Raises: RestoreRefused before anything is touched; StateFailed.
    """
    plan = context.plan
    if not plan.configuration_path:
        return
    path = context.house.host.place(plan.configuration_path)
    durable.make_private_folder(path.parent)
    content = plan.configuration_text.encode("utf-8", "surrogateescape")
    durable.replace_file(path, content)
    if not plan.start or plan.memory:
        return
    result = context.house.toolstack.check_configuration(Path(plan.configuration_path))
    if not result.succeeded:
        raise RestoreRefused(
            f"{result.argv[0]} does not accept {plan.configuration_path}{explain(result)}; nothing "
            "was restored.",
            hint="restore without --start, mend that file, and start the guest from it",
        )


def prepare_memory(context: RestoreContext) -> None:
    """Put an image with the guest's new name, uuid or disks into the spool, where it needs one.

    Raises: RestoreRefused, SaveFailed.
    """
    plan = context.plan
    if not plan.rewrites_memory:
        return
    house = context.house
    Spool(house.host.place(house.configuration.spool_path)).open()
    target = house.host.place(plan.memory_path)
    target.unlink(missing_ok=True)
    context.watcher.act_began("rewrite memory")
    rewrite_memory_image(
        context.store.memory_path(plan.manifest.point),
        target,
        name=plan.domain,
        uuid=plan.uuid,
        disks=changed_targets(plan),
    )


def return_guest(context: RestoreContext) -> Domain | None:
    """Bring the guest back as the plan says; None when it is to stay away.

    Raises: RestoreFailed, DomainUnhealthy.
    """
    plan = context.plan
    if plan.memory:
        context.check_cancelled()
        domain = _rebuild(context)
        return _let_run(context, domain) if plan.start else domain
    if plan.start:
        context.check_cancelled()
        return _boot(context)
    return None


def destroy_half_built(context: RestoreContext) -> None:
    """Remove what an interrupted `xl restore -p` left: paused, never let run, and in the way.

    Raises: RestoreFailed, DomainUnhealthy.
    """
    domid = context.plan.half_built_domid
    if domid is None:
        return
    domain = context.house.toolstack.find_domain(context.plan.uuid)
    if domain is None:
        return
    if domain.domid != domid or not domain.state.paused:
        raise RestoreRefused(
            f"Domain {domid} was half-built when the restore was planned, and is not any more.",
            hint="plan it again",
        )
    _destroy(context, domain)


def _destroy(context: RestoreContext, domain: Domain) -> None:
    """Destroy a domain that we built and never let run, and wait until its UUID has vanished."""
    house = context.house
    result = house.toolstack.destroy(domain.domid, run_id=context.plan.restore)
    deadline = house.host.monotonic_seconds() + DEATH_DEADLINE_SECONDS
    while house.toolstack.find_domain(domain.uuid) is not None:
        if house.host.monotonic_seconds() > deadline:
            raise DomainUnhealthy(
                f"Domain {domain.domid}, half-built, does not vanish after its destroy"
                f"{explain(result)}.",
                hint="a device of it may be held open: look at `xl list` and `lsof`",
            )
        house.host.sleep(POLL_SECONDS)


def _is_theirs(context: RestoreContext, result: CommandResult) -> bool:
    """The guest that is there was made by somebody else meanwhile; ours came too late."""
    host, plan = context.house.host, context.plan
    taken = "already exists" in result.stderr
    return taken or is_watched_by_others(host, plan.domain, plan.restore)


def _rebuild(context: RestoreContext) -> Domain:
    """`xl restore -p` in a unit of its own; tried again for what may pass (memory short, hotplug).

    Raises: RestoreFailed; the disks are whole then, and the mark stays.
    """
    plan, house = context.plan, context.house
    spool = house.host.place(house.configuration.spool_path)
    Spool(spool).open()
    what = "restore memory"
    context.watcher.act_began(what)
    result: CommandResult | None = None
    blocker = ""
    for attempt in range(RESTORE_ATTEMPTS):
        if attempt:
            house.host.sleep(2.0**attempt)
        context.keeper.note_phase(RestorePhase.REBUILDING, house.host.boot_id())
        result = house.toolstack.restore_paused(
            Path(plan.memory_path),
            run_id=plan.restore,
            own_unit=f"xenbackup-restore-{plan.restore}",
            stderr_path=spool / f"{plan.restore}.restore-stderr",
            on_progress=_report_frames(context, what),
        )
        held = _find_blocker(context, result)
        if held and held != blocker:
            context.warn(f"The rebuild of {plan.domain} passed its deadline: {held}.")
        blocker = held
        domain = house.toolstack.find_domain(plan.uuid)
        if result.succeeded and domain is not None and domain.state.paused:
            _apply_tuning(context, domain)
            return domain
        if _is_theirs(context, result):
            break
        if domain is not None and domain.state.paused:
            _destroy(context, domain)
    explanation = explain(result) if result is not None else ""
    explanation += f"; {blocker}" if blocker else ""
    room = "make room (memory, name) and restore again; or without --memory, with --start"
    raise RestoreFailed(
        f"The disks of {plan.domain} are restored, but it could not be rebuilt from its memory "
        f"image{explanation}.",
        hint=LOCK_HINT if blocker else room,
    )


def _find_blocker(context: RestoreContext, result: CommandResult) -> str:
    """Who holds xl's lock, after a command that passed its deadline; "" when nobody does.

    Asked at once: whoever holds it now is who kept that command waiting.
    """
    return context.house.toolstack.tell_lock_holder() if result.timed_out else ""


def _boot(context: RestoreContext) -> Domain:
    """Create the domain afresh from the xl.cfg written for it, paused, and then let it run.

    Killed in between, it is either half-built (and never ran), or only waits to be let run.

    Raises: RestoreFailed; the disks are whole then, and the mark stays.
    """
    plan, house = context.plan, context.house
    context.watcher.act_began("build")
    context.keeper.note_phase(RestorePhase.REBUILDING, house.host.boot_id())
    result = house.toolstack.create(
        Path(plan.configuration_path),
        paused=True,
        run_id=plan.restore,
        own_unit=f"xenbackup-restore-{plan.restore}",
    )
    held = _find_blocker(context, result)
    domain = house.toolstack.find_domain(plan.uuid)
    if domain is None:
        told = f"{explain(result)}{'; ' + held if held else ''}"
        raise RestoreFailed(
            f"The disks of {plan.domain} are restored, but it did not start{told}.",
            hint=LOCK_HINT if held else f"mend {plan.configuration_path} and `xl create` it",
        )
    if not result.succeeded:
        if domain.state.paused and not _is_theirs(context, result):
            _destroy(context, domain)
        raise RestoreFailed(
            f"The disks of {plan.domain} are restored, but it was not built{explain(result)}.",
            hint="restore it again, or look at it with `xl list`",
        )
    _apply_tuning(context, domain)
    return _let_run(context, domain)


def _let_run(context: RestoreContext, domain: Domain) -> Domain:
    """Mark that the guest may run from here on, durably; then unpause it and see it healthy.

    Raises: RestoreFailed when it stays paused: the mark stays, and recovery lets it run;
    DomainUnhealthy with every finding.
    """
    context.watcher.act_began("start")
    boot_id = context.house.host.boot_id()
    context.keeper.note_phase(RestorePhase.RESUMING, boot_id, domain.domid)
    result = _unpause(context, domain)
    context.end_mark()
    _see_healthy(context, domain, result)
    return domain


def _unpause(context: RestoreContext, domain: Domain) -> CommandResult:
    """Tried again where the toolstack refuses. Raises: RestoreFailed when it does not stop to."""
    toolstack, name = context.house.toolstack, context.plan.domain
    for attempt in range(UNPAUSE_ATTEMPTS):
        if attempt:
            context.house.host.sleep(2.0**attempt)
        result = toolstack.unpause(domain.domid, run_id=context.plan.restore)
        found = None if result.succeeded else toolstack.find_domain(domain.uuid)
        if found is None or found.domid != domain.domid or not found.state.paused:
            return result
    raise RestoreFailed(
        f"{name} is restored and built whole, but could not be let run{explain(result)}.",
        hint=f"`xenbackup recover` tries again, or `xl unpause {domain.domid}`",
    )


def _apply_tuning(context: RestoreContext, domain: Domain) -> None:
    """Give back pinning, weight and cap, which a rebuild or a boot loses."""
    differences = context.house.toolstack.apply_tuning(domain.domid, context.plan.manifest.tuning)
    for difference in differences:
        context.warn(f"{context.plan.domain}: {difference}")


def _see_healthy(context: RestoreContext, domain: Domain, result: CommandResult) -> None:
    """Wait until the guest runs with its disks connected. Raises: DomainUnhealthy."""
    house = context.house
    baseline = HealthBaseline(
        identity=DomainIdentity(
            boot_id=house.host.boot_id(),
            uuid=context.plan.uuid,
            domid=domain.domid,
            name=context.plan.domain,
        ),
        connections=(),
        # xend watches the guests of xm; each guest of xl has a process of its own.
        monitor_alive=house.toolstack.name == "xl",
        paused_by_administrator=False,
    )
    deadline = house.host.monotonic_seconds() + HEALTH_DEADLINE_SECONDS
    while True:
        findings = health.examine_health(house.host, house.toolstack, baseline, domain.domid)
        grave = [finding for finding in findings if finding.code != "monitor-gone"]
        grave += _find_unconnected(context, domain)
        if not grave:
            break
        if house.host.monotonic_seconds() > deadline:
            told = "; ".join(finding.message for finding in grave)
            raise DomainUnhealthy(
                f"The disks of {context.plan.domain} are restored and it was let run, but it is "
                f"not healthy: {told}{explain(result)}.",
                hint="look at it with `xl list` and `xl console`",
            )
        house.host.sleep(POLL_SECONDS)
    for finding in findings:
        context.warn(finding.message)


def _find_unconnected(context: RestoreContext, domain: Domain) -> list[HealthFinding]:
    """Disks that wait for their guest: PV drivers connect each, an emulated one shows nothing."""
    if context.plan.manifest.kind not in (GuestKind.PV, GuestKind.PVH):
        return []
    expected = sum(1 for disk in context.plan.guest.disks if disk.path)
    ends = xenstore.read_connections(context.house.host, domain.domid)
    connected = sum(1 for end in ends if end.rank == (True, True))
    if connected >= min(expected, len(ends)) and (ends or not expected):
        return []
    message = f"{connected} of its {expected} disks are connected"
    return [HealthFinding(code="disk-disconnected", message=message)]


def _report_frames(context: RestoreContext, what: str) -> Callable[[int, int], None]:
    """Progress of xl in frames, told to the watcher in bytes."""

    def report(done: int, total: int) -> None:
        context.watcher.amount_done(what, done * FRAME_SIZE_BYTES, total * FRAME_SIZE_BYTES)

    return report
