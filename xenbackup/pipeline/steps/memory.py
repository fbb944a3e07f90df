"""Steps on the guest's memory: save, save-paused, restore."""

from __future__ import annotations

from xenbackup.model import entries as e
from xenbackup.model.plan import PlannedStep
from xenbackup.pipeline import guest
from xenbackup.pipeline.context import RunContext
from xenbackup.pipeline.steps.snapshot import check_disks_as_planned


def save(context: RunContext, step: PlannedStep) -> None:
    """Save the guest's RAM and take the guest away until `restore`.

    xl never destroys an unverified guest: where the toolstack can, the guest is saved paused, its
    image proved whole, and only then destroyed by us. The manual's own `xm save` (and xl up to
    4.3) destroys by itself; the plan warns of that window.

    Raises: DomainChanged, SaveFailed, DomainUnhealthy, AwayTooLong.
    """
    stays = context.toolstack.can_save_paused()
    if not stays:
        check_disks_as_planned(context)
    guest.save_memory(context, stays=stays)
    if stays:
        # A disk that was attached since the plan would be in the memory, and not in the point.
        check_disks_as_planned(context)
        context.check_away()
        guest.destroy_saved_guest(context)
    else:
        guest.wait_until_gone(context)
        context.journal.write(e.Destroyed())
        guest.wake_monitors(context)


def save_paused(context: RunContext, step: PlannedStep) -> None:
    """Save the guest's RAM and leave the guest paused, never destroyed."""
    guest.save_memory(context, stays=True)


def restore(context: RunContext, step: PlannedStep) -> None:
    """Bring a saved guest back, exactly where it was."""
    guest.restore_guest(context)
    context.warn_long_absence()
