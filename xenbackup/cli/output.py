"""Where the command line speaks: results on stdout, remarks on stderr, JSON for programs.

A stream that breaks (`| head`, a terminal that went away) falls silent and stops nothing: a backup
under way is worth more than its echo. Any other failure to write is remembered, told at the end.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from typing import TextIO

import click

SCHEMA = 1
_READER_IS_GONE = (errno.EPIPE, errno.EIO, errno.ESHUTDOWN)


def replace_closed_streams() -> None:
    """A stream that the caller closed (`>&-`) leads nowhere. Were its number left free, the next
    file that is opened would get it, a disk that is being restored, and with it whatever a tool or
    a library says to number 1 or 2.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


class Output:
    """Both streams of the process. `failure` is why results could not be written, "" while fine."""

    def __init__(self) -> None:
        self.failure = ""
        self._silent: set[str] = set()
        for stream in (sys.stdout, sys.stderr):
            _keep_unprintable_text(stream)

    @property
    def unheard(self) -> bool:
        """Nobody reads the results any more: who repeats them may stop."""
        return "stdout" in self._silent

    def say(self, text: str = "", *, newline: bool = True) -> None:
        """A line of the result, for a person."""
        self._write("stdout", text, newline=newline)

    def remark(self, text: str = "", *, newline: bool = True) -> None:
        """A line on the way: progress, warnings, errors. Never part of the result."""
        self._write("stderr", text, newline=newline)

    def emit(self, content: Mapping[str, object]) -> None:
        """One JSON object on one line, flushed, for a program."""
        import json

        self._write("stdout", json.dumps(content, allow_nan=False))

    def _write(self, name: str, text: str, *, newline: bool = True) -> None:
        if name in self._silent:
            return
        stream: TextIO = getattr(sys, name)
        try:
            click.echo(text, file=stream, nl=newline)
        except OSError as error:
            self._fall_silent(name, error)
        except ValueError:
            self._silent.add(name)

    def _fall_silent(self, name: str, error: OSError) -> None:
        """Later writes, and the interpreter's own last flush, go nowhere."""
        self._silent.add(name)
        if error.errno not in _READER_IS_GONE and name == "stdout":
            self.failure = os.strerror(error.errno) if error.errno else str(error)
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, getattr(sys, name).fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - until the end


def _keep_unprintable_text(stream: TextIO) -> None:
    """A guest's odd name must not end a verb where the terminal's encoding lacks its letters."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
