"""What children of a test are born with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_signal_ignored() -> Iterator[None]:
    """Start a child in here: it heeds Ctrl-C and a hang-up, whatever the tests themselves ignore.

    Under nohup, or in the background of a script, those are ignored, and that is inherited by all.
    """
    inherited = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, action in inherited.items():
            signal.signal(number, action)
