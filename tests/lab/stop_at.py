"""xenbackup with a breakpoint: it stops itself where its journal gets a certain entry.

Runs in dom0 with the product's own interpreter (`xenbackup_host.begin_run` puts it there):

    python3 stop_at.py EVENT[:DETAIL] ARGUMENTS...

The process stops as SIGSTOP stops one: the entry is on the disk, and nothing that follows it has
begun. DETAIL is the entry's step or disk, where several entries are of one kind.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from xenbackup.cli.main import main
from xenbackup.model.entries import AnyEntry
from xenbackup.records.journal import Journal


def stop_at(spelled: str) -> None:
    """Have this process stop itself once, with the first entry that is so spelled."""
    event, _, detail = spelled.partition(":")
    write = Journal.write

    def write_and_stop(journal: Journal, entry: AnyEntry, **options: Any) -> None:
        write(journal, entry, **options)
        about = getattr(entry, "step", "") or getattr(entry, "vdev", "")
        if entry.__struct_config__.tag == event and detail in ("", about):
            Journal.write = write  # type: ignore[method-assign]
            # Raised for the calling thread, which gets no further: the copy may have its own.
            signal.raise_signal(signal.SIGSTOP)

    Journal.write = write_and_stop  # type: ignore[assignment]


if __name__ == "__main__":
    stop_at(sys.argv.pop(1))
    sys.exit(main())
