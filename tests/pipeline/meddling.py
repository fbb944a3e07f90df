"""What a person does to a guest that a run has in its hands, and what came of it."""

from __future__ import annotations

from tests.pipeline.strikes import call
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.dom0.simulated.oracle import read_oracle

LOG = "/var/log/xen/xl-web.log"
"""Where xl tells of the guest `web`."""


def run_for_a_while(host: SimulatedHost) -> None:
    """A person starts the guest, works in it, and ends it again."""
    call(host, "xl", "create", "/etc/xen/web.cfg")
    host.sleep(30.0)
    call(host, "xl", "destroy", "web")


def look_corrupted(host: SimulatedHost) -> dict[str, tuple[str, ...]]:
    return dict(read_oracle(host).corruptions)
