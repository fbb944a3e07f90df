"""The recovery table: from the evidence of a journal and of the world to the next act.

Pure. The one table serves the undo of a failed run, Ctrl-C, and the recovery after a kill or a
power cut; `docs/design.md` has it as a table for people. Each decision is one act; the caller
does it, looks at the world again and asks again, until `NOTHING` or `HANDS_OFF`.
"""

from __future__ import annotations

from itertools import takewhile

from xenbackup.model.domain import DiskConnection, Domain, ShutdownReason, was_migrated_away
from xenbackup.model.record import RunRecord
from xenbackup.model.rescue import Decision, ImageState, RescueAction, World

A = RescueAction
STAYS_PAUSED = "it stays paused after three unpauses: somebody else pauses it"
STARTED_BY_OTHERS = "somebody else started it: a process that is not of this run watches it"
PATIENCE = 2
"""Waits in a row for one thing: each lasts minutes, and other guests may be down meanwhile."""

BESIDE = frozenset((A.RESUME_DEVICES, A.CLEAR_SUSPEND_REQUEST, A.WAKE_MONITORS))
"""Acts that end no row of waits."""


def decide_rescue(record: RunRecord, world: World) -> Decision:
    """The next act for the run's guest. Guest first: snapshots and partial data come after."""
    if world.suspended_devices:
        names = ", ".join(world.suspended_devices)
        return _decide(A.RESUME_DEVICES, f"{names} suspended: the guest's disk I/O stands still")
    if world.survivors:
        return _decide_survivors(world)
    if record.start.boot_id != world.boot_id:
        return _decide_after_reboot(record, world)
    if world.suspend_requested and _asked_to_suspend(record, world.domain):
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


def _count_waits(world: World, *actions: RescueAction) -> int:
    """How often one of these was tried in a row just now."""
    latest = (action for action in reversed(world.attempts) if action not in BESIDE)
    return sum(1 for _ in takewhile(lambda action: action in actions, latest))


def _decide_survivors(world: World) -> Decision:
    """The guest cannot be judged while a command of ours may still change it."""
    pids = ", ".join(str(process.pid) for process in world.survivors)
    waits = _count_waits(world, A.END_SURVIVORS, A.KILL_SURVIVORS)
    if waits == 0:
        return _decide(A.END_SURVIVORS, f"a command of this run still runs (pid {pids})")
    if waits < PATIENCE:
        return _decide(A.KILL_SURVIVORS, f"a command of this run heeds no SIGTERM (pid {pids})")
    return _decide(A.GIVE_UP, f"a command of this run lives on, though it was killed (pid {pids})")


def _decide_dying(world: World) -> Decision:
    if _count_waits(world, A.WAIT_FOR_DEATH) >= PATIENCE:
        return _decide(A.GIVE_UP, "it is dying and does not vanish: something holds a device of it")
    return _decide(A.WAIT_FOR_DEATH, "the domain is dying")


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
        return _decide_dying(world)
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
    if _ended_by_itself(domain):
        return _decide_ended(world, domain)
    if record.destroy_begun and not _runs_whole(record, world, domain):
        if world.image is ImageState.COMPLETE and not record.resuming:
            return _decide(
                A.DESTROY_SAVED, "its memory image is complete and its destroy was begun"
            )
        if not _only_waits(record, world, domain):
            return _decide(
                A.SAVE_AND_RESTORE, "its destroy was begun and no image of it can be trusted"
            )
    if domain.state.suspended:
        return _decide_suspended(record, world)
    if domain.state.shutdown:
        return _decide_ended(world, domain)
    if domain.state.paused:
        if record.start.baseline is not None and record.start.baseline.paused_by_administrator:
            return _decide(A.HANDS_OFF, "an administrator had paused it before the run")
        return _decide_paused(world, "this run paused it")
    return _decide_confirmed(record, world)


def _ended_by_itself(domain: Domain) -> bool:
    """It shut down, and for no suspend: so it ran on since whatever save there was."""
    reason = domain.state.shutdown_reason
    return domain.state.shutdown and reason not in (None, ShutdownReason.SUSPEND)


