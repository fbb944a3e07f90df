"""`python -m xenbackup` is the command `xenbackup`."""

import sys

from xenbackup.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
