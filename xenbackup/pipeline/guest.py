"""Acts on the run's guest: hold its monitor, save it, destroy it saved, rebuild it, let it run.

Steps and rescue use the same acts. Each writes its intent before and its outcome after, and
believes the host's own state, never an exit code alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xenbackup.dom0 import health, monitor, xenstore
from xenbackup.dom0.acts import SAVE_LEAST_SECONDS
from xenbackup.dom0.memory_image import MemoryImage, inspect_memory_image
from xenbackup.errors import (
    CommandFailed,
    DomainUnhealthy,
    RestoreFailed,
    SaveFailed,
    XenbackupError,
)
from xenbackup.model import entries as e
from xenbackup.model.command import CommandResult
from xenbackup.model.domain import DomainStatus, HealthFinding
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.others import list_sharers, note_let_run, refuse_watched_by_others
from xenbackup.pipeline.stillness import (
    find_written_disks,
    has_known_log,
    is_started_since,
    note_disks_at_rest,
)

FRAME_SIZE_BYTES = 4096
HEALTH_DEADLINE_SECONDS = 180.0
DEATH_DEADLINE_SECONDS = 180.0
DEATH_PATIENCE_SECONDS = 10.0
DAEMON_PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.5
RESTORE_ATTEMPTS = 5
LOCK_HINT = "guests are started one at a time: see what that process waits for, or end it"


def hold_monitors(context: RunContext) -> None:
    """Stop the guest's xl monitor before a suspend: before Xen 4.20 it takes one for the end.

    Only where none bears the guest's name those without a guest of theirs are held as well: one
    that is just now rebuilding another guest must not be kept from it without need.
    """
    if not context.toolstack.monitors_die_on_suspend():
        return
    name = context.plan.domain.name
    monitors = monitor.find_monitors(context.host, name)
    if not monitors:
        # A renamed guest's monitor keeps its log: it is among those whose name nobody bears.
        names = (name, *(domain.name for domain in context.toolstack.list_domains()))
        monitors = monitor.find_nameless_monitors(context.host, names)
    if monitors:
        context.journal.write(e.FreezingMonitors(monitors=monitors))
        monitor.freeze_monitors(context.host, monitors)


def wake_monitors(context: RunContext) -> None:
    """Let held monitors go on. Safe to call at any time, any number of times."""
    frozen = context.record.monitors_frozen
    if frozen:
        alive = monitor.wake_monitors(context.host, frozen)
        context.journal.write(e.MonitorsWoken(alive=len(alive)))


def pause_guest(context: RunContext) -> None:
    """Pause the guest for the snapshots. One that an administrator paused is taken as it is.

    Raises: DomainChanged, DomainUnhealthy.
    """
    domain = context.find_own_status()
    if domain.state.paused:
        context.warn(f"{domain.name} was paused already, not by us: it stays paused.")
        return
    context.journal.write(e.Pausing())
    context.begin_absence()
    result = context.toolstack.pause(domain.domid, run_id=context.run_id)
    if not context.find_own_status().state.paused:
        raise DomainUnhealthy(f"{domain.name} is not paused after `xl pause`{explain(result)}.")
    context.journal.write(e.Paused())


def save_memory(context: RunContext, *, stays: bool) -> None:
    """Save the guest's RAM into the spool and prove that the image is whole and on disk.

    With `stays` the domain is left paused, its devices connected (`xl save -p`).

    Raises: DomainChanged, SaveFailed.
    """
    _find_living(context)
    sharers = list_sharers(context)
    hold_monitors(context)
    # The last look is the one that counts: a save of what a migration left behind lets it run here.
    domain = _find_living(context)
    image = context.memory_image
    path = context.record.start.memory_image_path
    context.journal.write(e.Saving(path=path, stays=stays, sharers=sharers))
    context.begin_absence()
    save = context.toolstack.save_paused if stays else context.toolstack.save
    result = save(
        domain.domid,
        Path(context.record.start.memory_image_path),
        run_id=context.run_id,
        stderr_path=image.with_suffix(".stderr"),
        on_progress=report_frames(context, "saving memory"),
        timeout_seconds=max(context.plan.max_away_seconds, SAVE_LEAST_SECONDS),
    )
    if not result.succeeded and (stays or not _is_saved_and_gone(context)):
        raise SaveFailed(
            f"The memory of {domain.name} was not saved{explain(result)}.",
            hint=_explain_deadline(context) if result.timed_out else "",
        )
    note_saved(context)
    note_disks_at_rest(context)
    found = verify_image(context)
    context.journal.write(
        e.ImageVerified(path=context.record.start.memory_image_path, size_bytes=found.size_bytes)
    )
    if stays:
        after = context.find_own_status()
        if after.state.alive:
            note_let_run(context)
        if not after.state.paused or after.state.shutdown:
            raise SaveFailed(
                f"{domain.name} should be paused after `save -p`, its state is "
                f"{after.state.letters}: disks and memory may be of different instants."
            )


def note_saved(context: RunContext) -> None:
    """The toolstack has saved the guest; which log it has just now tells of later starts."""
    log = monitor.read_log_mark(context.host, context.plan.domain.name)
    context.journal.write(e.Saved(monitor_log=log))


def _is_saved_and_gone(context: RunContext) -> bool:
    """Has a save that destroys the guest done so, whatever its exit code says? Asked at once: once
    its image is damaged nobody can tell it from one that others destroyed or migrated.
    """
    if context.toolstack.find_status(context.plan.domain.uuid) is not None:
        return False
    try:
        found = verify_image(context)
    except (XenbackupError, OSError):
        return False
    return found.complete and not found.doubt


def _find_living(context: RunContext) -> DomainStatus:
    """Raises: DomainChanged, SaveFailed."""
    domain = context.find_own_status()
    if not domain.state.alive:
        raise SaveFailed(
            f"{domain.name} cannot be saved: its state is {domain.state.letters}.",
            hint="a guest that an administrator paused must be unpaused first",
        )
    return domain


def _explain_deadline(context: RunContext) -> str:
    return (
        f"a save may take as long as `max_away` ({context.plan.max_away_seconds:.0f}s), and "
        f"{SAVE_LEAST_SECONDS:.0f}s at least: raise it, or look at the guest and at the spool"
    )


def wait_for_daemon(context: RunContext) -> None:
    """Wait for a save that the toolstack's daemon goes on with after its caller died (xend).

    The domain bears another name meanwhile. Judged now it would look stuck, be resumed, and then
    be destroyed by the daemon. An image that has not grown for long is waited for no more.
    """
    name = context.toolstack.name_while_saving(context.plan.domain.name)
    if not name or not context.record.save_begun:
        return
    size_bytes, since = -1, context.host.monotonic_seconds()
    while (found := context.toolstack.find_status(context.plan.domain.uuid)) is not None:
        if found.name != name:
            return
        image = context.memory_image
        now_bytes = image.stat().st_size if image.exists() else 0
        if now_bytes != size_bytes:
            size_bytes, since = now_bytes, context.host.monotonic_seconds()
        if context.host.monotonic_seconds() - since > DAEMON_PATIENCE_SECONDS:
            context.warn(f"{name} is still being saved, but its image does not grow: xend hangs?")
            return
        context.host.sleep(POLL_SECONDS)


def verify_image(context: RunContext) -> MemoryImage:
    """Make the memory image private and durable, and read its records to their end.

    Raises: StateFailed; SaveFailed when it is not whole, or is of another domain.
    """
    path = context.memory_image
    context.spool.secure_image(context.run_id)
    found = inspect_memory_image(path)
    if not found.complete:
        raise SaveFailed(f"The memory image {path} is not whole: {found.reason}.")
    if found.uuid and found.uuid != context.plan.domain.uuid:
        raise SaveFailed(f"The memory image {path} is of domain {found.uuid}, not of ours.")
    if found.doubt:
        context.warn(f"The memory image of {context.plan.domain.name}: {found.doubt}.")
    return found


def destroy_saved_guest(context: RunContext) -> None:
    """Destroy the domain whose verified image we hold, and wait until its UUID has vanished.

    Raises: SaveFailed when no verified image exists, or the guest runs again and so does not fit
    it; DomainUnhealthy when it does not die.
    """
    if not context.record.image_verified:
        raise SaveFailed(
            f"{context.plan.domain.name} is not destroyed: its memory image is not verified."
        )
    domain = context.find_own_status()
    if domain.state.alive:
        note_let_run(context)
        raise SaveFailed(
            f"{context.plan.domain.name} is not destroyed: somebody let it run since it was saved."
        )
    context.journal.write(e.Destroying())
    result = context.toolstack.destroy(domain.domid, run_id=context.run_id)
    wait_until_gone(context, result)
    context.journal.write(e.Destroyed())
    wake_monitors(context)


def wait_until_gone(context: RunContext, result: CommandResult | None = None) -> None:
    """Wait for the run's UUID to vanish from the hypervisor. Raises: DomainUnhealthy.

    A destroy of ours that was killed half-way leaves the domain dying for good: it is asked for
    again now and then. One that others destroy is only waited for, and one that runs is not ours
    to destroy: somebody let it go on, or started it anew with the UUID of its configuration.
    """
    record = context.record
    ours = record.destroy_begun or record.restore_begun or record.boot_begun
    deadline = context.host.monotonic_seconds() + DEATH_DEADLINE_SECONDS
    ask_again = context.host.monotonic_seconds() + DEATH_PATIENCE_SECONDS
    while (domain := context.toolstack.find_status(context.plan.domain.uuid)) is not None:
        if context.host.monotonic_seconds() > deadline:
            raise DomainUnhealthy(
                f"{context.plan.domain.name} (domain {domain.domid}, {domain.state.letters}) does "
                f"not vanish after its destroy{explain(result) if result else ''}.",
                hint="a device of it may be held open: look at `xl list` and `lsof`",
            )
        if ours and domain.state.alive:
            note_let_run(context)
            raise DomainUnhealthy(
                f"{context.plan.domain.name} (domain {domain.domid}) runs, though it was to be "
                f"destroyed{explain(result) if result else ''}: somebody let it run.",
            )
        if ours and context.host.monotonic_seconds() > ask_again:
            result = context.toolstack.destroy(domain.domid, run_id=context.run_id)
            ask_again = context.host.monotonic_seconds() + DEATH_PATIENCE_SECONDS
        context.host.sleep(POLL_SECONDS)


def restore_guest(context: RunContext) -> None:
    """Rebuild the guest from its image, paused; give back its tuning; then let it run.

    Tried again with back-off for what may pass (memory short, a hotplug script late).

    Raises: RestoreFailed, DomainUnhealthy.
    """
    if context.record.resuming:
        raise RestoreFailed(
            f"The memory image of {context.plan.domain.name} must not be restored: the guest was "
            "let run since, so its disks have moved on."
        )
    if written := _await_sight(context):
        note_let_run(context)
        raise RestoreFailed(
            f"The memory image of {context.plan.domain.name} must not be restored: "
            f"somebody wrote to {', '.join(written)} since the guest was saved."
        )
    if is_started_since(context):
        note_let_run(context)
        raise RestoreFailed(
            f"The memory image of {context.plan.domain.name} must not be restored: "
            "somebody started the guest since it was saved."
        )
    found = inspect_memory_image(context.memory_image)
    if not found.complete:
        raise RestoreFailed(
            f"The memory image {context.memory_image} cannot be restored: {found.reason}."
        )
    domain = _rebuild_paused(context)
    log = monitor.read_log_mark(context.host, context.plan.domain.name)
    context.journal.write(e.Restored(domid=domain.domid, monitor_log=log))
    for difference in context.toolstack.apply_tuning(domain.domid, context.record.start.tuning):
        context.warn(f"{domain.name}: {difference}")
    let_guest_run(context, domain.domid)


def _await_sight(context: RunContext) -> tuple[str, ...]:
    """Disks that were written, as soon as what tells of them is to be seen; groups may come late.

    Raises: RestoreFailed, CommandTimedOut, UnexpectedOutput.
    """
    for attempt in range(1, RESTORE_ATTEMPTS):
        try:
            return find_written_disks(context, surely=True)
        except RestoreFailed:
            context.host.sleep(2.0**attempt)
    return find_written_disks(context, surely=True)


def _rebuild_paused(context: RunContext) -> DomainStatus:
    start = context.record.start
    name = start.plan.domain.name
    explanation = blocker = ""
    for attempt in range(RESTORE_ATTEMPTS):
        if attempt:
            context.host.sleep(2.0**attempt)
        context.journal.write(
            e.Restoring(
                path=start.memory_image_path,
                unit=context.restore_unit,
                boot_id=context.host.boot_id(),
            )
        )
        result = context.toolstack.restore_paused(
            Path(start.memory_image_path),
            run_id=context.run_id,
            own_unit=context.restore_unit,
            stderr_path=context.memory_image.with_suffix(".restore-stderr"),
            on_progress=report_frames(context, "restoring memory"),
        )
        # Asked at once: whoever holds xl's lock now is who kept this attempt waiting.
        held = context.toolstack.tell_lock_holder() if result.timed_out else ""
        if held and held != blocker:
            context.warn(f"The restore of {name} passed its deadline: {held}.")
        blocker = held
        explanation = f"{explain(result)}{'; ' + held if held else ''}"
        domain = context.toolstack.find_status(start.plan.domain.uuid)
        if result.succeeded and domain is not None and domain.state.paused:
            return domain
        if "already exists" in result.stderr:
            break
        if domain is not None:
            _destroy_half_built(context, domain)
    else:
        if has_known_log(context):
            context.journal.write(e.NotRestored())
    raise RestoreFailed(
        f"{name} could not be rebuilt from {context.memory_image}{explanation}. The image is kept.",
        hint=LOCK_HINT if blocker else "",
    )


def _destroy_half_built(context: RunContext, domain: DomainStatus) -> None:
    """Clear away what a failed restore left: a paused domain, never one that runs.

    A configured uuid is the same at every start, so a running domain of our UUID is one that
    somebody else started meanwhile.

    Raises: RestoreFailed for such a one, DomainUnhealthy when it does not die.
    """
    if not domain.state.paused and not domain.state.dying:
        note_let_run(context)
        raise RestoreFailed(
            f"{context.plan.domain.name} was started by somebody else (domain {domain.domid}) "
            "while it was saved: its memory image is stale."
        )
    refuse_watched_by_others(context, domain)
    context.toolstack.destroy(domain.domid, run_id=context.run_id)
    wait_until_gone(context)


def let_guest_run(context: RunContext, domid: int) -> None:
    """Mark `resuming` durably, unpause, wake the monitor, see the guest healthy, mark `returned`.

    Raises: CommandFailed when the toolstack refuses and the guest stays paused; DomainUnhealthy
    with every finding when it is not as healthy as its baseline.
    """
    context.mark_image_stale(e.Resuming())
    result = context.toolstack.unpause(domid, run_id=context.run_id)
    if not result.succeeded:
        found = context.toolstack.find_status(context.plan.domain.uuid)
        if found is not None and found.domid == domid and found.state.paused:
            name = context.plan.domain.name
            raise CommandFailed(f"{name} could not be unpaused{explain(result)}.")
    confirm_return(context, domid, result)


def confirm_return(context: RunContext, domid: int, result: CommandResult | None = None) -> None:
    """See the guest healthy, then write that it returned. Raises: DomainUnhealthy."""
    wake_monitors(context)
    if context.record.save_begun and domid == context.plan.domain.domid:
        xenstore.clear_suspend_request(context.host, domid)
    away = context.end_absence()
    findings = wait_for_health(context, domid)
    grave = [finding for finding in findings if finding.code != "monitor-gone"]
    if grave:
        told = "; ".join(finding.message for finding in grave)
        raise DomainUnhealthy(
            f"{context.plan.domain.name} is not healthy after its return: {told}"
            f"{explain(result) if result else ''}."
        )
    for finding in findings:
        context.warn(f"{context.plan.domain.name}: {finding.message}")
    context.journal.write(e.Returned(domid=domid, away_seconds=round(away, 3)))


def wait_for_health(context: RunContext, domid: int) -> tuple[HealthFinding, ...]:
    """Findings that remain when the deadline passes; () as soon as there are none."""
    baseline = context.record.start.baseline
    if baseline is None:
        return ()
    # After a reboot of the host the guest is measured by the same baseline, in the new boot.
    identity = replace(baseline.identity, boot_id=context.host.boot_id())
    measure = replace(baseline, identity=identity)
    deadline = context.host.monotonic_seconds() + HEALTH_DEADLINE_SECONDS
    while True:
        findings = health.examine_health(context.host, context.toolstack, measure, domid)
        passing = [finding for finding in findings if finding.code != "monitor-gone"]
        if not passing or context.host.monotonic_seconds() > deadline:
            return findings
        context.host.sleep(POLL_SECONDS)


def report_frames(context: RunContext, what: str) -> Callable[[int, int], None]:
    """Progress of xl in frames, told to the watcher in bytes."""

    def report(done: int, total: int) -> None:
        context.watcher.amount_done(
            context.run_id, what, done * FRAME_SIZE_BYTES, total * FRAME_SIZE_BYTES
        )

    return report


def explain(result: CommandResult) -> str:
    """`: exit 1, LAST LINE OF STDERR` for the end of a message; "" when it succeeded."""
    if result.timed_out:
        return f": {result.argv[0]} passed its deadline after {result.duration_seconds:.0f}s"
    if result.exit_code == 0:
        return ""
    line = result.last_error_line
    return f": exit {result.exit_code}{', ' + line if line else ''}"