def _decide_ended(world: World, domain: Domain) -> Decision:
    reason = domain.state.shutdown_reason
    if world.stopped_monitors:
        return _decide(A.WAKE_MONITORS, f"the guest shut down ({reason}): its monitor acts on it")
    return _decide(A.HANDS_OFF, f"the guest shut down by itself ({reason})")


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
        if world.others_monitor:
            return _decide(A.HANDS_OFF, STARTED_BY_OTHERS)
        if domain.state.paused or not world.connections:
            return _decide(
                A.DESTROY_HALF_BUILT, "its restore never finished: it may lack its disks"
            )
        return _decide(A.HANDS_OFF, "it runs although our restore had not finished: not ours")
    if domain.domid != record.restored_domid:
        return _decide(A.HANDS_OFF, "it was rebooted or re-created after our restore")
    if _ended_by_itself(domain):
        return _decide_ended(world, domain)
    if domain.state.paused:
        return _decide_paused(world, "this run rebuilt it, paused")
    return _decide_confirmed(record, world)


def _decide_booted(record: RunRecord, world: World, domain: Domain) -> Decision:
    """A domain with the run's UUID after a fresh boot of ours was begun."""
    if _ended_by_itself(domain):
        return _decide_ended(world, domain)
    if domain.state.paused and world.others_monitor:
        return _decide(A.HANDS_OFF, STARTED_BY_OTHERS)
    if domain.state.paused and record.booted:
        return _decide(A.HANDS_OFF, "it was booted afresh, and somebody paused it since")
    if domain.state.paused:
        return _decide(A.DESTROY_HALF_BUILT, "its boot never finished: it may lack its disks")
    return _decide_confirmed(record, world)


def _decide_confirmed(record: RunRecord, world: World) -> Decision:
    if world.stopped_monitors:
        return _decide(A.WAKE_MONITORS, "the guest runs and its monitor is still held")
    if _count_waits(world, A.CONFIRM_RETURN) >= PATIENCE:
        lost = ", ".join(str(number) for number in _list_lost(record, world.connections))
        why = f"disk {lost} is not connected as it was" if lost else "it was not found healthy"
        return _decide(A.GIVE_UP, f"it goes on, but {why}")
    return _decide(A.CONFIRM_RETURN, "the guest runs")


def _decide_absent(record: RunRecord, world: World) -> Decision:
    """No domain with the run's UUID in this boot."""
    if world.namesake is not None:
        return _decide(
            A.HANDS_OFF,
            f"somebody started another domain of its name (domain {world.namesake.domid}): "
            "the memory image is stale",
        )
    if world.intruder is not None:
        return _decide_intruded(world.intruder)
    if record.booted:
        return _decide(
            A.HANDS_OFF, "it vanished after it was booted afresh: its own or its owner's act"
        )
    if record.boot_begun:
        return _decide_boot(world, "a fresh boot was begun and it is not there")
    if record.resuming:
        return _decide(A.HANDS_OFF, _tell_vanished(world))
    # A save destroys the guest once its image is whole: before that others have, or migrated it.
    saved = record.save_finished or record.image_verified or world.image is ImageState.COMPLETE
    save_took_it = record.save_destroys and saved
    if not (record.destroy_begun or record.restore_begun or save_took_it):
        return _decide(A.HANDS_OFF, "somebody destroyed it during the run")
    if world.image is ImageState.COMPLETE:
        if world.attempts.count(A.RESTORE) >= 5:
            return _decide(A.GIVE_UP, "five restores failed: it is down, its memory image is kept")
        return _decide(A.RESTORE, "it is down and its memory image is complete")
    return _decide_boot(world, "it is down and its memory image cannot be trusted")


def _tell_vanished(world: World) -> str:
    if world.written_disks:
        return (
            "it is gone, and its disks were written since it was saved: its own or its owner's act."
            " It stays shut off until its owner starts it"
        )
    return "it vanished after it was let run: its own or its owner's act"


def _decide_intruded(intruder: Domain) -> Decision:
    return _decide(
        A.HANDS_OFF,
        f"domain {intruder.domid} ({intruder.name}) was started on its disks: the memory image is "
        "stale",
    )


