"""What others do to the host in the middle of a run, and what may be asked of its guest then."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulation.migrating import (
    AWAY_SUFFIX,
    END_MIGRATION,
    MIGRATE,
    begin_migration,
    end_migration,
)
from tests.simulation.worlds import GROUP, SCRATCH_BYTES, World
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.administration import main as administer
from xenbackup.dom0.simulated.state import Domain, HostState
from xenbackup.model.command import Command

FLOOD_SECONDS = 10.0
"""In which a guest writes all of its scratch forty times, and its whole history."""
RENAMED = "renamed-by-hand"
FOREIGN_TAG = "somebody-elses"


@dataclass(kw_only=True)
class Doings:
    """All that was done by others and worked, in order; `journal` is kept across processes."""

    done: list[str] = field(default_factory=list)

    def includes(self, *acts: str) -> bool:
        return any(act in self.done for act in acts)

    @property
    def may_be_down(self) -> bool:
        """Somebody, or the guest itself, ended it: nobody need bring it back."""
        acts = ("destroy", "guest-poweroff", "guest-crash", "cut-while-running", MIGRATE)
        return self.includes(*acts)

    @property
    def may_be_shut_down(self) -> bool:
        """It rebooted when nothing watched it: it stays there, shut down."""
        return self.includes("guest-reboot", "guest-poweroff", "guest-crash")


def find_guest(state: HostState, world: World, uuid: str) -> Domain | None:
    """The guest, whatever it is called or made from by now."""
    names = (world.guest, RENAMED, world.guest + AWAY_SUFFIX, RENAMED + AWAY_SUFFIX)
    found = [d for d in state.domains if d.uuid == uuid or d.name in names]
    return found[0] if found else None


def act(host: SimulatedHost, world: World, what: str, run_id: str, uuid: str) -> bool:
    """Do it with the host's own tools, which no fault of the run strikes; True when it worked."""
    faults = host.directory / "host" / "faults.json"
    aside = faults.with_suffix(".aside")
    if faults.exists():
        faults.rename(aside)
    other = SimulatedHost(host.directory)
    try:
        return _act(other, world, what, run_id, uuid)
    finally:
        other.close()
        if aside.exists():
            aside.rename(faults)


def _act(host: SimulatedHost, world: World, what: str, run_id: str, uuid: str) -> bool:
    if what == "remove-snapshot":
        return _remove_snapshot(host)
    if what == "take-snapshot-name":
        name = f"xb-{run_id}-xvda"
        argv = ("lvcreate", "-y", "-L", "64k", "-n", name, "--addtag", FOREIGN_TAG, GROUP)
        return bool(run_id) and _run(host, *argv)
    if what == "create":
        return _run(host, world.tool, "create", f"/etc/xen/{world.guest}.cfg")
    if what == END_MIGRATION:
        return end_migration(host)
    with host.machine() as machine:
        domain = find_guest(machine.state, world, uuid)
        name = domain.name if domain is not None else ""
        executing = domain is not None and domain.executing
    if domain is None or name.endswith(AWAY_SUFFIX):
        return False  # whoever sent it away leaves it to its migration
    if what == MIGRATE:
        return begin_migration(host, domain.domid)
    if what == "rename":
        return name != RENAMED and _run(host, world.tool, "rename", name, RENAMED)
    if what in ("destroy", "pause", "unpause"):
        return _run(host, world.tool, what, name)
    if what == "flood":
        return executing and _flood(host, name)
    if what == "write-more":
        return administer([str(host.directory), "guest", name, "scratch", "65536"]) == 0
    ending = what.removeprefix("guest-")
    return executing and administer([str(host.directory), "guest", name, ending]) == 0


def _flood(host: SimulatedHost, name: str) -> bool:
    """The guest writes more than any snapshot of the usual size holds, and goes on like that."""
    if administer([str(host.directory), "guest", name, "scratch", str(SCRATCH_BYTES)]):
        return False
    host.sleep(FLOOD_SECONDS)
    return True


def remove_foreign_volumes(host: SimulatedHost) -> int:
    """The administrator clears away what was in our way; returns how many were still there."""
    with host.machine() as machine:
        names = [v.name for v in machine.state.volumes.values() if FOREIGN_TAG in v.tags]
    return sum(_run(host, "lvremove", "-y", f"{GROUP}/{name}") for name in names)


def _remove_snapshot(host: SimulatedHost) -> bool:
    with host.machine() as machine:
        volumes = machine.state.volumes.values()
        names = [v.name for v in volumes if v.name.startswith("xb-") and "xenbackup" in v.tags]
    removed = [_run(host, "lvremove", "-y", f"{GROUP}/{name}") for name in names]
    return any(removed)


def _run(host: SimulatedHost, *argv: str) -> bool:
    return host.run(Command(argv=argv, timeout_seconds=300.0)).exit_code == 0
