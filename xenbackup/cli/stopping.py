"""Being asked to stop: a signal sets a reason that acts look at, and interrupts nothing itself."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Self

_REASONS = {
    signal.SIGINT: "interrupted by Ctrl-C",
    signal.SIGTERM: "asked to stop",
    signal.SIGHUP: "its terminal went away",
}


class StopRequest:
    """While entered, SIGINT, SIGTERM and SIGHUP are wishes: `reason` tells of the first one.

    `announcement` is said on stderr at every such signal. No KeyboardInterrupt is raised, so that
    none can come in the middle of an act. A signal that is ignored (`nohup`) stays ignored.
    """

    def __init__(self, announcement: str) -> None:
        self._announcement = announcement
        self._reason = ""
        self._before: dict[signal.Signals, object] = {}

    def reason(self) -> str:
        """Why to stop; "" to go on."""
        return self._reason

    def __enter__(self) -> Self:
        for number in _REASONS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        reason = _REASONS[signal.Signals(number)]
        self._reason = self._reason or reason
        # Past Python's own buffers: this may interrupt a write to them.
        text = f"\n{reason[0].upper()}{reason[1:]}: {self._announcement}\n"
        try:
            os.write(2, text.encode())
        except OSError:
            return
