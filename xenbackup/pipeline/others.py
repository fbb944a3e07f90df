"""What others did to the guest in the middle of a run: who they are, and what is stale for it."""

from __future__ import annotations

from xenbackup.dom0 import monitor
from xenbackup.errors import RestoreFailed
from xenbackup.model import entries as e
from xenbackup.model.domain import Domain, DomainStatus
from xenbackup.pipeline.context import RunContext
from xenbackup.planning.rescue import writes_disks_of


def note_let_run(context: RunContext) -> None:
    """Somebody let the guest run, or started it anew: its memory image is never restored again.

    Written as soon as it is seen: its owner may end it at once, and then nothing would tell.
    """
    if context.record.save_begun and not context.record.resuming:
        context.mark_image_stale(e.ImageStale())


def is_intruder(context: RunContext, found: Domain) -> bool:
    """Was this domain started on the guest's disks, or under its name or UUID, since its save?"""
    planned = context.plan.domain
    return found.uuid not in context.record.sharers and (
        found.uuid == planned.uuid or found.name == planned.name or writes_disks_of(planned, found)
    )


def is_watched_by_others(context: RunContext, name: str) -> bool:
    """Does a monitor that is not of this run watch a domain of this name, since the run began?

    The guest's own of before may be held still: it waits to be woken, and then to end.
    """
    record = context.record
    before = {(p.pid, p.start_ticks) for p in (*record.start.monitors, *record.monitors_frozen)}
    return any(
        process.run_mark != context.run_id
        and not process.stopped
        and (process.pid, process.start_ticks) not in before
        for process in monitor.find_monitors(context.host, name)
    )


def list_sharers(context: RunContext) -> tuple[str, ...]:
    """UUIDs of other domains that can write the guest's disks already, before its save."""
    planned = context.plan.domain
    return tuple(
        other.uuid
        for other in context.toolstack.list_domains()
        if other.uuid != planned.uuid and writes_disks_of(planned, other)
    )


def refuse_watched_by_others(context: RunContext, domain: Domain | DomainStatus) -> None:
    """A domain that somebody else created is not ours to clear away, paused or not.

    Raises: RestoreFailed.
    """
    if is_watched_by_others(context, domain.name):
        note_let_run(context)
        raise RestoreFailed(
            f"{context.plan.domain.name} was created by somebody else (domain {domain.domid}) "
            "meanwhile: it is left alone."
        )
