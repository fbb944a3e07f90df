"""Telling the demo: chapters, commands as they would be typed, and checks that must hold."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.page import open_page
from xenbackup.cli.text import Colour
from xenbackup.dom0.simulated import SimulatedHost
from xenbackup.errors import ExitCode, Interrupted
from xenbackup.model.command import Command

_TOOL_TIMEOUT_SECONDS = 60.0


class NotAsTold(Exception):
    """A check of the demo does not hold: the story ends here."""


class Teller:
    """Speaks for the demo. `checks` are what was claimed, and whether it held."""

    def __init__(self, invocation: Invocation, directory: Path) -> None:
        self.directory = directory
        self.checks: list[tuple[str, bool]] = []
        self._output = invocation.output
        self._page = open_page()
        self._silent = invocation.json

    def chapter(self, title: str) -> None:
        self._say(f"\n{self._page.heading(title)}\n{'=' * len(title)}")

    def tell(self, text: str) -> None:
        self._say(f"\n{self._page.note(text)}")

    def quote(self, *lines: str) -> None:
        """Lines as they are, set off."""
        self._say("\n" + "\n".join(f"  {line}" for line in lines))

    def tool(self, host: SimulatedHost, *argv: str) -> str:
        """A tool of the simulated host, shown with what it prints."""
        self._show_command(" ".join(argv))
        result = host.run(Command(argv=argv, timeout_seconds=_TOOL_TIMEOUT_SECONDS))
        if result.stdout:
            self._say(result.stdout.rstrip("\n"))
        self.check(f"`{' '.join(argv)}` succeeds", result.succeeded, aloud=False)
        return result.stdout

    def xenbackup(self, *words: str) -> int:
        """The command line itself, on the demo's host; returns its exit code.

        Raises: Interrupted when it was told to stop.
        """
        from xenbackup.cli.main import main

        arguments = ["--simulated", str(self.directory), *words]
        self._show_command(f"xenbackup {' '.join(arguments)}")
        with self._hushed():
            exit_code = main(arguments)
        if exit_code == ExitCode.INTERRUPTED:
            raise Interrupted("The demo was stopped; what it had begun is undone.")
        return exit_code

    def check(self, text: str, good: bool, *, aloud: bool = True) -> None:
        """Something the story claims. Raises: NotAsTold when it does not hold."""
        if aloud or not good:
            self.checks.append((text, good))
            mark = self._paint("[ok]", Colour.GREEN) if good else self._paint("[NO]", Colour.RED)
            self._say(f"{mark} {text}")
        if not good:
            raise NotAsTold(text)

    def _show_command(self, line: str) -> None:
        self._say(f"\n{self._paint('$', Colour.DIM)} {self._paint(line, Colour.BOLD)}")

    def _paint(self, text: str, colour: Colour) -> str:
        return self._page.painter.paint(text, colour)

    def _say(self, text: str) -> None:
        if not self._silent:
            self._output.say(text)

    @contextlib.contextmanager
    def _hushed(self) -> Iterator[None]:
        """Under --json the commands of the story work without a word."""
        if not self._silent:
            yield
            return
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
