"""A whole Xen host in a directory: domains that tick, volumes, snapshots, tools, virtual time.

`SimulatedHost(directory)` (host.py) is the port's simulated side; `create_host` and
`build_demo_host` (building.py) make a directory; `python -m xenbackup.dom0.simulated DIR TOOL …`
is the same host as a command line.
"""

from xenbackup.dom0.simulated.building import (
    DiskSpec,
    GroupSpec,
    GuestSpec,
    ThinPoolSpec,
    build_demo_host,
    copy_host,
    create_host,
)
from xenbackup.dom0.simulated.faults import Fault, FaultKind
from xenbackup.dom0.simulated.host import SimulatedHost

__all__ = [
    "DiskSpec",
    "Fault",
    "FaultKind",
    "GroupSpec",
    "GuestSpec",
    "SimulatedHost",
    "ThinPoolSpec",
    "build_demo_host",
    "copy_host",
    "create_host",
]
