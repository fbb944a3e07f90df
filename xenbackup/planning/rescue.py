"""The recovery table: from the evidence of a journal and of the world to the next act.

Pure. The one table serves the undo of a failed run, Ctrl-C, and the recovery after a kill or a
power cut; `docs/design.md` has it as a table for people. Each decision is one act; the caller
does it, looks at the world again and asks again, until `NOTHING` or `HANDS_OFF`.
"""

from __future__ import annotations

from xenbackup.model.domain import DiskConnection, Domain, was_migrated_away
from xenbackup.model.record import RunRecord
from xenbackup.model.rescue import Decision, ImageState, RescueAction, World

A = RescueAction
STAYS_PAUSED = "it stays paused after three unpauses: somebody else pauses it"


def decide_rescue(record: RunRecord, world: World) -> Decision:
    """The next act for the run's guest. Guest first: snapshots and partial data come after."""
    if world.suspended_devices:
        names = ", ".join(world.suspended_devices)
        return _decide(A.RESUME_DEVICES, f"{names} suspended: the guest's disk I/O stands still")
    if world.survivors:
        pids = ", ".join(str(process.pid) for process in world.survivors)
        return _decide(A.END_SURVIVORS, f"a command of this run still runs (pid {pids})")
    if record.start.boot_id != world.boot_id:
        return _decide_after_reboot(record, world)
    if record.save_begun and world.suspend_requested and _runs(world.domain):
        return _decide(
            A.CLEAR_SUSPEND_REQUEST,
            "a suspend request of this run was left behind: the guest would suspend later",
        )
    decision = _decide_same_boot(record, world)
    if decision.action in (A.NOTHING, A.HANDS_OFF, A.GIVE_UP) and world.stopped_monitors:
        return _decide(A.WAKE_MONITORS, "the guest's monitor is still held")
    return decision


def _decide(action: RescueAction, reason: str) -> Decision:
    return Decision(action=action, reason=reason)


def _decide_same_boot(record: RunRecord, world: World) -> Decision:
    if record.hands_off:
        return _decide(A.NOTHING, f"hands off already: {record.hands_off}")
    if record.returned:
        return _decide(A.NOTHING, "the guest had returned: from then on it is its owner's")
    if not record.guest_touched:
        return _decide(A.NOTHING, "the run had not touched the guest")
    if world.domain is None:
        return _decide_absent(record, world)
    if world.domain.state.dying:
        return _decide(A.WAIT_FOR_DEATH, "the domain is dying")
    if was_migrated_away(world.domain.name):
        return _decide_migrated(world.domain)
    original_domid = record.start.plan.domain.domid
    if world.domain.domid == original_domid:
        return _decide_original(record, world, world.domain)
    if record.boot_begun:
        return _decide_booted(record, world, world.domain)
    if record.restore_begun:
        return _decide_rebuilt(record, world, world.domain)
    return _decide(
        A.HANDS_OFF,
        f"domain {original_domid} is now domain {world.domain.domid}: it was rebooted or "
        "re-created by somebody else",
    )


def _decide_migrated(domain: Domain) -> Decision:
    """Let run here, it would write the disks that it writes on the other host as well."""
    return _decide(
        A.HANDS_OFF, f"it was migrated to another host: domain {domain.domid} is {domain.name}"
    )


def _decide_original(record: RunRecord, world: World, domain: Domain) -> Decision:
    """The domain of the run's start is still there, with its domid."""
    if record.destroy_begun and not _runs_whole(record, world, domain):
        if world.image is ImageState.COMPLETE and not record.resuming:
            return _decide(
                A.DESTROY_SAVED, "its memory image is complete and its destroy was begun"
            )
        return _decide(
            A.SAVE_AND_RESTORE, "its destroy was begun and no image of it can be trusted"
        )
    if domain.state.suspended:
        return _decide_suspended(record, world)
    if domain.state.shutdown:
        reason = domain.state.shutdown_reason
        if world.stopped_monitors:
            return _decide(
                A.WAKE_MONITORS, f"the guest shut down ({reason}): its monitor acts on it"
            )
        return _decide(A.HANDS_OFF, f"the guest shut down by itself ({reason})")
    if domain.state.paused:
        if record.start.baseline is not None and record.start.baseline.paused_by_administrator:
            return _decide(A.HANDS_OFF, "an administrator had paused it before the run")
        return _decide_paused(world, "this run paused it")
    return _decide_confirmed(record, world)


def _decide_paused(world: World, reason: str) -> Decision:
    if world.attempts.count(A.UNPAUSE) < 3:
        return _decide(A.UNPAUSE, reason)
    if world.unpause_fails:
        return _decide(A.GIVE_UP, "it is paused, and three unpauses failed")
    return _decide(A.HANDS_OFF, STAYS_PAUSED)


def _decide_suspended(record: RunRecord, world: World) -> Decision:
    if not record.save_begun:
        return _decide(A.HANDS_OFF, "the guest is suspended, and not by this run")
    if _devices_connected(record, world.connections):
        if world.attempts.count(A.CANCEL_SUSPEND) >= 2:
            return _decide(A.SAVE_AND_RESTORE, "it stays suspended after two saves that continue")
        return _decide(A.CANCEL_SUSPEND, "it is suspended with its devices connected")
    if world.image is ImageState.COMPLETE and not record.resuming:
        return _decide(A.DESTROY_SAVED, "its devices are gone and its memory image is complete")
    return _decide(A.SAVE_AND_RESTORE, "its devices are gone and no memory image can be trusted")


