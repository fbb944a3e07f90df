"""What the lab needs on this machine: `python -m tests.lab.requirements` brings it or names it."""

from __future__ import annotations

import subprocess
import sys

from tests.lab.build import install_missing_tools
from tests.lab.wire import LabError


def main() -> int:
    """Install the missing tools as root on Debian; elsewhere say what to install, and fail."""
    try:
        install_missing_tools()
    except (LabError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
