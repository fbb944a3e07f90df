"""`python -m xenbackup.dom0.simulated DIR TOOL ARGS…`: the simulated host as a command line."""

from __future__ import annotations

import sys

from xenbackup.dom0.simulated.administration import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