def _decide_rebuilt(record: RunRecord, world: World, domain: Domain) -> Decision:
    """A domain with the run's UUID and another domid, after a restore of ours was begun."""
    if record.restored_domid is None:
        if domain.state.paused or not world.connections:
            return _decide(
                A.DESTROY_HALF_BUILT, "its restore never finished: it may lack its disks"
            )
        return _decide(A.HANDS_OFF, "it runs although our restore had not finished: not ours")
    if domain.domid != record.restored_domid:
        return _decide(A.HANDS_OFF, "it was rebooted or re-created after our restore")
    if domain.state.paused:
        return _decide_paused(world, "this run rebuilt it, paused")
    return _decide_confirmed(record, world)


def _decide_booted(record: RunRecord, world: World, domain: Domain) -> Decision:
    """A domain with the run's UUID after a fresh boot of ours was begun."""
    if domain.state.paused:
        return _decide(A.DESTROY_HALF_BUILT, "its boot never finished: it may lack its disks")
    return _decide_confirmed(record, world)


def _decide_confirmed(record: RunRecord, world: World) -> Decision:
    if world.stopped_monitors:
        return _decide(A.WAKE_MONITORS, "the guest runs and its monitor is still held")
    return _decide(A.CONFIRM_RETURN, "the guest runs")


def _decide_absent(record: RunRecord, world: World) -> Decision:
    """No domain with the run's UUID in this boot."""
    if world.namesake is not None:
        return _decide(
            A.HANDS_OFF,
            f"somebody started another domain of its name (domain {world.namesake.domid}): "
            "the memory image is stale",
        )
    if record.boot_begun:
        return _decide_boot(world, "a fresh boot was begun and it is not there")
    if record.resuming:
        return _decide(A.HANDS_OFF, "it vanished after it was let run: its own or its owner's act")
    saved_by_us = record.destroy_begun or record.restore_begun or record.save_destroys
    if not saved_by_us:
        return _decide(A.HANDS_OFF, "somebody destroyed it during the run")
    if world.image is ImageState.COMPLETE:
        if world.attempts.count(A.RESTORE) >= 5:
            return _decide(A.GIVE_UP, "five restores failed: it is down, its memory image is kept")
        return _decide(A.RESTORE, "it is down and its memory image is complete")
    return _decide_boot(world, "it is down and its memory image cannot be trusted")


def _decide_after_reboot(record: RunRecord, world: World) -> Decision:
    """The host rebooted since the run began: every domain of that boot is gone."""
    if record.hands_off or record.returned or not record.guest_touched:
        return _decide(A.NOTHING, "the host rebooted, and the guest was not in our hands")
    if record.rebuilding_boot_id == world.boot_id:
        return _decide_rebuilt_since(record, world)
    if world.domain is not None or world.namesake is not None:
        return _decide(A.HANDS_OFF, "the host rebooted and the domain has been started since")
    if world.held_by_xendomains:
        return _decide(A.HANDS_OFF, "xendomains holds a save file of its name and will restore it")
    if record.start.baseline is None:
        return _decide(A.NOTHING, "the domain was shut off when the run began")
    if not record.resuming and record.image_verified and world.image is ImageState.COMPLETE:
        if world.attempts.count(A.RESTORE) >= 5:
            return _decide(A.GIVE_UP, "five restores failed: it is down, its memory image is kept")
        return _decide(A.RESTORE, "the host rebooted while the guest was saved and not yet let run")
    return _decide_boot(world, "the host rebooted while it was away and its image is stale")


def _decide_rebuilt_since(record: RunRecord, world: World) -> Decision:
    """After the reboot a recovery had begun to bring the guest back, and was cut off itself."""
    if world.domain is None:
        return _decide_absent(record, world)
    if world.domain.state.dying:
        return _decide(A.WAIT_FOR_DEATH, "the domain is dying")
    if was_migrated_away(world.domain.name):
        return _decide_migrated(world.domain)
    if record.boot_begun:
        return _decide_booted(record, world, world.domain)
    return _decide_rebuilt(record, world, world.domain)


def _decide_boot(world: World, reason: str) -> Decision:
    if world.attempts.count(A.BOOT) >= 3:
        return _decide(A.GIVE_UP, "booting it afresh failed three times: it is down")
    return _decide(A.BOOT, reason)


def runs_with_stale_image(record: RunRecord, world: World) -> bool:
    """Is our domain seen running, whoever let it, while its image still counts as one to restore?

    This must be in the journal before anything else: after a power cut nothing would tell. But a
    save of ours that lives on has yet to take the guest away: its image is the one to restore.
    """
    domain = world.domain
    if domain is None or world.survivors:
        return False
    if record.resuming or not record.save_begun or record.guest_settled:
        return False
    if record.start.boot_id == world.boot_id:
        ours = domain.domid in (record.start.plan.domain.domid, record.restored_domid)
    else:
        ours = record.rebuilding_boot_id == world.boot_id
    return ours and domain.state.alive


def _runs_whole(record: RunRecord, world: World, domain: Domain) -> bool:
    """It runs with its disks: somebody let it go on before our destroy could end it."""
    return domain.state.alive and _devices_connected(record, world.connections)


def _runs(domain: Domain | None) -> bool:
    return domain is not None and not domain.state.shutdown


def _devices_connected(record: RunRecord, connections: tuple[DiskConnection, ...]) -> bool:
    """Every disk of the baseline is there, each end at least as connected as it was."""
    baseline = record.start.baseline
    if baseline is None:
        return bool(connections)
    now = {connection.vdev_number: connection for connection in connections}
    return all(
        (seen := now.get(before.vdev_number)) is not None
        and (seen.frontend_state == 4 or before.frontend_state != 4)
        and (seen.backend_state == 4 or before.backend_state != 4)
        for before in baseline.connections
    )
