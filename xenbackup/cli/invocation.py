"""One call of the command line: its global options, where it speaks, and the house it opens."""

from __future__ import annotations

import os
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
    from xenbackup.service.control.protocol import Layout


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

    @property
    def socket_path(self) -> Path:
        """Where this host's daemon would listen."""
        root = self.simulated if self.simulated is not None else Path("/")
        return root / "run/xenbackup/control.sock"

    @property
    def is_stranger(self) -> bool:
        """The state of this host is another user's: we may look only through the daemon's eyes."""
        if self.configuration is not None:
            return False
        root = self.simulated if self.simulated is not None else Path("/")
        try:
            return (root / "var/lib/xenbackup").stat().st_uid != os.geteuid()
        except OSError:
            return False

    def describe_layout(self) -> Layout:
        """How a page must be laid out to look as one of our own."""
        from xenbackup.cli.text import can_encode, measure_terminal, wants_colour
        from xenbackup.service.control.protocol import Layout

        return Layout(
            json=self.json,
            width=min(max(measure_terminal(sys.stdout), 20), 1000),
            colour=wants_colour(sys.stdout, os.environ),
            utf8=can_encode(sys.stdout),
        )

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

    def open_house_to_recover(self) -> House:
        """The house, also where its configuration is broken: then a warning tells what is wrong.

        Raises: CommandFailed when no toolstack answers.
        """
        from xenbackup import bootstrap

        house, problems = bootstrap.open_house_to_recover(self.open_host(), self.configuration)
        self.state_folder = house.state_folder
        for problem in problems:
            self.warn(problem)
        if problems:
            self.warn("The configuration is broken: guests are brought back without it.")
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
