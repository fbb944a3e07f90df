"""The door of every call. Nothing is imported before it stands open: whoever thinks better of it
while the rest is still being read (a cold dom0 takes a second) gets a sentence, not a traceback.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one call; returns its exit code. The console script passes it on to `sys.exit`."""
    try:
        from xenbackup.cli.command import run_call

        return run_call(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        # Before the verb began, or after it ended: in between it is told by the verb's own end.
        if sys.stderr is not None:
            sys.stderr.write("Error: Interrupted.\n")
        return _INTERRUPTED
