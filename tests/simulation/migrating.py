"""A guest that its administrator migrates away, as the host that it leaves shows it.

`xl migrate` copies its memory while it runs, has it suspended, renames it to NAME--migratedaway,
lets it run on the other host, and destroys it here when that host says that it runs. In between it
stands here suspended, its disks connected; so it stays where the answer of the other host never
comes. xend has no such moment: there it is suspended, and then it is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import Domain
from xenbackup.dom0.simulated.xl_power import disconnect, forget_domain

AWAY_SUFFIX = "--migratedaway"
MIGRATE, END_MIGRATION = "migrate-away", "end-migration"
SERVICE_SAVED = "left-behind-saved"
"""The host's own service saved what a migration had left behind, and lets it run after its boot."""
PATIENCE_SECONDS = 60.0
"""How long a guest has to acknowledge that it is to suspend."""
ELSEWHERE_SECONDS = 2.0
"""It runs on the other host, on the same disks, before anything more happens here."""
SETTLED = tuple(f"journal: {event}" for event in ("returned", "hands-off", "run-ended"))
"""Lines of a journal from which on the guest is its owner's, whatever becomes of the host."""


def begin_migration(host: SimulatedHost, domid: int) -> bool:
    """Suspend, rename, and let it run elsewhere; False when the guest does not suspend.

    One that somebody suspended already suspends for nobody again, and is sent off as it is: unless
    that was the save of an old toolstack, which destroys it.
    """
    with host.machine() as machine:
        guest = _find(machine, domid)
        if guest is None or guest.pauses or not guest.built or guest.dying:
            suspends = False
        elif guest.shutdown:
            suspends = guest.shutdown == "suspend" and machine.state.xen_version >= (4, 4)
        else:
            suspends = machine.state.program_of(guest.name).suspend == "obeys"
        at_once = guest is not None and guest.executing and suspends
    if not at_once:
        host.sleep(PATIENCE_SECONDS)
    if not suspends:
        return False
    with host.machine() as machine:
        guest = _find(machine, domid)
        if guest is None:
            return False
        _run_elsewhere(machine, guest)
        if machine.state.toolstack == "xm":
            disconnect(guest)
            forget_domain(machine, domid)
        else:
            _rename(machine, guest)
        machine.commit()
    return True


def end_migration(host: SimulatedHost) -> bool:
    """The other host says that the guest runs: it is destroyed here. False for none to destroy."""
    with host.machine() as machine:
        gone = [d for d in machine.state.domains if d.name.endswith(AWAY_SUFFIX)]
        for guest in gone:
            disconnect(guest)
            forget_domain(machine, guest.domid)
        machine.commit()
    return bool(gone)


def _find(machine: Machine, domid: int) -> Domain | None:
    return next((d for d in machine.state.domains if d.domid == domid), None)


def _run_elsewhere(machine: Machine, guest: Domain) -> None:
    """Its disks go on, and the memory that is left here does not: the oracle tells them apart."""
    guest.shutdown, guest.control_shutdown, guest.suspend_due_ns = "", "", 0
    left_behind = deepcopy(guest.ram)
    machine.wake_guest(guest)
    machine.advance(ELSEWHERE_SECONDS)
    guest.ram, guest.shutdown = left_behind, "suspend"
    machine.notice_shutdown(guest)


def _rename(machine: Machine, guest: Domain) -> None:
    name = guest.name + AWAY_SUFFIX
    machine.state.programs[name] = deepcopy(machine.state.program_of(guest.name))
    machine.state.programs[name].corruptions.clear()
    guest.name = name


def is_beyond_notice(story: Sequence[str]) -> bool:
    """Did the host go down with all that could have told that the guest was migrated away?

    Before anybody had looked, it is like one that was cut off as it ran. So it is where the host's
    own service started it at the next boot, and it left before the first look of a recovery.
    """
    away = _find_departure(story)
    cuts = [at for at, line in enumerate(story) if line.startswith("the host went down")]
    if away is None or not cuts:
        return False
    later = next((at for at in cuts if at > away), None)
    if later is not None:
        return not _says(story[:later], SETTLED)
    return not _says(story[cuts[-1] : away], (*SETTLED, "journal: rescue-began"))


def _find_departure(story: Sequence[str]) -> int | None:
    return next((at for at, line in enumerate(story) if line.endswith(f": {MIGRATE}")), None)


def _says(story: Sequence[str], endings: tuple[str, ...]) -> bool:
    return any(line.endswith(endings) for line in story)


def was_read_elsewhere(story: Sequence[str]) -> bool:
    """Was a point published of snapshots made when the guest ran elsewhere already?"""
    away = _find_departure(story)
    if away is None:
        return False
    made = [at for at, line in enumerate(story) if line.endswith("journal: snapshotting")]
    late = next((at for at in made if at > away), None)
    return late is not None and _says(story[late:], ("journal: published",))
