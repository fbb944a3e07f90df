"""A call of the command line, in a process of its own, held at one boundary inside a command.

    python -m tests.unit.cli.held_call DIR BOUNDARY REACHED_FD GO_FD WORDS…

When the simulated host first comes to BOUNDARY (`lvcreate:begin`), a byte is written to REACHED_FD,
and the call waits for one on GO_FD. So a test can send signals at a known moment, without sleeping.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from xenbackup import bootstrap
from xenbackup.cli.main import main
from xenbackup.dom0.host import Host
from xenbackup.dom0.simulated import SimulatedHost


def hold_call(words: list[str]) -> int:
    directory, boundary, reached, go = Path(words[0]), words[1], int(words[2]), int(words[3])
    held = False

    def hold(name: str) -> None:
        nonlocal held
        if name == boundary and not held:
            held = True
            os.write(reached, b"!")
            os.read(go, 1)

    def open_held_host(simulated: Path | None) -> Host:
        return SimulatedHost(directory, on_boundary=hold)

    bootstrap.open_host = open_held_host
    return main(["--simulated", str(directory), *words[4:]])


if __name__ == "__main__":
    sys.exit(hold_call(sys.argv[1:]))
