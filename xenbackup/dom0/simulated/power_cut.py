"""A power cut: every guest is gone, memory with it; files that nobody synced are gone too.

The simulator cannot see the syncs of other programs: whoever wants a saved file to outlive the cut
says so with `mark_synced`, having synced it.
"""

from __future__ import annotations

from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import NANOSECONDS

REBOOT_SECONDS = 60


def mark_synced(machine: Machine, path: str) -> None:
    """This saved file has been synced. Files that no tool wrote need no mark."""
    name = str(machine.place(path).relative_to(machine.store.directory))
    for file in machine.state.saved_files:
        if file.path == name:
            file.synced = True


def cut_power(machine: Machine) -> tuple[str, ...]:
    """Cut the power and boot again; returns the saved files that were lost. Commits."""
    state = machine.state
    lost = []
    for file in state.saved_files:
        place = machine.store.directory / file.path
        if not file.synced and place.is_file():
            place.unlink()
            lost.append("/" + file.path)
    state.saved_files = []
    state.domains = []
    state.processes = []
    state.openers = []
    state.xend_works = []
    state.xenstore = {}
    state.xenstore_removed = []
    state.next_domid = 1
    state.boot_id = machine.draw_uuid()
    for volume in state.volumes.values():
        volume.written_bytes = 0
        volume.suspended = False
        # Activation at boot leaves thin snapshots inactive: they carry the skip flag.
        volume.active = not volume.activation_skip
    state.clock_ns += REBOOT_SECONDS * NANOSECONDS
    state.started_ns = state.clock_ns
    machine.commit()
    return tuple(lost)
