"""The log: structured events on one stream, readable on a terminal and JSON anywhere else.

Our own events and those of libraries take the same way out. Tracebacks never show the values of
local variables: a log must not hold what a guest's memory or a key did.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.types import Processor

LEVELS = ("debug", "info", "warning", "error")
# Libraries that put whole command lines or every tick into the log below a warning.
_TALKATIVE = ("sh", "apscheduler")


class _StreamHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment, unless it was given a stream of its own."""

    def __init__(self, stream: TextIO | None) -> None:
        self._own = stream
        super().__init__(stream or sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = self._own or sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A log that cannot be written stops nothing: the journal is what counts."""


def configure_logging(
    level: str = "warning", *, json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send events of `level` and above to `stream` (stderr), as JSON lines or for a reader.

    `json` None means: for a reader when the stream is a terminal, JSON otherwise.

    Raises: ValueError for a level that is none of `LEVELS`.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(LEVELS)}")
    on_terminal = is_terminal(stream or sys.stderr)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(
                    json=not on_terminal if json is None else json,
                    colors=on_terminal and not os.environ.get("NO_COLOR"),
                ),
            ],
        )
    )
    root = logging.getLogger()
    for old in [found for found in root.handlers if isinstance(found, _StreamHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel("WARNING")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream; a closed one is looked at by nobody."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def bind_run(run_id: str, domain: str) -> None:
    """From here on every event of this thread names its run and domain, until `unbind_run`."""
    structlog.contextvars.bind_contextvars(run=run_id, domain=domain)


def unbind_run() -> None:
    """The run is over: later events are not its own."""
    structlog.contextvars.unbind_contextvars("run", "domain", "step")


def bind_step(step: str) -> None:
    """From here on events name this step."""
    structlog.contextvars.bind_contextvars(step=step)


def _renderers(*, json: bool, colors: bool) -> list[Processor]:
    if json:
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    return [
        structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
    ]
