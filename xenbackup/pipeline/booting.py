"""Last resort of a rescue: boot the guest afresh from its own configuration."""

from __future__ import annotations

from pathlib import Path

from xenbackup.dom0 import guest_configuration as configuration
from xenbackup.dom0.xm import EXPRESSION_SUFFIX
from xenbackup.errors import RestoreFailed, StateFailed
from xenbackup.model import entries as e
from xenbackup.pipeline import guest
from xenbackup.pipeline.context import RunContext
from xenbackup.system import durable

CONFIGURATION_SUFFIX = ".cfg"
ELSEWHERE = "/run/xenbackup-"
"""Where a configuration goes when the spool takes none: memory, which every host has."""


def boot_guest(context: RunContext) -> None:
    """Create the domain again from the configuration it ran with, as an xl.cfg or, for xm, a .sxp.

    The UUID is kept, so that a second recovery recognises the guest. What the writer cannot
    express is warned of, never dropped in silence.

    Raises: RestoreFailed when the toolstack does not create it.
    """
    domain = context.plan.domain
    path = _write_configuration(context)
    context.journal.write(e.Booting(boot_id=context.host.boot_id()))
    try:
        result = context.toolstack.create(
            Path(path), run_id=context.run_id, own_unit=context.restore_unit
        )
    finally:
        if path.startswith(ELSEWHERE):
            context.host.place(path).unlink(missing_ok=True)
    started = context.toolstack.find_domain(domain.uuid)
    if started is None:
        held = context.toolstack.tell_lock_holder() if result.timed_out else ""
        told = f"{guest.explain(result)}{'; ' + held if held else ''}"
        raise RestoreFailed(
            f"{domain.name} could not be booted afresh{told}.",
            hint=guest.LOCK_HINT if held else "",
        )
    if result.succeeded and started.state.alive:
        context.journal.write(e.Booted(domid=started.domid))
    context.warn(f"{domain.name} was booted afresh: its memory image could not be used.")
    guest.confirm_return(context, started.domid, result)


def _write_configuration(context: RunContext) -> str:
    """Path of a file that the toolstack creates the domain from. Raises: XenbackupError."""
    domain = context.plan.domain
    if domain.configuration_sexp:
        content = domain.configuration_sexp.encode("utf-8", "surrogateescape")
        return _write_file(context, EXPRESSION_SUFFIX, content)
    composed = configuration.compose_configuration(domain.configuration_json, uuid=domain.uuid)
    path = _write_file(context, CONFIGURATION_SUFFIX, composed.content)
    for missing in composed.unwritten:
        context.warn(f"{domain.name} boots without {missing}.")
    return path


def _write_file(context: RunContext, suffix: str, content: bytes) -> str:
    """In the spool; elsewhere where that is full or away, for its guest is down.

    Raises: StateFailed.
    """
    path = f"{context.record.start.memory_image_path}{suffix}"
    try:
        durable.replace_file(context.host.place(path), content)
    except StateFailed:
        path = f"{ELSEWHERE}{context.run_id}{suffix}"
        durable.replace_file(context.host.place(path), content)
    return path