def _decide_after_reboot(record: RunRecord, world: World) -> Decision:
    """The host rebooted since the run began: every domain of that boot is gone."""
    if record.hands_off or record.returned or not record.guest_touched:
        return _decide(A.NOTHING, "the host rebooted, and the guest was not in our hands")
    if record.rebuilding_boot_id == world.boot_id:
        return _decide_rebuilt_since(record, world)
    if world.domain is not None or world.namesake is not None:
        return _decide(A.HANDS_OFF, "the host rebooted and the domain has been started since")
    if world.intruder is not None:
        return _decide_intruded(world.intruder)
    if world.held_by_xendomains:
        return _decide(
            A.HANDS_OFF,
            "xendomains holds a save file of its name and will restore it: that is newer than what "
            "this run has of the guest",
        )
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
        return _decide_dying(world)
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
    """Is the guest seen to run, or to have run, while its image still counts as one to restore?

    Whoever let it run, and whatever it is called: its disks have moved on. This must be in the
    journal before anything else: after a power cut, or once its owner has ended it, nothing would
    tell. But a save of ours that lives on has yet to take the guest away: its image is the one to
    restore.
    """
    if record.resuming or not record.save_begun or record.guest_settled or world.survivors:
        return False
    if world.written_disks or world.started_since:
        return True
    domain = world.domain
    if world.intruder is not None or domain is None:
        return world.intruder is not None or world.namesake is not None
    ran = was_migrated_away(domain.name) or domain.state.alive or _ended_by_itself(domain)
    same_boot = record.start.boot_id == world.boot_id
    if same_boot and domain.domid == record.start.plan.domain.domid:
        return ran
    rebuilding = record.restore_begun if same_boot else record.rebuilding_boot_id == world.boot_id
    if not rebuilding:
        return True
    if record.restored_domid is not None:
        return ran or domain.domid != record.restored_domid
    # A half-built one has no disks to move on, whatever its state.
    return world.others_monitor or (ran and bool(world.connections))


def wants_patience(record: RunRecord, world: World) -> bool:
    """Does the next act wait for something that may never come? Other guests go first then."""
    action = decide_rescue(record, world).action
    if action is A.CONFIRM_RETURN:
        return bool(_list_lost(record, world.connections))
    return action in (A.END_SURVIVORS, A.WAIT_FOR_DEATH)


def writes_disks_of(domain: Domain, other: Domain) -> bool:
    """Can `other` write a disk that `domain` writes? A disc that many read is no such thing."""
    written = {disk.target for disk in domain.disks if disk.writable and not disk.cdrom}
    return any(disk.target in written - {""} for disk in other.disks if disk.writable)


def _runs_whole(record: RunRecord, world: World, domain: Domain) -> bool:
    """It runs with its disks: somebody let it go on before our destroy could end it."""
    return domain.state.alive and _devices_connected(record, world.connections)


def _only_waits(record: RunRecord, world: World, domain: Domain) -> bool:
    """It is whole and only paused: the destroy had not come to anything yet. A paused guest answers
    no request to suspend, so that it cannot be saved, and need not be.
    """
    paused = domain.state.paused and not domain.state.shutdown
    return paused and _devices_connected(record, world.connections)


def _asked_to_suspend(record: RunRecord, domain: Domain | None) -> bool:
    """Is the request that this guest has yet to see one of our own save? Once the guest was back,
    and in a domain that is not of the run's start, it is somebody else's.
    """
    if not record.save_begun or record.guest_settled or domain is None:
        return False
    return domain.domid == record.start.plan.domain.domid and not domain.state.shutdown


def _devices_connected(record: RunRecord, connections: tuple[DiskConnection, ...]) -> bool:
    """Every disk of the baseline is there, each end at least as connected as it was."""
    if record.start.baseline is None:
        return bool(connections)
    return not _list_lost(record, connections)


def _list_lost(record: RunRecord, connections: tuple[DiskConnection, ...]) -> tuple[int, ...]:
    """Numbers of the baseline's disks of which an end is less connected than it was."""
    baseline = record.start.baseline
    if baseline is None:
        return ()
    now = {connection.vdev_number: connection for connection in connections}
    return tuple(
        before.vdev_number
        for before in baseline.connections
        if (seen := now.get(before.vdev_number)) is None
        or (seen.frontend_state != 4 and before.frontend_state == 4)
        or (seen.backend_state != 4 and before.backend_state == 4)
    )
