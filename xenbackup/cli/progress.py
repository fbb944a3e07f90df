"""A progress bar on a terminal: what is being done, how far it is, how fast, how long to go.

It draws on one line with nothing but a carriage return, so every terminal can show it. On anything
that is no terminal it is silent, and it never fails the work that it shows: a terminal that went
away (a closed ssh session) merely ends the drawing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TextIO

from xenbackup.cli.text import (
    can_encode,
    cut_text,
    format_duration,
    format_rate,
    format_size,
    is_terminal,
    measure_terminal,
    measure_width,
)
from xenbackup.model.printable import show_text

REDRAW_SECONDS = 0.1
# The rate is that of the last few seconds: long enough to be calm, short enough to be true.
_SAMPLE_SECONDS = 0.5
_SAMPLES = 20
_WIDEST_BAR = 30
_NARROWEST_BAR = 8


class ProgressBar:
    """Shows one thing at a time; `begin` starts the next, `finish` or `clear` ends the last.

    `clock` counts seconds and never steps back; `width` gives the terminal's columns, asked anew
    at each drawing since a window may be resized.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float],
        *,
        width: Callable[[], int] | None = None,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._width = width or (lambda: measure_terminal(stream))
        self._drawing = is_terminal(stream)
        full, empty, ellipsis = ("█", "░", "…") if can_encode(stream) else ("#", "-", "...")
        self._full, self._empty, self._ellipsis = full, empty, ellipsis
        self._label = ""
        self._done = 0
        self._total = 0
        self._began = 0.0
        self._drawn_at: float | None = None
        self._drawn_columns = 0
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def begin(self, label: str, total_bytes: int = 0) -> None:
        """Start showing something; 0 means that its size is not known yet."""
        self.clear()
        self._label = show_text(label)
        self._done, self._total = 0, total_bytes
        self._began = self._clock()
        self._drawn_at = None
        self._samples.clear()
        self._samples.append((self._began, 0))
        self._draw()

    def update(self, done_bytes: int, total_bytes: int) -> None:
        """Tell how far it is; draws at most ten times a second."""
        self._done, self._total = done_bytes, total_bytes
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, done_bytes))
        if self._drawn_at is None or now - self._drawn_at >= REDRAW_SECONDS:
            self._draw()

    def finish(self) -> None:
        """Leave the last state standing, with mean rate and whole time, and end the line."""
        if self._drawn_columns:
            elapsed = self._clock() - self._began
            self._write_line(self._compose(elapsed=elapsed))
            self._write("\n")
            self._drawn_columns = 0

    def clear(self) -> None:
        """Wipe the line, so that something else can be printed."""
        if self._drawn_columns:
            self._write("\r" + " " * self._drawn_columns + "\r")
            self._drawn_columns = 0

    def _draw(self) -> None:
        if self._drawing:
            self._drawn_at = self._clock()
            self._write_line(self._compose())

    def _compose(self, *, elapsed: float | None = None) -> str:
        """The line; parts are dropped from a narrow one, the least needed first."""
        # The last column stays free: some terminals begin a new line after it.
        room = max(self._width() - 1, 1)
        label = cut_text(self._label, max(room // 3, 12), ellipsis=self._ellipsis)
        share = min(max(self._done / self._total, 0.0), 1.0) if self._total else 0.0
        percent = f"{int(share * 100):3}%" if self._total else ""
        amount = format_size(self._done)
        if self._total:
            amount += f" of {format_size(self._total)}"
        rate = self._measure_rate(elapsed)
        parts = [percent, amount, format_rate(rate) if rate else "", self._tell_time(rate, elapsed)]
        while True:
            tail = "  ".join(part for part in parts if part)
            bar_room = room - measure_width(label) - measure_width(tail) - 4
            if bar_room >= _NARROWEST_BAR or len(parts) == 1:
                break
            # First the amount goes, then the rate, then the time; the percentage stays.
            del parts[1]
        if self._total and bar_room >= _NARROWEST_BAR:
            tail = f"{self._render_bar(share, min(bar_room, _WIDEST_BAR))}  {tail}"
        return cut_text("  ".join(part for part in (label, tail) if part), room, ellipsis="")

    def _render_bar(self, share: float, width: int) -> str:
        full = int(share * width)
        return self._full * full + self._empty * (width - full)

    def _measure_rate(self, elapsed: float | None) -> float:
        """Bytes per second: of the last seconds, or over the whole time once it is over."""
        if elapsed is not None:
            return self._done / elapsed if elapsed > 0 else 0.0
        if not self._samples:
            return 0.0
        since, done_then = self._samples[0]
        seconds = self._clock() - since
        return max(self._done - done_then, 0) / seconds if seconds > 0 else 0.0

    def _tell_time(self, rate: float, elapsed: float | None) -> str:
        if elapsed is not None:
            return f"in {format_duration(elapsed)}"
        remaining = self._total - self._done
        if not rate or remaining <= 0:
            return ""
        seconds = max(round(remaining / rate), 1)
        return f"{seconds} s left" if seconds < 60 else f"{format_duration(seconds)} left"

    def _write_line(self, line: str) -> None:
        columns = measure_width(line)
        self._write("\r" + line + " " * max(self._drawn_columns - columns, 0))
        self._drawn_columns = columns

    def _write(self, text: str) -> None:
        if not self._drawing:
            return
        encoding = self._stream.encoding or "ascii"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal is gone, or closed: whoever does the work must not hear of it.
            self._drawing = False
