"""Verbs rendered inside the daemon, for users who may look but cannot read the state themselves.

A verb runs here as it does in a process of its own, but for where it speaks and what house it
opens. What it is given are words built from a typed request, never what a client wrote.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import Output
from xenbackup.cli.page import UNWRAPPED, Page
from xenbackup.cli.text import Painter

if TYPE_CHECKING:
    from pathlib import Path

    from xenbackup.dom0.host import Host
    from xenbackup.model.plan import Plan
    from xenbackup.operations.house import House
    from xenbackup.operations.tools import Tools
    from xenbackup.service.control.protocol import Layout, PageRequest


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What a verb printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str


class CapturedOutput(Output):
    """Keeps what is said, in this object alone: several threads render at once."""

    def __init__(self) -> None:
        self.failure = ""
        self._silent = set()
        self._kept = {"stdout": io.StringIO(), "stderr": io.StringIO()}

    def take(self, name: str) -> str:
        """All that went to `stdout` or `stderr`."""
        return self._kept[name].getvalue()

    def _write(self, name: str, text: str, *, newline: bool = True) -> None:
        self._kept[name].write(f"{text}\n" if newline else text)


@dataclass(kw_only=True)
class RenderedInvocation(Invocation):
    """A call on the daemon's own house, laid out for whoever asks."""

    house: House
    layout: Page

    @property
    def person_on_stderr(self) -> bool:
        return False

    @property
    def page(self) -> Page:
        return self.layout

    @property
    def margin(self) -> Page:
        """Remarks come in whole lines: how wide their stream is at the other end is not known."""
        return replace(self.layout, width=UNWRAPPED)

    def open_host(self) -> Host:
        return self.house.host

    def open_house(self) -> House:
        self.state_folder = self.house.state_folder
        return self.house

    def open_tools(self) -> Tools:
        from xenbackup.operations.tools import Tools

        return Tools(host=self.house.host, toolstack=self.house.toolstack, lvm=self.house.lvm)

    @property
    def is_stranger(self) -> bool:
        return False


class DaemonPages:
    """What the daemon asks of the command line. `configuration` is the file that it was given."""

    def __init__(self, configuration: Path | None) -> None:
        self._configuration = configuration

    def render(self, house: House, request: PageRequest) -> Rendered:
        """Run the verb of the request. Never raises for what the verb meets."""
        from xenbackup.cli.command import run_words

        output = CapturedOutput()
        invocation = RenderedInvocation(
            output=output,
            configuration=self._configuration,
            json=request.layout.json,
            house=house,
            layout=_lay_out(request.layout),
        )
        words = [*(["--json"] if request.layout.json else []), *request.words]
        exit_code = run_words(invocation, words)
        return Rendered(
            exit_code=exit_code, stdout=output.take("stdout"), stderr=output.take("stderr")
        )

    def tell_plan(self, plan: Plan, layout: Layout) -> str:
        """The plan as `run` shows it before it begins; "" for a program."""
        from xenbackup.cli import reports

        return "" if layout.json else reports.report_plan(plan, _lay_out(layout))


def _lay_out(layout: Layout) -> Page:
    return Page(
        width=layout.width,
        painter=Painter(layout.colour),
        ellipsis="…" if layout.utf8 else "...",
    )
