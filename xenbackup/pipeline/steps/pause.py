"""Steps that stop the guest's clock for a moment: sync, pause, unpause."""

from __future__ import annotations

from xenbackup.model.plan import PlannedStep
from xenbackup.pipeline import guest
from xenbackup.pipeline.context import RunContext

SYNC_SETTLE_SECONDS = 2.0


def sync(context: RunContext, step: PlannedStep) -> None:
    """Ask a Linux guest to write its dirty pages (`xl sysrq s`); a guest that cannot only warns."""
    domain = context.find_own_status()
    result = context.toolstack.request_sync(domain.domid, run_id=context.run_id)
    if result.succeeded:
        context.host.sleep(SYNC_SETTLE_SECONDS)
    else:
        context.warn(f"{domain.name} was not asked to sync{guest.explain(result)}.")


def pause(context: RunContext, step: PlannedStep) -> None:
    """Pause the guest, so that all its disks are frozen at one instant."""
    guest.pause_guest(context)


def unpause(context: RunContext, step: PlannedStep) -> None:
    """Let the guest go on, if it was this run that stopped it."""
    domain = context.find_own_status()
    if context.record.pause_begun or context.record.save_begun:
        guest.let_guest_run(context, domain.domid)
        context.warn_long_absence()
