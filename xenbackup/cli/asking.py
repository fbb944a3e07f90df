"""Asking the daemon for a page, and for what only it can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xenbackup.cli.invocation import Invocation
from xenbackup.errors import DaemonAbsent, ExitCode

if TYPE_CHECKING:
    from xenbackup.service.control.protocol import AnyRequest, PageRequest


def ask_for_page(invocation: Invocation, verb: str, parameters: Mapping[str, Any]) -> int | None:
    """Show the page that the daemon renders for a verb; None when there is no daemon.

    Raises: RequestRefused, DaemonSilent, DaemonGone, UsageError for a name that nothing can bear.
    """
    from xenbackup.service.control import protocol

    kinds: tuple[type[protocol.PageRequest], ...] = (
        protocol.RunsRequest,
        protocol.ShowRequest,
        protocol.PointsRequest,
        protocol.CheckRequest,
        protocol.PlanRequest,
        protocol.InventoryRequest,
    )
    kind = next(found for found in kinds if found.verb == verb)
    try:
        return ask(invocation, kind(layout=invocation.describe_layout(), **parameters))
    except DaemonAbsent:
        return None


def ask(invocation: Invocation, request: AnyRequest | PageRequest) -> int:
    """Ask, and show pages and remarks as they come; returns the exit code.

    Raises: DaemonAbsent; RequestRefused, DaemonSilent, DaemonGone, FrameRefused.
    """
    from xenbackup.service.control.client import ControlClient
    from xenbackup.service.control.events import End, Noted, PageText

    with ControlClient.connect(invocation.socket_path) as client:
        for event in client.request(request):
            if isinstance(event, PageText) and event.stream == "stdout":
                invocation.output.say(event.text, newline=False)
            elif isinstance(event, PageText):
                invocation.output.remark(event.text, newline=False)
            elif isinstance(event, Noted):
                invocation.output.remark(invocation.margin.note(event.text))
            elif isinstance(event, End):
                return event.exit_code
    return int(ExitCode.FAILED)
