"""How a call ends: an error becomes a sentence, a hint and an exit code; never a traceback."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA
from xenbackup.cli.text import Colour
from xenbackup.errors import ConfigurationError, ExitCode, XenbackupError

if TYPE_CHECKING:
    from pathlib import Path

_INLINE_HINT = " Hint: "
"""Where a problem of the configuration has its hint: each of several needs its own."""


def end_with_error(invocation: Invocation, error: XenbackupError) -> int:
    """Tell an error that was meant for a person; returns its exit code."""
    message, hint = error.message, error.hint
    if isinstance(error, ConfigurationError):
        if len(error.problems) > 1:
            message = f"{len(error.problems)} problems in the configuration:\n{message}"
        elif not hint:
            message, _, hint = message.partition(_INLINE_HINT)
    return _tell(invocation, message, hint, error.exit_code)


def end_with_usage(invocation: Invocation, error: click.ClickException) -> int:
    """Tell what click found wrong with the words of the call."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not invocation.json:
        invocation.output.remark(error.format_message())
        return int(ExitCode.USAGE)
    path = context.command_path if context is not None else "xenbackup"
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        message = f"`{path}` needs a verb."
    return _tell(invocation, message, f"`{path} --help` shows how it is used", ExitCode.USAGE)


def end_with_defect(invocation: Invocation, error: BaseException) -> int:
    """Something that should not happen did: one sentence for the person, the rest in a file."""
    kept = _keep_traceback(invocation.state_folder, error)
    where = f"with the file {kept}" if kept else "with what you did before"
    return _tell(
        invocation,
        f"This is a defect of xenbackup, please report it {where}: "
        f"{type(error).__name__}: {_shorten(str(error))}",
        "if a run was under way, `xenbackup recover` shows whether anything is left to do",
        ExitCode.FAILED,
    )


def end_interrupted(invocation: Invocation) -> int:
    """Ctrl-C where no act was under way that undoes itself: while a verb looked, or told."""
    hint = "what had been done by then stays; `xenbackup recover` shows whether anything is left"
    return _tell(invocation, "Interrupted.", hint, ExitCode.INTERRUPTED)


def describe_error(message: str, hint: str, exit_code: int) -> dict[str, object]:
    """An error as programs get it. `event` sets it apart in the stream of `run --json`."""
    return {
        "event": "error",
        "schema": SCHEMA,
        "error": {"message": message, "hint": hint, "exit_code": int(exit_code)},
    }


def _tell(invocation: Invocation, message: str, hint: str, exit_code: ExitCode) -> int:
    if invocation.json:
        invocation.output.emit(describe_error(message, hint, exit_code))
    else:
        page = invocation.margin
        first, *others = message.splitlines() or [""]
        invocation.output.remark(page.note(first, mark="Error:", colour=Colour.RED))
        for line in others:
            invocation.output.remark(page.note(line))
        if hint:
            invocation.output.remark(page.note(hint, mark="Hint:"))
    return int(exit_code)


def _keep_traceback(state_folder: Path | None, error: BaseException) -> Path | None:
    """The traceback, without local variables, in the state folder or a temporary one."""
    import tempfile
    import traceback
    from datetime import UTC, datetime
    from pathlib import Path

    text = "".join(traceback.format_exception(error))
    prefix = f"defect-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-"
    for folder in (state_folder, Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=folder)
            with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return Path(name)
    return None


def _shorten(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
