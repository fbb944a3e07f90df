"""Last resort of a rescue: boot the guest afresh from its own configuration."""

from __future__ import annotations

from pathlib import Path

from xenbackup.dom0 import guest_configuration as configuration
from xenbackup.errors import RestoreFailed
from xenbackup.model import entries as e
from xenbackup.pipeline import guest
from xenbackup.pipeline.context import RunContext
from xenbackup.system import durable

CONFIGURATION_SUFFIX = ".cfg"


def boot_guest(context: RunContext) -> None:
    """Create the domain again from the configuration it ran with, written out as an xl.cfg.

    The UUID is kept, so that a second recovery recognises the guest. What the writer cannot
    express is warned of, never dropped in silence.

    Raises: RestoreFailed when the toolstack does not create it.
    """
    domain = context.plan.domain
    composed = configuration.compose_configuration(domain.configuration_json, uuid=domain.uuid)
    path = f"{context.record.start.memory_image_path}{CONFIGURATION_SUFFIX}"
    durable.replace_file(context.host.place(path), composed.content)
    for missing in composed.unwritten:
        context.warn(f"{domain.name} boots without {missing}.")
    context.journal.write(e.Booting())
    result = context.toolstack.create(
        Path(path), run_id=context.run_id, own_unit=context.restore_unit
    )
    started = context.toolstack.find_domain(domain.uuid)
    if started is None:
        raise RestoreFailed(f"{domain.name} could not be booted afresh{guest.explain(result)}.")
    context.warn(f"{domain.name} was booted afresh: its memory image could not be used.")
    guest.confirm_return(context, started.domid, result)
