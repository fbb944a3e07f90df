"""Undo and recovery of one run: guest first, then snapshots, then partial data.

The same code serves a failed step, Ctrl-C, and a run that another process left behind: it reads
the journal's record, looks at the world, asks the table (`planning/rescue.py`), acts, and looks
again. Every act may run twice, and may itself be killed.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

from xenbackup.dom0 import xenstore
from xenbackup.errors import CommandFailed, DestinationFailed, RestoreFailed, XenbackupError
from xenbackup.model import entries as e
from xenbackup.model.domain import Domain, was_migrated_away
from xenbackup.model.rescue import Decision, RescueAction, World
from xenbackup.pipeline import booting, devices, guest
from xenbackup.pipeline.abandoning import run_bounded
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.observing import find_survivors, observe_world, place_save_file
from xenbackup.pipeline.others import note_let_run, refuse_watched_by_others
from xenbackup.pipeline.steps.snapshot import remove_all_snapshots
from xenbackup.pipeline.stillness import keeps_telling
from xenbackup.planning.rescue import decide_rescue, runs_with_stale_image

DECISIONS_LIMIT = 40
LOOKS_LIMIT = 8
"""After so many failures a look that fails as well gives up: recovery comes back to it."""

BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
SURVIVOR_DEADLINE_SECONDS = 600.0
SIGNAL_DEADLINE_SECONDS = 30.0
"""What LVM changes with signals blocked it finishes first; a tool that is killed ends at once."""

DISCARD_SECONDS = 300.0
"""Removing the images of a large guest takes a while; a dead server takes for ever."""


def undo_run(context: RunContext) -> bool:
    """Bring the guest back, remove snapshots, partial point and memory image.

    True when nothing of the run is left; False when recovery must come back to it: then the
    journal stays open and says why. A journal that cannot be written ends nothing here.
    """
    context.journal.go_on_unwritten()
    guest_settled = settle_guest(context)
    keeps = not guest_settled and keeps_telling(context)
    if keeps:
        _tell_kept(context)
    snapshots_gone = not keeps and remove_all_snapshots(context)
    partial_gone = discard_partial_point(context)
    if guest_settled:
        discard_memory_image(context)
    return guest_settled and snapshots_gone and partial_gone


def _tell_kept(context: RunContext) -> None:
    message = (
        f"The snapshots of {context.plan.domain.name} stay for now: they tell whether its memory "
        "still fits its disks when it is to come back."
    )
    if message not in context.record.warnings:
        context.warn(message)


def settle_guest(context: RunContext) -> bool:
    """Decide, act and look again until the guest needs nothing more. False when that failed.

    A look that fails is tried again as an act is: one tool that stumbles once must not leave the
    guest where it is.
    """
    attempts: list[RescueAction] = []
    failures = 0
    unpause_fails = False
    for _ in range(DECISIONS_LIMIT):
        try:
            if not attempts:
                guest.wait_for_daemon(context)
            world = observe_world(context, tuple(attempts))
        except (XenbackupError, OSError) as error:
            if failures >= LOOKS_LIMIT:
                name, reason = context.plan.domain.name, _describe(error).removesuffix(".")
                context.warn(f"{name} needs a person: {reason}.")
                return False
            _back_off(context, error, failures)
            failures += 1
            continue
        world = replace(world, unpause_fails=unpause_fails)
        if runs_with_stale_image(context.record, world):
            context.mark_image_stale(e.ImageStale())
            _tell_moved_on(context, world)
        decision = decide_rescue(context.record, world)
        if decision.action is RescueAction.NOTHING:
            return True
        if decision.action is RescueAction.HANDS_OFF:
            context.journal.write(e.HandsOff(reason=decision.reason))
            context.warn(f"Left {context.plan.domain.name} alone: {decision.reason}.")
            return True
        if decision.action is RescueAction.GIVE_UP:
            context.warn(f"{context.plan.domain.name} needs a person: {decision.reason}.")
            return False
        if world.older_save_file and decision.action in (RescueAction.RESTORE, RescueAction.BOOT):
            _tell_older_save_file(context)
        context.journal.write(e.RescueBegan(action=decision.action.value, reason=decision.reason))
        context.watcher.rescue_began(context.run_id, f"{decision.action}: {decision.reason}")
        attempts.append(decision.action)
        try:
            perform(context, decision)
        except (XenbackupError, OSError) as error:
            if decision.action is RescueAction.UNPAUSE:
                unpause_fails = isinstance(error, CommandFailed)
            _back_off(context, error, failures)
            failures += 1
    return False


def _tell_moved_on(context: RunContext, world: World) -> None:
    """Where nothing else shows it: a person who sees the guest down must learn why it is."""
    name = context.plan.domain.name
    if world.written_disks:
        context.warn(
            f"Somebody wrote to {', '.join(world.written_disks)} of {name} since its memory was "
            "saved: it was let run meanwhile, or the disk was written in dom0."
        )
    elif world.started_since and world.domain is None:
        context.warn(
            f"Somebody started {name} since its memory was saved, and it is gone again: its disks "
            "have moved on."
        )


def _tell_older_save_file(context: RunContext) -> None:
    """Told once: xendomains would restore it one day, over disks that have moved on."""
    name, path = context.plan.domain.name, place_save_file(context)
    message = f"{name} is not restored from {path}: that is older than this run. Remove the file."
    if message not in context.record.warnings:
        context.warn(message)


def _back_off(context: RunContext, error: XenbackupError | OSError, failures: int) -> None:
    hint = error.hint if isinstance(error, XenbackupError) else ""
    context.journal.write(e.Failed(message=_describe(error), hint=hint))
    context.host.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])


def _describe(error: XenbackupError | OSError) -> str:
    return error.message if isinstance(error, XenbackupError) else str(error)


def perform(context: RunContext, decision: Decision) -> None:
    """Do one act of the table. Raises: XenbackupError of the act."""
    {
        RescueAction.RESUME_DEVICES: devices.resume_devices,
        RescueAction.END_SURVIVORS: _end_survivors,
        RescueAction.KILL_SURVIVORS: _kill_survivors,
        RescueAction.CLEAR_SUSPEND_REQUEST: _clear_suspend_request,
        RescueAction.WAKE_MONITORS: guest.wake_monitors,
        RescueAction.WAIT_FOR_DEATH: guest.wait_until_gone,
        RescueAction.UNPAUSE: _unpause,
        RescueAction.CANCEL_SUSPEND: _cancel_suspend,
        RescueAction.SAVE_AND_RESTORE: _save_and_restore,
        RescueAction.DESTROY_HALF_BUILT: _destroy_half_built,
        RescueAction.DESTROY_SAVED: _destroy_saved,
        RescueAction.RESTORE: guest.restore_guest,
        RescueAction.BOOT: booting.boot_guest,
        RescueAction.CONFIRM_RETURN: _confirm_return,
    }[decision.action](context)


def _end_survivors(context: RunContext) -> None:
    """Commands that outlived their caller finish by themselves: wait, never judge too early."""
    if not _outwait_survivors(context, SURVIVOR_DEADLINE_SECONDS):
        _signal_survivors(context, signal.SIGTERM)


def _kill_survivors(context: RunContext) -> None:
    """Those that had minutes to finish and did not heed SIGTERM: the guest cannot wait for ever."""
    if not _outwait_survivors(context, SIGNAL_DEADLINE_SECONDS):
        _signal_survivors(context, signal.SIGKILL)


def _signal_survivors(context: RunContext, number: signal.Signals) -> None:
    for process in find_survivors(context):
        context.host.signal_process(process, number)
    _outwait_survivors(context, SIGNAL_DEADLINE_SECONDS)


def _outwait_survivors(context: RunContext, seconds: float) -> bool:
    """Wait until none is left; False when that takes longer."""
    deadline = context.host.monotonic_seconds() + seconds
    while find_survivors(context):
        if context.host.monotonic_seconds() > deadline:
            return False
        context.host.sleep(guest.POLL_SECONDS)
    return True


def _clear_suspend_request(context: RunContext) -> None:
    domain = context.find_own_domain()
    xenstore.clear_suspend_request(context.host, domain.domid)


def _own_domid(context: RunContext) -> int:
    """The domain this run may act on: the one of its start, or the one it rebuilt."""
    domain = context.toolstack.find_domain(context.plan.domain.uuid)
    record = context.record
    allowed = (context.plan.domain.domid, record.restored_domid)
    if domain is None or not (record.boot_begun or domain.domid in allowed):
        raise RestoreFailed(f"{context.plan.domain.name} changed while it was being rescued.")
    _refuse_migrated(context, domain)
    return domain.domid


def _refuse_migrated(context: RunContext, domain: Domain) -> None:
    """Somebody sent it to another host since the table looked at it."""
    if was_migrated_away(domain.name):
        raise RestoreFailed(f"{context.plan.domain.name} was migrated away as it was rescued.")


def _unpause(context: RunContext) -> None:
    guest.let_guest_run(context, _own_domid(context))


def _confirm_return(context: RunContext) -> None:
    guest.confirm_return(context, _own_domid(context))


def _cancel_suspend(context: RunContext) -> None:
    """`xl save -c` to a file of no use: it finds the guest suspended and lets it go on."""
    domid = _own_domid(context)
    spare = f"{context.record.start.memory_image_path}.cancelled"
    context.mark_image_stale(e.Resuming())
    try:
        context.toolstack.save_continue(
            domid,
            Path(spare),
            run_id=context.run_id,
            stderr_path=context.memory_image.with_suffix(".rescue-stderr"),
        )
    finally:
        context.host.place(spare).unlink(missing_ok=True)
    guest.confirm_return(context, domid)


def _save_and_restore(context: RunContext) -> None:
    """A suspended guest without devices: saved anew, then rebuilt with its devices."""
    domid = _own_domid(context)
    context.memory_image.unlink(missing_ok=True)
    path = context.record.start.memory_image_path
    context.journal.write(e.Saving(path=path, stays=False))
    result = context.toolstack.save(
        domid,
        Path(path),
        run_id=context.run_id,
        stderr_path=context.memory_image.with_suffix(".rescue-stderr"),
    )
    if result.succeeded:
        guest.note_saved(context)
    found = guest.verify_image(context)
    context.journal.write(e.ImageVerified(path=path, size_bytes=found.size_bytes))
    guest.wait_until_gone(context)
    guest.restore_guest(context)


def _destroy_half_built(context: RunContext) -> None:
    """A restore that never finished: its domain may lack its disks and must not run."""
    domain = context.toolstack.find_domain(context.plan.domain.uuid)
    start = context.record.start
    same_boot = context.host.boot_id() == start.boot_id
    if domain is None or (same_boot and domain.domid == start.plan.domain.domid):
        return
    _refuse_migrated(context, domain)
    if context.record.booted:
        raise RestoreFailed(f"{context.plan.domain.name} was booted, and is not half-built.")
    # One that lacks its disks is half-built whatever its state, as the rescue table has it.
    if domain.state.alive and xenstore.read_connections(context.host, domain.domid):
        note_let_run(context)
        raise RestoreFailed(
            f"{context.plan.domain.name} was let run by somebody else as it was rescued."
        )
    refuse_watched_by_others(context, domain)
    context.toolstack.destroy(domain.domid, run_id=context.run_id)
    guest.wait_until_gone(context)


def _destroy_saved(context: RunContext) -> None:
    """Finish a destroy that a kill interrupted; the complete image brings the guest back."""
    if not context.record.image_verified:
        found = guest.verify_image(context)
        context.journal.write(
            e.ImageVerified(
                path=context.record.start.memory_image_path, size_bytes=found.size_bytes
            )
        )
    guest.destroy_saved_guest(context)


def discard_partial_point(context: RunContext) -> bool:
    """Remove what an unpublished point left in the destination; False when it cannot be now."""
    record = context.record
    if not record.staged or record.published or record.partial_discarded:
        return True
    destination = context.destination

    def discard() -> bool:
        """True when the point was whole after all."""
        destination.open()
        whole = destination.has_point(context.run_id)
        if not whole:
            destination.discard_partial(context.run_id)
        return whole

    try:
        if context.destination_stalled:
            raise DestinationFailed(f"Destination {destination.name} does not answer.")
        if run_bounded(destination.name, discard, DISCARD_SECONDS):
            context.journal.write(e.Published(point=context.run_id))
            return True
    except XenbackupError as error:
        context.journal.write(
            e.DebtIncurred(message=f"The unfinished point is still there: {error.message}")
        )
        return False
    context.journal.write(e.PartialDiscarded())
    return True


def discard_memory_image(context: RunContext) -> None:
    """Remove the run's files from the spool: the guest is back, or the image is stale.

    What stays because the spool's disk fails, or is away, changes nothing of what the run came to:
    each recovery removes what ended runs have left there.
    """
    try:
        context.spool.remove(context.run_id)
    except XenbackupError as error:
        context.warn(f"The memory image was not removed from the spool: {error.message}")
        return
    if context.record.save_begun and not context.record.image_discarded:
        context.journal.write(e.ImageDiscarded())
