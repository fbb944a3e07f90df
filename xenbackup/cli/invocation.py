"""One call of the command line: its global options, where it speaks, and the house it opens."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xenbackup.cli.output import Output
from xenbackup.cli.page import UNWRAPPED, Page, open_page
from xenbackup.cli.text import Colour
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.dom0.host import Host
    from xenbackup.operations.house import House
    from xenbackup.operations.tools import Tools


@dataclass(kw_only=True)
class Invocation:
    """Global options as they were given, before or after the verb.

    `verbosity` counts `-v`: 0 logs warnings, 1 what happens, 2 every command too.
    """

    output: Output
    configuration: Path | None = None
    simulated: Path | None = None
    json: bool = False
    verbosity: int = 0
    state_folder: Path | None = field(default=None, init=False)

    @property
    def person_on_stderr(self) -> bool:
        """Somebody watches the progress: a bar makes sense, unless a log runs through it."""
        return not self.json and not self.verbosity and sys.stderr.isatty()

    @property
    def page(self) -> Page:
        """What results for a person are laid out on."""
        return open_page(sys.stdout)

    @property
    def margin(self) -> Page:
        """What remarks on stderr are laid out on: wrapped for a terminal, whole lines for a log."""
        page = open_page(sys.stderr)
        return page if sys.stderr.isatty() else replace(page, width=UNWRAPPED)

    def open_host(self) -> Host:
        """The host that is meant. Raises: UsageError."""
        from xenbackup import bootstrap
        from xenbackup.system.log import configure_logging

        configure_logging(("warning", "info", "debug")[min(self.verbosity, 2)])
        return bootstrap.open_host(self.simulated)

    def open_house(self) -> House:
        """The house on that host. Raises: as `bootstrap.open_house`."""
        from xenbackup import bootstrap

        house = bootstrap.open_house(self.open_host(), self.configuration)
        self.state_folder = house.state_folder
        return house

    def open_tools(self) -> Tools:
        """The tools of that host, which need not be configured. Raises: as `bootstrap`."""
        from xenbackup import bootstrap

        host = self.open_host()
        return bootstrap.open_tools(host, bootstrap.choose_toolstack(host, self.configuration))

    def warn(self, message: str) -> None:
        """A remark that needs attention; under --json it is on stderr too, as text."""
        note = self.margin.note(show_text(message), mark="Warning:", colour=Colour.YELLOW)
        self.output.remark(note)
