"""A sampled point with memory restored by the product itself, so that the guest can judge it."""

from __future__ import annotations

from tests.simulation.director import Ledger
from tests.simulation.worlds import World
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.model.command import Command
from xenbackup.model.restore import RestoreOptions, SilentRestoreWatcher
from xenbackup.operations.house import House
from xenbackup.operations.points import find_point, list_points
from xenbackup.operations.restore import plan_restore, restore_point


def restore_a_point(host: SimulatedHost, house: House, world: World, ledger: Ledger) -> int:
    """Destroy the guest, restore its newest point with memory over its disks; 1 when done.

    Raises: XenbackupError when the product refuses or fails.
    """
    points = [point for point in list_points(house).points if point.consistency == "memory"]
    with host.machine() as machine:
        name = next((d.name for d in machine.state.domains if d.name == world.guest), "")
    if not points or not name:
        return 0
    host.run(Command(argv=(world.tool, "destroy", name), timeout_seconds=60.0))
    options = RestoreOptions(memory=True, start=True)
    plan = plan_restore(house, find_point(house, points[-1].point), options)
    result = restore_point(house, plan, SilentRestoreWatcher(), lambda: "")
    ledger.tell(f"restored {result.point}: guest {result.guest} {result.warnings}")
    return 1
