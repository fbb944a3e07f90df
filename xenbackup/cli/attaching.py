"""Following a round that the daemon runs: the same pages and streams as one in the foreground."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xenbackup.cli.ending import describe_error
from xenbackup.cli.invocation import Invocation
from xenbackup.errors import DaemonAbsent, DaemonGone, ExitCode
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from xenbackup.operations.run_log import LogWatcher
    from xenbackup.service.control.client import ControlClient
    from xenbackup.service.control.protocol import AnyRequest


def run_in_daemon(invocation: Invocation, job: str, domain: str) -> int | None:
    """Let the daemon run a job, and show how it goes; None where there is no daemon to ask.

    With a configuration of its own (`--config`) a call is none of the daemon's business.

    Raises: RequestRefused, DaemonSilent, DaemonGone, UsageError for a name that nothing can bear.
    """
    from xenbackup.service.control.client import ControlClient, has_socket

    if invocation.configuration is not None or not has_socket(invocation.socket_path):
        return None
    from xenbackup.service.control.protocol import RunRequest

    request = RunRequest(job=job, domain=domain, layout=invocation.describe_layout())
    try:
        client = ControlClient.connect(invocation.socket_path)
    except DaemonAbsent:
        return None
    with client:
        return _Follower(invocation, job).follow(client, request)


class _Follower:
    """Shows one round, event by event."""

    def __init__(self, invocation: Invocation, job: str) -> None:
        self._invocation = invocation
        self._job = job
        self._round = ""
        self._told: tuple[str, ...] = ()
        self._watcher: LogWatcher | None = None

    def follow(self, client: ControlClient, request: AnyRequest) -> int:
        try:
            return self._show_all(client, request)
        except KeyboardInterrupt:
            return self._detach()

    def _show_all(self, client: ControlClient, request: AnyRequest) -> int:
        from xenbackup.cli import reports
        from xenbackup.service.control import events
        from xenbackup.service.control.relay import replay, round_of

        for event in client.request(request):
            if isinstance(event, events.Attached):
                self._round = event.round
            elif isinstance(event, events.PlanTold):
                self._told = event.told
                if event.text:
                    self._invocation.output.say(event.text)
                    self._invocation.output.say()
            elif isinstance(event, events.Queued):
                self._remark(f"{show_text(event.domain)}: {show_text(event.reason)}.")
            elif isinstance(event, events.Noted):
                self._remark(show_text(event.text))
            elif isinstance(event, events.ResultTold):
                reports.tell_result(round_of(event), self._invocation)
            elif isinstance(event, events.End):
                return event.exit_code
            else:
                replay(event, self._find_watcher())
        raise DaemonGone("The daemon's answer had no end.")

    def _find_watcher(self) -> LogWatcher:
        """Made when the plan has been told: its warnings are not told twice."""
        if self._watcher is None:
            self._watcher = self._make_watcher()
        return self._watcher

    def _make_watcher(self) -> LogWatcher:
        from xenbackup.cli.watching import PersonWatcher, ProgramWatcher
        from xenbackup.operations.run_log import LogWatcher
        from xenbackup.system.log import configure_logging

        invocation = self._invocation
        configure_logging(("warning", "info", "debug")[min(invocation.verbosity, 2)])
        if invocation.json:
            return ProgramWatcher(invocation.output)
        if invocation.verbosity:
            return LogWatcher()
        return PersonWatcher(
            invocation.output,
            invocation.margin,
            self._find_clock(),
            draws=invocation.person_on_stderr,
            told=self._told,
        )

    def _find_clock(self) -> Callable[[], float]:
        """Seconds as the host counts them: those of a simulated one are its own."""
        if self._invocation.simulated is None:
            return time.monotonic
        return self._invocation.open_host().monotonic_seconds

    def _remark(self, text: str) -> None:
        if not self._invocation.json:
            self._invocation.output.remark(self._invocation.margin.note(text))

    def _detach(self) -> int:
        """Ctrl-C: the daemon goes on; before its first word nobody knows whether it has begun."""
        if self._round:
            message = f"Detached: the service goes on with job {self._job}."
            hint = (
                f"`xenbackup cancel {self._round}` stops it, `xenbackup status` shows how far it is"
            )
        else:
            message = f"Detached before the service answered: it may run job {self._job}, or not."
            hint = "`xenbackup status` shows whether it does"
        if self._invocation.json:
            self._invocation.output.emit(describe_error(message, hint, ExitCode.INTERRUPTED))
        else:
            self._invocation.output.remark()
            self._invocation.output.remark(self._invocation.margin.note(f"{message} Hint: {hint}"))
        return int(ExitCode.INTERRUPTED)
